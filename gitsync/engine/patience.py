"""Patience: what Consul refused for its content is not asked again at once, unless something about it changed."""

from __future__ import annotations

from collections.abc import Container, Hashable
from dataclasses import dataclass, field

from gitsync.model.key import ServiceKey

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 300.0


@dataclass(slots=True)
class _Refusal:
    what: Hashable
    until: float
    pause: float
    message: str


@dataclass(slots=True)
class Patience:
    """For each refused service: what was refused, and until when (monotonic seconds) it is left alone."""

    refusals: dict[ServiceKey, _Refusal] = field(default_factory=dict)

    def waits(self, key: ServiceKey, what: Hashable, now: float) -> str:
        """Why *key* is left alone now; "" if it is to be tried."""
        refusal = self.refusals.get(key)
        if refusal is None or refusal.what != what or now >= refusal.until:
            return ""
        return f"{refusal.message} Tried again in {refusal.until - now:.0f} s, or at once when its spec changes."

    def refused(self, key: ServiceKey, what: Hashable, now: float, message: str) -> None:
        """Remember that Consul refused *what*; the pause doubles while it is the same."""
        before = self.refusals.get(key)
        pause = min(before.pause * 2, LONGEST_SECONDS) if before and before.what == what else FIRST_SECONDS
        self.refusals[key] = _Refusal(what, now + pause, pause, message)

    def keep(self, keys: Container[ServiceKey]) -> None:
        """Forget everything but *keys*: of the others nothing is waiting any more."""
        self.refusals = {key: refusal for key, refusal in self.refusals.items() if key in keys}

    def fine(self, key: ServiceKey) -> None:
        self.refusals.pop(key, None)
