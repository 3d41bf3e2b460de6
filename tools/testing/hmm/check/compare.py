#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""compare.py [PROGRAM]... - run the same selftests on two kernels, side by side
compare.py --rows - list the tests and mutants of each row of rows.md

Compares stock Linux with this one, on kernels with checks; or with FIXED=1, stock Linux of
BASE= with the same plus fixes/VERSION, on kernels without checks, which are much faster;
KERNEL=stock-check selects those with checks. Prints one line per test, one per bug of
stock or fix, and the counts, and stores them in build/VERSION/compare/table.txt or
build/VERSION-fixed/compare/table.txt.

Fails if a test fails here; with FIXED=1, if a test fails that does not fail on stock, or
if the tests that a fix names in its description as PROGRAM/TEST do not fail on stock and
pass with it. Tests for which BASE= has no code are in fixes/lacks, and left out.

Rows and their tests are in rows.md; a mutant has a "Row:" line. --rows fails if a test or a
patch that is named there does not exist, or if a row has no test.
"""
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TOP = HERE.parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE / "guest"))
from guest import BUILD  # noqa: E402

OUT = BUILD / "compare"
FIXED = os.environ.get("FIXED", "")
KERNEL = os.environ.get("KERNEL", "stock-run")
VERSION = BUILD.name.removesuffix("-fixed")
GOOD = ("pass", "skip")
Verdicts = dict[str, str]
Rows = dict[str, list[str]]
ROW = re.compile(r"^\| ([CJGS]\d+) \| [^|]* \| ([^|]*) \| ([^|]*) \|$", re.M)
TESTS = re.compile(r"^(?:TEST_F(?:_TIMEOUT)?\((\w+), (\w+)|(?:ROW|ROW_WAITS)\((\w+),)", re.M)


def tests_by_program() -> Rows:
    """In table.c, a row is a variant of its tests. KUnit's have no fixture."""
    found: Rows = defaultdict(list)
    for path in sorted(TOP.glob("tools/testing/selftests/*/*.c")):
        for fixture, name, entry in TESTS.findall(path.read_text(encoding="utf-8")):
            found[path.stem].append(f"table.{entry}" if entry else f"{fixture}.{name}")
    found["kunit"] = re.findall(r"KUNIT_CASE\w*\((\w+)", (TOP / "mm/tests/hmm_kunit.c").read_text())
    found["docs"] = re.findall(r'^test_that "(.*?)"', (HERE / "check/docs.sh").read_text(), re.M)
    return found


def tests_of_cell(cell: str, programs: Rows) -> tuple[list[str], list[str]]:
    """The tests that a row names as "program: name, name; ...", and names without a test"""
    found: list[str] = []
    bad: list[str] = []
    for part in cell.split("; "):
        program, colon, names = part.partition(": ")
        if not colon:  # a command, or by reading
            found.append(part)
            continue
        for name in names.split(", "):
            tests = [test for test in programs[program] if fnmatchcase(test.split(".")[-1], name)]
            found += [f"{program} {test}" for test in tests]
            bad += [] if tests else [f"no test {program}: {name}"]
    return found, bad


def read_rows() -> tuple[Rows, list[str]]:
    """The tests of each row, and what is wrong in the table"""
    programs, bad = tests_by_program(), []
    found: Rows = {}
    patches = {path.read_text(encoding="utf-8").partition("\n")[0]
               for path in [*TOP.glob("series/*.msg"), *TOP.glob("fixes/7.3/*.patch")]}
    for row, subjects, cell in ROW.findall((HERE / "rows.md").read_text(encoding="utf-8")):
        found[row], wrong = tests_of_cell(cell, programs)
        wrong += [f"no patch \"{subject}\"" for subject in subjects.split("; ") if subject not in patches]
        wrong += [] if cell.strip() else ["no test"]
        bad += [f"{row}: {what}" for what in wrong]
    return found, bad


def mutants_of_rows() -> Rows:
    found: Rows = defaultdict(list)
    for path in sorted((HERE / "mutants").glob("*.diff")):
        header = path.read_text(encoding="utf-8").partition("\n---\n")[0]
        for row in re.findall(r"^Row: (\w+)$", header, re.M):
            found[row].append(path.stem)
    return found


