"""The campaigns of `make test-faults`, a few faults of each, and their oracle: what it does not notice it cannot prove."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaign import campaigns
from tests.campaign.blind import blind
from tests.campaign.blows import Moment, killed_at
from tests.campaign.judging import judge
from tests.campaign.lines import Budget, Line, survived
from tests.campaign.several import processes
from tests.campaign.site import Site
from tests.campaign.worlds import mixed
from tests.servers.consul import ConsulServer
from tests.workbench import external


def assert_all_in_order(lines: list[Line]) -> None:
    assert sum(line.injected for line in lines) > 0
    assert [line.failures for line in lines if line.failures] == []
    assert [line.converged for line in lines] == [line.injected for line in lines]
    assert sum(line.foreign for line in lines) == 0


FEW = {"kill": 6, "answers": 10, "strangers": 2, "terms": 3}


@pytest.mark.parametrize("name", FEW)
async def test_whatever_is_done_to_a_run_the_next_one_puts_all_in_order(
    consul: ConsulServer, tmp_path: Path, name: str
) -> None:
    site = Site(consul, tmp_path, mixed(1))
    await site.prepare()

    lines = await getattr(campaigns, name)(site, random.Random(1), Budget(FEW[name]))

    assert_all_in_order(lines)
    alone, asked, must = survived(lines)
    assert alone >= must * asked


async def test_what_cannot_be_seen_is_neither_deleted_nor_made_anew(tmp_path: Path) -> None:
    assert_all_in_order(await blind(tmp_path, random.Random(1), Budget(6), worlds=mixed(1)))


async def test_processes_at_one_gateway_lose_no_row_of_anybody(tmp_path: Path) -> None:
    assert_all_in_order(await processes(tmp_path, random.Random(1), Budget(1), writers=3))


Campaign = Callable[[Site, random.Random, Budget], Awaitable[list[Line]]]


@pytest.mark.parametrize(
    ("safeguard", "campaign"),
    [("ledger first", campaigns.kill), ("CAS", campaigns.strangers), ("verify", campaigns.strangers)],
)
async def test_a_campaign_notices_that_a_safeguard_is_not_there(
    consul: ConsulServer, tmp_path: Path, safeguard: str, campaign: Campaign
) -> None:
    site = Site(consul, tmp_path, mixed(1), without=safeguard)
    await site.prepare()

    lines = await campaign(site, random.Random(1), Budget(40, first=True))

    assert [line.failures for line in lines if line.failures] != []


async def test_the_oracle_notices_what_is_left_and_whom_it_belongs_to(consul: ConsulServer, tmp_path: Path) -> None:
    site = Site(consul, tmp_path, ({"pay": external("pay")}, {"pay": external("pay", "192.0.2.99")}))
    await site.prepare()
    clean = await site.sync()
    assert site.wrong(clean) == []
    assert site.between() == []
    assert site.touched() == []

    ledger = "svc-handler/ledger/default/default/pay"
    record = json.loads(consul.value(ledger) or b"")
    consul.put(f"/v1/kv/{ledger}", record | {"state": "applying"})
    consul.put("/v1/kv/svc-handler/locks/default/default/pay", "somebody")
    consul.put("/v1/kv/svc-handler/owners/test/payments/holders/1", "{}")
    consul.put("/v1/session/create", {"Name": "svc-handler: a test's"})
    consul.put_entry("service-resolver", "pay", ConnectTimeout="9s")
    consul.put_entry("service-resolver", "alone", ConnectTimeout="9s")
    consul.put_entry("service-defaults", "forgotten", Protocol="http")
    consul.put_entry("service-defaults", "stranger-7", Protocol="http", Meta={"by": "terraform"}, ExternalSNI="x")
    consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": "stranger-0"}, {"Name": "nobody"}])
    consul.delete("/v1/kv/strangers/a/3")
    with closing(sqlite3.connect(tmp_path / "state" / "gitsync.db")) as database, database:
        database.execute("update runs set finished = null")

    found = "\n".join([*site.wrong(clean), *site.between()])

    for word in (
        "different: ",
        "too much: ",
        "(applying",
        "locks/",
        "holders/1",
        "has no end",
        "a row of nobody without",
        "service-resolver/alone without",
        "pay is behind no gateway",
    ):
        assert word in found
    assert sorted(site.touched()) == ["kv/strangers/a/3", "row of tgw", "service-defaults/stranger-7"]
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
