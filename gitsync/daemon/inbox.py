"""Inbox: what a delivery wakes. Nothing of it is believed: a push means "look at the ref", a change "look at that request".

It returns at once and remembers little: one waiting run a sync, one waiting look a request, whatever storm there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from gitsync.daemon.alarms import Alarms
from gitsync.daemon.lane import WEBHOOK
from gitsync.model.host import ChangeRequest, WebhookEvent

REVIEW_SECONDS = 0.5
"""How long a change waits for what else comes of it: hosts tell of one push to it twice, the first time with the old head."""

MOST_REVIEWS = 1_000
"""How many changes may wait at once; what is too much is found by asking for open changes."""

HEADS, TAGS = "refs/heads/", "refs/tags/"

log = structlog.get_logger()


class Accepted(StrEnum):
    """What became of a delivery, for the metrics."""

    WOKEN = "woken"
    REVIEW = "review"
    PING = "ping"
    OTHER_REPO = "other-repo"
    OTHER_REF = "other-ref"
    FULL = "full"
    IGNORED = "ignored"


class Wake(Protocol):
    """`Daemon.wake`."""

    def __call__(self, sync: str, trigger: str, expected: str = "") -> None: ...


Review = Callable[[str, int, ChangeRequest], None]
"""(sync, number, what the delivery says of it). Returns at once."""

Seen = Callable[[str, str], None]
"""(sync, sha): the host says that it is the head of the sync's ref. Returns at once."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What one sync listens for. repo: full name at the host. refs: the full names under which its ref may come.

    base: the short name of the branch that changes go to, None where it reviews none.
    """

    repo: str
    refs: tuple[str, ...]
    base: str | None = None


def watched(repo: str, ref: str, *, reviews: bool = True) -> Watched:
    """What a sync with this `git.ref` listens for. A ref without refs/ in front is a branch, or else a tag; a SHA never moves."""
    if ref.startswith(TAGS):
        return Watched(repo, (ref,))
    name = ref.removeprefix(HEADS)
    if len(name) in (40, 64) and all(each in "0123456789abcdefABCDEF" for each in name):
        return Watched(repo, ())
    refs = (HEADS + name,) if ref.startswith(HEADS) else (HEADS + name, TAGS + name)
    return Watched(repo, refs, name if reviews else None)


class Inbox:
    """What `POST /hooks/{sync}` hands its verified deliveries to."""

    def __init__(
        self, syncs: Mapping[str, Watched], alarms: Alarms, *, wake: Wake, review: Review, seen: Seen | None = None
    ) -> None:
        self._syncs, self._alarms = syncs, alarms
        self._wake, self._review, self._seen = wake, review, seen
        self._changes: dict[tuple[str, int], ChangeRequest] = {}

    def accept(self, sync: str, event: WebhookEvent) -> str:
        """Let *event* have its effect; what that was, in a word."""
        what = self._accept(sync, self._syncs[sync], event) if sync in self._syncs else Accepted.IGNORED
        log.debug("a delivery: %s", what, action="webhook", sync=sync, kind=event.kind, outcome=str(what))
        return str(what)

    def _accept(self, sync: str, mine: Watched, event: WebhookEvent) -> Accepted:
        if event.kind == "ping":
            return Accepted.PING
        if event.repo and event.repo.casefold() != mine.repo.casefold():
            return Accepted.OTHER_REPO
        if event.kind == "push":
            return self._pushed(sync, mine, event)
        if event.kind == "change" and event.change is not None:
            return self._changed(sync, mine, event.change)
        return Accepted.IGNORED

    def _pushed(self, sync: str, mine: Watched, event: WebhookEvent) -> Accepted:
        """A ref moved, or is gone. A push that names no ref, as the generic one may, means every ref."""
        moved = [change for change in event.refs if change.ref in mine.refs]
        if event.refs and not moved:
            return Accepted.OTHER_REF
        head = moved[-1].after if moved and not moved[-1].deleted else None
        is_branch = bool(moved) and moved[-1].ref.startswith(HEADS)
        if head and is_branch and self._seen:
            self._seen(sync, head)
        # A tag's `after` may be the tag object and not the commit, so nothing is expected of it.
        self._wake(sync, WEBHOOK, head if head and is_branch else "")
        return Accepted.WOKEN

    def _changed(self, sync: str, mine: Watched, change: ChangeRequest) -> Accepted:
        """Also one that goes elsewhere now is looked at: it may have come to this branch before."""
        if mine.base is None:
            return Accepted.IGNORED
        place = sync, change.number
        if place not in self._changes:
            if len(self._changes) >= MOST_REVIEWS:
                return Accepted.FULL
            self._alarms.set(f"review {sync} {change.number}", REVIEW_SECONDS, lambda: self._ring(*place))
        self._changes[place] = change
        return Accepted.REVIEW

    def _ring(self, sync: str, number: int) -> None:
        if change := self._changes.pop((sync, number), None):
            self._review(sync, number, change)