def list_rows() -> int:
    (by_test, bad), by_mutant = read_rows(), mutants_of_rows()
    print("| row | tests | mutants |\n|---|---|---|")
    for row, tests in by_test.items():
        print(f"| {row} | {', '.join(tests)} | {', '.join(by_mutant[row])} |")
    bad += [f"{row}: has a mutant, but is not in rows.md" for row in by_mutant if row not in by_test]
    for why in bad:
        print(f"compare.py: {why}", file=sys.stderr)
    return 1 if bad else 0


@dataclass
class Side:
    """A kernel to run the tests on"""
    name: str
    kernel: str
    env: dict[str, str]

    def run(self, *argv: str | Path) -> str:
        return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, env=self.env).stdout

    def start(self, tests: list[str]) -> subprocess.Popen[str]:
        (OUT / "list").write_text("".join(f"{test}\n" for test in tests))
        with (OUT / "list").open() as lines, (OUT / f"{self.name}.verdicts").open("w") as out:
            return subprocess.Popen(
                [HERE / "guest/guest.py", "-l", OUT / f"{self.name}.log", "each", self.kernel],
                stdin=lines, stdout=out, env=self.env, text=True)

    def verdicts(self) -> Verdicts:
        lines = (OUT / f"{self.name}.verdicts").read_text().splitlines()
        return {test: verdict for verdict, test in (line.split(" ", 1) for line in lines)}


def two_sides() -> tuple[Side, Side]:
    env = dict(os.environ)
    if not FIXED:
        return Side("stock", "stock-check", env), Side("here", "check", env)
    env["HMM_SOURCE"] = "stock"
    stock = {name: value for name, value in env.items() if name != "FIXED"}
    return Side("stock", KERNEL, stock), Side("fixed", KERNEL, env)


def has_rdma_tests(side: Side) -> bool:
    """Once its tree exists: asks this side, as each builds the tests that it lists."""
    build = BUILD if "FIXED" in side.env else BUILD.with_name(VERSION)
    return (build / "stock/tools/testing/selftests/rdma/rxe_odp.c").exists()


def list_tests(side: Side) -> list[str]:
    tests = side.run(HERE / "guest/guest.py", "list", "hmm").splitlines()
    if FIXED and has_rdma_tests(side):
        tests += side.run(HERE / "guest/guest.py", "list", "rdma").splitlines()
    return tests


