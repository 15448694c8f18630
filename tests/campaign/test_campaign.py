"""The campaigns of `make test-faults`, a few faults of each, and their oracle: what it does not notice it cannot prove."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaign.campaigns import Budget, Campaign, Line, Moment, answers, judge, kill, killed_at
from tests.campaign.site import Site
from tests.campaign.worlds import mixed
from tests.servers.consul import ConsulServer
from tests.workbench import external


@pytest.mark.parametrize(("campaign", "most"), [(kill, 9), (answers, 10)], ids=["kill", "answers"])
async def test_whatever_is_done_to_a_run_the_next_one_puts_all_in_order(
    consul: ConsulServer, tmp_path: Path, campaign: Campaign, most: int
) -> None:
    site = Site(consul, tmp_path, mixed())
    await site.prepare()

    lines = await campaign(site, random.Random(1), Budget(most))

    assert sum(line.injected for line in lines) > 0
    assert [line.failures for line in lines if line.failures] == []
    assert [line.converged for line in lines] == [line.injected for line in lines]
    assert sum(line.foreign for line in lines) == 0


async def test_the_oracle_notices_what_is_left_and_whom_it_belongs_to(consul: ConsulServer, tmp_path: Path) -> None:
    site = Site(consul, tmp_path, ({"pay": external("pay")}, {"pay": external("pay", "192.0.2.99")}))
    await site.prepare()
    report = await site.sync()
    assert await site.wrong(report) == []
    assert site.touched() == []

    ledger = "svc-handler/ledger/default/default/pay"
    record = json.loads(consul.value(ledger) or b"")
    consul.put(f"/v1/kv/{ledger}", record | {"state": "applying"})
    consul.put("/v1/kv/svc-handler/locks/default/default/pay", "somebody")
    consul.put("/v1/kv/svc-handler/owners/test/payments/holders/1", "{}")
    consul.put("/v1/session/create", {"Name": "svc-handler: a test's"})
    consul.put_entry("service-resolver", "pay", ConnectTimeout="9s")
    consul.put_entry("service-defaults", "forgotten", Protocol="http")
    consul.put_entry("service-defaults", "stranger-7", Protocol="http", Meta={"by": "terraform"}, ExternalSNI="x")
    consul.delete("/v1/kv/strangers/a/3")
    with closing(sqlite3.connect(tmp_path / "state" / "gitsync.db")) as database, database:
        database.execute("update runs set finished = null")

    found = "\n".join(await site.wrong(report))

    for word in (
        "the plan is not empty",
        "different: ",
        "too much: ",
        "(applying",
        "locks/",
        "holders/1",
        "has no end",
    ):
        assert word in found
    assert sorted(site.touched()) == ["kv/strangers/a/3", "service-defaults/stranger-7"]
    assert len(site.orphans()) == 1


@pytest.mark.parametrize("moment", list(Moment))
async def test_a_run_killed_at_its_last_write_has_an_end(consul: ConsulServer, tmp_path: Path, moment: Moment) -> None:
    site = Site(consul, tmp_path, ({"pay": external("pay")}, {"pay": external("pay", "192.0.2.99")}))
    await site.prepare()
    site.turn()
    line = Line("SIGKILL")

    await judge(site, line, await killed_at(site, "the applied revision", moment), moment.value, elsewhere=False)

    assert line.failures == []
    assert (line.injected, line.converged) == (1, 1)
