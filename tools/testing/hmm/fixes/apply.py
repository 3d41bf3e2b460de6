#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""apply.py DIR PATCH... : apply patches to the tree DIR, each hunk where nothing else looks like it.

patch(1) takes a hunk to the next place that looks like it if the lines above have
moved, and with little context that may be another function. Here a hunk is applied
only if the lines that it names, context and removed ones, are there exactly once.
Of a patch that is refused, no file is written.
"""
import re
import sys
from pathlib import Path

Hunk = tuple[str, str]  # the lines that it finds, the lines that it leaves
HEADER = re.compile(r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@.*\n", re.M)


class Refused(Exception):
    pass


def side(lines: list[str], marks: str) -> str:
    return "".join(line[1:] for line in lines if line[0] in marks)


def parse(text: str) -> dict[str, list[Hunk]]:
    """The hunks of each file."""
    files: dict[str, list[Hunk]] = {}
    for part in re.split(r"^--- a/.*\n\+\+\+ b/", text, flags=re.M)[1:]:
        name, body = part.split("\n", 1)
        hunks = files.setdefault(name, [])
        for hunk in HEADER.split(body)[1:]:
            lines = [line for line in hunk.splitlines(True) if line[0] in " -+"]
            hunks.append((side(lines, " -"), side(lines, " +")))
    return files


def places(text: str, lines: str) -> list[int]:
    """Where in the text these lines begin; always at the beginning of a line."""
    found = []
    at = text.find(lines)
    while at >= 0:
        if at == 0 or text[at - 1] == "\n":
            found.append(at)
        at = text.find(lines, at + 1)
    return found


def replace_each(text: str, name: str, hunks: list[Hunk]) -> str:
    begin = 0
    for number, (old, new) in enumerate(hunks, 1):
        found = places(text, old)
        if len(found) != 1:
            raise Refused(f"hunk {number} fits {len(found)} places in {name}")
        if found[0] < begin:
            raise Refused(f"hunk {number} fits {name} before the one that precedes it")
        begin = found[0] + len(new)
        text = text[:found[0]] + new + text[found[0] + len(old):]
    return text


def is_applied(text: str, name: str, hunks: list[Hunk]) -> bool:
    try:
        replace_each(text, name, [(new, old) for old, new in hunks])
    except Refused:
        return False
    return True


def apply_hunks(text: str, name: str, hunks: list[Hunk]) -> str:
    if is_applied(text, name, hunks):
        raise Refused(f"{name} has it already")
    return replace_each(text, name, hunks)


def apply(tree: Path, patch: str) -> dict[Path, str]:
    """What the patch makes of the files that it changes."""
    result = {}
    for name, hunks in parse(patch).items():
        path = tree / name
        if not path.is_file():
            raise Refused(f"there is no {name}")
        result[path] = apply_hunks(path.read_text(), name, hunks)
    if not result:
        raise Refused("has no hunks")
    return result


def main(tree: str, patches: list[str]) -> None:
    for patch in patches:
        try:
            result = apply(Path(tree), Path(patch).read_text())
        except (Refused, OSError) as why:
            sys.exit(f"{Path(patch).name} does not apply: {why}")
        for path, text in result.items():
            path.unlink()  # may be a link to another tree's
            path.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: apply.py DIR PATCH...")
    main(sys.argv[1], sys.argv[2:])
