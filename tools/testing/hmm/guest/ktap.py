# SPDX-License-Identifier: GPL-2.0
"""ktap.py - count results in the (K)TAP output of kselftests and KUnit

Only tests are counted, not the suites that contain them. A plan that is not fulfilled
counts as one failure, and so does a program that exits with an error but reports no
failed test.
"""
import re

# None of these may appear in the log of a guest
SPLAT = re.compile(
    r"Kernel panic -|BUG: |WARNING: |Oops|general protection|INFO: (task|rcu|trying|possible)|"
    r"rcu: .*(stall|kthread)|(circular|recursive) lock|inconsistent lock|suspicious RCU|"
    r"bad unlock|held lock freed|KASAN:|UBSAN:|KCSAN:|kmemleak: [0-9]+ new|cut here|"
    r"leaked percpu|DMAR: .*\bfault\b|IO_PAGE_FAULT|fault from EP|sleeping function|scheduling while atomic|Out of memory")

STAMP = re.compile(r"^\[ *\d+\.\d+\](\[ *[TC]\d+\])? ")
RESULT = re.compile(r"^( *)(not )?ok \d+\b(?: -)? ?(.*)")
# What a test says about its failure: kselftest_harness.h, KUnit, a test that took too long
REASON = re.compile(r"^ *# (\S+\.[ch]:\d+:.*|.* (EXPECTATION|ASSERTION) FAILED at .*|"
                    r".*: Test terminated .*)")
PLAN = re.compile(r"^( *)1\.\.(\d+)\b(.*)")
ENDED = re.compile(r"^# (\S+) ended with (\d+)$")
KSFT_SKIP = 4


class Ktap:
    """Feed it lines; it keeps counts, and a line for each failure."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = self.ended = 0
        self.failures: list[str] = []
        self._reasons: list[str] = []
        self._results: list[tuple[int, bool]] = []  # indent, failed: no parent seen yet
        self._missing: dict[int, int] = {}  # by indent
        self._failed_before = 0  # the program that runs
        self._said_before = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    @property
    def said(self) -> int:
        return self.passed + self.failed + self.skipped

    def fail(self, why: str) -> None:
        self.failed += 1
        self.failures.append("\n".join([why, *(f"why: {r}" for r in self._reasons[:5])]))

    def feed(self, line: str) -> None:
        line = STAMP.sub("", line.rstrip("\r\n"))
        if found := RESULT.match(line):
            self._result(len(found[1]), bool(found[2]), found[3])
            self._reasons.clear()
        elif found := REASON.match(line):
            self._reasons.append(found[1])
        elif found := PLAN.match(line):
            self._missing[len(found[1])] = int(found[2])
            if found[2] == "0" and re.search(r"\bSKIP\b", found[3], re.I):
                self.skipped += 1
        elif found := ENDED.match(line):
            self._program(found[1], int(found[2]))

    def end(self) -> None:
        """No more lines: did all planned tests report?"""
        self._close(-1)

    def _close(self, indent: int) -> None:
        for deeper in [d for d in self._missing if d > indent]:
            missing = self._missing.pop(deeper)
            if missing > 0:
                self.fail(f"{missing} planned tests did not report")

    def _result(self, indent: int, failed: bool, text: str) -> None:
        self._close(indent)
        below = []
        while self._results and self._results[-1][0] > indent:
            below.append(self._results.pop()[1])
        self._results.append((indent, failed))
        if indent in self._missing:
            self._missing[indent] -= 1
        if below and not (failed and not any(below)):
            return
        if failed:
            self.fail(text)
        elif re.search(r"# SKIP\b", text, re.I):
            self.skipped += 1
        else:
            self.passed += 1

    def _program(self, name: str, code: int) -> None:
        self.ended += 1
        self._results.clear()
        if code in (124, 137):
            self._missing.clear()
            self.fail(f"{name} took too long")
        self.end()
        if self.said == self._said_before:
            self.fail(f"{name} ran no test, and ended with {code}")
        elif code not in (0, KSFT_SKIP) and self.failed == self._failed_before:
            self.fail(f"{name} ended with {code}")
        self._failed_before, self._said_before = self.failed, self.said
