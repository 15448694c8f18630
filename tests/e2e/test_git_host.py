"""From a push at a Git host to Consul and back to a status on the commit, by webhooks, over real git and a real API of HTTP."""

from __future__ import annotations

import json

from tests.e2e.hosting import Hosting
from tests.servers.forge import NOWHERE
from tests.workbench import external


def test_a_push_is_applied_and_its_commit_says_so_with_a_link_to_a_page_that_answers(hosting):
    site: Hosting = hosting()
    first = site.forge.push()
    site.start()
    begun = site.status(first, "success")

    second = site.pushed(pay=external("pay"))
    applied = site.status(second, "success")

    assert begun["description"].startswith("nothing to change")
    assert site.has("pay")
    assert applied["context"] == "gitsync/apply/test/payments"
    assert applied["description"] == "1 applied"
    assert applied["target_url"].startswith(f"{site.url}/runs/")
    status, page = site.get(applied["target_url"])
    assert status == 200
    assert second[:12] in page
    assert "pay" in page
    status, raw = site.get(applied["target_url"], "application/json")
    assert status == 200
    assert json.loads(raw)["run"]["revision"] == second
    assert site.lines(action="run", outcome="applied", revision=second)[0]["trigger"] == "webhook"


def test_a_status_is_posted_once_a_change_however_often_it_is_looked_at(hosting):
    site: Hosting = hosting(interval="5s")
    site.bench.commit(pay=external("pay"))
    sha = site.forge.push()
    site.start()
    site.status(sha, "success")

    for number in range(3):
        ended = len(site.lines(action="run", outcome="unchanged"))
        site.told(site.forge.pushed(sha, before=sha))
        site.until(lambda ended=ended: len(site.lines(action="run", outcome="unchanged")) > ended, f"look {number}")
    later = site.pushed(shop=external("shop", "192.0.2.11"))
    site.status(later, "success")

    assert site.states(sha).count("success") == 1
    assert site.states(later).count("success") == 1
    assert len(site.forge.api.sent("POST", rf"/repos/{site.forge.name}/statuses/{sha}")) == len(site.states(sha))
    assert [state for state in site.states(sha) if state != "pending"] == ["success"]


def test_a_branch_that_is_deleted_changes_nothing_and_its_next_push_is_applied(hosting):
    site: Hosting = hosting()
    site.bench.commit(pay=external("pay"))
    sha = site.forge.push()
    site.start()
    site.status(sha, "success")

    site.forge.delete()
    site.told(site.forge.deleted())
    site.until(
        lambda: [line for line in site.lines(action="run", trigger="webhook") if "main" in str(line.get("event"))],
        "the run that finds no branch",
    )
    assert site.has("pay")
    again = site.pushed(shop=external("shop", "192.0.2.11"))

    site.status(again, "success")
    assert site.has("shop")
    assert site.states(sha)[-1] == "success"


def test_a_webhook_that_comes_before_the_ref_moved_is_not_lost(hosting):
    site: Hosting = hosting()
    old = site.forge.push()
    site.start()
    site.status(old, "success")

    site.bench.commit(pay=external("pay"))
    new = site.forge.push(to="refs/heads/elsewhere")  # the host has it, and main is still as it was
    site.told(site.forge.pushed(new, before=old))
    site.logged(action="run", trigger="webhook", revision=old)
    site.forge.push()

    said = site.status(new, "success")
    assert site.has("pay")
    assert said["description"] == "1 applied"
    assert site.lines(action="run", outcome="applied", revision=new)[0]["trigger"] == "webhook"


def test_heads_that_were_overtaken_end_as_the_one_that_overtook_them(hosting):
    site: Hosting = hosting()
    first = site.forge.push()
    site.start()
    site.status(first, "success")

    site.bench.commit(pay=external("pay"))
    second = site.forge.push(to="refs/heads/elsewhere")
    site.told(site.forge.pushed(second))  # told of, and not yet to be had
    site.status(second, "pending")
    third = site.pushed(shop=external("shop", "192.0.2.11"))

    assert site.status(third, "success")["description"] == "2 applied"
    said = site.status(second, "success")
    assert said["description"].startswith(f"applied with {third[:12]}")


def test_what_is_said_under_a_wrong_signature_or_of_other_refs_and_repositories_wakes_nobody(hosting):
    site: Hosting = hosting()
    sha = site.forge.push()
    site.start()
    site.status(sha, "success")
    site.bench.commit(pay=external("pay"))
    new = site.forge.push()
    event, body = site.forge.pushed(new)

    answers = [
        site.forge.deliver(site.port, (event, body), secret="guessed"),
        site.forge.deliver(site.port, (event, body), sync="nobody"),
        site.forge.deliver(site.port, (event, {**body, "ref": "refs/heads/other"})),
        site.forge.deliver(site.port, (event, {**body, "repository": {"full_name": "mallory/specs"}})),
        site.forge.deliver(site.port, ("issues", {"action": "opened", "repository": {"full_name": site.forge.name}})),
    ]

    assert answers == [401, 404, 202, 202, 202]
    assert not site.lines(action="run", trigger="webhook")
    site.told((event, {**body, "before": NOWHERE}))
    site.status(new, "success")
    assert len({line["run"] for line in site.lines(action="run", trigger="webhook", outcome="applied")}) == 1
