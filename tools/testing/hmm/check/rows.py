#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""rows.py - which tests and mutants there are for each row of rows.md

Rows are named in the comment before a test, in the first argument of a ROW() in
table.c, and in the "Row:" line of a mutant.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

TOP = Path(__file__).resolve().parents[4]
ROW = re.compile(r"\b([CJGS]\d+)\b")
TEST = re.compile(r"/\*((?:(?!\*/).)*)\*/\s*(?:static void (hmm_test_\w+)|TEST_F(?:_TIMEOUT)?\((\w+), (\w+))",
                  re.S)
ENTRY = re.compile(r"^ROW(?:_WAITS)?\((\w+), (\w+),", re.M)


def rows_of(text: str) -> set[str]:
    return set(ROW.findall(text.replace("_", " ")))


def tests() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in [*sorted(TOP.glob("tools/testing/selftests/*/*.c")), TOP / "mm/tests/hmm_kunit.c"]:
        text = path.read_text(encoding="utf-8")
        for comment, kunit, fixture, name in TEST.findall(text):
            for row in rows_of(comment):
                found[row].append(f"kunit {kunit}" if kunit else f"{path.stem} {fixture}.{name}")
        for rows, name in ENTRY.findall(text):
            for row in rows_of(rows):
                found[row].append(f"{path.stem} table.{name}")
    return found


def mutants() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((TOP / "tools/testing/hmm/mutants").glob("*.diff")):
        header = path.read_text(encoding="utf-8").partition("\n---\n")[0]
        for row in rows_of(" ".join(re.findall(r"^Row: (.*)$", header, re.M))):
            found[row].append(path.stem)
    return found


def main() -> int:
    by_test, by_mutant = tests(), mutants()
    rows = sorted({*by_test, *by_mutant}, key=lambda row: ("CJGS".index(row[0]), int(row[1:])))
    print("| row | tests | mutants |\n|---|---|---|")
    for row in rows:
        print(f"| {row} | {', '.join(by_test[row])} | {', '.join(by_mutant[row])} |")
    without = [row for row in by_mutant if not by_test[row]]
    for row in without:
        print(f"rows.py: {row}: has a mutant, but no test names it", file=sys.stderr)
    return 1 if without else 0


if __name__ == "__main__":
    sys.exit(main())
