#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""test_apply.py BASE PATCH... : does each hunk of these patches land where it is to, or nowhere?

Each patch is applied to BASE as the ones before leave it, and to that

  - with a function put before everything: every hunk goes to where its lines are now
  - with a copy of what a hunk names put before it: refused
  - with one line of what a hunk names changed: refused
  - with the patch applied already: refused, and said so
"""
import sys
from pathlib import Path

from apply import Hunk, Refused, apply_hunks, parse

FUNCTION = "static int put_before(void)\n{\n\treturn 0;\n}\n\n"


def refused(text: str, name: str, hunks: list[Hunk]) -> str | None:
    try:
        apply_hunks(text, name, hunks)
    except Refused as why:
        return str(why)
    return None


def spoilt(old: str) -> list[str]:
    """The lines that a hunk finds, with one of them changed."""
    lines = old.splitlines(True)
    return ["".join(lines[:i] + ["x" + lines[i]] + lines[i + 1:]) for i in range(len(lines))]


def faults(text: str, name: str, hunks: list[Hunk]) -> list[str]:
    """What is wrong with how a patch applies to a file, which it does."""
    found = []
    result = apply_hunks(text, name, hunks)
    if apply_hunks(FUNCTION + text, name, hunks) != FUNCTION + result:
        found.append("a function put before leads it astray")
    if "already" not in (refused(result, name, hunks) or ""):
        found.append("not seen to be there already")
    for number, (old, _) in enumerate(hunks, 1):
        if not refused(old + text, name, hunks):
            found.append(f"hunk {number} is applied although it fits two places")
        for line in spoilt(old):
            if not refused(text.replace(old, line), name, hunks):
                found.append(f"hunk {number} is applied although it does not fit")
    return found


def main(base: str, patches: list[str]) -> int:
    texts: dict[str, str] = {}
    hunks_seen = bad = 0
    for patch in map(Path, patches):
        for name, hunks in parse(patch.read_text()).items():
            text = texts.get(name) or (Path(base) / name).read_text()
            for fault in faults(text, name, hunks):
                print(f"{patch.name}: {name}: {fault}")
                bad += 1
            texts[name] = apply_hunks(text, name, hunks)
            hunks_seen += len(hunks)
    print(f"{len(patches)} patches, {hunks_seen} hunks: {bad} faults")
    return 1 if bad or not hunks_seen else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: test_apply.py BASE PATCH...")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
