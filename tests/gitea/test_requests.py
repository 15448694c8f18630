"""Pull requests at Gitea: planned, told, planned again when they move, forgotten, and merged into what was planned."""

from __future__ import annotations

import pytest

from tests.gitea.site import APPLY, PLAN, STRANGER, Site
from tests.servers import wait_for
from tests.servers.consul import ConsulServer
from tests.workbench import external


def begun(site: Site) -> None:
    """One service, applied by a daemon that runs."""
    site.hook()
    sha = site.commit(pay=external("pay"))
    site.start()
    site.told(sha, APPLY, "success")


def test_a_request_is_planned_told_edited_retargeted_reopened_merged_and_applied(
    site: Site, consul: ConsulServer
) -> None:
    begun(site)
    site.push("main:refs/heads/elsewhere")
    before = consul.dump()

    site.branch("idea")
    first = site.commit(pay=external("pay", "192.0.2.77"))
    number = site.open("idea")
    said = site.told(first, PLAN)
    comment = site.commented(number, "192.0.2.77")
    assert (said["status"], said["description"].split(" · ")[0]) == ("success", "1 to update")
    assert said["target_url"] == f"{site.pages}/plans/{site.bench.name}/{number}"
    assert site.page(said["target_url"]).status_code == 200
    assert "192.0.2.10" in comment

    second = site.commit(shop=external("shop", "192.0.2.11"))
    assert site.told(second, PLAN)["description"].startswith("1 to create, 1 to update")
    site.commented(number, "192.0.2.77", "192.0.2.11")

    with site.forgotten(number):
        site.edit(number, base="elsewhere")
    assert site.pull(number)["base"]["ref"] == "elsewhere"
    with site.judged(number, second):
        site.edit(number, base="main")
    with site.forgotten(number):
        site.edit(number, state="closed")
    with site.judged(number, second):
        site.edit(number, state="open")

    assert consul.dump() == before  # and all that wrote nothing
    with site.forgotten(number):
        merged = site.merge(number)
    assert merged.status_code == 200, merged.text
    head = site.pull(number)["merge_commit_sha"]
    applied = site.told(head, APPLY)

    assert (applied["status"], applied["description"]) == ("success", "2 applied")
    assert consul.entry("service-defaults", "shop")
    assert len(site.comments(number)) == 1
    assert site.statuses(second, APPLY) == []
    assert site.statuses(head, PLAN) == []
    # pending at most once for each head, and nothing that was said before is said again
    for sha in (first, second):
        said_of = site.words(sha, PLAN)
        assert [state for state, _ in said_of if state != "pending"] == ["success"], said_of
        assert len(said_of) <= 2, said_of


@pytest.mark.parametrize("how", ["squash", "rebase"])
def test_what_was_planned_is_what_is_applied_however_it_is_merged(site: Site, consul: ConsulServer, how: str) -> None:
    site.sync = {"require_reviewed_plan": True}
    begun_reviewed(site)
    site.branch("idea")
    sha = site.commit(pay=external("pay", "192.0.2.77"))
    number = site.open("idea")
    site.told(sha, PLAN, "success")

    merged = site.merge(number, how)

    assert merged.status_code == 200, merged.text
    applied = site.told(site.pull(number)["merge_commit_sha"], APPLY)
    assert (applied["status"], applied["description"]) == ("success", "1 applied")


def begun_reviewed(site: Site) -> None:
    """The same, where even the first service comes by a request: nothing else is applied."""
    site.hook()
    site.start().logged(action="run")
    site.branch("first")
    sha = site.commit(pay=external("pay"))
    number = site.open("first")
    site.told(sha, PLAN, "success")
    assert site.merge(number).status_code == 200
    site.told(site.pull(number)["merge_commit_sha"], APPLY, "success")
    site.bench.git("checkout", "-q", "main")
    site.bench.git("merge", "-q", "--ff-only", "first")


def test_a_delivery_with_an_old_head_plans_the_new_one_and_says_nothing_of_the_old(site: Site) -> None:
    begun(site)
    site.branch("idea")
    first = site.commit(pay=external("pay", "192.0.2.77"))
    number = site.open("idea")
    site.told(first, PLAN, "success")
    site.commented(number, "192.0.2.77")
    before = site.words(first, PLAN)
    pull = site.pull(number)

    second = site.commit(pay=external("pay", "192.0.2.78"))
    # Gitea may tell of a push before the request has moved, and then once more: this is the first of the two, late as well
    pull["head"]["sha"] = first
    old = {"action": "synchronized", "number": number, "pull_request": pull, "repository": {"full_name": site.repo}}
    for _ in range(2):
        assert site.deliver("pull_request", old) == 202
    said = site.told(second, PLAN)
    site.commented(number, "192.0.2.78")
    with site.judged(number, second):
        assert site.deliver("pull_request", old) == 202

    assert (said["status"], said["description"].split(" · ")[0]) == ("success", "1 to update")
    assert site.words(first, PLAN) == before
    assert [state for state, _ in site.words(second, PLAN) if state != "pending"] == ["success"]


