"""The words about a pull request: what it would be once merged, what that would do, and whether that is what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gitsync.model.finding import Finding
from gitsync.model.host import ChangeRequest, CommitState
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Plan
from gitsync.model.revision import NO_REVISION, Revision

# -- the repository's words -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotThere:
    """The head of a request cannot be fetched, or not yet. found: the commit that its ref names now ("" if there is none)."""

    why: str
    found: str = ""


@dataclass(frozen=True, slots=True)
class Merged:
    """What the base would be with the request merged into it. tree: the object of its whole tree."""

    tree: str


@dataclass(frozen=True, slots=True)
class Unmergeable:
    """It cannot be merged without a person. paths: what both sides changed, escaped where they cannot be shown."""

    why: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Landed:
    """A commit of the watched ref: its tree, and the commits that it joins."""

    sha: str
    tree: str
    parents: tuple[str, ...]


# -- what a review says ---------------------------------------------------------------------------------------------------


class ReviewVerdict(StrEnum):
    """What merging the request would do to one sync."""

    UNAFFECTED = "unaffected"
    PLANNED = "planned"
    HELD = "held"  # planned, and the guard would hold deletes
    REFUSED = "refused"  # something in it would not be applied
    CONFLICTED = "conflicted"  # it cannot be merged
    VALID = "valid"  # of a fork: only read, and nothing is wrong
    FAILED = "failed"  # it could not be judged


STATES: Mapping[ReviewVerdict, CommitState] = {
    ReviewVerdict.UNAFFECTED: CommitState.SUCCESS,
    ReviewVerdict.PLANNED: CommitState.SUCCESS,
    ReviewVerdict.HELD: CommitState.SUCCESS,
    ReviewVerdict.VALID: CommitState.SUCCESS,
    ReviewVerdict.REFUSED: CommitState.FAILURE,
    ReviewVerdict.CONFLICTED: CommitState.FAILURE,
    ReviewVerdict.FAILED: CommitState.ERROR,
}
"""What a commit is told."""


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """Something in live Consul that leads to a service. how: routes, splits, redirects, fails over, carries.

    kind, name: of the entry. owner: its gitsync owner, "" for somebody else's.
    """

    service: ServiceKey
    kind: Kind
    name: str
    how: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One service as it was reviewed.

    steps: its changes in their order, each `update service-router/pay`. brought: by the request; else it was to be done anyway.
    """

    digest: str
    verdict: str
    steps: tuple[str, ...] = ()
    brought: bool = True


@dataclass(frozen=True, slots=True)
class Review:
    """A request as it was judged for one sync.

    head, base: the commits that were joined. tree: of the result ("" where there is none). plan: everything that a run at the
    result would do (None where nothing was looked at). affected: the services for which it would do something else than a run
    at the base would, those with other findings included. findings: about no service in particular, and new with the request.
    links: who leads to the services affected. conflicts: paths. message: why there is no plan. unsaid: of a fork, of which no
    value is shown.
    """

    sync: str
    owner: str
    change: ChangeRequest
    verdict: ReviewVerdict
    base: Revision = NO_REVISION
    tree: str = ""
    plan: Plan | None = None
    affected: frozenset[ServiceKey] = frozenset()
    findings: tuple[Finding, ...] = ()
    links: tuple[Link, ...] = ()
    conflicts: tuple[str, ...] = ()
    message: str = ""
    specs: int = 0
    unsaid: bool = False
    digests: Mapping[ServiceKey, Reviewed] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The commit that was judged."""
        return self.change.head_sha


@dataclass(frozen=True, slots=True)
class ReviewRecord:
    """What was said of a request last, as it is kept.

    digests: what was reviewed of each service, None where there was no plan. plan: the whole review as JSON, without what is
    redacted. updated, closed: ISO 8601, UTC ("" where it is open).
    """

    sync: str
    number: int
    head: str
    base: str
    tree: str
    verdict: str
    digests: Mapping[ServiceKey, Reviewed] | None
    plan: Mapping[str, Any]
    updated: str
    closed: str = ""


@dataclass(frozen=True, slots=True)
class Promised:
    """What was reviewed on the requests that a run brings in.

    services: the newest first, since several requests may have been merged. named: the requests ("#12, #14"), "" where there is none.
    """

    services: Mapping[ServiceKey, tuple[Reviewed, ...]] = field(default_factory=dict)
    named: str = ""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A service of which something else is to be done than was reviewed. how: in a sentence's end."""

    service: ServiceKey
    how: str
