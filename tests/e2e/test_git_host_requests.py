"""Pull requests at a Git host: a plan on every head, one comment, and what is said to whom."""

from __future__ import annotations

from tests.e2e.hosting import proposed, started
from tests.workbench import external


def test_a_request_gets_a_plan_and_one_comment_a_second_push_edits_it_and_its_merge_is_applied(hosting):
    site = started(hosting)

    first = proposed(site, 1, shop=external("shop", "192.0.2.11"))
    plan = site.plan(first)
    comment = site.until(lambda: list(site.forge.comments[1]), "the comment")[0]
    told = comment["body"]
    before = site.has("shop")
    second = proposed(site, 1, "synchronized", books=external("books", "192.0.2.12"))
    site.plan(second)
    site.until(lambda: "books" in site.forge.comments[1][0]["body"], "the comment's edit")
    merge = site.forge.merge(1)
    site.told(site.forge.request(1, "closed"))
    site.told(site.forge.pushed(merge))
    applied = site.status(merge, "success")

    assert plan["context"] == "gitsync/plan/test/payments"
    assert plan["target_url"] == f"{site.url}/plans/payments/1"
    assert site.get(plan["target_url"])[0] == 200
    assert "shop" in told
    assert told.startswith("<!-- gitsync:plan source=test/payments -->")
    assert not before
    assert len(site.forge.comments[1]) == 1
    assert site.forge.comments[1][0]["id"] == comment["id"]
    assert applied["description"] == "2 applied"
    assert site.has("shop")
    assert site.has("books")
    assert not site.states(first)  # no apply status on what is only proposed
    assert not site.states(second)
    assert site.states(first, "plan").count("success") == 1
    assert site.states(second, "plan").count("success") == 1


def test_a_request_that_touches_no_service_gets_a_status_and_no_comment(hosting):
    site = started(hosting)
    site.bench.git("checkout", "-q", "-b", "request-1")
    site.bench.write("README.md", "other words\n")
    site.bench.commit("words")
    head = site.forge.propose(1)
    site.told(site.forge.request(1, "opened"))

    said = site.plan(head)

    assert "no service" in said["description"]
    site.logged(action="review", change=1, outcome="judged")
    assert not site.forge.comments[1]
    assert not site.forge.api.sent("POST", ".*/issues/1/comments")


def test_a_request_with_a_bad_file_is_refused_before_it_is_merged(hosting):
    site = started(hosting)

    said = site.plan(proposed(site, 1, bad="name: [\n"), "failure")

    assert "bad" in said["description"]
    site.until(lambda: list(site.forge.comments[1]), "the comment")
    assert "bad.yaml" in site.forge.comments[1][0]["body"]


def test_of_a_fork_the_files_are_judged_and_nothing_of_consul_is_told(hosting):
    site = started(hosting)

    good = site.plan(proposed(site, 1, fork=True, shop=external("shop", "192.0.2.11")))
    bad = site.plan(proposed(site, 2, fork=True, bad="name: [\n"), "failure")

    assert "valid" in good["description"]
    assert "bad.yaml" not in str(site.forge.comments[1])
    assert bad["state"] == "failure"
    site.logged(action="review", change=2, outcome="judged")
    assert not site.forge.comments[1]
    assert "192.0.2.10" not in str(site.forge.comments)
