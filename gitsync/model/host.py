"""The words between gitsync and a Git host: what a delivery says, what is told of a commit, and what became of telling it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from gitsync.model.errors import GitsyncError

DESCRIPTION, CONTEXT, TARGET_URL = 140, 100, 255
"""The longest that every host takes, in characters."""


class SignatureError(GitsyncError):
    """A delivery does not prove that the host sent it. Its message says nothing that helps who guesses."""

    exit_code = 4


class CommitState(StrEnum):
    """What is said of a commit. Each provider has its own words for these."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class RepoRef:
    """A repository at its host. api_url: without a slash at the end. full_name: `owner/name`. web_url: "" where it is not known."""

    api_url: str
    full_name: str
    web_url: str = ""


@dataclass(frozen=True, slots=True)
class RefChange:
    """A ref moved. ref: the full name. before, after: full SHAs, None for none (created, deleted). forced: None if not said."""

    ref: str
    before: str | None
    after: str | None
    deleted: bool = False
    forced: bool | None = None


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A pull or merge request. head_ref, base_ref: short branch names. head_repo: its full name, None where it is gone."""

    number: int
    head_sha: str
    head_ref: str
    base_ref: str
    is_fork: bool
    head_repo: str | None
    state: Literal["open", "closed", "merged"]
    head_sha_is_short: bool = False


EventKind = Literal["push", "change", "comment", "ping", "ignored"]


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One delivery, understood. It is only ever a reason to look: nothing of it is applied.

    delivery_id: the host's, the same when it sends again; None where it has none. repo: full name, "" for none. action: the host's.
    """

    kind: EventKind
    delivery_id: str | None
    repo: str = ""
    refs: tuple[RefChange, ...] = ()
    change: ChangeRequest | None = None
    action: str = ""
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What is said of a commit. ref: the branch it is on (short), where a host wants to know. change: for a plan, its request."""

    sha: str
    context: str
    state: CommitState
    description: str
    target_url: str
    ref: str | None = None
    change: ChangeRequest | None = None


class Verdict(StrEnum):
    """What became of telling a host something; the reporter decides by it what happens next (git-hosts: error classes)."""

    DONE = "done"
    AUTH = "auth"  # the credentials are wrong or over
    FORBIDDEN = "forbidden"  # they are right and not enough
    UNKNOWN_SHA = "unknown_sha"  # the host does not know the commit, or not yet
    LIMIT = "limit"  # later, when it says
    CONFLICT = "conflict"  # another update is under way
    FULL = "full"  # no more statuses fit on this commit
    INVALID = "invalid"  # it will never be taken as it is
    TRANSIENT = "transient"  # no answer, or none that counts


@dataclass(frozen=True, slots=True)
class PostResult:
    """retry_after: seconds that the host asks to wait, None if it does not say. detail: a sentence for the log, without secrets.

    id: of a comment, as the host names it.
    """

    verdict: Verdict
    retry_after: float | None = None
    detail: str = ""
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a host takes. comment: the longest comment, 0 where it takes none. lists_changes: open requests can be asked for.

    fork_status: whether it takes the status of a commit that only a fork has. statuses: whether it takes any.
    folds: whether a comment may fold a part with `<details>`; elsewhere HTML shows as text.
    """

    comment: int = 60_000
    lists_changes: bool = True
    fork_status: Literal["yes", "no", "maybe"] = "yes"
    statuses: bool = True
    folds: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about credentials or rights. fatal: it will not work; else it is good to know. expires: ISO 8601, "" for not said."""

    message: str
    hint: str = ""
    fatal: bool = True
    expires: str = ""
