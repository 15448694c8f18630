"""The store: one end for every run, history that can be lost, and tables that are what the migrations make."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import socket
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from gitsync.model.errors import GitsyncError, Invalid, Unavailable
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, FieldDiff, Hold, Verdict
from gitsync.model.run import ComponentDiff, Outcome, RunOutcome, RunReport, ServiceOutcome, StepTiming
from gitsync.store import Store
from gitsync.store.database import PATIENCE, opened
from gitsync.store.tables import METADATA
from tests.servers.postgres import PostgresServer

PAY, BOOKS = ServiceKey("pay"), ServiceKey("books")
HOLD = Hold("abc123def456", ((PAY, 17), (BOOKS, 18)), "too many")


@dataclass(frozen=True)
class Version:
    accessor_id: str = "svc_1"
    key: ServiceKey = PAY
    version: int = 1
    spec: dict[str, Any] = field(default_factory=lambda: {"name": "pay"})
    spec_hash: str = "h1"
    state: str = "active"
    origin_path: str = "pay.yaml"
    origin_commit: str = "c1"
    owner: str = "test/payments"


@dataclass(frozen=True)
class Component:
    accessor_id: str = "svc_1"
    key: ServiceKey = PAY
    kind: str = "service-defaults"
    at: str = ""
    hash: str = "h"
    create_index: int = 1
    modify_index: int = 2


def report(run: str = "01RUN001", **changes: Any) -> RunReport:
    finding = Finding("per-try-timeout", Severity.WARNING, "No Consul has it.", service=PAY)
    service = ServiceOutcome(
        PAY,
        Outcome.APPLIED,
        Verdict.UPDATE,
        Action.UPDATE,
        findings=(finding,),
        diffs=(ComponentDiff("service-defaults/pay", Action.UPDATE, (FieldDiff("Protocol", "tcp", "http"),)),),
    )
    values = {
        "id": run,
        "sync": "payments",
        "revision": "r1",
        "applied_revision": "r1",
        "trigger": "cli",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:00:09Z",
        "outcome": RunOutcome.APPLIED,
        "services": (service,),
        "counts": {Outcome.APPLIED: 1},
        "steps": (StepTiming("write", 0.5),),
        **changes,
    }
    return RunReport(**values)


async def begin(store: Store, run: str = "01RUN001", started: str = "2026-01-01T00:00:00Z") -> None:
    await store.begin_run(run=run, sync="payments", revision="r1", trigger="cli", started=started)


async def test_a_run_is_kept_with_its_services_and_diffs(store: Store) -> None:
    await begin(store)
    await store.finish_run(report())

    run, services = await store.run("01RUN001") or ({}, [])

    assert (run["outcome"], run["counts"], run["steps"]) == (
        "applied",
        {"applied": 1},
        [{"step": "write", "seconds": 0.5}],
    )
    assert services[0]["diffs"][0]["fields"] == [{"path": "Protocol", "before": "tcp", "after": "http"}]
    assert services[0]["findings"][0]["code"] == "per-try-timeout"


async def test_a_run_has_exactly_one_end(store: Store) -> None:
    await begin(store)
    await store.finish_run(report())
    await store.finish_run(report(outcome=RunOutcome.FAILED, finished="2026-01-02T00:00:00Z"))

    run = await store.last_run("payments")

    assert run
    assert (run["outcome"], run["finished"]) == ("applied", "2026-01-01T00:00:09Z")


async def test_a_run_that_was_killed_gets_its_end_from_the_next_one(store: Store) -> None:
    await begin(store)
    await begin(store, "01RUN002", "2026-01-01T00:01:00Z")

    runs = await store.runs("payments")

    assert [(run["id"], run["outcome"]) for run in runs] == [("01RUN002", None), ("01RUN001", "failed")]
    assert "without a word" in runs[1]["error"]


async def test_a_run_is_found_by_the_end_of_its_id_and_never_by_a_wildcard(store: Store) -> None:
    await begin(store)

    assert await store.run("RUN001")
    assert await store.run("%%%%%%%") is None
    assert await store.run("1") is None


async def test_holds_open_stay_as_they_are_and_close(store: Store) -> None:
    await store.record_holds("payments", [HOLD])
    await store.record_holds("payments", [HOLD])
    assert await store.open_holds("payments") == [HOLD]
    assert await store.open_holds("other") == []

    await store.record_holds("payments", [])

    assert await store.open_holds() == []
    assert [event["event"] for event in await store.outbox()] == ["held"]


async def test_a_hold_that_comes_again_is_open_again(store: Store) -> None:
    for holds in ([HOLD], [], [HOLD]):
        await store.record_holds("payments", holds)

    assert await store.open_holds() == [HOLD]


async def test_versions_of_a_service_are_kept_and_change_their_state_only(store: Store) -> None:
    await store.record_services(
        [Version(), Version(version=2, spec_hash="h2", state="error")], [Component(), Component(kind="service-router")]
    )
    await store.record_services([Version(version=2, spec_hash="h2", state="active")])

    assert [(row["version"], row["state"]) for row in await store.service_history(PAY)] == [
        (2, "active"),
        (1, "active"),
    ]
    assert len(await store.components(PAY)) == 2

    await store.record_services([], [Component()])
    assert [row["kind"] for row in await store.components(PAY)] == ["service-defaults"]
    await store.record_services([Version(version=2, spec_hash="h2", state="deleted")])
    assert await store.components(PAY) == []


async def test_a_check_that_found_all_in_order_is_one_row(store: Store) -> None:
    for second in range(3):
        await store.touch("payments", revision="r1", checked=f"2026-01-01T00:00:0{second}Z")

    found = await store.last_checked("payments")

    assert found
    assert found["last_checked"] == "2026-01-01T00:00:02Z"


async def test_what_is_older_than_the_retention_is_forgotten(store: Store) -> None:
    await begin(store)
    await store.finish_run(report())
    await begin(store, "01RUN002", "2026-06-01T00:00:00Z")
    await store.finish_run(report("01RUN002", finished="2026-06-01T00:00:09Z"))

    assert await store.prune("2026-03-01T00:00:00Z") == 1

    assert [run["id"] for run in await store.runs()] == ["01RUN002"]
    assert await store.run("01RUN001") is None


async def test_a_run_that_was_only_taken_for_dead_gets_its_own_end(store: Store) -> None:
    await begin(store)
    await begin(store, "01RUN002", "2026-01-01T00:01:00Z")
    await store.finish_run(report())

    run, services = await store.run("01RUN001") or ({}, [])

    assert (run["outcome"], run["error"], len(services)) == ("applied", None, 1)


async def test_a_run_that_is_closed_after_a_kill_is_closed_once(store: Store) -> None:
    await begin(store)

    assert await store.close_abandoned("other", "2026-01-01T00:01:00Z") == 0
    assert await store.close_abandoned("payments", "2026-01-01T00:01:00Z") == 1
    assert await store.close_abandoned("payments", "2026-01-01T00:02:00Z") == 0


async def test_names_places_and_indexes_of_any_size_are_kept(store: Store) -> None:
    key = ServiceKey("n" * 128, "s" * 128, "p" * 128)
    place = f"{'d' * 64}/ext-{'n' * 128}.{'s' * 60}.{'p' * 60}"
    await store.record_services([Version(key=key, spec={"text": "ä☃\x00" * 1000})])
    await store.record_services([], [Component(key=key, kind="catalog-node", at=place, modify_index=2**62)])

    assert (await store.service_history(key))[0]["spec"] == {"text": "ä☃\x00" * 1000}
    assert [(row["at"], row["modify_index"]) for row in await store.components(key)] == [(place, 2**62)]


async def test_two_stores_write_to_one_database(url: str) -> None:
    async with Store.open(url) as one, Store.open(url) as two:
        writes = [store.append_outbox("payments", "held", {"n": n}) for n in range(20) for store in (one, two)]
        await asyncio.gather(*writes)

        assert len(await one.outbox(limit=1000)) == 40


async def test_several_may_make_the_same_store_at_once(url: str) -> None:
    async def first(number: int) -> None:
        async with Store.open(url) as store:
            await store.append_outbox("payments", "held", {"n": number})

    await asyncio.gather(*(first(number) for number in range(5)))

    async with Store.open(url) as store:
        assert sorted(event["body"]["n"] for event in await store.outbox()) == [0, 1, 2, 3, 4]


def make_and_write(url: str, number: int) -> None:
    """What a process of its own does in the test below."""

    async def write() -> None:
        async with Store.open(url) as store:
            for n in range(10):
                await store.append_outbox("payments", "held", {"n": 10 * number + n})

    asyncio.run(write())


async def test_several_processes_make_one_store_and_write_to_it(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=make_and_write, args=(url, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    async with Store.open(url) as store:
        assert sorted(event["body"]["n"] for event in await store.outbox()) == list(range(30))


async def test_the_tables_are_what_the_migrations_make(url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, METADATA)

    async with opened(url) as database, database.transaction() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_old_store_is_opened_again_with_what_it_holds(url: str) -> None:
    async with Store.open(url) as store:
        await begin(store)
    async with Store.open(url) as store:
        assert await store.last_run("payments")


async def test_what_is_made_is_for_our_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "deep"
    async with Store.open(f"sqlite:///{folder / 'gitsync.db'}") as store:
        await begin(store)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (folder.parent, folder, *folder.iterdir())}

    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}
    assert {"state", "deep", "gitsync.db", "gitsync.db-wal"} <= set(modes)


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_deleted_or_replaced_under_us_is_made_anew_and_not_written_behind(
    tmp_path: Path, replaced: bool
) -> None:
    file, other = tmp_path / "state" / "gitsync.db", tmp_path / "other.db"
    async with Store.open(f"sqlite:///{other}"):
        pass
    async with Store.open(f"sqlite:///{file}") as store:
        await begin(store)
        shutil.rmtree(file.parent)
        if replaced:
            file.parent.mkdir()
            shutil.copy(other, file)
        await begin(store, "01LATER")

    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT id FROM runs").fetchall()
    connection.close()
    assert rows == [("01LATER",)]


async def test_who_only_looks_does_not_wait_for_who_writes(url: str) -> None:
    async with Store.open(url) as store:
        await begin(store)
    async with opened(url) as database, database.transaction() as connection:
        await connection.execute(text("UPDATE runs SET trigger = 'x'"))
        async with asyncio.timeout(10), Store.open(url) as other:
            found = await other.last_run("payments")

    assert found


async def test_tables_of_a_newer_gitsync_are_refused_and_left_alone(url: str) -> None:
    async with opened(url) as database, database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(Invalid, match="newer gitsync"):
        async with Store.open(url):
            pass


async def test_losing_the_file_loses_history_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with Store.open(f"sqlite:///{folder}/gitsync.db") as store:
        await begin(store)
    shutil.rmtree(folder)

    async with Store.open(f"sqlite:///{folder}/gitsync.db") as store:
        await store.finish_run(report())
        assert await store.runs() == []


async def test_a_file_that_somebody_else_writes_to_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gitsync.store.database.BUSY_SECONDS", 0)
    file = tmp_path / "gitsync.db"
    async with Store.open(f"sqlite:///{file}") as store:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"gitsync\.db cannot be used: database is locked"):
            await begin(store)
        other.execute("ROLLBACK")
        other.close()

        await begin(store)


async def test_a_database_that_does_not_answer_is_told_without_its_password(postgres: PostgresServer) -> None:
    with pytest.raises(Unavailable, match="cannot be used") as refused:
        async with Store.open(postgres.dead_url):
            pass

    assert "secret" not in str(refused.value)


async def test_a_database_that_takes_the_connection_and_says_nothing_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PATIENCE, "connect_timeout", "2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://gitsync@127.0.0.1:{silent.getsockname()[1]}/gitsync"
        with pytest.raises(Unavailable, match="timeout"):
            async with asyncio.timeout(20), Store.open(url):
                pass


async def test_a_transaction_that_is_not_answered_is_given_up(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.reset()
    monkeypatch.setattr("gitsync.store.database.ANSWER_SECONDS", 0.3)
    async with opened(postgres.url) as database:
        with pytest.raises(Unavailable, match="TimeoutError"):
            async with database.transaction() as connection:
                await connection.execute(text("SELECT pg_sleep(20)"))


async def test_postgresql_without_its_driver_is_told_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(Invalid, match=r"gitsync\[postgres\]"):
        async with Store.open("postgresql+psycopg://db.example/gitsync"):
            pass


async def test_a_power_cut_costs_the_last_moment_at_most_and_readers_stand_beside_a_writer(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'gitsync.db'}") as database, database.transaction() as connection:
        found = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]

    assert found == ["wal", 1, 1, 5_000]


@pytest.mark.parametrize("content", [b"this is no database, and it is long enough to be looked at" * 40])
async def test_a_file_that_is_no_database_is_told_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "gitsync.db"
    file.write_bytes(content)

    with pytest.raises(Unavailable, match="not a database"):
        async with Store.open(f"sqlite:///{file}"):
            pass

    assert file.read_bytes() == content


async def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(GitsyncError, match="mysql") as refused:
        async with Store.open("mysql://localhost/gitsync"):
            pass
    assert isinstance(refused.value, Invalid)
