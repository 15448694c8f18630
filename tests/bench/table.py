"""The figures of a bench: what was measured beside its ceiling, as a ratio, and how it grows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Better(StrEnum):
    """What a ratio is, and which way it is good."""

    SHARE = "share of the ceiling's speed"
    FASTER = "times as fast"
    TIMES = "times as long"
    LESS = "as little as can be"


@dataclass(slots=True)
class Line:
    """One line: *ours* and *bare* in seconds (MB for memory), one pair a repetition, for *items* of *unit*.

    bare: empty where there is no ceiling. must, aim: of the ratio (of the value itself where there is no ceiling).
    follows: what its cost should follow when the repository grows, the number of services or the size of the change.
    """

    key: str
    title: str
    services: int
    items: float
    unit: str
    better: Better
    must: float | None = None
    aim: float | None = None
    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, ours: float, bare: float | None = None) -> None:
        """One repetition."""
        self.ours.append(ours)
        if bare is not None:
            self.bare.append(bare)

    @property
    def ratios(self) -> list[float]:
        """One a repetition; the values themselves where there is no ceiling."""
        if not self.bare:
            return list(self.ours)
        if self.better in (Better.SHARE, Better.FASTER):
            return [bare / ours for ours, bare in zip(self.ours, self.bare, strict=True)]
        return [ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def reaches(self, limit: float | None) -> bool | None:
        """Whether the median is as good as *limit*; None where there is none."""
        if limit is None:
            return None
        return self.ratio >= limit if self.better in (Better.SHARE, Better.FASTER) else self.ratio <= limit

    @property
    def verdict(self) -> str:
        if self.must is None:
            return "reported"
        if not self.reaches(self.must):
            return "SHORT"
        return "pass, aim reached" if self.reaches(self.aim) else "pass"

    @property
    def cost(self) -> float:
        """Seconds (or MB) an item."""
        return statistics.median(self.ours) / self.items

    def shown(self, values: Sequence[float]) -> str:
        """Median and spread of *values*."""
        if not values:
            return "–"
        if self.unit == "MB":
            return _spread([f"{value:,.0f}" for value in _three(values)], " MB")
        if self.unit in ("entries", "records"):
            rates = [self.items / value for value in values]
            return _spread([f"{rate:,.0f}" for rate in _three(rates)], f" {self.unit}/s")
        return _spread([duration(value) for value in _three(values)], "")

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _spread(words: Sequence[str], unit: str) -> str:
    median, least, most = words
    return f"{median}{unit}" + (f" ({least} – {most})" if least != most else "")


def duration(value: float) -> str:
    """Seconds in words."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


HEAD = ("line", "N", "reps", "gitsync", "ceiling in the same run", "ratio (spread)", "must", "aim", "")


def rows(lines: Iterable[Line]) -> list[tuple[str, ...]]:
    """The table's cells."""
    result = []
    for line in lines:
        ratio = "–"
        if line.bare:
            sign = "" if line.better is Better.SHARE else "x"
            ratio = _spread([f"{value:.2f}" for value in _three(line.ratios)], sign)
        must, aim = (f"{limit:g}" if limit is not None else "–" for limit in (line.must, line.aim))
        title = f"{line.title} [{line.key}]"
        reps = str(len(line.ours))
        cells = (title, f"{line.services:,}", reps, line.shown(line.ours), line.shown(line.bare), ratio, must, aim)
        result.append((*cells, line.verdict))
    return result


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table that reads well in a terminal, too."""
    widths = [max(len(row[at]) for row in (head, *body)) for at in range(len(head))]

    def row(cells: Sequence[str], fill: Callable[[str, int], str] = str.ljust) -> str:
        return "| " + " | ".join(fill(cell, width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([row(head), rule, *map(row, body)])


def report(lines: Sequence[Line]) -> str:
    """The table, with the notes below it."""
    notes = [f"  [{line.key}] {note}" for line in lines for note in line.notes]
    return "\n".join([markdown(HEAD, rows(lines)), *notes])


def growth(small: Sequence[Line], large: Sequence[Line]) -> str:
    """How the cost of each line grew from one size to the next."""
    before = {line.key: line for line in small}
    body = []
    for line in large:
        if line.key not in before:
            continue
        old = before[line.key]
        more = line.services / old.services
        ours = statistics.median(line.ours) / statistics.median(old.ours)
        bare = statistics.median(line.bare) / statistics.median(old.bare) if line.bare and old.bare else None
        body.append(
            (
                f"{line.title} [{line.key}]",
                f"{old.services:,} → {line.services:,}",
                f"x{ours:.2f}",
                f"x{bare:.2f}" if bare else "–",
                f"x{line.cost / old.cost:.2f}",
                _grown(line, ours, more),
            )
        )
    head = ("growth", "services", "gitsync", "ceiling", "cost an item", "")
    return markdown(head, body)


def _grown(line: Line, ours: float, more: float) -> str:
    if ours > more * 1.1:
        return "WORSE than linear"
    return "follows the change" if line.items == 1 and ours <= more**0.25 else "linear or better"
