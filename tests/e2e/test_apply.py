"""What a commit says becomes what Consul holds, and nothing else is touched."""

from __future__ import annotations

import json

import pytest

from gitsync.core.sight import OWNER_MARK
from gitsync.model.run import Outcome, RunOutcome, exit_code
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, codes, external, outcomes, static

ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"


async def test_a_commit_becomes_entries_rows_nodes_and_records(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay", router=ROUTER), books=static("books"))

    report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert consul.entry("service-defaults", "pay")["Meta"][OWNER_MARK] == "test/payments"
    assert consul.entry("service-router", "pay")
    assert [row["Name"] for row in consul.entry("terminating-gateway", "tgw")["Services"]] == ["books", "pay"]
    assert json.loads(consul.value("svc-handler/ledger/default/default/pay"))["state"] == "applied"
    for record in ("", "/base.json", "/defaults.json", "/resolver.json", "/router.json", "/catalog.json", "/tgw.json"):
        assert consul.value(f"svc-handler/desired/default/default/pay{record}"), record
    assert consul.value("svc-handler/observed/default/default/pay/observed.json")


async def test_nothing_is_left_of_a_run_but_its_result(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))

    await bench.sync()

    assert consul.keys("svc-handler/locks/") == []
    assert consul.keys("svc-handler/owners/test/payments/holders/") == []
    assert [session for session in consul.get("/v1/session/list") if session["Name"].startswith("svc-handler")] == []


async def test_the_plan_after_a_sync_is_empty(bench: Workbench) -> None:
    bench.commit(pay=external("pay", router=ROUTER), books=static("books"))
    await bench.sync()

    look = await bench.plan()

    assert look.plan.empty, look.plan
    assert not look.plan.digests


