"""The command line as people run it: a process, a configuration, a real Git repository and a real Consul."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitsync.store import Store
from tests.servers.consul import ConsulServer
from tests.terminal import Terminal
from tests.workbench import Workbench, external

ROOT = Path(__file__).resolve().parents[2]
LABELS = "metadata: { owner: ada, cost_center: FIN-99 }\n"


# -- the first five minutes -----------------------------------------------------------------------------------------------


def test_from_init_to_a_verified_service(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    sha = bench.commit(pay=external("pay"))

    began = gitsync.process(
        "init", f"file://{bench.repo}", "--path", "services", "--consul", consul.url, "--instance", "test"
    )
    assert began.code == 0, began.err
    assert "1 spec file, 1 service" in began.out
    assert gitsync.process("validate", str(bench.repo / "services")).code == 0

    planned = gitsync.process("plan")
    assert planned.code == 2, planned.err
    assert "+ pay" in planned.out
    assert consul.entry("service-defaults", "pay") is None

    done = gitsync.process("sync")
    assert done.code == 0, done.err
    assert "+ pay (applied)" in done.out
    assert consul.entry("service-defaults", "pay")
    assert gitsync.process("plan").code == 0

    (status,) = gitsync.json("status")["syncs"]
    assert status["applied"]["revision"] == sha
    assert status["services"] == {"total": 1, "applied": 1}
    assert status["last_run"]["outcome"] == "applied"


def test_init_says_what_consul_is_and_takes_its_only_gateway(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    consul.put_entry("terminating-gateway", "tgw-west", Services=[])
    bench.commit(pay=external("pay"))

    began = gitsync.json("init", str(bench.repo), "--path", "services", "--consul", consul.url.removeprefix("http://"))

    assert began["consul"]["version"] == ".".join(map(str, consul.version))
    assert began["consul"]["gateways"] == ["tgw-west"]
    assert began["instance"] == "dc1"
    assert "gateway: tgw-west" in gitsync.config.read_text()
    assert gitsync("plan").code == 2


def test_init_writes_a_configuration_also_where_nothing_can_be_reached(gitsync: Terminal):
    began = gitsync("init", "file:///nowhere/specs.git", "--consul", "http://127.0.0.1:1")

    assert began.code == 0
    assert began.err.count("warning: ") == 2
    assert "file:///nowhere/specs.git" in gitsync.config.read_text()
    assert gitsync("plan").code == 6


# -- plan and sync --------------------------------------------------------------------------------------------------------


def test_a_plan_is_one_json_document(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    sha = bench.commit(pay=external("pay"), bad="name: bad\n")

    ended = gitsync("plan", "payments", "--json")

    assert ended.code == 3, "a refused spec beats the changes"
    (plan,) = ended.json["plans"]
    assert (plan["sync"], plan["revision"]) == ("payments", sha)
    assert {each["service"]: each["verdict"] for each in plan["services"]} == {"pay": "create", "bad": "refused"}


def test_a_folder_is_planned_as_it_stands_there(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    assert gitsync("sync").code == 0
    bench.write("services/more.yaml", external("more"))

    ended = gitsync("plan", "--path", str(bench.repo / "services"))

    assert ended.code == 2, ended.err
    assert "+ more" in ended.out
    assert gitsync("plan").code == 0


def test_an_expected_plan_is_applied_and_no_other(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    (plan,) = gitsync.json("plan")["plans"]
    bench.commit(pay=external("pay", host="192.0.2.11"))

    other = gitsync("sync", "payments", "--expect", plan["digest"][:12])
    assert other.code == 4
    assert consul.entry("service-defaults", "pay") is None

    (plan,) = gitsync.json("plan")["plans"]
    assert gitsync("sync", "payments", "--expect", plan["digest"][:12]).code == 0


def test_a_sync_goes_back_to_a_commit_and_stays_there(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    first = bench.commit(pay=external("pay"))
    second = bench.commit(books=external("books"))
    assert gitsync("sync").code == 0

    back = gitsync("sync", "payments", "--rev", first)
    assert back.code in (0, 4), back.err  # to delete a half of everything waits for an approval
    (status,) = gitsync.json("status")["syncs"]
    assert status["suspended"]["pinned"] == first

    assert gitsync.json("resume")["resumed"][0]["pinned"] == first
    assert gitsync("sync").code == 0
    assert gitsync.json("status")["syncs"][0]["applied"]["revision"] == second


def test_what_cannot_be_reached_is_6_and_said(gitsync: Terminal, bench: Workbench):
    bench.commit(pay=external("pay"))
    bench.address = "http://127.0.0.1:1"
    gitsync.configure()

    ended = gitsync("sync")

    assert ended.code == 6
    assert ended.err.startswith("error: ")


def test_a_redacted_label_is_printed_nowhere(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    gitsync.configure(redact=["cost_center"])
    bench.commit(pay=external("pay") + LABELS)
    printed = [gitsync("plan").out, gitsync("plan", "--json").out, gitsync("sync", "--json").out]
    run = gitsync.json("runs")["runs"][0]["id"]

    for arguments in (["show", "pay"], ["runs", "--id", run], ["status"]):
        printed += [gitsync(*arguments).out, gitsync(*arguments, "--json").out]

    assert consul.entry("service-defaults", "pay")["Meta"]["cost_center"] == "FIN-99"
    assert "FIN-99" not in "".join(printed)
    assert "ada" in printed[0]


# -- looking --------------------------------------------------------------------------------------------------------------


def test_show_says_everything_of_a_service(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    sha = bench.commit(pay=external("pay"))
    gitsync("sync")

    shown = gitsync.json("show", "pay")

    assert shown["ledger"]["owner"] == "test/payments"
    assert shown["ledger"]["origin"] == {"path": "pay.yaml", "commit": sha}
    assert "service-defaults/pay" in shown["standing"]
    assert [each["version"] for each in shown["versions"]] == [1]
    text = gitsync("show", "pay").out
    assert re.search(r"owner +test/payments", text)
    assert gitsync("show", "nobody").code == 3


def test_runs_lists_what_was_done_and_shows_one(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    gitsync("sync")
    bench.commit(pay=external("pay", host="192.0.2.11"))
    gitsync("sync")

    newest, oldest = gitsync.json("runs", "payments")["runs"]
    assert newest["started"] >= oldest["started"]
    assert len(gitsync.json("runs", "--limit", "1")["runs"]) == 1
    one = gitsync("runs", "--id", newest["id"][-8:])
    assert one.code == 0
    assert '"192.0.2.10" → "192.0.2.11"' in one.out
    assert gitsync("runs", "--id", "nosuchrun").code == 3


def test_what_happened_can_be_read_while_consul_is_away(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    gitsync("sync")
    bench.address = "http://127.0.0.1:1"
    gitsync.configure()

    assert [run["outcome"] for run in gitsync.json("runs")["runs"]] == ["applied"]


# -- deciding -------------------------------------------------------------------------------------------------------------


def test_a_suspended_sync_writes_nothing_until_it_is_resumed(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    gitsync.configure()
    bench.commit(pay=external("pay"))

    assert gitsync("suspend", "payments", "--reason", "freeze", "--for", "2h").code == 0
    stopped = gitsync("sync")
    assert stopped.code == 4
    assert "freeze" in stopped.out
    assert consul.entry("service-defaults", "pay") is None
    assert gitsync("plan").code == 2
    assert gitsync.json("status")["syncs"][0]["suspended"]["reason"] == "freeze"
    assert re.search(r"suspended +freeze by \S+@\S+ until", gitsync("status").out)

    assert gitsync("resume").code == 0
    assert gitsync("sync").code == 0
    assert gitsync.json("resume") == {"resumed": []}


def test_held_deletes_go_once_they_are_approved(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    gitsync.configure(prune={"max_count": 0})
    bench.commit(pay=external("pay"), books=external("books"))
    gitsync("sync")
    bench.remove("services/pay.yaml")
    bench.commit()

    assert gitsync("plan").code == 4
    assert gitsync("sync").code == 4
    (status,) = gitsync.json("status")["syncs"]
    digest = status["holds"][0]["digest"]
    assert gitsync("approve", "000000000000").code == 3

    approved = gitsync("approve", digest[:6])
    assert approved.code == 0, approved.err
    assert consul.entry("service-defaults", "pay")
    assert re.fullmatch(r"\S+@\S+", gitsync.json("status")["syncs"][0]["approvals"][0]["by"])
    assert gitsync("sync").code == 0
    assert consul.entry("service-defaults", "pay") is None
    assert consul.entry("service-defaults", "books")


def test_a_hold_that_no_run_recorded_is_found_by_looking(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    gitsync.configure(prune={"max_count": 0})
    bench.commit(pay=external("pay"), books=external("books"))
    gitsync("sync")
    bench.remove("services/pay.yaml")
    bench.commit()
    digest = gitsync.json("plan")["plans"][0]["holds"][0]["digest"]

    done = gitsync("approve", digest, "--now")

    assert done.code == 0, done.err
    assert consul.entry("service-defaults", "pay") is None


def test_what_stands_there_is_adopted_and_released_again(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    gitsync.configure()
    consul.put_entry("service-defaults", "pay", Protocol="tcp")
    bench.commit(pay=external("pay"))
    assert gitsync("sync").code == 4
    assert gitsync("adopt", "nobody").code == 3

    adopted = gitsync("adopt", "pay")
    assert adopted.code == 0, adopted.out + adopted.err
    assert consul.entry("service-defaults", "pay")["Meta"]["gitsync-owner"] == "test/payments"
    assert gitsync.json("show", "pay")["before_adoption"]["originals"]

    released = gitsync("release", "pay")
    assert released.code == 0, released.err
    assert consul.entry("service-defaults", "pay")["Meta"]["gitsync-owner"] == "released-by-test/payments"
    assert gitsync("plan").code == 4
    assert gitsync("release", "pay").code == 3
    assert gitsync("adopt", "--all").code == 4, "what was given up is taken back by name only"
    assert gitsync("adopt", "pay", "--yes").code == 0


def test_what_a_person_decided_is_in_the_history(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    gitsync("sync")
    gitsync("suspend", "--reason", "freeze")
    gitsync("resume")
    gitsync("release", "pay")

    async def events() -> list[Mapping[str, Any]]:
        async with Store.open(f"sqlite:///{gitsync.folder}/state/gitsync.db") as store:
            return await store.outbox()

    told = {each["event"]: each["body"] for each in asyncio.run(events())}
    assert told["suspended"]["reason"] == "freeze"
    assert told["released"]["service"] == "default/default/pay"
    assert "@" in told["released"]["by"]
    assert "resumed" in told


def test_a_history_that_cannot_be_written_stops_nobody(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    (gitsync.folder / "full").write_text("")
    gitsync.configure()
    settings = {**json.loads(gitsync.config.read_text()), "store": "sqlite:///full/gitsync.db"}
    gitsync.config.write_text(json.dumps(settings))
    bench.commit(pay=external("pay"))

    assert gitsync("sync").code == 0
    suspended = gitsync("suspend", "--reason", "freeze")
    assert suspended.code == 0
    assert "not in the history" in suspended.err
    assert gitsync("resume").code == 0
    assert gitsync("status").code == 0
    assert gitsync("show", "pay").code == 0
    assert gitsync("runs").code == 6
