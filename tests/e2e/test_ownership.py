"""Never change what we do not own: foreign entries, rows, Meta, intentions; adoption, release and take-over."""

from __future__ import annotations

import json
from pathlib import Path

from gitsync.core.sight import OWNER_MARK
from gitsync.engine.errands import release
from gitsync.model.key import ServiceKey
from gitsync.model.run import Outcome, exit_code
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, codes, external, outcomes

PAY = ServiceKey("pay")


async def test_a_foreign_entry_makes_a_conflict_of_its_service_and_stays(
    bench: Workbench, consul: ConsulServer
) -> None:
    consul.put_entry("service-resolver", "pay", ConnectTimeout="7s")
    foreign = consul.entry("service-resolver", "pay")
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))

    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.CONFLICT, "books": Outcome.APPLIED}
    assert "foreign-component" in codes(report, "pay")
    assert exit_code(report) == 4
    assert consul.entry("service-resolver", "pay") == foreign
    assert consul.entry("service-defaults", "pay") is None


async def test_foreign_rows_and_meta_of_the_gateway_are_kept_byte_for_byte(
    bench: Workbench, consul: ConsulServer
) -> None:
    rows = [{"Name": "zoo", "SNI": "zoo.example.org", "CAFile": "/etc/ca.pem"}, {"Name": "apes"}]
    consul.put_entry("terminating-gateway", "tgw", Services=rows, Meta={"by": "terraform"})
    before = {row["Name"]: row for row in consul.entry("terminating-gateway", "tgw")["Services"]}
    bench.commit(pay=external("pay"), shop=external("shop", "192.0.2.12"))
    await bench.sync()
    bench.remove("services/pay.yaml")
    bench.commit()

    await bench.sync()

    entry = consul.entry("terminating-gateway", "tgw")
    assert entry["Meta"] == {"by": "terraform"}
    assert {row["Name"]: row for row in entry["Services"] if row["Name"] in before} == before
    assert [row["Name"] for row in entry["Services"]] == ["apes", "shop", "zoo"]


async def test_a_foreign_row_of_our_name_is_a_conflict(bench: Workbench, consul: ConsulServer) -> None:
    consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": "pay", "SNI": "theirs"}])
    bench.commit(pay=external("pay"))

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.CONFLICT
    assert consul.entry("terminating-gateway", "tgw")["Services"][0]["SNI"] == "theirs"


async def test_adoption_takes_what_carries_no_mark_and_keeps_what_was_there(
    bench: Workbench, consul: ConsulServer
) -> None:
    consul.put_entry("service-defaults", "pay", Protocol="http")
    consul.put_entry("service-resolver", "pay", ConnectTimeout="7s")
    bench.policy["adopt"] = True
    bench.commit(pay=external("pay"))

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert consul.entry("service-resolver", "pay")["Meta"][OWNER_MARK] == "test/payments"
    adopted = json.loads(consul.value("svc-handler/adopted/default/default/pay"))
    assert any(original["body"].get("ConnectTimeout") == "7s" for original in adopted["originals"])


async def test_another_owner_is_not_adopted_unless_it_is_named(
    bench: Workbench, consul: ConsulServer, tmp_path: Path
) -> None:
    other = Workbench(consul, tmp_path / "other", instance="other")
    other.commit(pay=external("pay"))
    await other.sync()
    bench.policy["adopt"] = True
    bench.commit(pay=external("pay", "192.0.2.99"))

    assert outcomes(await bench.sync())["pay"] is Outcome.CONFLICT
    report = await bench.sync(adopt=frozenset({PAY}), adopt_from="other/payments")

    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert consul.entry("service-defaults", "pay")["Meta"][OWNER_MARK] == "test/payments"
    assert outcomes(await other.sync())["pay"] is Outcome.CONFLICT


async def test_a_released_service_is_taken_by_another_and_never_taken_back(
    bench: Workbench, consul: ConsulServer, tmp_path: Path
) -> None:
    bench.policy["adopt"] = True
    bench.commit(pay=external("pay"))
    await bench.sync()
    async with bench.house() as house:
        room = house.room(bench.name)
        released = await release(room.world, room.sync.owner, PAY)
    other = Workbench(consul, tmp_path / "other", instance="other")
    other.commit(pay=external("pay"))

    assert released
    assert outcomes(await bench.sync())["pay"] is Outcome.CONFLICT
    report = await other.sync()

    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert consul.entry("service-defaults", "pay")["Meta"][OWNER_MARK] == "other/payments"
    assert outcomes(await bench.sync())["pay"] is Outcome.CONFLICT


async def test_somebody_elses_intentions_are_none_of_our_business(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"), shop=external("shop", "192.0.2.12"))
    await bench.sync()
    intend(consul, "web", "pay")
    theirs = intentions(consul)

    assert (await bench.plan()).plan.empty
    bench.remove("services/pay.yaml")
    bench.commit()
    await bench.sync()

    assert theirs
    assert intentions(consul) == theirs
    assert consul.entry("service-defaults", "pay") is None


def intend(consul: ConsulServer, source: str, destination: str) -> None:
    """Deny, as somebody would by hand: as an entry where Consul has them, else by the API of that time."""
    if consul.version >= (1, 9):
        consul.put_entry("service-intentions", destination, Sources=[{"Name": source, "Action": "deny"}])
    else:
        body = {"SourceName": source, "DestinationName": destination, "SourceType": "consul", "Action": "deny"}
        answer = consul.request("POST", "/v1/connect/intentions", body)
        assert answer.status == 200, answer


def intentions(consul: ConsulServer) -> object:
    return consul.get("/v1/connect/intentions")


async def test_a_second_installation_of_the_same_name_stops(
    bench: Workbench, consul: ConsulServer, tmp_path: Path
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    before = consul.dump()
    twin = Workbench(consul, tmp_path / "twin")
    twin.commit(books=external("books"))

    report = await twin.sync()

    assert exit_code(report) == 4
    assert "accept-lineage" in (report.error or "")
    assert consul.dump() == before


async def test_a_rewritten_history_stops_until_it_is_accepted(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    bench.git("checkout", "-q", "--orphan", "fresh")
    new = bench.commit(pay=external("pay", "192.0.2.77"))
    bench.git("branch", "-M", "main")

    report = await bench.sync()

    assert exit_code(report) == 4
    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.10"
    report = await bench.sync(accept_rewrite=new)
    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.77", report


async def test_an_older_commit_is_applied_only_by_rev_and_held_there(bench: Workbench, consul: ConsulServer) -> None:
    old = bench.commit(pay=external("pay"))
    await bench.sync()
    bench.commit(pay=external("pay", "192.0.2.77"))
    await bench.sync()

    await bench.sync(rev=old)
    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.10"
    await bench.sync()

    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.10"
