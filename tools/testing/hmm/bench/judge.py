#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""judge.py SAMPLES TARGETS SUMMARY [partial] - compare medians with targets

SAMPLES has lines of row, who, round, value and unit, tab-separated, and comments.
Prints a table; writes comments and all medians to SUMMARY. The exit status is 1 if a target
is missed that is not marked as such in TARGETS, and 2 if one was not measured, which is normal
only in a partial run.
"""

import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

NOT_MEASURED = "not measured"


@dataclass
class Sample:
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    def __str__(self) -> str:
        low, high = self.quartiles
        text = f"{self.median:.4g} {self.unit}"
        if self.median and len(self.values) > 1:
            text += f" \u00b1{50 * (high - low) / self.median:.0f}%"
        return text


Samples = dict[tuple[str, str], Sample]


def lines(path: str) -> list[list[str]]:
    text = Path(path).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()
            if line and not line.startswith("#")]


def read_samples(path: str) -> Samples:
    samples: Samples = {}
    for row, who, _, value, unit in lines(path):
        samples.setdefault((row, who), Sample(unit)).values.append(float(value))
    return samples


def flatness(samples: Samples, row: str, who: str) -> float | None:
    """Largest to smallest median of ROW-512 and above."""
    medians = [s.median for (r, w), s in samples.items()
               if w == who and r.startswith(row + "-") and int(r.rsplit("-", 1)[1]) >= 512]
    return max(medians) / min(medians) if len(medians) > 1 else None


def reached(samples: Samples, row: str, who: str, against: str) -> float | None:
    if against == "flat":
        return flatness(samples, row, who)
    mine = samples.get((row, who))
    if not mine or against == "-":
        return mine.median if mine else None
    other = samples.get((row, against))
    return mine.median / other.median if other else None


def limit_of(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def judge(samples: Samples, targets: list[list[str]]) -> list[str]:
    """Prints the table; returns what is missed unexpectedly, or was not measured."""
    bad = []
    print(f"{'':52}{'ours':>20}{'against':>28}{'reached':>9}{'target':>9}")
    for row, who, against, target, what, *mark in targets:
        ratio = reached(samples, row, who, against)
        mine, other = samples.get((row, who)), samples.get((row, against))
        limit = limit_of(target)
        if ratio is None:
            verdict = NOT_MEASURED
        elif ratio <= limit:
            verdict = "ok, but marked as missed" if mark else "ok"
        else:
            verdict = "missed (known)" if mark else "MISSED"
        if verdict in (NOT_MEASURED, "MISSED"):
            bad.append(f"{what} (against {against}): {verdict}")
        versus = f"{against} {other}" if other else "" if against == "-" else against
        print(f"{what:52}{str(mine or ''):>20}{versus:>28}"
              f"{'' if ratio is None else f'{ratio:.3g}':>9}{'<= ' + f'{limit:.3g}':>9}  {verdict}")
    return bad


def show_all(samples: Samples) -> None:
    print("\nAll medians, with half the distance between quartiles:")
    rows: dict[str, list[str]] = {}
    for (row, who), sample in samples.items():
        rows.setdefault(row, []).append(f"{who} {sample}")
    for row, cells in rows.items():
        print(f"  {row:18} " + ", ".join(cells))


def write_summary(samples: Samples, samples_path: str, path: str) -> None:
    text = Path(samples_path).read_text(encoding="utf-8")
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in text.splitlines() if line.startswith("#"))
        out.write("# row\twho\tmedian\tlow\thigh\trounds\tunit\n")
        for (row, who), sample in samples.items():
            low, high = sample.quartiles
            out.write(f"{row}\t{who}\t{sample.median:.4g}\t{low:.4g}\t{high:.4g}"
                      f"\t{len(sample.values)}\t{sample.unit}\n")


def main(samples_path: str, targets_path: str, summary_path: str,
         partial: str = "") -> int:
    samples = read_samples(samples_path)
    bad = judge(samples, lines(targets_path))
    if partial:
        bad = [line for line in bad if NOT_MEASURED not in line]
    show_all(samples)
    write_summary(samples, samples_path, summary_path)
    for line in bad:
        print(f"bench: {line}", file=sys.stderr)
    return 2 if any(NOT_MEASURED in line for line in bad) else 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
