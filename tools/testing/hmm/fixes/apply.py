#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""apply.py DIR PATCH... - apply patches to the tree DIR, each hunk in an unambiguous place
apply.py -t BASE PATCH... - test that

If lines above have moved, patch(1) applies a hunk to the nearest place that matches, and
with little context that may be another function. Here the lines that a hunk names,
context and removed ones, must be in the file exactly once. If a patch is refused, no
file is written.

The test applies each patch to BASE with the patches before it, and to variants of that:

  - with a function added at the beginning: each hunk applies where its lines are now
  - with a copy of a hunk's lines before them: refused
  - with one of a hunk's lines changed: refused
  - with the patch already applied: refused, with that reason
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
        raise Refused(f"{name} already has it")
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


FUNCTION = "static int put_before(void)\n{\n\treturn 0;\n}\n\n"


def refused(text: str, name: str, hunks: list[Hunk]) -> str | None:
    try:
        apply_hunks(text, name, hunks)
    except Refused as why:
        return str(why)
    return None


def spoilt(old: str) -> list[str]:
    """The lines that a hunk finds, with each of them changed in turn."""
    lines = old.splitlines(True)
    return ["".join(lines[:i] + ["x" + lines[i]] + lines[i + 1:]) for i in range(len(lines))]


def faults(text: str, name: str, hunks: list[Hunk]) -> list[str]:
    """What is wrong with how a patch applies to a file, which it does."""
    found = []
    result = apply_hunks(text, name, hunks)
    if apply_hunks(FUNCTION + text, name, hunks) != FUNCTION + result:
        found.append("a function before it makes it apply in the wrong place")
    if "already" not in (refused(result, name, hunks) or ""):
        found.append("not recognized as already applied")
    for number, (old, _) in enumerate(hunks, 1):
        if not refused(old + text, name, hunks):
            found.append(f"hunk {number} is applied although it fits two places")
        for line in spoilt(old):
            if not refused(text.replace(old, line), name, hunks):
                found.append(f"hunk {number} is applied although it does not fit")
    return found


def test(base: str, patches: list[str]) -> int:
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
        sys.exit("usage: apply.py [-t] DIR PATCH...")
    if sys.argv[1] == "-t":
        sys.exit(test(sys.argv[2], sys.argv[3:]))
    main(sys.argv[1], sys.argv[2:])
