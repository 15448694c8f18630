"""The store: what happened, for people and reports. Losing it loses history, never what is wanted or whose it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert_postgresql
from sqlalchemy.dialects.sqlite import insert as upsert_sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.schema import Table

from gitsync.model.finding import Finding
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Hold
from gitsync.model.run import Outcome, RunReport, ServiceOutcome
from gitsync.store.database import Database, opened
from gitsync.store.deliveries import Deliveries
from gitsync.store.reviews import Reviews
from gitsync.store.rows import hold_of, hold_services, run_row, service_rows
from gitsync.store.tables import CHECKS, HOLDS, OUTBOX, RUN_SERVICES, RUNS, SERVICE_COMPONENTS, SERVICES

Row = Mapping[str, Any]
ABANDONED = "the process that ran it ended without a word"


class Version(Protocol):
    """One version of a service."""

    @property
    def accessor_id(self) -> str: ...
    @property
    def key(self) -> ServiceKey: ...
    @property
    def version(self) -> int: ...
    @property
    def spec(self) -> Mapping[str, Any]: ...
    @property
    def spec_hash(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def origin_path(self) -> str: ...
    @property
    def origin_commit(self) -> str: ...
    @property
    def owner(self) -> str: ...


class Component(Protocol):
    """One component that was read back."""

    @property
    def accessor_id(self) -> str: ...
    @property
    def key(self) -> ServiceKey: ...
    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def create_index(self) -> int: ...
    @property
    def modify_index(self) -> int: ...


class Store:
    """Every method is one transaction, and raises Unavailable if the database does not take it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.deliveries = Deliveries(database)
        self.reviews = Reviews(database)
        self._told: dict[
            str, dict[ServiceKey, tuple[Finding, ...]]
        ] = {}  # by sync: what the last run said of each service

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Store]:
        """Open the store at *url*; its tables are made or brought up to date."""
        async with opened(url) as database:
            yield cls(database)

    # -- runs

    async def begin_run(self, *, run: str, sync: str, revision: str, trigger: str, started: str) -> None:
        """A run of *sync* begins; what an earlier one left without an end gets one."""
        async with self._database.transaction() as connection:
            await _abandon(connection, sync, started)
            row = {"id": run, "sync": sync, "revision": revision, "trigger": trigger, "started": started}
            await connection.execute(insert(RUNS).values(**row))
            await _tell(connection, started, sync, run, "run-started", row)

    async def finish_run(self, report: RunReport) -> None:
        """A run's one end. It stands over the one that another process took it to have had."""
        async with self._database.transaction() as connection:
            row = run_row(report)
            unended = or_(RUNS.c.finished.is_(None), RUNS.c.error == ABANDONED)
            done = await connection.execute(update(RUNS).where(RUNS.c.id == report.id, unended).values(**row))
            if not done.rowcount:
                return
            rows = service_rows(report.id, self._worth_a_row(report))
            if rows:
                await connection.execute(insert(RUN_SERVICES), rows)
            told = {key: row[key] for key in ("outcome", "applied_revision", "plan_digest", "counts", "error")}
            services = {each["service"]: each["outcome"] for each in rows}
            await _tell(
                connection, report.finished, report.sync, report.id, "run-finished", {**told, "services": services}
            )

    def _worth_a_row(self, report: RunReport) -> list[ServiceOutcome]:
        """The services of *report*, without those that nothing happened to and of which the run before said the same."""
        before = self._told.get(report.sync, {})
        self._told[report.sync] = {each.key: each.findings for each in report.services if each.findings}
        return [
            each
            for each in report.services
            if each.outcome is not Outcome.UNCHANGED or before.get(each.key) != each.findings
        ]

    async def close_abandoned(self, sync: str, at: str) -> int:
        """End the runs of *sync* that have no end, as after a kill; how many there were."""
        async with self._database.transaction() as connection:
            return await _abandon(connection, sync, at)

    async def touch(self, sync: str, *, revision: str, checked: str) -> None:
        """*sync* was looked at and found in order."""
        async with self._database.transaction() as connection:
            await _abandon(connection, sync, checked)  # a run that was killed at its very end has nothing left to do
            await _upsert(connection, CHECKS, [{"sync": sync, "revision": revision, "last_checked": checked}])

    # -- services and holds

    async def record_services(self, rows: Sequence[Version], components: Sequence[Component] = ()) -> None:
        """Versions of services: new ones, and new states of known ones; and all that the services of *components* have now."""
        now = _now()
        versions = [
            {
                "accessor_id": row.accessor_id,
                "version": row.version,
                "service": row.key.path,
                "owner": row.owner,
                "spec": row.spec,
                "spec_hash": row.spec_hash,
                "state": row.state,
                "origin_path": row.origin_path,
                "origin_commit": row.origin_commit,
                "recorded": now,
            }
            for row in rows
        ]
        standing = [
            {
                "accessor_id": row.accessor_id,
                "kind": row.kind,
                "at": row.at,
                "service": row.key.path,
                "hash": row.hash,
                "create_index": row.create_index,
                "modify_index": row.modify_index,
                "observed": now,
            }
            for row in components
        ]
        if not (versions or standing):
            return
        async with self._database.transaction() as connection:
            await _upsert(connection, SERVICES, versions)
            gone = {row["accessor_id"] for row in versions if row["state"] == "deleted"}
            for portion in _portions({*gone, *(row["accessor_id"] for row in standing)}):
                await connection.execute(
                    delete(SERVICE_COMPONENTS).where(SERVICE_COMPONENTS.c.accessor_id.in_(portion))
                )
            if standing:
                await connection.execute(insert(SERVICE_COMPONENTS), standing)

    async def record_holds(self, sync: str, holds: Sequence[Hold]) -> None:
        """The holds of *sync* that are open now; all others of it are closed."""
        now = _now()
        async with self._database.transaction() as connection:
            open_now = [hold.digest for hold in holds]
            closing = update(HOLDS).where(
                HOLDS.c.sync == sync, HOLDS.c.closed.is_(None), HOLDS.c.digest.not_in(open_now)
            )
            await connection.execute(closing.values(closed=now))
            known = select(HOLDS.c.digest).where(HOLDS.c.sync == sync, HOLDS.c.closed.is_(None))
            before = set((await connection.execute(known)).scalars())
            rows = [
                {
                    "sync": sync,
                    "digest": hold.digest,
                    "services": hold_services(hold),
                    "reason": hold.reason,
                    "empty": hold.empty,
                    "opened": now,
                    "closed": None,
                }
                for hold in holds
                if hold.digest not in before
            ]
            await _upsert(connection, HOLDS, rows)
            for row in rows:
                await _tell(
                    connection,
                    now,
                    sync,
                    "",
                    "held",
                    {key: row[key] for key in ("digest", "services", "reason", "empty")},
                )

    async def append_outbox(self, sync: str, event: str, body: Mapping[str, Any], *, run: str = "") -> None:
        """Something happened that the audit should know, such as an approval."""
        async with self._database.transaction() as connection:
            await _tell(connection, _now(), sync, run, event, body)

    # -- reading

    async def open_holds(self, sync: str | None = None) -> list[Hold]:
        """The holds that wait for an approval."""
        query = select(HOLDS).where(HOLDS.c.closed.is_(None)).order_by(HOLDS.c.opened)
        return [hold_of(row) for row in await self._rows(query if sync is None else query.where(HOLDS.c.sync == sync))]

    async def runs(self, sync: str | None = None, limit: int = 20) -> list[Row]:
        """The last runs, newest first, as rows of `runs`."""
        query = select(RUNS).order_by(RUNS.c.started.desc(), RUNS.c.id.desc()).limit(limit)
        return await self._rows(query if sync is None else query.where(RUNS.c.sync == sync))

    async def run(self, run: str) -> tuple[Row, list[Row]] | None:
        """One run and its services, by the whole of its id or its end (at least six characters); None if there is none."""
        query = select(RUNS).where(RUNS.c.id.endswith(run, autoescape=True)).order_by(RUNS.c.started.desc()).limit(1)
        found = await self._rows(query) if len(run) >= 6 else []
        if not found:
            return None
        services = select(RUN_SERVICES).where(RUN_SERVICES.c.run == found[0]["id"]).order_by(RUN_SERVICES.c.service)
        return found[0], await self._rows(services)

    async def last_run(self, sync: str) -> Row | None:
        """The newest run of *sync*."""
        found = await self.runs(sync, 1)
        return found[0] if found else None

    async def last_checked(self, sync: str) -> Row | None:
        """When *sync* was last found in order: `revision` and `last_checked`."""
        found = await self._rows(select(CHECKS).where(CHECKS.c.sync == sync))
        return found[0] if found else None

    async def service_history(self, key: ServiceKey, limit: int = 20) -> list[Row]:
        """The versions of a service, newest first."""
        query = select(SERVICES).where(SERVICES.c.service == key.path)
        return await self._rows(query.order_by(SERVICES.c.recorded.desc(), SERVICES.c.version.desc()).limit(limit))

    async def components(self, key: ServiceKey) -> list[Row]:
        """What a service had in Consul when it was last read back."""
        return await self._rows(select(SERVICE_COMPONENTS).where(SERVICE_COMPONENTS.c.service == key.path))

    async def outbox(self, limit: int = 100) -> list[Row]:
        """The last events, oldest first."""
        return list(reversed(await self._rows(select(OUTBOX).order_by(OUTBOX.c.id.desc()).limit(limit))))

    async def prune(self, before: str) -> int:
        """Forget runs, closed holds and events older than *before*; how many runs went."""
        async with self._database.transaction() as connection:
            old = RUNS.c.finished < before
            runs = select(RUNS.c.id).where(old)
            await connection.execute(delete(RUN_SERVICES).where(RUN_SERVICES.c.run.in_(runs)))
            gone = await connection.execute(delete(RUNS).where(old))
            await connection.execute(delete(HOLDS).where(HOLDS.c.closed < before))
            await connection.execute(delete(OUTBOX).where(OUTBOX.c.at < before))
            return gone.rowcount

    async def _rows(self, query: Any) -> list[Row]:
        async with self._database.transaction() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]


