#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""coverage.py - which lines and branches of mm/hmm.c and mm/hmm_dma.c the tests reach

The tests are the selftests and KUnit's; details are kept in build/coverage. Fails if a
function or more than 5 % of the branches are not reached, if anything is not reached and
not explained, or if an explained line does not exist. A line of coverage.explained is
"FUNCTION, SOURCE LINE, why no test reaches it or one of its branches", separated by tabs.
What depends on a race is reached in some runs only.
"""
import base64
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent.parent
TOP = HERE.parent.parent.parent
OUT = TOP / "build/coverage"
EXPLAINED = HERE / "check/coverage.explained"
FILES = ("mm/hmm.c", "mm/hmm_dma.c")
# Without inlining, so that each function is counted once. Atomic, because there are two
# processors.
CFLAGS = ("-fprofile-arcs -fprofile-update=atomic -ftest-coverage -fno-tree-loop-im -fno-inline")
# tar needs the size of a file, and those of debugfs have none
IN_GUEST = """
cd "$1"
for program in *; do
	[ -f "$program" ] && [ -x "$program" ] || continue
	echo "== $program"
	timeout -k 10 1500 "./$program" || true
done
mkdir /run/counts
for counts in "/sys/kernel/debug/gcov$2"/mm/*.gcda; do
	cat "$counts" >"/run/counts/${counts##*/}"
done
echo "== counts"
tar -C /run/counts -cf - . | base64
"""
BRANCHES_NEEDED = 95.0


class Gap(NamedTuple):
    file: str
    number: int
    function: str
    text: str
    what: str


class Found(NamedTuple):
    functions: dict[str, bool]
    lines: int
    lines_reached: int
    branches: int
    branches_reached: int
    gaps: list[Gap]
    texts: set[tuple[str, str]]


def name_of(path: str) -> str | None:
    return next((name for name in FILES if path.endswith(name)), None)


def look_at(file: dict[str, Any], name: str) -> Found:
    source = Path(file["file"]).read_text().splitlines()
    functions = {f["name"]: f["execution_count"] > 0 for f in file["functions"]}
    lines = reached = branches = taken = 0
    gaps = []
    texts = set()
    for line in file["lines"]:
        number, missed = line["line_number"], [b for b in line["branches"] if not b["count"]]
        function, text = line.get("function_name", "?"), source[number - 1].strip()
        texts.add((function, text))
        lines += 1
        reached += line["count"] > 0
        branches += len(line["branches"])
        taken += len(line["branches"]) - len(missed)
        if not line["count"] or missed:
            what = f"{len(missed)} of {len(line['branches'])} branches" if line["count"] else "line"
            gaps.append(Gap(name, number, function, text, what))
    return Found(functions, lines, reached, branches, taken, gaps, texts)


def explanations(path: Path) -> dict[tuple[str, str], str]:
    known = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            function, text, why = line.split("\t")
            known[function, text] = why
    return known


def percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def run(*argv: str | Path, **options: Any) -> None:
    if subprocess.run(argv, check=False, **options).returncode:
        sys.exit(f"coverage.py: {Path(argv[0]).name} failed: see above, and {OUT}")


def build_dir() -> Path:
    said = subprocess.run(["bash", "-c", '. "$0" && echo "$build"', HERE / "env.sh"],
                          check=True, text=True, stdout=subprocess.PIPE).stdout
    return Path(said.strip())


def run_tests(build: Path) -> None:
    """With a test driver that contains instrumented copies of the files."""
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "mm").mkdir(parents=True)
    run(HERE / "base/kernel.sh", "check")
    run(HERE / "guest/guest.py", "list", stdout=subprocess.DEVNULL)
    for name in FILES:
        text = (build / "tree" / name).read_text()
        (OUT / name).write_text(text.replace("\nstatic __always_inline ", "\nstatic noinline "))
    run(HERE / "base/kernel.sh", "-c", "-f", CFLAGS, "-o", "mm/tests/hmm_kunit.o", OUT, *FILES)
    print("coverage.py: running the tests; their output goes to build/coverage/tests.log", flush=True)
    with (OUT / "tests.log").open("w") as log:
        run(HERE / "guest/guest.py", "-t", "3600", "-a", "kmemleak=off kunit.enable=1", "-d", "all",
            "-i", OUT / "test_hmm.ko", "-l", OUT / "console.log", "run", "check",
            "bash", "-c", IN_GUEST, "bash", build / "selftests/hmm", OUT, stdout=log)


def read_counts() -> list[dict[str, Any]]:
    """What gcov reports"""
    _, _, counts = (OUT / "tests.log").read_text(errors="replace").partition("== counts\n")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(counts))) as tar:
        tar.extractall(OUT / "mm")
    said = [subprocess.run(["gcov", "--branch-probabilities", "--json-format", "--stdout",
                            f"{Path(name).stem}.gcda"], cwd=OUT / "mm", check=True, text=True,
                           stdout=subprocess.PIPE).stdout for name in FILES]
    return [json.loads(text) for text in said]


def report(found: list[dict[str, Any]]) -> int:
    known = explanations(EXPLAINED)
    used = set()
    there = set()
    wrong = 0
    for data in found:
        for file in data["files"]:
            name = name_of(file["file"])
            if not name:
                continue
            file["file"] = Path(data["current_working_directory"]) / file["file"]
            counted = look_at(file, name)
            there |= counted.texts
            share = percent(counted.branches_reached, counted.branches)
            called = sum(counted.functions.values())
            print(f"{name}: {called} of {len(counted.functions)} functions, "
                  f"{percent(counted.lines_reached, counted.lines):.1f} % of {counted.lines} lines, "
                  f"{share:.1f} % of {counted.branches} branches")
            wrong += called < len(counted.functions) or share < BRANCHES_NEEDED
            for gap in counted.gaps:
                why = known.get((gap.function, gap.text))
                used.add((gap.function, gap.text))
                wrong += why is None
                print(f"  {gap.number}: {gap.text}  [{gap.function}: {gap.what}] "
                      f"-- {why or 'NOT EXPLAINED'}")
    for function, text in sorted(set(known) - used):
        gone = (function, text) not in there
        wrong += gone
        print(f"coverage.explained: {function}: {text}: {'does not exist' if gone else 'is reached'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    run_tests(build_dir())
    sys.exit(report(read_counts()))
