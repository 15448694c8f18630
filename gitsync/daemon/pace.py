"""Pace: how fast a host may be written to, and when a delivery that failed is tried again."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from gitsync.model.host import Verdict

BUDGET, BUDGET_SECONDS = 60, 60.0
SPACING_SECONDS = 1.0
"""Between two writes to a host that has told us once that we are too fast."""

FIRST_BACKOFF, LONGEST_BACKOFF = 5.0, 300.0
GIVE_UP_SECONDS, LEAST_TRIES = 3_600.0, 8
"""A delivery is given up after an hour, but not before some tries: this process may not have been there for that hour."""

UNKNOWN_PAUSES = (20.0, 40.0)
CONFLICT_PAUSES = (1.0, 2.0, 4.0, 8.0)


@dataclass(slots=True)
class Gate:
    """One host, whoever speaks to it. until, sent: by the monotonic clock."""

    busy: bool = False
    until: float = 0.0
    limited: bool = False
    sent: deque[float] = field(default_factory=deque)

    def opens(self, now: float) -> float:
        """When the next write may begin."""
        while self.sent and self.sent[0] <= now - BUDGET_SECONDS:
            self.sent.popleft()
        budget = self.sent[0] + BUDGET_SECONDS if len(self.sent) >= BUDGET else 0.0
        spaced = self.sent[-1] + SPACING_SECONDS if self.limited and self.sent else 0.0
        return max(self.until, budget, spaced)


def pause_after(verdict: Verdict, failed: int, chance: float) -> float | None:
    """Seconds until a delivery that failed *failed* times before is tried again; None for never. chance: 0 to 1."""
    if verdict is Verdict.UNKNOWN_SHA:
        return UNKNOWN_PAUSES[failed] if failed < len(UNKNOWN_PAUSES) else None
    if verdict is Verdict.CONFLICT:
        return CONFLICT_PAUSES[failed] * (0.5 + chance) if failed < len(CONFLICT_PAUSES) else None
    if verdict is Verdict.TRANSIENT:
        return min(math.ldexp(FIRST_BACKOFF, min(failed, 30)), LONGEST_BACKOFF) * (0.9 + 0.2 * chance)
    return None
