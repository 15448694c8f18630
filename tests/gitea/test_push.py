"""From a push to Gitea to the status that Gitea shows: what is applied, what is refused, and refs that move in other ways."""

from __future__ import annotations

from tests.gitea.site import APPLY, BOT, Site
from tests.servers import wait_for
from tests.servers.consul import ConsulServer
from tests.workbench import external


def test_a_push_is_applied_by_its_webhook_and_the_commit_says_so(site: Site, consul: ConsulServer) -> None:
    site.hook()
    daemon = site.start()
    daemon.logged(action="run")

    sha = site.commit(pay=external("pay"))
    said = site.told(sha, APPLY)

    assert (said["status"], said["description"], said["creator"]["login"]) == ("success", "1 applied", BOT)
    assert consul.entry("service-defaults", "pay")
    run = daemon.logged(action="run", revision=sha)
    assert (run["trigger"], run["outcome"]) == ("webhook", "applied")
    assert said["target_url"] == f"{site.pages}/runs/{run['run']}"
    assert sha in site.page(said["target_url"]).text
    combined = site.gitea.get(f"/repos/{site.repo}/commits/main/status")
    assert (combined["sha"], combined["state"], combined["total_count"]) == (sha, "success", 1)


def test_what_is_refused_fails_its_commit_and_the_next_one_mends_it(site: Site, consul: ConsulServer) -> None:
    site.hook()
    site.start().logged(action="run")

    bad = site.commit(pay=external("pay"), shop="name: [")
    failed = site.told(bad, APPLY)
    good = site.commit(shop=external("shop", "192.0.2.11"))
    fine = site.told(good, APPLY)

    assert failed["status"] == "failure"
    assert "shop.yaml is refused" in failed["description"]
    assert "1 applied" in failed["description"]
    assert (fine["status"], fine["description"]) == ("success", "1 applied")
    assert consul.entry("service-defaults", "shop")


def test_a_commit_that_touches_no_spec_succeeds_too(site: Site) -> None:
    site.hook()
    site.commit(pay=external("pay"))
    site.start().logged(action="run", outcome="applied")
    site.bench.write("README.md", "other words\n")

    sha = site.commit("words")

    assert site.told(sha, APPLY)["description"].startswith("nothing to change")


def test_commits_that_are_pushed_together_end_with_the_last_one(site: Site) -> None:
    site.hook()
    site.start().logged(action="run")
    shas = [site.commit(pay=external("pay", f"192.0.2.{10 + number}")) for number in range(4)]

    last = site.told(shas[-1], APPLY)
    told = [site.statuses(sha, APPLY) for sha in shas[:-1]]

    assert last["status"] == "success"
    # each push came with a webhook of its own: who was told of at all ends well, applied by its own run or with a later one
    wait_for(
        lambda: all(
            not said or said[-1]["status"] == "success" for said in (site.statuses(sha, APPLY) for sha in shas)
        ),
        "every head that was told of having ended",
    )
    assert len(told) == 3


def test_a_rewritten_branch_is_not_followed_until_somebody_says_so(site: Site, consul: ConsulServer) -> None:
    site.hook()
    first = site.commit(pay=external("pay"))
    site.start()
    site.told(first, APPLY, "success")
    site.bench.git("reset", "-q", "--hard", "HEAD~1")

    rewritten = site.bench.commit("instead", shop=external("shop", "192.0.2.11"))
    site.push("main", force=True)
    said = site.told(rewritten, APPLY)

    assert said["status"] == "failure"
    assert "rewritten" in said["description"] or "--accept-rewrite" in said["description"]
    assert consul.entry("service-defaults", "pay")
    assert consul.entry("service-defaults", "shop") is None
    assert site.words(first, APPLY)[-1][0] == "success"


def test_a_rewritten_branch_is_followed_where_that_is_wanted(site: Site, consul: ConsulServer) -> None:
    site.git = {"history": "follow"}
    site.hook()
    first = site.commit(pay=external("pay"))
    site.start()
    site.told(first, APPLY, "success")
    site.bench.git("reset", "-q", "--hard", "HEAD~1")

    rewritten = site.bench.commit("instead", pay=external("pay", "192.0.2.77"))
    site.push("main", force=True)

    assert site.told(rewritten, APPLY)["description"] == "1 applied"


def test_another_branch_comes_and_goes_without_a_run(site: Site, consul: ConsulServer) -> None:
    site.hook()
    site.commit(pay=external("pay"))
    daemon = site.start()
    daemon.logged(action="run", outcome="applied")
    site.branch("idea")
    idea = site.commit(shop=external("shop", "192.0.2.11"))
    daemon.logged(action="webhook", kind="push", outcome="other-ref")

    site.push(":idea")

    # a create, a push and a delete, in whatever order
    wait_for(lambda: len(daemon.lines(action="webhook", outcome="other-ref")) >= 3, "the branch being gone")
    woken = daemon.lines(
        action="webhook", outcome="woken"
    )  # by the pushes to main, which Gitea tells of a moment later
    assert len(daemon.lines(event="a run begins", trigger="webhook")) <= len(woken) <= 2
    assert site.statuses(idea, APPLY) == []
    assert consul.entry("service-defaults", "shop") is None


def test_the_branch_that_is_followed_is_deleted_and_nothing_else_is(site: Site, consul: ConsulServer) -> None:
    site.git = {"ref": "live"}
    site.hook()
    site.branch("live")
    first = site.commit(pay=external("pay"))
    daemon = site.start()
    site.told(first, APPLY, "success")

    site.push(":live")
    gone = daemon.logged(action="run", trigger="webhook", outcome="partial")
    site.bench.commit(pay=external("pay", "192.0.2.77"))
    site.push("live")
    again = site.told(site.bench.git("rev-parse", "live"), APPLY)

    assert "has no branch or tag live. What was applied stays" in gone["event"]
    assert again["description"] == "1 applied"
    assert site.words(first, APPLY)[-1][0] == "success"
    assert consul.entry("service-defaults", "pay")


def test_a_test_delivery_is_a_harmless_look(site: Site) -> None:
    hook = site.hook()
    sha = site.commit(pay=external("pay"))
    daemon = site.start()
    site.told(sha, APPLY, "success")
    before = site.words(sha, APPLY)

    site.gitea.post(f"/repos/{site.repo}/hooks/{hook}/tests")
    daemon.logged(action="webhook", kind="push", outcome="woken")
    later = site.commit(pay=external("pay", "192.0.2.77"))
    site.told(later, APPLY, "success")

    assert site.words(sha, APPLY) == before


def test_a_delivery_with_another_secret_wakes_nobody(site: Site) -> None:
    site.hook()
    daemon = site.start()
    daemon.logged(action="run")
    first = site.commit(pay=external("pay"))
    site.told(first, APPLY, "success")
    before = len(daemon.lines(action="webhook", outcome="woken"))
    site.hook_secret.write_text("another secret than Gitea has")

    second = site.commit(pay=external("pay", "192.0.2.77"))
    refused = daemon.logged(action="hook", level="warning")

    assert refused["event"] == "a delivery without a valid signature is refused"
    assert site.statuses(second, APPLY) == []
    assert len(daemon.lines(action="webhook", outcome="woken")) == before
