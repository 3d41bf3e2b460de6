#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""compare.py [PROGRAM]... - the same selftests on stock Linux and on this, side by side

Two kernels that differ in nothing but our files, each on a processor for itself. One
line a test, one line a row of what stock gets wrong, and the counts, kept in
build/compare/table.txt. Which rows a test shows is in its name and in the comment
above it. Fails if a test fails here.
"""
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TOP = HERE.parent.parent.parent
OUT = TOP / "build/compare"
Verdicts = dict[str, str]
ROW = re.compile(r"\b([CJS])(\d+)\b(?!-)")
TEST = re.compile(r"(?:^/\*((?:(?!\*/).)*?)\*/\n)?^TEST_F(?:_TIMEOUT)?\((\w+), (\w+)", re.S | re.M)


def rows(sources: list[Path]) -> dict[str, set[str]]:
    """"PROGRAM FIXTURE.TEST" of each row."""
    found: dict[str, set[str]] = {}
    for source in sources:
        for comment, fixture, name in TEST.findall(source.read_text()):
            text = comment + " " + name.replace("_", " ")
            for kind, number in ROW.findall(text):
                found.setdefault(kind + number, set()).add(f"{source.stem} {fixture}.{name}")
    return found


def named_rows(test: str) -> set[str]:
    return {kind + number for kind, number in ROW.findall(re.sub(r"[._]", " ", test))}


def without_variant(test: str) -> str:
    parts = test.split(".")
    return parts[0] + "." + parts[-1]


def row_line(row: str, tests: set[str], stock: Verdicts, here: Verdicts) -> str:
    of_row = [test for test in here if without_variant(test) in tests or row in named_rows(test)]
    wrong = sum(stock[test] not in ("pass", "skip") for test in of_row)
    right = sum(here[test] == "pass" for test in of_row)
    skips = sum(here[test] == "skip" for test in of_row)
    said = f"{row:5} {len(of_row)} tests: {wrong} fail on stock, {right} pass here"
    return said + (f", {skips} skipped" if skips else "")


def failures(found: Verdicts) -> int:
    return sum(verdict not in ("pass", "skip") for verdict in found.values())


def counts(name: str, found: Verdicts) -> str:
    count = Counter(found.values())
    return f"{name}: {count['pass']} passed, {failures(found)} failed, {count['skip']} skipped"


def table(stock: Verdicts, here: Verdicts) -> list[str]:
    lines = [f"{'stock':6} {'here':6} test"]
    lines += [f"{stock[test]:6} {here[test]:6} {test}" for test in here]
    lines += ["", "rows of what stock gets wrong, by their tests"]
    found = rows(sorted((TOP / "tools/testing/selftests/hmm").glob("*.c")))
    names = set(found).union(*map(named_rows, here))
    for row in sorted((row for row in names if row[0] == "S"), key=lambda row: int(row[1:])):
        lines.append(row_line(row, found.get(row, set()), stock, here))
    return [*lines, "", counts("stock", stock), counts("here", here)]


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE).stdout


def start(kernel: str, name: str, tests: str) -> subprocess.Popen[str]:
    (OUT / "list").write_text(tests)
    with (OUT / "list").open() as lines, (OUT / f"{name}.verdicts").open("w") as out:
        return subprocess.Popen([HERE / "guest/guest.py", "-l", OUT / f"{name}.log", "each", kernel],
                                stdin=lines, stdout=out, text=True)


def verdicts(name: str) -> Verdicts:
    lines = (OUT / f"{name}.verdicts").read_text().splitlines()
    return {test: verdict for verdict, test in (line.split(" ", 1) for line in lines)}


def main(programs: list[str]) -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    for kernel in "check", "stock-check":
        run(HERE / "base/kernel.sh", kernel)
    tests = run(HERE / "guest/guest.py", "list").splitlines(True)
    if programs:
        tests = [test for test in tests if test.split()[0] in programs]
    if not tests:
        sys.exit(f"compare.py: {' '.join(programs)}: no such program")
    print(f"compare.py: {len(tests)} tests on both; their words go to build/compare", flush=True)
    both = [start(kernel, name, "".join(tests))
            for kernel, name in (("stock-check", "stock"), ("check", "here"))]
    if any([process.wait() for process in both]):
        sys.exit("compare.py: the tests do not run: see above")
    here = verdicts("here")
    text = "\n".join(table(verdicts("stock"), here))
    (OUT / "table.txt").write_text(text + "\n")
    print(text)
    return 1 if failures(here) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
