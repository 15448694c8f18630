"""What still has to be told to somebody, and what became of it: the words between who wants it, the store and who posts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gitsync.model.host import ChangeRequest, CommitState, Status


class DeliveryKind(StrEnum):
    """What is told. The subject is a full SHA, the number of a change, or the id of an event."""

    STATUS = "status"
    COMMENT = "comment"
    NOTIFICATION = "notification"


class DeliveryState(StrEnum):
    """How far it came."""

    WAITING = "waiting"
    DONE = "done"
    DROPPED = "dropped"
    CLOSED = "closed"  # dropped, and nothing about this subject and context is taken there any more


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be said of *subject* under *context* from now on. body: JSON. run: the run that says it."""

    sync: str
    kind: DeliveryKind
    subject: str
    context: str
    body: Mapping[str, Any]
    run: str = ""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Where the newest one wins."""
        return self.sync, self.kind, self.subject, self.context


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row: what is wanted, and what was said last.

    posted: None for nothing yet. attempts: failed ones at what is desired now. failing: since when they fail. reference: what the
    other side calls what was posted, such as a comment's id. created: when the subject was first heard of; updated: when what is
    desired, or what became of it, last changed. Times are ISO 8601, UTC; "" for none.
    """

    id: int
    sync: str
    kind: DeliveryKind
    subject: str
    context: str
    desired: Mapping[str, Any]
    posted: Mapping[str, Any] | None = None
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    failing: str = ""
    next_at: str = ""
    last_error: str = ""
    reference: str = ""
    run: str = ""
    created: str = ""
    updated: str = ""


def wanted_status(sync: str, status: Status, run: str = "") -> Wanted:
    """*status* as it waits. Its place is the SHA and the context."""
    body = {
        "state": str(status.state),
        "description": status.description,
        "target_url": status.target_url,
        "ref": status.ref,
        "change": asdict(status.change) if status.change else None,
    }
    return Wanted(sync, DeliveryKind.STATUS, status.sha, status.context, body, run)


def status_of(delivery: Delivery) -> Status:
    """The status that a delivery wants."""
    body = delivery.desired
    return Status(
        sha=delivery.subject,
        context=delivery.context,
        state=CommitState(body["state"]),
        description=body["description"],
        target_url=body["target_url"],
        ref=body.get("ref"),
        change=ChangeRequest(**body["change"]) if body.get("change") else None,
    )


def wanted_comment(sync: str, number: int, context: str, marker: str, text: str, run: str = "") -> Wanted:
    """The comment with *marker* under change *number*. *text* contains the marker."""
    return Wanted(sync, DeliveryKind.COMMENT, str(number), context, {"marker": marker, "body": text}, run)


def stamp(at: datetime) -> str:
    """*at* as it stands in a delivery, with milliseconds, so that it sorts as text."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