def test_a_request_whose_branch_is_rewritten_is_planned_anew(site: Site) -> None:
    begun(site)
    site.branch("idea")
    first = site.commit(pay=external("pay", "192.0.2.77"))
    number = site.open("idea")
    site.told(first, PLAN, "success")
    site.commented(number, "192.0.2.77")

    site.bench.git("reset", "-q", "--hard", "main")
    second = site.bench.commit("instead", shop=external("shop", "192.0.2.11"))
    site.push("idea", force=True)

    assert site.told(second, PLAN)["description"].startswith("1 to create")
    assert "192.0.2.77" not in site.commented(number, "192.0.2.11")


def test_a_request_whose_branch_is_deleted_is_forgotten(site: Site) -> None:
    begun(site)
    site.branch("idea")
    sha = site.commit(pay=external("pay", "192.0.2.77"))
    number = site.open("idea")
    site.told(sha, PLAN, "success")

    with site.forgotten(number):
        site.push(":idea")

    assert site.pull(number)["state"] == "closed"


def test_a_request_that_touches_no_spec_gets_its_status_and_no_comment(site: Site) -> None:
    begun(site)
    site.branch("words")
    site.bench.write("README.md", "other words\n")
    sha = site.commit("words")

    number = site.open("words")

    assert (site.told(sha, PLAN)["status"], site.words(sha, PLAN)[-1][1]) == ("success", "no service affected")
    assert site.comments(number) == []


def test_a_request_that_was_opened_while_gitsync_was_away_is_found(site: Site) -> None:
    site.commit(pay=external("pay"))
    site.branch("idea")
    sha = site.commit(shop=external("shop", "192.0.2.11"))
    number = site.open("idea")

    site.start()

    assert site.told(sha, PLAN)["status"] == "success"
    site.commented(number, "192.0.2.11")


def test_a_plan_whose_base_moved_is_made_again(site: Site) -> None:
    begun(site)
    site.branch("idea")
    sha = site.commit(pay=external("pay", "192.0.2.77"))
    number = site.open("idea")
    site.told(sha, PLAN, "success")
    site.bench.git("checkout", "-q", "main")

    site.commit(pay=external("pay", "192.0.2.78"))

    wait_for(lambda: site.words(sha, PLAN)[-1][0] == "failure", "the conflict being told", seconds=40)
    assert "conflict" in site.commented(number, "services/pay.yaml").lower()


def test_the_files_of_a_fork_are_checked_and_nothing_of_consul_is_told(site: Site) -> None:
    begun(site)
    answer = site.gitea.ask("PATCH", f"/repos/{site.repo}", {"private": False})
    assert answer.is_success, answer.text
    site.gitea.post(f"/repos/{site.repo}/forks", {"name": site.name}, token=site.town.tokens[STRANGER])
    site.branch("theirs")
    good = site.bench.commit(shop=external("shop", "192.0.2.11"))
    site.push("theirs", user=STRANGER, repo=f"{STRANGER}/{site.name}")
    number = site.open(f"{STRANGER}:theirs", user=STRANGER)

    fine = site.told(good, PLAN)
    bad = site.bench.commit(shop="name: shop\nrouting: { host: 'hunter2!', port: 80 }\n")
    site.push("theirs", user=STRANGER, repo=f"{STRANGER}/{site.name}")
    wrong = site.told(bad, PLAN)
    comment = site.commented(number, "shop.yaml")

    assert (fine["status"], fine["description"]) == ("success", "1 spec changed, all of them valid")
    assert wrong["status"] == "failure"
    assert "hunter2" not in wrong["description"] + comment
    assert "192.0.2.10" not in comment


def test_the_plan_is_a_check_that_a_merge_can_be_made_to_need(site: Site) -> None:
    site.hook()
    site.commit(pay=external("pay"))
    rule = {"rule_name": "main", "branch_name": "main", "enable_status_check": True, "status_check_contexts": [PLAN]}
    site.gitea.post(f"/repos/{site.repo}/branch_protections", {**rule, "enable_push": True})
    site.branch("good")
    good = site.commit(pay=external("pay", "192.0.2.77"))
    wanted = site.open("good")
    site.bench.git("checkout", "-q", "main")
    site.branch("bad")
    bad = site.commit(shop="name: [")
    unwanted = site.open("bad")

    early = site.merge(wanted)
    site.start()
    site.told(good, PLAN, "success")
    site.told(bad, PLAN, "failure")
    refused, merged = site.merge(unwanted), site.merge(wanted)

    assert (early.status_code, refused.status_code, merged.status_code) == (405, 405, 200), early.text + refused.text
    assert "status checks" in early.text
    assert "status checks" in refused.text
    assert site.told(site.pull(wanted)["merge_commit_sha"], APPLY)["description"] == "1 applied"