async def test_a_second_sync_of_the_same_commit_writes_nothing(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay", router=ROUTER))
    await bench.sync()
    before = consul.dump()

    report = await bench.sync()

    assert report.outcome is RunOutcome.UNCHANGED
    assert consul.dump() == before


async def test_what_left_git_leaves_consul(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"), shop=external("shop", "192.0.2.12"))
    await bench.sync()
    bench.remove("services/books.yaml")
    bench.commit()

    report = await bench.sync()

    assert outcomes(report)["books"] is Outcome.APPLIED
    assert consul.entry("service-defaults", "books") is None
    assert [row["Name"] for row in consul.entry("terminating-gateway", "tgw")["Services"]] == ["pay", "shop"]
    assert consul.keys("svc-handler/ledger/") == [
        "svc-handler/ledger/default/default/pay",
        "svc-handler/ledger/default/default/shop",
    ]
    assert not [key for key in consul.keys("") if "books" in key]
    assert consul.get("/v1/catalog/node/ext-books") in (None, {"Node": None, "Services": []}) or not consul.get(
        "/v1/catalog/service/books"
    )


async def test_a_renamed_file_moves_the_record_and_rewrites_no_entry(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    before = consul.entries("service-defaults")
    bench.git("mv", "services/pay.yaml", "services/pay.yml")
    bench.commit()

    report = await bench.sync()

    assert report.outcome is RunOutcome.UNCHANGED, report
    assert consul.entries("service-defaults") == before
    assert json.loads(consul.value("svc-handler/ledger/default/default/pay"))["origin"]["path"] == "pay.yml"


async def test_a_file_that_does_not_parse_isolates_itself(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    bench.write("services/pay.yaml", "name: [pay\n")
    bench.commit(shop=external("shop", "192.0.2.12"))

    report = await bench.sync()

    assert report.outcome is RunOutcome.PARTIAL
    assert exit_code(report) == 3
    assert outcomes(report)["shop"] is Outcome.APPLIED
    assert outcomes(report)["pay"] is Outcome.REFUSED
    assert consul.entry("service-defaults", "pay")
    assert any(finding.place and finding.place.path == "pay.yaml" and finding.place.line for finding in report.findings)


async def test_yaml_that_is_no_spec_of_ours_stops_nobody(bench: Workbench, consul: ConsulServer) -> None:
    bench.write("services/.hidden/pay.yaml", external("hidden"))
    bench.write("services/linter.yaml", "rules:\n  line-length: disable\n")
    bench.commit(pay=external("pay"))

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert consul.entry("service-defaults", "hidden") is None
    assert report.outcome is RunOutcome.PARTIAL


async def test_a_name_with_a_capital_is_an_error_of_that_document_alone(bench: Workbench) -> None:
    bench.commit(pay=external("pay") + "---" + external("Books"))

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert exit_code(report) == 3


async def test_of_two_files_for_one_service_the_recorded_one_keeps_it(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.commit(another=external("pay", "192.0.2.99"))

    report = await bench.sync()

    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.10"
    assert "duplicate-service" in codes(report, "pay")


async def test_two_new_files_for_one_service_are_both_refused(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(one=external("pay"), two=external("pay", "192.0.2.99"))

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.REFUSED
    assert consul.entry("service-defaults", "pay") is None


async def test_a_label_that_left_the_spec_goes_and_one_that_somebody_added_stays(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay", metadata="team: a\ntier: gold"))
    await bench.sync()
    entry = consul.entry("service-defaults", "pay")
    meta = {**entry["Meta"], "by-hand": "yes"}
    consul.put_entry("service-defaults", "pay", Protocol=entry["Protocol"], Meta=meta)
    bench.commit(pay=external("pay", metadata="team: a"))

    report = await bench.sync()

    meta = consul.entry("service-defaults", "pay")["Meta"]
    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert (meta.get("team"), meta.get("tier"), meta.get("by-hand")) == ("a", None, "yes")


async def test_a_database_that_is_gone_costs_history_and_no_write(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay", router=ROUTER), books=static("books"))
    await bench.sync()
    before = consul.dump()
    bench.forget_history()
    bench.forget_mirror()

    report = await bench.sync()

    assert report.outcome is RunOutcome.UNCHANGED
    assert consul.dump() == before


async def test_records_that_are_gone_are_rebuilt_from_git_and_marks(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay", router=ROUTER), books=static("books"))
    await bench.sync()
    entries = {
        kind: consul.entries(kind)
        for kind in ("service-defaults", "service-router", "service-resolver", "terminating-gateway")
    }
    consul.delete("/v1/kv/svc-handler", recurse="")

    report = await bench.sync()

    assert report.outcome in (RunOutcome.UNCHANGED, RunOutcome.APPLIED), report
    assert json.loads(consul.value("svc-handler/ledger/default/default/pay"))["state"] == "applied"
    assert entries == {kind: consul.entries(kind) for kind in entries}


async def test_with_the_records_gone_and_a_file_unreadable_nothing_is_deleted(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    consul.delete("/v1/kv/svc-handler", recurse="")
    bench.remove("services/books.yaml")
    bench.write("services/pay.yaml", "name: [pay\n")
    bench.commit()

    report = await bench.sync()

    assert consul.entry("service-defaults", "pay")
    assert consul.entry("service-defaults", "books")
    assert report.holds


@pytest.mark.parametrize("text", ["services: {}\n", ""])
async def test_a_repository_without_specs_deletes_nothing_unasked(
    bench: Workbench, consul: ConsulServer, text: str
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    bench.remove("services/pay.yaml", "services/books.yaml")
    bench.write("services/note.txt", text)
    bench.commit()

    report = await bench.sync()

    assert exit_code(report) == 4
    assert report.holds[0].empty
    assert consul.entry("service-defaults", "pay")


async def test_a_directory_that_is_gone_is_a_commit_without_specs(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.remove("services/pay.yaml")
    bench.commit()

    report = await bench.sync()

    assert report.holds, report
    assert consul.entry("service-defaults", "pay")


async def test_a_path_that_was_never_there_is_an_error_and_deletes_nothing(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.git_settings["path"] = "nowhere"

    report = await bench.sync(accept_lineage=True)

    assert exit_code(report) in (3, 5)
    assert consul.entry("service-defaults", "pay")


async def test_an_empty_commit_moves_the_applied_revision_and_nothing_else(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    before = consul.dump()
    sha = bench.commit("nothing")

    report = await bench.sync()

    after = consul.dump()
    changed = {key for key in after if after[key] != before.get(key)}
    assert (report.outcome, report.applied_revision) == (RunOutcome.UNCHANGED, sha)
    assert len(changed) == 1
    assert json.loads(consul.value("svc-handler/owners/test/payments/revision"))["revision"] == sha


async def test_a_spec_too_large_for_a_record_fails_alone(bench: Workbench, consul: ConsulServer) -> None:
    routes = "\n".join(f"  - {{ match: {{ path_prefix: /{number}{'x' * 1800} }} }}" for number in range(99))
    bench.commit(pay=external("pay", router=f"routes:\n{routes}"), books=external("books", "192.0.2.11"))

    report = await bench.sync()

    assert outcomes(report)["books"] is Outcome.APPLIED
    assert outcomes(report)["pay"] in (Outcome.FAILED, Outcome.REFUSED)
    assert consul.entry("service-defaults", "pay") is None


async def test_a_store_that_cannot_be_written_costs_history_and_no_run(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    file = bench.folder / "state" / "gitsync.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database" * 400)

    report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED
    assert consul.entry("service-defaults", "pay")
