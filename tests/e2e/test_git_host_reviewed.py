"""Pull requests that move: other bases, late refs, no webhook; and merges that are not, or just are, what was reviewed."""

from __future__ import annotations

from tests.e2e.hosting import Hosting, proposed, started
from tests.workbench import external


def test_requests_are_found_although_no_webhook_came(hosting):
    site: Hosting = hosting()
    site.bench.commit(pay=external("pay"))
    site.forge.push()
    site.bench.git("checkout", "-q", "-b", "request-7")
    site.bench.commit("request 7", shop=external("shop", "192.0.2.11"))
    head = site.forge.propose(7)
    site.bench.git("checkout", "-q", "main")

    site.start()

    assert "shop" in site.until(lambda: list(site.forge.comments[7]), "the comment")[0]["body"]
    site.plan(head)


def test_a_request_that_goes_elsewhere_or_is_closed_is_forgotten_and_looked_at_again_when_it_is_back(hosting):
    site = started(hosting)
    head = proposed(site, 1, shop=external("shop", "192.0.2.11"))
    site.plan(head)
    mirror = site.folder / "state" / "mirrors" / "payments.git" / "refs" / "gitsync" / "changes" / "1"
    kept = mirror.exists()

    site.forge.pulls[1]["base"]["ref"] = "release"
    site.told(site.forge.request(1, "edited", changes={"ref": {"from": "main"}}))
    site.logged(action="review", change=1, event="forgotten")
    gone = mirror.exists()
    site.forge.pulls[1]["base"]["ref"] = "main"
    judged = len(site.lines(action="review", outcome="judged"))
    site.told(site.forge.request(1, "edited", changes={"ref": {"from": "release"}}))
    site.until(lambda: len(site.lines(action="review", outcome="judged")) > judged, "the request being back")
    site.forge.pulls[1]["state"] = "closed"
    site.told(site.forge.request(1, "closed"))
    site.until(lambda: len(site.lines(action="review", change=1, event="forgotten")) == 2, "the request being closed")

    assert kept
    assert not gone
    assert site.states(head, "plan").count("success") == 1  # the same was said already
    assert not site.has("shop")


def test_a_head_that_its_ref_does_not_show_yet_is_planned_as_soon_as_it_is_there(hosting):
    site = started(hosting)
    old = proposed(site, 1, shop=external("shop", "192.0.2.11"))
    site.plan(old)
    site.bench.git("checkout", "-q", "request-1")
    new = site.bench.commit("request 1", books=external("books", "192.0.2.12"))
    site.bench.git("checkout", "-q", "main")
    site.forge.pulls[1]["head"]["sha"] = new  # the API and the delivery know it, git does not
    asked = len(site.forge.api.sent("GET", ".*/pulls/1"))
    site.told(site.forge.request(1, "synchronized"))
    site.until(lambda: len(site.forge.api.sent("GET", ".*/pulls/1")) >= asked + 2, "the second look for the new head")

    site.forge.push("request-1", "refs/heads/request-1")

    site.plan(new)
    assert (
        "books"
        in site.until(
            lambda: [each["body"] for each in site.forge.comments[1] if "books" in each["body"]], "the comment"
        )[0]
    )


def test_what_was_reviewed_is_applied_where_the_sync_requires_that(hosting):
    site = started(hosting, empty=True, sync={"require_reviewed_plan": True})
    head = proposed(site, 1, shop=external("shop", "192.0.2.11"))
    site.plan(head)
    site.until(lambda: list(site.forge.comments[1]), "the comment")

    merge = site.forge.merge(1)
    site.told(site.forge.pushed(merge))

    assert site.status(merge, "success")["description"] == "1 applied"
    assert site.has("shop")


def test_what_deviates_from_the_reviewed_plan_is_held_where_the_sync_requires_that(hosting):
    site = started(hosting, empty=True, sync={"require_reviewed_plan": True})
    head = proposed(site, 1, shop=external("shop", "192.0.2.11"))
    site.plan(head)
    site.logged(action="review", change=1, outcome="judged")

    site.bench.git("checkout", "-q", "request-1")
    site.bench.commit("unseen", shop=external("shop", "192.0.2.99"), books=external("books", "192.0.2.12"))
    site.forge.pulls[1]["head"]["sha"] = site.bench.git("rev-parse", "HEAD")
    merge = site.forge.merge(1)
    site.told(site.forge.pushed(merge))
    said = site.status(merge, "failure")

    assert not site.has("shop")
    assert not site.has("books")
    assert said["description"].startswith("2 differ from the reviewed plan")
    assert "reviewed" in site.get(said["target_url"])[1]
