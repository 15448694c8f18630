"""Recipients: whoever is told something, and what it needs for that. A Git host is one."""

from __future__ import annotations

import hashlib
from typing import Protocol

from gitsync.model.delivery import Delivery, DeliveryKind, status_of
from gitsync.model.host import PostResult, Status, Verdict


class Recipient(Protocol):
    """Somebody who is told. name: who have the same one share its limits, such as all repositories of one host."""

    @property
    def name(self) -> str: ...
    async def tell(self, delivery: Delivery) -> PostResult: ...
    async def renew(self) -> None:
        """The credentials were refused: ask for new ones."""

    async def credentials(self) -> str:
        """Which credentials it has now, without telling them: another text where they changed. Raises what asking for them raises."""


class Provider(Protocol):
    """A host's API, as far as telling goes (gitsync/hosts/provider.py)."""

    async def set_status(self, status: Status) -> PostResult: ...
    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult: ...


class Credentials(Protocol):
    """The token of an API."""

    async def token(self) -> str: ...
    async def invalidate(self) -> None: ...


class HostRecipient:
    """One repository at its Git host. name: the host, and whose limits count there."""

    def __init__(self, name: str, provider: Provider, credentials: Credentials) -> None:
        self._name, self._provider, self._credentials = name, provider, credentials

    @property
    def name(self) -> str:
        return self._name

    async def tell(self, delivery: Delivery) -> PostResult:
        if delivery.kind is DeliveryKind.STATUS:
            return await self._provider.set_status(status_of(delivery))
        if delivery.kind is DeliveryKind.COMMENT:
            body = delivery.desired
            return await self._provider.upsert_comment(
                int(delivery.subject), body["marker"], body["body"], delivery.reference or None
            )
        return PostResult(Verdict.INVALID, detail=f"a {delivery.kind} is nothing for a Git host")

    async def renew(self) -> None:
        await self._credentials.invalidate()

    async def credentials(self) -> str:
        return hashlib.sha256((await self._credentials.token()).encode()).hexdigest()
