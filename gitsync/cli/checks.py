"""What a check of `gitsync doctor` says: how something stands, what to do, and when a credential ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from gitsync.model.errors import Forbidden, GitsyncError

SOON = 14
"""Days before the end of a credential from which on it is a warning."""


class State(StrEnum):
    """How something stands."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One line. area: configuration, state, git, signatures, host, consul or store. about: the sync, "" for all of them.

    hint: what to do. expires: when a credential ends, ISO 8601, "" for never or not known. exit_code: of what is wrong.
    """

    area: str
    about: str
    state: State
    message: str
    hint: str = ""
    expires: str = ""
    exit_code: int = 0


def failed(area: str, about: str, error: GitsyncError) -> Check:
    """What an error says, as a check: its first sentence and the rest."""
    return Check(area, about, State.WRONG, str(error), exit_code=error.exit_code)


def ending(check: Check, now: datetime) -> Check:
    """*check*, and worse if its credential ends soon or has ended."""
    try:
        ends = datetime.fromisoformat(check.expires)
    except ValueError:
        return check
    ends = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
    left = ends - now
    shown = ends.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    state, message, hint, code = check.state, check.message, check.hint, check.exit_code
    if left.total_seconds() <= 0:
        state, code = State.WRONG, Forbidden.exit_code
        message, hint = f"{message}: expired {shown}", hint or "Replace it."
    elif left.days < SOON:
        state = State.WARNING if state is State.OK else state
        message, hint = f"{message}: expires {shown}, in {left.days} days", hint or "Replace it before that."
    else:
        message = f"{message}: expires {shown}"
    return Check(check.area, check.about, state, message, hint, ends.astimezone(UTC).isoformat(), code)
