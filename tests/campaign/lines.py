"""What a campaign hands back: lines of the table, and how much of it is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Line:
    """One line of the table.

    missed: runs that ended before their fault came. alone: faults that the run itself survived, where that was asked (`must`:
    the share that has to). orphans: sessions left to their TTL. seconds, slowest: of what put it in order, sum and longest of
    so many *timed*.
    """

    fault: str
    injected: int = 0
    missed: int = 0
    alone: int | None = None
    must: float = 0.0
    converged: int = 0
    foreign: int = 0
    orphans: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    timed: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether every fault was put in order and no stranger was touched."""
        return self.converged == self.injected and not self.foreign and not self.failures

    def took(self, seconds: float) -> None:
        self.timed += 1
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def add(self, other: Line) -> None:
        """The same line of another world."""
        self.injected += other.injected
        self.missed += other.missed
        if other.alone is not None:
            self.alone = (self.alone or 0) + other.alone
        self.must = max(self.must, other.must)
        self.converged += other.converged
        self.foreign += other.foreign
        self.orphans += other.orphans
        self.timed += other.timed
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures
        self.notes += other.notes


def survived(lines: Iterable[Line]) -> tuple[int, int, float]:
    """Of the lines that ask for it: faults that the run itself survived, all of them, and the share that must."""
    asked = [line for line in lines if line.must]
    return (
        sum(line.alone or 0 for line in asked),
        sum(line.injected for line in asked),
        max((line.must for line in asked), default=0.0),
    )


@dataclass(slots=True)
class Budget:
    """How much of a campaign is run, and which part of it.

    most: faults (0: all of them); seconds: from the first fault on (0: no end); part, parts: of the worlds that share it, this
    one's. first: whether it ends with the first failure. count: how many faults there were.
    """

    most: int = 0
    seconds: float = 0.0
    part: int = 0
    parts: int = 1
    told: Callable[[int, int], None] = lambda done, of: None  # noqa: ARG005
    first: bool = False
    count: int = 0
    _again: bool = False
    _lines: list[Line] = field(default_factory=list)

    def watch(self, lines: Iterable[Line]) -> list[Line]:
        """The lines that the campaign fills."""
        self._lines = list(lines)
        return self._lines

    def faults(self, of: int) -> Iterator[int]:
        """0, 1, … as long as there is time: those of *of* that are this part's."""
        mine = range(self.part, min(self.most or of, of), self.parts)
        until = time.monotonic() + self.seconds if self.seconds else 0.0
        for at, number in enumerate(mine):
            for _ in range(10):  # a run that ends before its fault comes is no case
                self.told(at, len(mine))
                if (until and time.monotonic() > until) or (self.first and any(line.failures for line in self._lines)):
                    return
                self._again = False
                self.count += 1
                yield number
                if not self._again:
                    break
        self.told(len(mine), len(mine))

    def again(self) -> None:
        """The fault did not come: the same number once more."""
        self._again = True
