"""With ACLs: the least token that is enough, and what a smaller one leads to. An empty answer is never taken for absence."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitsync.model.errors import Rejected
from gitsync.model.run import Outcome, RunOutcome, exit_code
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, codes, external, outcomes, static

ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"

RULES = """
key_prefix "svc-handler/" {{ policy = "write" }}
session_prefix ""         {{ policy = "write" }}
agent_prefix ""           {{ policy = "read" }}
node_prefix ""            {{ policy = "read" }}
node_prefix "ext-"        {{ policy = "write" }}
service_prefix ""         {{ policy = "read" }}
service "tgw"             {{ policy = "read" }}
service "pay"             {{ policy = "{pay}" intentions = "{pay}" }}
service "books"           {{ policy = "write" intentions = "write" }}
{gateways} = "write"
"""
"""What docs/operations.md gives the daemon's token, for two services."""


def rules(consul: ConsulServer, *, pay: str = "write") -> str:
    return RULES.format(pay=pay, gateways="mesh" if consul.version >= (1, 12) else "operator")


@pytest.fixture
def bench(consul_acl: ConsulServer, tmp_path: Path) -> Workbench:
    """A bench whose gitsync has the least token that is enough."""
    made = Workbench(consul_acl, tmp_path)
    as_one_who_may(made, rules(consul_acl))
    return made


def as_one_who_may(bench: Workbench, text: str) -> None:
    token = bench.consul.new_token(text)
    bench.more["consul"] = {"address": bench.consul.url, "lock_ttl": "10s", "token": token}


async def test_the_least_token_is_enough_to_create_change_and_delete(
    bench: Workbench, consul_acl: ConsulServer
) -> None:
    bench.commit(pay=external("pay", router=ROUTER), books=static("books"))
    assert exit_code(await bench.sync()) == 0
    assert (await bench.plan()).plan.empty
    bench.remove("services/pay.yaml")
    bench.commit(books=static("books", "other.example.org"))

    report = await bench.sync()

    assert exit_code(report) == 0, report
    assert {entry["Name"] for entry in consul_acl.entries("service-defaults")} == {"books"}


async def test_a_service_that_the_token_may_not_write_fails_alone(bench: Workbench, consul_acl: ConsulServer) -> None:
    as_one_who_may(bench, rules(consul_acl, pay="read"))
    bench.commit(pay=external("pay", router=ROUTER), books=external("books", "192.0.2.11"))

    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.FAILED, "books": Outcome.APPLIED}
    assert exit_code(report) == 5


@pytest.mark.parametrize("removed", [True, False])
async def test_a_token_that_lost_its_rights_deletes_and_creates_nothing(
    bench: Workbench, consul_acl: ConsulServer, removed: bool
) -> None:
    bench.commit(
        pay=external("pay", router=ROUTER), books=external("books", "192.0.2.11"), shop=external("shop", "192.0.2.12")
    )
    as_one_who_may(
        bench,
        rules(consul_acl).replace(
            'service_prefix ""         { policy = "read" }', 'service_prefix "" { policy = "write" }'
        ),
    )
    assert exit_code(await bench.sync()) == 0
    before = kept(consul_acl)
    if removed:
        bench.remove("services/pay.yaml")
        bench.commit()
    blind = "\n".join(line for line in rules(consul_acl).splitlines() if not line.startswith("service"))
    as_one_who_may(bench, blind)

    report = await bench.sync()

    assert report.outcome in (RunOutcome.FAILED, RunOutcome.PARTIAL), report
    assert kept(consul_acl) == before
    assert not [service for service in report.services if service.outcome is Outcome.APPLIED]


def kept(consul: ConsulServer) -> object:
    kinds = ("service-defaults", "service-resolver", "service-router", "terminating-gateway")
    return {kind: consul.entries(kind) for kind in kinds}, consul.get("/v1/catalog/services")


async def test_an_unknown_token_is_refused_with_a_sentence(bench: Workbench) -> None:
    bench.commit(pay=external("pay"))
    bench.more["consul"] = {
        "address": bench.consul.url,
        "token": "00000000-1111-2222-3333-444444444444",
        "version": "1.12.0",
        "primary_datacenter": "dc1",
    }

    with pytest.raises(Rejected, match="token") as refused:
        await bench.sync()

    assert refused.value.exit_code == 5


async def test_under_default_deny_the_plan_says_what_is_missing(bench: Workbench) -> None:
    bench.commit(pay=external("pay"))

    look = await bench.plan()

    assert "intention-needed" in codes(look, "pay") | codes(look)
