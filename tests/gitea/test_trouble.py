"""What goes wrong at Gitea: tokens that may not, a Gitea that is away, a webhook that never comes."""

from __future__ import annotations

import asyncio

from tests.gitea.servers import GiteaServer
from tests.gitea.site import APPLY, BOT, GIT_SCOPES, HOST_SCOPES, PLAN, Site
from tests.servers import wait_for
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import external


def test_the_documented_scopes_suffice_and_that_is_said_at_the_start(site: Site) -> None:
    daemon = site.start()

    said = daemon.logged(action="preflight")

    assert said["level"] == "info"
    assert "can be read, and told of statuses" in said["event"]
    assert not daemon.lines(action="preflight", level="warning")


def test_a_token_that_may_write_nothing_is_told_of_once_and_syncs_go_on(site: Site, consul: ConsulServer) -> None:
    site.host_token.write_text(site.town.token(BOT, GIT_SCOPES))
    site.hook()
    first = site.commit(pay=external("pay"))
    daemon = site.start()
    daemon.logged(action="run", outcome="applied", revision=first)

    for number in range(3):
        sha = site.commit(pay=external("pay", f"192.0.2.{20 + number}"))
        daemon.logged(action="run", outcome="applied", revision=sha)
        daemon_said(site, sha)

    assert [line["event"] for line in daemon.lines(action="preflight", level="warning")] != []
    assert "write:repository" in daemon.lines(action="preflight", level="warning")[0]["event"]
    assert len(daemon.lines(action="deliver", level="warning")) == 1, daemon.log
    assert site.statuses(first, APPLY) == []
    assert consul.entry("service-defaults", "pay")

    site.host_token.write_text(site.town.token(BOT, HOST_SCOPES))
    last = site.commit(pay=external("pay", "192.0.2.99"))
    assert site.told(last, APPLY)["status"] == "success"


def daemon_said(site: Site, sha: str) -> None:
    """Wait until what is to be said of a commit was given up."""
    daemon = site.daemons[-1]
    wait_for(
        lambda: [line for line in daemon.lines(action="deliver", outcome="forbidden") if sha[:12] in line["event"]],
        f"the status of {sha[:12]} being given up",
        seconds=30,
    )


def test_a_token_that_may_not_comment_still_sets_statuses(site: Site) -> None:
    site.host_token.write_text(site.town.token(BOT, ("write:repository",)))
    site.hook()
    site.commit(pay=external("pay"))
    daemon = site.start()
    site.branch("idea")
    sha = site.commit(pay=external("pay", "192.0.2.77"))
    number = site.open("idea")

    assert site.told(sha, PLAN)["status"] == "success"
    given_up = daemon.logged(action="deliver", outcome="forbidden")
    assert given_up["event"].startswith(f"comment of {number} given up")
    assert given_up["level"] == "warning"
    assert any("write:issue" in line["event"] for line in daemon.lines(action="preflight"))
    assert site.comments(number) == []


def test_a_token_that_is_none_stops_only_the_statuses_and_a_new_one_is_taken_up(
    site: Site, consul: ConsulServer
) -> None:
    good = site.host_token.read_text()
    site.host_token.write_text("0" * 40)
    site.hook()
    sha = site.commit(pay=external("pay"))
    daemon = site.start()
    daemon.logged(action="run", outcome="applied", revision=sha)
    refused = daemon.logged(action="deliver", outcome="auth")
    assert "refused" in refused["event"]

    site.host_token.write_text(good)

    assert site.told(sha, APPLY, seconds=100)["status"] == "success"
    assert consul.entry("service-defaults", "pay")


async def test_a_gitea_that_goes_in_the_middle_of_a_run_is_told_when_it_is_back(
    site: Site, gitea: GiteaServer, consul: ConsulServer
) -> None:
    site.hook()
    first = site.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        daemon = await asyncio.to_thread(site.start, consul=proxy.url)
        await asyncio.to_thread(site.told, first, APPLY, "success")
        held = proxy.script(Fault.SLOW, r"^PUT /v1/config", seconds=3)
        second = await asyncio.to_thread(site.commit, pay=external("pay", "192.0.2.77"))
        await held.reached()
        await asyncio.to_thread(gitea.stop)
        try:
            run = await asyncio.to_thread(daemon.logged, action="run", outcome="applied", revision=second)
            await asyncio.to_thread(daemon.logged, action="deliver", outcome="transient")
        finally:
            await asyncio.to_thread(gitea.start)

        said = await asyncio.to_thread(site.told, second, APPLY, "success")
        third = await asyncio.to_thread(site.commit, pay=external("pay", "192.0.2.78"))
        await asyncio.to_thread(site.told, third, APPLY, "success")

    assert said["description"] == "1 applied"
    assert said["target_url"].endswith(run["run"])
    assert site.words(second, APPLY)[-1] == ("success", "1 applied")
    assert [state for state, _ in site.words(second, APPLY)].count("success") == 1


def test_a_gitea_that_is_away_at_the_start_holds_nothing_up_for_ever(
    site: Site, gitea: GiteaServer, consul: ConsulServer
) -> None:
    site.sync = {"interval": "5s"}
    sha = site.commit(pay=external("pay"))
    gitea.stop()
    try:
        daemon = site.start()
        daemon.logged(action="run", outcome="failed")
    finally:
        gitea.start()

    assert site.told(sha, APPLY, "success", seconds=90)["description"] == "1 applied"


def test_a_daemon_that_was_killed_between_the_run_and_the_status_says_it_at_its_next_start(
    site: Site, gitea: GiteaServer
) -> None:
    site.hook()
    sha = site.commit(pay=external("pay"))
    site.start()
    site.told(sha, APPLY, "success")
    good = site.host_token.read_text()
    site.host_token.write_text("0" * 40)  # so that it cannot say it
    second = site.commit(pay=external("pay", "192.0.2.77"))
    daemon = site.daemons[-1]
    daemon.logged(action="run", outcome="applied", revision=second)
    daemon.logged(action="deliver", outcome="auth")
    daemon.process.kill()
    daemon.process.wait()
    assert site.statuses(second, APPLY) == []

    site.host_token.write_text(good)
    site.start()

    assert site.told(second, APPLY, "success", seconds=100)["description"] == "1 applied"


def test_without_a_webhook_the_interval_finds_what_was_pushed(site: Site) -> None:
    site.sync = {"interval": "5s"}
    site.start().logged(action="run")

    sha = site.commit(pay=external("pay"))

    assert site.told(sha, APPLY)["description"] == "1 applied"
    assert site.daemons[-1].lines(action="run", revision=sha)[0]["trigger"] == "schedule"