def words(path: Path) -> list[list[str]]:
    lines = (line.split("#")[0].split() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def matches(test: str, program: str, pattern: str) -> bool:
    """Whether the pattern matches a variant or a test, or both"""
    of, name = test.split()
    return (Path(of).stem == program and
            (fnmatchcase(name, f"*.{pattern}") or fnmatchcase(name, f"*.{pattern}.*")))


def lacked(tests: list[str]) -> dict[str, str]:
    """Tests for which this Linux has no code, and why"""
    found = {}
    for version, program, pattern, *why in words(HERE / "fixes/lacks") if FIXED else []:
        for test in tests:
            if version == VERSION and matches(test, program, pattern):
                found[test] = " ".join(why)
    return found


@dataclass
class Seen:
    """The results of the tests of a row or of a fix"""
    tests: list[str]
    stock: Verdicts
    other: Verdicts

    @property
    def red(self) -> int:
        return sum(self.stock[test] not in GOOD for test in self.tests)

    @property
    def green(self) -> int:
        return sum(self.other[test] == "pass" for test in self.tests)

    @property
    def skipped(self) -> int:
        return sum(self.other[test] == "skip" for test in self.tests)

    @property
    def shown(self) -> bool:
        """Red on stock, green on the other; skipped tests do not count."""
        return self.red > 0 and self.green + self.skipped == len(self.tests)

    def line(self, name: str, width: int, where: str) -> str:
        said = f"{name:{width}} {len(self.tests)} tests: {self.red} fail on stock, {self.green} pass {where}"
        return said + (f", {self.skipped} skipped" if self.skipped else "")


def of_row(test: str, names: list[str]) -> bool:
    """Tests are named by fixture and name, or by fixture and variant."""
    program, name = test.split()
    parts = name.split(".")
    return any(f"{program} {parts[0]}.{part}" in names for part in parts[1:])


def row_lines(stock: Verdicts, here: Verdicts) -> list[str]:
    found, _ = read_rows()
    lines = ["", "bugs of stock by row, with the results of their tests"]
    for row in sorted((row for row in found if row[0] == "S"), key=lambda row: int(row[1:])):
        tests = [test for test in here if of_row(test, found[row])]
        if tests:
            lines.append(Seen(tests, stock, here).line(row, 5, "here"))
    return lines


def fix_lines(stock: Verdicts, fixed: Verdicts) -> tuple[list[str], int]:
    """And the number of fixes that do not do what they promise"""
    lines, bad = ["", "fixes, with the results of the tests that they name"], 0
    programs = "|".join(sorted({Path(test.split()[0]).stem for test in fixed}))
    series = TOP / "fixes" / VERSION / "series"
    for name, *_ in words(series):
        patch = series.parent / name
        header = patch.read_text().partition("\n---\n")[0]
        named = re.findall(rf"\b({programs})/([\w.*]+\w\*?)", header)
        tests = [test for test in fixed if any(matches(test, *each) for each in named)]
        if not any(fixed[test] == "pass" or stock[test] not in GOOD for test in tests):
            lines.append(f"{patch.stem:32} no test runs here")
            continue
        seen = Seen(tests, stock, fixed)
        lines.append(seen.line(patch.stem, 32, "with it") + ("" if seen.shown else " <- WRONG"))
        bad += not seen.shown
    return lines, bad


def failures(found: Verdicts) -> int:
    return sum(verdict not in GOOD for verdict in found.values())


def counts(name: str, found: Verdicts) -> str:
    count = Counter(found.values())
    return f"{name}: {count['pass']} passed, {failures(found)} failed, {count['skip']} skipped"


def report(stock: Side, other: Side, left_out: dict[str, str]) -> int:
    before, after = stock.verdicts(), other.verdicts()
    lines = [f"{stock.name:6} {other.name:6} test"]
    lines += [f"{before[test]:6} {after[test]:6} {test}" for test in after]
    lines += [f"{'-':6} {'-':6} {test}: {why}" for test, why in left_out.items()]
    if FIXED:
        summary, bad = fix_lines(before, after)
        for test in after:
            if before[test] in GOOD and after[test] not in GOOD:
                summary.append(f"fails only with the fixes: {test}")
                bad += 1
    else:
        summary, bad = row_lines(before, after), failures(after)
    said = [*lines, *summary, "", counts(stock.name, before), counts(other.name, after)]
    if left_out:
        said.append(f"{len(left_out)} left out: Linux {VERSION} has no code for them")
    text = "\n".join(said)
    (OUT / "table.txt").write_text(text + "\n")
    print(text)
    return 1 if bad else 0


def main(programs: list[str]) -> int:
    for program in programs:
        if not any(TOP.glob(f"tools/testing/selftests/*/{program}.c")):
            sys.exit(f"compare.py: {program}: no such program")
    if FIXED:
        subprocess.run([HERE / "fixes/fixes.sh", "list"], check=True, stdout=subprocess.DEVNULL)
    sides = two_sides()
    for side in sides:
        side.run(HERE / "base/kernel.sh", side.kernel)
        tests = list_tests(side)
    OUT.mkdir(parents=True, exist_ok=True)
    left_out = lacked(tests)
    tests = [test for test in tests if test not in left_out]
    if programs:
        tests = [test for test in tests if Path(test.split()[0]).stem in programs]
    if not tests:
        sys.exit(f"compare.py: {' '.join(programs)}: no such program")
    print(f"compare.py: {len(tests)} tests on both; output is in {os.path.relpath(OUT, TOP)}", flush=True)
    both = [side.start(tests) for side in sides]
    if any([process.wait() for process in both]):
        sys.exit("compare.py: could not run the tests: see above")
    return report(*sides, left_out)


if __name__ == "__main__":
    try:
        sys.exit(list_rows() if sys.argv[1:] == ["--rows"] else main(sys.argv[1:]))
    except subprocess.CalledProcessError as why:
        sys.exit(f"compare.py: {Path(why.cmd[0]).name} failed: see above")