async def _abandon(connection: AsyncConnection, sync: str, at: str) -> int:
    left = update(RUNS).where(RUNS.c.sync == sync, RUNS.c.finished.is_(None))
    done = await connection.execute(left.values(finished=at, outcome="failed", error=ABANDONED, error_exit=6))
    return done.rowcount


async def _tell(connection: AsyncConnection, at: str, sync: str, run: str, event: str, body: Mapping[str, Any]) -> None:
    await connection.execute(insert(OUTBOX).values(at=at, sync=sync, run=run, event=event, body=dict(body)))


async def _upsert(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert *rows*; one that is there already by its key is replaced."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    others = [name for name in rows[0] if name not in keys]
    if connection.dialect.name == "postgresql":
        postgresql = upsert_postgresql(table)
        statement: Any = postgresql.on_conflict_do_update(
            index_elements=keys, set_={name: postgresql.excluded[name] for name in others}
        )
    else:
        sqlite = upsert_sqlite(table)
        statement = sqlite.on_conflict_do_update(
            index_elements=keys, set_={name: sqlite.excluded[name] for name in others}
        )
    await connection.execute(statement, rows)


def _portions(ids: Iterable[object], size: int = 500) -> list[list[str]]:
    values = sorted({str(each) for each in ids})
    return [values[at : at + size] for at in range(0, len(values), size)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
