#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""compare_table.py STOCK HERE SOURCE.c... : verdicts of each-test.sh side by side.

Which rows a test shows is in its name and in the comment above it.
"""
import re
import sys
from collections import Counter
from pathlib import Path

Verdicts = dict[str, str]
ROW = re.compile(r"\b([CJS])(\d+)\b(?!-)")
TEST = re.compile(r"(?:^/\*((?:(?!\*/).)*?)\*/\n)?^TEST_F(?:_TIMEOUT)?\((\w+), (\w+)", re.S | re.M)


def verdicts(path: str) -> Verdicts:
    lines = Path(path).read_text().splitlines()
    return {test: verdict for verdict, test in (line.split(" ", 1) for line in lines)}


def rows(sources: list[str]) -> dict[str, set[str]]:
    """"PROGRAM FIXTURE.TEST" of each row."""
    found: dict[str, set[str]] = {}
    for source in map(Path, sources):
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


def counts(name: str, found: Verdicts) -> str:
    count = Counter(found.values())
    failed = sum(count.values()) - count["pass"] - count["skip"]
    return f"{name}: {count['pass']} passed, {failed} failed, {count['skip']} skipped"


def main(stock_path: str, here_path: str, sources: list[str]) -> None:
    stock, here = verdicts(stock_path), verdicts(here_path)
    print(f"{'stock':6} {'here':6} test")
    for test in here:
        print(f"{stock[test]:6} {here[test]:6} {test}")
    print("\nrows of what stock gets wrong, by their tests")
    found = rows(sources)
    names = set(found).union(*map(named_rows, here))
    for row in sorted((row for row in names if row[0] == "S"), key=lambda row: int(row[1:])):
        print(row_line(row, found.get(row, set()), stock, here))
    print("\n" + counts("stock", stock))
    print(counts("here", here))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: compare_table.py STOCK HERE SOURCE.c...")
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
