"""Deliveries: what still has to be told, kept until it was told, given up, or replaced by something newer.

One row for each (sync, kind, subject, context); the newest that is wanted wins:

    want ──► waiting ──done──► done ──want something else──► waiting
                │ failed, without another time
                └──► dropped ──want something else──► waiting        (closed: nothing revives it)

What equals what stands there is not wanted again, and so never told twice, also by the next process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gitsync.model.delivery import Delivery, DeliveryKind, DeliveryState, Wanted, stamp
from gitsync.store.database import Database
from gitsync.store.tables import DELIVERIES

Body = Mapping[str, Any]
Replaces = Callable[[Body, Body], bool]
"""Whether what is wanted now (first) stands in for what was wanted before."""

LONGEST_WAIT = 7_200.0
"""Seconds; more than anything is ever put off. What seems to wait longer was written while the clock was ahead, and is due."""

D = DELIVERIES.c
PLACE = (D.sync, D.kind, D.subject, D.context)
WAITING, DONE, DROPPED, CLOSED = DeliveryState


def differs(new: Body, old: Body) -> bool:
    return new != old


class Deliveries:
    """Every method is one transaction, and raises Unavailable if the database does not take it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def want(
        self, wanted: Wanted, *, now: datetime, delay: float = 0.0, replaces: Replaces = differs, revive: bool = False
    ) -> bool:
        """Let *wanted* be told, *delay* seconds from now; whether there is anything to tell.

        replaces: asked where something is wanted there already. revive: what was given up is tried again, although it is the same.
        """
        at = stamp(now)
        due = stamp(now + timedelta(seconds=delay))
        body = dict(wanted.body)
        row = {
            "sync": wanted.sync,
            "kind": str(wanted.kind),
            "subject": wanted.subject,
            "context": wanted.context,
            "desired": body,
            "state": str(WAITING),
            "attempts": 0,
            "failing": "",
            "next_at": due,
            "last_error": "",
            "reference": "",
            "run": wanted.run,
            "created": at,
            "updated": at,
        }
        async with self._database.transaction() as connection:
            insert = insert_postgresql if connection.dialect.name == "postgresql" else insert_sqlite
            adding = insert(DELIVERIES).values(**row).on_conflict_do_nothing().inline()
            added = await connection.execute(adding, execution_options={"preserve_rowcount": True})
            if added.rowcount:
                return True
            there = await _locked(connection, *(each == row[each.name] for each in PLACE))
            if there is None:  # it was forgotten between the two
                return False
            again = revive and there.state is DROPPED
            if there.state is CLOSED or not (again or replaces(body, there.desired)):
                return False
            # What failed may have been taken all the same, and stand there instead of what was told before.
            told = there.posted == body and not there.failing
            values = {
                "desired": body,
                "state": str(DONE if told else WAITING),
                "attempts": 0,
                "failing": "",
                "last_error": "",
                "run": wanted.run,
                "updated": at,
                # one comment is not edited too often, whatever comes meanwhile: `done` said from when on
                "next_at": max(due, there.next_at) if there.kind is DeliveryKind.COMMENT and there.posted else due,
            }
            await connection.execute(update(DELIVERIES).where(D.id == there.id).values(**values))
            return not told

    # -- for who posts

    async def due(
        self, now: datetime, *, syncs: Collection[str], contexts: Collection[str], limit: int = 50
    ) -> Sequence[Delivery]:
        """What is to be told now, the longest waiting first: statuses and comments of *syncs*, notifications for *contexts*."""
        never = stamp(now + timedelta(seconds=LONGEST_WAIT))
        query = select(DELIVERIES).where(_waiting(syncs, contexts), or_(D.next_at <= stamp(now), D.next_at > never))
        return await self._read(query.order_by(D.next_at, D.id).limit(limit))

    async def soonest(self, *, syncs: Collection[str], contexts: Collection[str]) -> str:
        """When the next of those is to be told; "" where nothing waits."""
        async with self._database.transaction() as connection:
            found = await connection.execute(select(func.min(D.next_at)).where(_waiting(syncs, contexts)))
            return found.scalar() or ""

    async def done(self, delivery: Delivery, *, now: datetime, rest: float = 0.0, reference: str = "") -> None:
        """*delivery* was told as it desires. What is wanted meanwhile waits *rest* seconds."""
        async with self._database.transaction() as connection:
            there = await _locked(connection, D.id == delivery.id)
            if there is None:
                return
            values: dict[str, Any] = {
                "posted": dict(delivery.desired),
                "attempts": 0,
                "failing": "",
                "last_error": "",
                "next_at": stamp(now + timedelta(seconds=rest)),
                "reference": reference or there.reference,
            }
            if there.desired == delivery.desired:
                values |= {"state": str(DONE), "updated": stamp(now)}
            elif there.state is DONE:  # while this was on its way somebody wanted again what stood there before
                values |= {"state": str(WAITING)}
            await connection.execute(update(DELIVERIES).where(D.id == there.id).values(**values))

    async def failed(
        self,
        delivery: Delivery,
        error: str,
        *,
        now: datetime,
        again: float | None,
        counts: bool = True,
        closed: bool = False,
    ) -> None:
        """*delivery* could not be told. again: seconds until the next try; None: it is given up, and *closed* for good.

        counts: whether it was an attempt. Where something newer is wanted meanwhile, that one starts anew, unless it is closed.
        """
        async with self._database.transaction() as connection:
            there = await _locked(connection, D.id == delivery.id)
            if there is None or (there.desired != delivery.desired and not closed):
                return
            values: dict[str, Any] = {
                "attempts": there.attempts + (1 if counts else 0),
                "failing": there.failing or (stamp(now) if counts else ""),
                "last_error": error,
            }
            if again is None:
                values |= {"state": str(CLOSED if closed else DROPPED), "updated": stamp(now)}
            else:
                values["next_at"] = stamp(now + timedelta(seconds=again))
            await connection.execute(update(DELIVERIES).where(D.id == there.id).values(**values))

    async def overtaken(self, delivery: Delivery) -> bool:
        """Whether something newer was told on the same ref and context."""
        newer = select(DELIVERIES).where(
            D.sync == delivery.sync,
            D.kind == delivery.kind,
            D.context == delivery.context,
            D.id > delivery.id,
            D.posted.is_not(None),
        )
        ref = delivery.desired.get("ref")
        return any(each.desired.get("ref") == ref for each in await self._read(newer.order_by(D.id.desc()).limit(100)))

    # -- for who wants to know

    async def get(self, sync: str, kind: DeliveryKind, subject: str, context: str) -> Delivery | None:
        """The one row of a place."""
        place = (sync, str(kind), subject, context)
        rows = await self._read(
            select(DELIVERIES).where(*(column == value for column, value in zip(PLACE, place, strict=True)))
        )
        return rows[0] if rows else None

    async def statuses(self, sync: str, context: str, limit: int = 200) -> Sequence[Delivery]:
        """The statuses under *context*, the newest first."""
        query = select(DELIVERIES).where(D.sync == sync, D.kind == str(DeliveryKind.STATUS), D.context == context)
        return await self._read(query.order_by(D.id.desc()).limit(limit))

    async def waiting(self) -> Mapping[tuple[str, str], int]:
        """How many wait, by sync and kind."""
        query = select(D.sync, D.kind, func.count()).where(D.state == str(WAITING)).group_by(D.sync, D.kind)
        async with self._database.transaction() as connection:
            return {(sync, kind): count for sync, kind, count in await connection.execute(query)}

    async def forget(self, before: str) -> int:
        """Forget what did not change since *before*, an ISO time; how many went."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(delete(DELIVERIES).where(D.updated < before))
            return gone.rowcount

    async def _read(self, query: Any) -> list[Delivery]:
        async with self._database.transaction() as connection:
            return [_delivery(dict(row)) for row in (await connection.execute(query)).mappings()]


async def _locked(connection: AsyncConnection, *which: ColumnElement[bool]) -> Delivery | None:
    """One row, which nobody else changes before this transaction ends: it is written to before it is read."""
    await connection.execute(update(DELIVERIES).where(*which).values(attempts=D.attempts))
    found = (await connection.execute(select(DELIVERIES).where(*which))).mappings().first()
    return _delivery(dict(found)) if found else None


def _waiting(syncs: Collection[str], contexts: Collection[str]) -> ColumnElement[bool]:
    notification = D.kind == str(DeliveryKind.NOTIFICATION)
    hosts = and_(~notification, D.sync.in_(syncs)) if syncs else false()
    others = and_(notification, D.context.in_(contexts)) if contexts else false()
    return and_(D.state == str(WAITING), or_(hosts, others))


def _delivery(row: Mapping[str, Any]) -> Delivery:
    return Delivery(**{**row, "kind": DeliveryKind(row["kind"]), "state": DeliveryState(row["state"])})
