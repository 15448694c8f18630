"""Consul as the engine sees it: one object for entries, gateways, catalog, records and sessions."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gitsync.consul import records
from gitsync.consul.catalog import Catalog, Fence
from gitsync.consul.client import POOL, Client, ConsulAddress
from gitsync.consul.credentials import TokenFile
from gitsync.consul.entries import Entries
from gitsync.consul.features import detect
from gitsync.consul.gateways import GatewayDesk, GatewayOutcome, RowEdit, Timing
from gitsync.consul.leases import Lease, Sessions
from gitsync.consul.records import Pair, Records
from gitsync.consul.rights import Right, TokenSeen, look_at_token
from gitsync.consul.shelf import Shelf
from gitsync.consul.txn import Failure
from gitsync.model.component import Body, CatalogNode, Entry, Listing
from gitsync.model.features import Features
from gitsync.model.key import Kind

OpT = TypeVar("OpT", bound=records.Op)


@dataclass(frozen=True, slots=True)
class LockSettings:
    """ttl_seconds: of the session behind the locks. session_node: whose node it is, None for the agent's own."""

    ttl_seconds: float = 15.0
    session_node: str | None = None


class Consul:
    """Everything that gitsync asks of one Consul.

    Every method raises Rejected (Forbidden among them), Unavailable or Unknown, and a lost compare-and-set is StaleIndex. Nothing
    is tried again but a gateway's entry that others write at the same time.
    """

    def __init__(self, client: Client, features: Features, lock: LockSettings) -> None:
        timing = Timing(asyncio.sleep, time.monotonic, random.random)
        self._client = client
        self._shelf = Shelf(time.monotonic, client.address.token or str)
        self._entries = Entries(client, features, self._shelf)
        self._gateways = GatewayDesk(self._entries, timing)
        self._catalog = Catalog(client, self._shelf)
        self._records = Records(client, features, self._shelf)
        self._sessions = Sessions(client, ttl_seconds=lock.ttl_seconds, node=lock.session_node)

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """How many requests were sent, by (method, area): the word after /v1/, `txn-get` for a transaction that only reads."""
        return self._client.requests

    def close(self) -> None:
        """Renew no session any more."""
        self._sessions.close()

    # -- config entries

    async def list_entries(self, kind: Kind) -> Listing:
        """See Entries.list_entries."""
        return await self._entries.list_entries(kind)

    async def lists(self, kinds: Sequence[Kind]) -> dict[Kind, Listing]:
        """See Entries.lists."""
        return await self._entries.lists(kinds)

    async def read_entry(self, kind: Kind, name: str) -> Entry | None:
        """See Entries.read_entry."""
        return await self._entries.read_entry(kind, name)

    async def put_entry(self, body: Body, *, index: int) -> None:
        """See Entries.put_entry."""
        await self._entries.put_entry(body, index=index)

    async def delete_entry(self, entry: Entry) -> None:
        """See Entries.delete_entry."""
        await self._entries.delete_entry(entry)

    async def edit_gateway(self, gateway: str, edits: Sequence[RowEdit]) -> GatewayOutcome:
        """See GatewayDesk.edit."""
        return await self._gateways.edit(gateway, edits)

    # -- catalog

    async def nodes_index(self, datacenter: str) -> int:
        """See Catalog.nodes_index."""
        return await self._catalog.nodes_index(datacenter)

    async def external_nodes(
        self, datacenter: str, services: Mapping[str, str], *, index: int | None = None
    ) -> tuple[CatalogNode, ...]:
        """See Catalog.external_nodes."""
        return await self._catalog.external_nodes(datacenter, services, index=index)

    async def read_node(self, datacenter: str, node: str) -> CatalogNode | None:
        """See Catalog.read_node."""
        return await self._catalog.read_node(datacenter, node)

    async def carried(self, datacenter: str, services: Mapping[str, str]) -> frozenset[str]:
        """See Catalog.carried."""
        return await self._catalog.carried(datacenter, services)

    async def register(self, wanted: Body, seen: CatalogNode | None, *, fence: Fence | None) -> None:
        """See Catalog.register."""
        await self._catalog.register(wanted, seen, fence=fence)

    async def deregister(
        self, seen: CatalogNode, service_id: str, check_ids: Sequence[str], *, fence: Fence | None
    ) -> None:
        """See Catalog.deregister."""
        await self._catalog.deregister(seen, service_id, check_ids, fence=fence)

    async def service_names(self) -> frozenset[str]:
        """See Catalog.service_names."""
        return await self._catalog.service_names()

    async def service_nodes(self, name: str) -> tuple[str, ...]:
        """See Catalog.service_nodes."""
        return await self._catalog.service_nodes(name)

    async def datacenters(self) -> tuple[str, ...]:
        """See Catalog.datacenters."""
        return await self._catalog.datacenters()

    # -- records

    async def kept_tree(self, prefix: str) -> tuple[Pair, ...]:
        """See Records.kept_tree."""
        return await self._records.kept_tree(prefix)

    async def read_tree(self, prefix: str) -> tuple[Pair, ...]:
        """See Records.read_tree."""
        return await self._records.read_tree(prefix)

    async def tree_index(self, prefix: str) -> int:
        """See Records.tree_index."""
        return await self._records.tree_index(prefix)

    async def read_key(self, key: str) -> Pair | None:
        """See Records.read."""
        return await self._records.read(key)

    async def transact(self, ops: Sequence[records.Op]) -> tuple[Failure, ...]:
        """See Records.transact."""
        return await self._records.transact(ops)

    def batches(self, groups: Sequence[Sequence[OpT]]) -> list[list[Sequence[OpT]]]:
        """See records.batches."""
        return records.batches(groups)

    # -- the token

    async def look_at_token(self, asked: Sequence[Right]) -> TokenSeen:
        """See rights.look_at_token."""
        return await look_at_token(self._client, asked)

    # -- sessions

    async def open_lease(self, name: str) -> Lease:
        """See Sessions.open."""
        return await self._sessions.open(name)

    async def destroy_session(self, session: str) -> None:
        """See Sessions.destroy."""
        await self._sessions.destroy(session)

    async def session_exists(self, session: str) -> bool:
        """See Sessions.exists."""
        return await self._sessions.exists(session)


@asynccontextmanager
async def connect(  # noqa: PLR0913 (one for every setting of Consul)
    address: str,
    *,
    token: Callable[[], str] | None = None,
    token_file: Path | None = None,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    lock_ttl: float = 15.0,
    session_node: str | None = None,
    version: str | None = None,
    primary_datacenter: str | None = None,
    timeout_seconds: float = 10.0,
    pool: int = POOL,
) -> AsyncIterator[tuple[Consul, Features]]:
    """One Consul, and what it can do, for as long as the context lasts.

    token: asked before every request; or token_file, read again when it changes. lock_ttl: seconds. version and
    primary_datacenter: for a token that may not read agent/self. Raises Invalid for what is configured wrongly, else what the
    first requests raise. Whether it is the primary datacenter is `require_primary`'s question.
    """
    where = ConsulAddress(
        url=address,
        token=token or (TokenFile(token_file) if token_file else None),
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        timeout_seconds=timeout_seconds,
    )
    async with Client(where, pool=pool) as client:
        features = await detect(client, version=version, primary_datacenter=primary_datacenter)
        consul = Consul(client, features, LockSettings(lock_ttl, session_node))
        try:
            yield consul, features
        finally:
            consul.close()
