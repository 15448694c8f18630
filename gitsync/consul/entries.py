"""Config entries: lists, reads by name, and writes that only happen if nothing changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from gitsync.consul.answer import Answer
from gitsync.consul.client import Client, segment
from gitsync.consul.shelf import Shelf
from gitsync.consul.verdict import unclear
from gitsync.model import jsontext
from gitsync.model.component import Body, Entry, Listing
from gitsync.model.errors import StaleIndex, Unavailable
from gitsync.model.features import Feature, Features
from gitsync.model.key import Kind

CONSISTENT = {"consistent": ""}
"""The leader answers, and makes sure that it is one. A default read can be stale when it no longer is."""

SERVER_FIELDS = ("CreateIndex", "ModifyIndex", "Hash")
"""What Consul adds to an entry; Hash only from 1.15.8, and older versions refuse it in a write."""


class Entries:
    """The config entries of one Consul. Every read is consistent, every write a compare-and-set."""

    def __init__(self, client: Client, features: Features, shelf: Shelf) -> None:
        self._client = client
        self._features = features
        self._shelf = shelf

    async def lists(self, kinds: Iterable[Kind]) -> dict[Kind, Listing]:
        """All entries of *kinds*, as `list_entries`: read again only where the table changed since they were read last.

        An entry that is as it was is the same object.
        """
        kinds = tuple(kinds)
        index = await self._table_index() if self._shelf.worth_asking(*kinds) else 0

        async def one(kind: Kind) -> Listing:
            kept: Listing | None = self._shelf.current(kind, index)
            if kept is not None:
                return kept
            listing = await self.list_entries(kind)
            last: Listing | None = self._shelf.last(kind)
            if last is not None:
                listing = _with_known(listing, last)
            self._shelf.keep(kind, 0 if listing.filtered else listing.index, listing)
            return listing

        return dict(zip(kinds, await asyncio.gather(*(one(kind) for kind in kinds)), strict=True))

    async def _table_index(self) -> int:
        """The index of the table of all config entries. Of the proxy-defaults there is one at most."""
        answer = await self._client.ask("GET", "/v1/config/proxy-defaults", CONSISTENT, what="index of config entries")
        return answer.index

    async def list_entries(self, kind: Kind) -> Listing:
        """All entries of *kind* that the token may see; `filtered` where Consul says that there are others.

        A kind that this Consul does not have is empty. Source: Consul HTTP API, GET /v1/config/:kind.
        """
        if kind is Kind.INTENTIONS and not self._features.has(Feature.INTENTIONS_ENTRY):
            return Listing((), 0, filtered=False)
        answer = await self._client.ask("GET", f"/v1/config/{_word(kind)}", CONSISTENT, what=f"list of {kind}")
        bodies = answer.json() if answer.status == 200 else None
        if not isinstance(bodies, list):
            raise Unavailable(
                f"list of {kind}: the answer is no list but {answer.text[:80]!r}. Check the address of Consul."
            )
        return Listing(tuple(map(_entry, bodies)), answer.index, answer.filtered)

    async def read_entry(self, kind: Kind, name: str) -> Entry | None:
        """One entry, None if it certainly is not there.

        Raises Forbidden where the token may not see it. Source: Consul HTTP API, GET /v1/config/:kind/:name.
        """
        what = f"{kind}/{name}"
        answer = await self._client.ask("GET", f"/v1/config/{_word(kind)}/{segment(name)}", CONSISTENT, what=what)
        if answer.status == 404:
            return None
        body = answer.json()
        if not isinstance(body, dict) or str(body.get("Name", "")).lower() != name.lower():
            raise Unavailable(
                f"{what}: the answer is no such entry but {answer.text[:80]!r}. Check the address of Consul."
            )
        return _entry(body)

    async def put_entry(self, body: Body, *, index: int) -> None:
        """Write an entry if it is still at *index* (0: if it does not exist).

        Raises StaleIndex if it is not, Refused if Consul refuses its content (`dependency`: because of another entry), Unknown if
        it may have been written. From 1.9.16/1.10.9/1.11.4 equal content is accepted at any index, so success does not prove that
        this write made it. Source: Consul HTTP API, PUT /v1/config.
        """
        what = f"{body['Kind']}/{body['Name']}"
        answer = await self._client.ask("PUT", "/v1/config", {"cas": _cas(index)}, jsontext.compact(body), what=what)
        if not was_done(answer, what):
            raise StaleIndex(what, index)

    async def delete_entry(self, entry: Entry) -> None:
        """Delete *entry* if it is still as it was read. That it is gone already is fine.

        Raises StaleIndex if it changed, Refused (`dependency`) while another entry needs it. Consul before 1.11 ignores `cas` and
        deletes: there it is read by name, compared and deleted at once, and about a millisecond stays in which somebody's write
        is lost. Source: Consul HTTP API, DELETE /v1/config/:kind/:name.
        """
        what = f"{entry.kind}/{entry.name}"
        path = f"/v1/config/{segment(entry.kind)}/{segment(entry.name)}"
        if self._features.has(Feature.DELETE_CAS):
            answer = await self._client.ask("DELETE", path, {"cas": _cas(entry.modify_index)}, what=f"delete {what}")
            if not was_done(answer, what):
                raise StaleIndex(what, entry.modify_index)
            return
        now = await self.read_entry(Kind(entry.kind), entry.name)
        if now is None:
            return
        if now.modify_index != entry.modify_index or now.body != entry.body:
            raise StaleIndex(what, entry.modify_index)
        await self._client.ask("DELETE", path, what=f"delete {what}")


def _with_known(listing: Listing, last: Listing) -> Listing:
    """*listing*, with the objects of *last* for the entries that did not change."""
    known = {entry.name: entry for entry in last.entries}
    entries = tuple(
        before if (before := known.get(entry.name)) is not None and before == entry else entry
        for entry in listing.entries
    )
    return Listing(entries, listing.index, listing.filtered)


def was_done(answer: Answer, what: str) -> bool:
    """Whether Consul says `true`; `false` is a lost compare-and-set. Raises Unknown for anything else, and for a 409."""
    text = answer.body.strip()
    if answer.status == 200 and text == b"true":
        return True
    if answer.status == 200 and text == b"false":
        return False
    raise unclear(f"{what}: the answer is neither true nor false but {answer.status} {answer.text[:80]!r}", write=True)


def _entry(body: Mapping[str, Any]) -> Entry:
    try:
        return Entry(
            kind=body["Kind"],
            name=body["Name"],
            body={key: value for key, value in body.items() if key not in SERVER_FIELDS},
            create_index=body["CreateIndex"],
            modify_index=body["ModifyIndex"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise Unavailable(
            f"the answer holds no config entry but {str(body)[:80]!r}. Check the address of Consul."
        ) from error


def _word(kind: Kind) -> str:
    if kind is Kind.CATALOG:
        raise ValueError("a catalog node is no config entry")
    return str(kind)


def _cas(index: int) -> str:
    # `?cas=` without a number overwrites whatever is there.
    if index < 0 or isinstance(index, bool):
        raise ValueError(f"{index!r} is no index")
    return str(index)
