"""What is to be seen of a sync from outside: where it stands, and whether it works."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE_SECONDS = 300.0
"""How long a sync may be without a good look at Git and Consul, however short its interval is."""


@dataclass(frozen=True, slots=True)
class SyncView:
    """One sync, as the daemon has it at this moment.

    interval: seconds. silent: seconds since it last looked at Git and Consul with success, or learned that it is suspended (None:
    not yet). last_success, next_run: ISO 8601, UTC ("" for none). applied: the revision that holds. outcome: of the last run ("" before the
    first end). in_flight, waiting: what triggered the run that runs, and the one that waits for its end ("" for none). failures: in
    a row. backoff: seconds that the next run waits because of them. error: why the last run failed.
    """

    name: str
    interval: float
    silent: float | None = None
    last_success: str = ""
    applied: str = ""
    outcome: str = ""
    in_flight: str = ""
    waiting: str = ""
    next_run: str = ""
    failures: int = 0
    backoff: float = 0.0
    error: str = ""
    suspended: bool = False

    @property
    def allowed_silence(self) -> float:
        """Seconds after which a sync without a good look does not work any more."""
        return max(3 * self.interval, PATIENCE_SECONDS)

    @property
    def trouble(self) -> str:
        """Why this sync does not work, in a sentence; "" if it does."""
        why = f": {self.error}" if self.error else "."
        if self.silent is None:
            if self.failures:
                return f"it has not yet looked at Git and Consul with success{why}"
            return "its first run has not ended yet."
        if self.silent > self.allowed_silence:
            return f"it last looked at Git and Consul with success {self.silent:.0f} s ago{why}"
        return ""
