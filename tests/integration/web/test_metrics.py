"""/metrics: what is counted while it happens, and what is looked up when somebody asks."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from gitsync.model.delivery import DeliveryKind, Wanted
from gitsync.model.errors import Unavailable
from gitsync.model.host import CommitState, Status
from gitsync.model.view import SyncView
from gitsync.web import Metrics
from tests.integration.web.site import FAILED_RUN, GOOD, GOOD_RUN, HELD_RUN, NOW, Site, stored


async def samples(client) -> dict[tuple[str, ...], float]:
    """What /metrics says: value by name and the values of the labels, sorted."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.text))
    return {(each.name, *sorted(each.labels.values())): each.value for family in families for each in family.samples}


async def test_runs_and_what_became_of_services_are_counted():
    one = Site(Unavailable("not needed"))
    for run in (GOOD_RUN, FAILED_RUN, FAILED_RUN):
        one.metrics.run_ended(run)
    async with one.served() as client:
        found = await samples(client)

    assert found["gitsync_runs_total", "applied", "payments"] == 1
    assert found["gitsync_runs_total", "partial", "payments"] == 2
    assert found["gitsync_services_total", "applied", "payments"] == 5
    assert found["gitsync_services_total", "failed", "payments"] == 2
    assert found["gitsync_services_total", "conflict", "payments"] == 2
    assert found["gitsync_step_seconds_count", "fetch"] == 3
    assert found["gitsync_step_seconds_bucket", "0.1", "fetch"] == 0
    assert found["gitsync_step_seconds_bucket", "0.25", "fetch"] == 3
    assert found["gitsync_run_seconds_count", "payments"] == 3


async def test_where_the_syncs_stand_is_asked_when_somebody_asks():
    one = Site(Unavailable("not needed"))
    one.views["search"] = SyncView(
        "search", 60, silent=900, failures=3, in_flight="schedule", waiting="webhook", suspended=True
    )
    async with one.served() as client:
        found = await samples(client)
        one.views["payments"] = replace(GOOD, last_success="2026-01-01T12:00:30Z")
        del one.views["search"]
        later = await samples(client)

    assert found["gitsync_last_success_age_seconds", "payments"] == 12
    assert ("gitsync_last_success_age_seconds", "search") not in found
    assert (found["gitsync_sync_ready", "payments"], found["gitsync_sync_ready", "search"]) == (1, 0)
    assert found["gitsync_sync_suspended", "search"] == 1
    assert found["gitsync_run_in_flight", "search"] == 1
    assert found["gitsync_run_waiting", "search"] == 1
    assert found["gitsync_sync_failures", "search"] == 3
    assert later["gitsync_last_success_age_seconds", "payments"] == 0
    assert not [name for name in later if "search" in name]


async def test_what_waits_in_the_store_is_counted(tmp_path):
    async with stored(tmp_path, HELD_RUN) as store, Site(store).served() as client:
        await store.deliveries.want(wanted(), now=NOW)
        found = await samples(client)

    assert found["gitsync_store_up",] == 1
    assert found["gitsync_holds_open", "payments"] == 1
    assert found["gitsync_deliveries_waiting", "payments", "status"] == 1


def wanted() -> Wanted:
    status = Status(
        "a" * 40, "gitsync/apply/prod/payments", CommitState.SUCCESS, "1 applied", "https://x.example/runs/1"
    )
    body = {"state": str(status.state), "description": status.description, "target_url": status.target_url, "ref": None}
    return Wanted("payments", DeliveryKind.STATUS, status.sha, status.context, body)


async def test_a_store_that_is_down_costs_its_own_figures_only():
    one = Site(Unavailable("the disk is gone"))
    one.metrics.run_ended(GOOD_RUN)
    async with one.served() as client:
        found = await samples(client)

    assert found["gitsync_store_up",] == 0
    assert not [name for name in found if name[0] in ("gitsync_holds_open", "gitsync_deliveries_waiting")]
    assert found["gitsync_runs_total", "applied", "payments"] == 1
    assert found["gitsync_sync_ready", "payments"] == 1


async def test_every_name_is_gitsync_s_own_and_two_processes_in_one_do_not_clash():
    first, second = Site(Unavailable("not needed")), Site(Unavailable("not needed"))
    first.metrics.run_ended(GOOD_RUN)
    async with first.served() as client, second.served() as other:
        found, others = await samples(client), await samples(other)

    assert all(name.startswith("gitsync_") for name, *_ in found)
    assert not [name for name, *_ in found if name.endswith("_created")]
    assert ("gitsync_runs_total", "applied", "payments") not in others
    assert found["gitsync_process_resident_memory_bytes",] > 1_000_000
    assert found["gitsync_build_info", "0.0"] == 1


async def test_openmetrics_is_spoken_to_who_asks_for_it():
    async with Site(Unavailable("not needed")).served() as client:
        answer = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_a_metrics_object_needs_nobody_to_serve_it():
    Metrics().webhook("payments", "woken", 0.001)
