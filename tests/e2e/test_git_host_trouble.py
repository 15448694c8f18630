"""A Git host that is away, slow or says no: a sync does not wait for it, and nothing is left unsaid."""

from __future__ import annotations

import pytest

from tests.e2e.hosting import Hosting, started
from tests.servers.host_api import Reply
from tests.workbench import external


@pytest.mark.parametrize("refusal", [Reply(503, {"message": "down"}), Reply(502, b"<html>", content_type="text/html")])
def test_a_host_that_is_away_gets_its_statuses_later_and_holds_up_no_sync(hosting, refusal):
    site = started(hosting, empty=True)
    site.forge.refusing = refusal

    first = site.pushed(pay=external("pay"))
    site.logged(action="run", outcome="applied", revision=first)
    site.until(lambda: site.forge.api.sent("POST", rf".*/statuses/{first}"), "the status being tried")
    second = site.pushed(shop=external("shop", "192.0.2.11"))
    site.logged(action="run", outcome="applied", revision=second)
    none = site.states(first) + site.states(second)
    site.forge.refusing = None

    assert site.has("shop")
    assert not none
    site.status(second, "success")
    site.status(first, "success")
    assert (site.states(first).count("success"), site.states(second).count("success")) == (1, 1)


def test_a_host_that_does_not_answer_holds_up_no_sync(hosting):
    site = started(hosting, empty=True)
    site.forge.refusing = Reply(hang=True)

    first = site.pushed(pay=external("pay"))
    site.until(lambda: site.forge.api.sent("POST", rf".*/statuses/{first}"), "the status being tried")
    second = site.pushed(shop=external("shop", "192.0.2.11"))

    site.logged(action="run", outcome="applied", revision=second)
    assert site.has("shop")


def test_a_token_that_is_refused_is_told_once_and_stops_no_sync(hosting):
    site: Hosting = hosting()
    (site.folder / "api-token").write_text("expired\n")
    site.bench.commit(pay=external("pay"))
    sha = site.forge.push()
    site.start()
    site.logged(action="deliver", outcome="auth", level="warning")

    later = site.pushed(shop=external("shop", "192.0.2.11"))

    site.logged(action="run", outcome="applied", revision=later)
    assert site.has("shop")
    assert not site.states(sha)
    assert len(site.lines(action="deliver", outcome="auth", level="warning")) == 1
