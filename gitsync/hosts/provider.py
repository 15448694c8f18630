"""What a Git host is to gitsync: one file each behind these Protocols. The registry is `gitsync/hosts/__init__.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Protocol

import httpx

from gitsync.model.host import Capabilities, ChangeRequest, PostResult, Problem, RepoRef, Status, WebhookEvent


class Webhooks(Protocol):
    """A host's deliveries. Pure: no I/O, no clock."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:
        """Raises SignatureError unless one of *secrets* proves that the host sent *raw*. headers: lower-case names."""

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:
        """What *raw* says. Raises Invalid for what is no JSON object; a field that is missing or strange makes it `ignored`."""

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:
        """Whether this is a ping of the kind that the host does not sign: it is answered with 200 and has no effect."""


class Credentials(Protocol):
    """The token of an API: from the environment, a file (read again when it changed), or a GitHub App's installation."""

    async def token(self) -> str: ...
    async def invalidate(self) -> None:
        """The host refused the token: the next one is asked for anew."""

    def secrets(self) -> Sequence[str]:
        """Everything that must not be shown, in each form in which it is sent."""


class Provider(Protocol):
    """A host's API for one repository. No method raises for what the host answers: that is in the result."""

    capabilities: ClassVar[Capabilities]
    webhooks: ClassVar[Webhooks]

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None: ...

    async def preflight(self) -> list[Problem]: ...
    async def set_status(self, status: Status) -> PostResult: ...
    async def get_change(self, number: int) -> ChangeRequest | None:
        """None: there is none. Raises Unavailable, Rejected."""

    def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        """Raises Unavailable, Rejected."""

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        """Edit the comment *known_id*, or our own one with *marker* in it, or make one. `body` contains the marker."""

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        """The refs of the repository under which the head of *change* may be fetched, the best first."""
