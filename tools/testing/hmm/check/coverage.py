#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""coverage.py EXPLAINED JSON... : what gcov found to be reached, and what not.

A line of EXPLAINED is "FUNCTION, SOURCE LINE, why no test reaches it or one of
its branches", apart by tabs. Fails if a function, more than 5 % of the branches, or anything
unexplained is not reached, and if a line that is explained is not there. What only races
reach is reached now and then.
"""
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

FILES = ("mm/hmm.c", "mm/hmm_dma.c")
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


def main(explained: Path, paths: list[str]) -> int:
    known = explanations(explained)
    used = set()
    there = set()
    wrong = 0
    for path in paths:
        for file in json.loads(Path(path).read_text())["files"]:
            name = name_of(file["file"])
            if not name:
                continue
            found = look_at(file, name)
            there |= found.texts
            share = percent(found.branches_reached, found.branches)
            called = sum(found.functions.values())
            print(f"{name}: {called} of {len(found.functions)} functions, "
                  f"{percent(found.lines_reached, found.lines):.1f} % of {found.lines} lines, "
                  f"{share:.1f} % of {found.branches} branches")
            wrong += called < len(found.functions) or share < BRANCHES_NEEDED
            for gap in found.gaps:
                why = known.get((gap.function, gap.text))
                used.add((gap.function, gap.text))
                wrong += why is None
                print(f"  {gap.number}: {gap.text}  [{gap.function}: {gap.what}] "
                      f"-- {why or 'NOT EXPLAINED'}")
    for function, text in sorted(set(known) - used):
        gone = (function, text) not in there
        wrong += gone
        print(f"coverage.explained: {function}: {text}: is {'not there' if gone else 'reached'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: coverage.py EXPLAINED JSON...")
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
