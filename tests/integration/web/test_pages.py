"""The pages over real connections, from a real store: what they tell, to whom, and that nothing hostile comes alive on them."""

from __future__ import annotations

import asyncio
import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gitsync.core.contract import CODE as DEVIATES
from gitsync.log import SECRETS, hide
from gitsync.model.errors import Unavailable
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, FieldDiff
from gitsync.model.revision import Revision
from gitsync.model.run import ComponentDiff, Outcome, RunOutcome
from gitsync.web import Access, application
from gitsync.web.told import FIELDS, SERVICES
from tests.integration.web.site import (
    FAILED_RUN,
    GOOD,
    GOOD_RUN,
    HELD_RUN,
    REVISION,
    Site,
    report,
    service,
    stored,
)

JSON = {"accept": "application/json"}
HOSTILE = "<script>alert(1)<!--\"'><img src=x onerror=alert(1)>\u202e gnp\x1b[31m {{ 7 * 7 }} &amp; \u200b"
"""What opens a tag, leaves an attribute, turns text around, colours a terminal, and is an expression elsewhere."""


class Page(HTMLParser):
    """A page as a browser takes it: its tags, their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(source)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


async def page(folder: Path, run, path: str = "", **given) -> Page:
    """The page of a run, or *path*, of a site whose store has it."""
    async with stored(folder, run) as store, Site(store, **given).served() as client:
        answer = await client.get(path or f"/runs/{run.id}")
        assert answer.status_code == 200
        return Page(answer.text)


# -- one run --------------------------------------------------------------------------------------------------------------


async def test_the_page_of_a_run_tells_what_was_done_to_which_service_and_by_whose_commit(tmp_path):
    text = (await page(tmp_path, GOOD_RUN)).text

    for told in (
        "Applied", "2 applied, 1 pruned", REVISION[:12], REVISION[12:], "Ada Byron", "Give checkout two versions", "a webhook",
        "2026-01-01 12:00:17 UTC", "376 ms", GOOD_RUN.id, "3f9a0c1d22e4", "service-defaults/checkout updated", '"tcp"', '"http"',
        "512", "service-router/checkout created", "old-invoices", "service-defaults/old-invoices deleted", "per-try-timeout",
        "Leave connect.router.retries.per_try_timeout out.", "fetch", "142 ms", "< 1 ms", "verify",
    ):  # fmt: skip
        assert told in text, told


async def test_values_of_redacted_labels_are_shown_to_nobody(tmp_path):
    async with stored(tmp_path, GOOD_RUN) as store, Site(store).served() as client:
        shown = (await client.get(f"/runs/{GOOD_RUN.id}")).text
        document = (await client.get(f"/runs/{GOOD_RUN.id}", headers=JSON)).text

    for text in (shown, document):
        assert "4711" not in text
        assert "4712" not in text
        assert "cost_center" in text
        assert "(redacted)" in text


async def test_of_a_sync_that_is_not_configured_any_more_no_value_is_shown(tmp_path):
    run = replace(GOOD_RUN, sync="gone")
    async with stored(tmp_path, run) as store, Site(store).served() as client:
        shown = (await client.get(f"/runs/{run.id}")).text
        document = (await client.get(f"/runs/{run.id}", headers=JSON)).text

    for text in (shown, document):
        assert "Protocol" in text
        assert not re.search(r'"http"|&#34;http&#34;|512|4711', text)
    assert "not configured any more" in shown


async def test_a_run_that_failed_says_where_and_why_and_the_worst_comes_first(tmp_path):
    text = (await page(tmp_path, FAILED_RUN)).text

    assert "Applied in part" in text
    assert "1 applied, 1 refused, 1 in conflict, 1 failed" in text
    assert "Consul gave no answer to PUT service-router/checkout within 10 s. It is tried again." in text
    assert "at routers" in text
    assert "services/billing.yaml is no YAML" in text
    order = [
        text.index(f" {each} ")
        for each in ("failed checkout", "refused mailer", "conflict search", "applied ledger-api")
    ]
    assert order == sorted(order)


async def test_a_run_that_ended_early_says_why(tmp_path):
    run = report(
        "01KDVQXJ2M8Q7R3T5V9W1X3Z6A",
        outcome=RunOutcome.FAILED,
        services=(),
        steps=(),
        error="no route to git.example",
        error_exit=6,
    )
    text = (await page(tmp_path, run)).text

    assert "Why it ended no route to git.example" in text


async def test_a_hold_says_what_waits_and_the_command_that_lets_it_go(tmp_path):
    text = (await page(tmp_path, HELD_RUN)).text

    assert "Waits for an approval" in text
    assert "14 deletes wait for an approval" in text
    assert "14 of 40 services would be deleted, and prune.max_count is 10" in text
    assert "legacy-07" in text
    assert "gitsync approve 9d41f0c2ab7e" in text


async def test_a_commit_without_specs_is_approved_as_what_it_is(tmp_path):
    hold = replace(HELD_RUN.holds[0], empty=True)
    text = (await page(tmp_path, replace(HELD_RUN, holds=(hold,)))).text

    assert "gitsync approve 9d41f0c2ab7e --empty" in text


async def test_a_hold_that_is_over_asks_for_nothing(tmp_path):
    async with stored(tmp_path, HELD_RUN) as store, Site(store).served() as client:
        await store.record_holds("payments", [])
        text = Page((await client.get(f"/runs/{HELD_RUN.id}")).text).text

    assert "These deletes waited for an approval, and do not any more" in text
    assert "gitsync approve" not in text


async def test_what_differs_from_the_reviewed_plan_is_said_first(tmp_path):
    key = ServiceKey("checkout")
    finding = Finding(
        DEVIATES,
        Severity.WARNING,
        "checkout is not as reviewed in #12: also create service-router/checkout.",
        service=key,
    )
    run = report("01KDVQXJ2M8Q7R3T5V9W1X3Z6B", services=(service("checkout", findings=(finding,)),))
    text = (await page(tmp_path, run)).text

    assert text.index("Not what was reviewed") < text.index("Services")
    assert "checkout is not as reviewed in #12" in text


async def test_a_run_that_goes_on_says_so_and_looks_again_by_itself(tmp_path):
    async with stored(tmp_path) as store, Site(store).served() as client:
        await store.begin_run(
            run="01KDVQXJ2M8Q7R3T5V9W1X3Z6C",
            sync="payments",
            revision=REVISION,
            trigger="start",
            started="2026-01-01T12:00:20Z",
        )
        shown = await client.get("/runs/01KDVQXJ2M8Q7R3T5V9W1X3Z6C")
        document = (await client.get("/runs/01KDVQXJ2M8Q7R3T5V9W1X3Z6C", headers=JSON)).json()

    assert shown.status_code == 200
    assert "Running" in Page(shown.text).text
    assert ("http-equiv", "refresh") in Page(shown.text).attributes
    assert (document["run"]["outcome"], document["run"]["finished"]) == (None, None)


async def test_a_run_that_is_not_there_is_told_as_that(tmp_path):
    async with stored(tmp_path) as store, Site(store).served() as client:
        shown = await client.get("/runs/01KDVQXJ2M8Q7R3T5V9W1X3Z6D")
        document = await client.get("/runs/01KDVQXJ2M8Q7R3T5V9W1X3Z6D", headers=JSON)

    assert shown.status_code == document.status_code == 404
    assert "There is no run '01KDVQXJ2M8Q7R3T5V9W1X3Z6D' in the history." in html.unescape(shown.text)
    assert document.json()["error"].startswith("There is no run ")


async def test_a_huge_run_is_a_page_of_bounded_size_and_json_has_all_of_it(tmp_path):
    many = tuple(FieldDiff(f"Field{number:03}", None, number) for number in range(FIELDS + 5))
    names = [f"svc-{number:04}" for number in range(2_000)]
    services = tuple(
        service(name, diffs=(ComponentDiff(f"service-defaults/{name}", Action.UPDATE, many),)) for name in names
    )
    run = report("01KDVQXJ2M8Q7R3T5V9W1X3Z6E", services=services)
    async with stored(tmp_path, run) as store, Site(store).served() as client:
        shown = (await client.get(f"/runs/{run.id}")).text
        document = (await client.get(f"/runs/{run.id}", headers=JSON)).json()

    assert len(shown) < 3_000_000
    assert shown.count("<details") == SERVICES
    assert "5 more fields" in shown
    assert "And 1400 that are not named here." in shown
    assert [each["service"] for each in document["services"]] == [f"default/default/{name}" for name in names]
    assert len(document["services"][-1]["diffs"][0]["fields"]) == FIELDS + 5


async def test_json_has_what_gitsync_runs_prints(tmp_path):
    async with stored(tmp_path, GOOD_RUN) as store, Site(store).served() as client:
        document = (await client.get(f"/runs/{GOOD_RUN.id}", headers=JSON)).json()
        row, services = await store.run(GOOD_RUN.id)

    assert document["run"] == row
    assert [set(each) for each in document["services"]] == [set(each) for each in services]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html;q=0.2, application/json;q=0.9", "application/json"),
        ("application/json;q=x, text/html", "text/html"),
    ],
)
async def test_who_prefers_json_gets_json(tmp_path, accept: str, kind: str):
    async with stored(tmp_path, GOOD_RUN) as store, Site(store).served() as client:
        for path in ("/", "/runs", f"/runs/{GOOD_RUN.id}", "/nothing"):
            answer = await client.get(path, headers={"accept": accept})

            assert answer.headers["content-type"].partition(";")[0] == kind
            assert answer.headers["vary"] == "accept"


# -- all runs, all syncs --------------------------------------------------------------------------------------------------


async def test_the_last_runs_of_each_sync_are_listed_with_a_link_to_each(tmp_path):
    views = {"payments": GOOD, "search": replace(GOOD, name="search")}
    async with stored(tmp_path, GOOD_RUN, FAILED_RUN) as store, Site(store, views=views).served() as client:
        shown = Page((await client.get("/runs")).text)
        document = (await client.get("/runs", headers=JSON)).json()

    assert [value for name, value in shown.attributes if name == "href" and value.startswith("./runs/")] == [
        f"./runs/{FAILED_RUN.id}", f"./runs/{GOOD_RUN.id}",
    ]  # fmt: skip
    assert "search Nothing was done yet." in shown.text
    assert [run["id"] for run in document["runs"]] == [FAILED_RUN.id, GOOD_RUN.id]


async def test_the_runs_of_one_sync_can_be_asked_for(tmp_path):
    other = replace(FAILED_RUN, sync="search")
    views = {"payments": GOOD, "search": replace(GOOD, name="search")}
    async with stored(tmp_path, GOOD_RUN, other) as store, Site(store, views=views).served() as client:
        document = (await client.get("/runs?sync=search", headers=JSON)).json()
        unknown = await client.get("/runs?sync=nobody")

    assert [run["id"] for run in document["runs"]] == [other.id]
    assert unknown.status_code == 404
    assert "There is: payments, search." in html.unescape(unknown.text)


async def test_the_first_page_says_where_each_sync_stands_and_what_waits_for_a_person(tmp_path):
    bad = replace(
        GOOD,
        name="search",
        silent=900,
        error="Consul does not answer",
        failures=4,
        in_flight="schedule",
        waiting="webhook",
    )
    views = {"payments": GOOD, "search": bad, "web": replace(GOOD, name="web", suspended=True)}
    async with stored(tmp_path, HELD_RUN) as store, Site(store, views=views).served() as client:
        text = Page((await client.get("/")).text).text
        document = (await client.get("/", headers=JSON)).json()

    for told in (
        "works", REVISION[:12], "12 s ago", "in 48 s", "1 applied, 14 held", "gitsync approve 9d41f0c2ab7e", "in trouble",
        "it last looked at Git and Consul with success 900 s ago: Consul does not answer", "Failures in a row 4", "suspended",
    ):  # fmt: skip
        assert told in text, told
    assert document["syncs"]["search"]["ready"] is False
    assert document["syncs"]["payments"]["last_run"]["id"] == HELD_RUN.id
    assert document["syncs"]["payments"]["holds"][0]["approve"] == "gitsync approve 9d41f0c2ab7e"


# -- trouble --------------------------------------------------------------------------------------------------------------


async def test_while_the_store_is_down_the_pages_say_so_and_the_first_one_still_shows_the_syncs():
    one = Site(Unavailable("the store sqlite:///x cannot be used: disk I/O error. Nothing in Consul depends on it."))
    async with one.served() as client:
        answers = {path: await client.get(path) for path in ("/", "/runs", "/runs/0123456789")}
        document = await client.get("/runs/0123456789", headers=JSON)
        healthy = await client.get("/healthz")

    assert {answer.status_code for answer in answers.values()} == {503}
    for answer in answers.values():
        assert "disk I/O error" in Page(answer.text).text
    assert "payments" in Page(answers["/"].text).text
    assert (document.status_code, document.json()["error"][:9]) == (503, "the store")
    assert healthy.status_code == 200


async def test_a_store_that_does_not_answer_holds_up_neither_pages_nor_health(tmp_path):
    async with stored(tmp_path, GOOD_RUN) as store:
        one = Site(store)
        answers = asyncio.Event()
        one.kept.gate = answers
        async with one.served(application(one.sources, one.metrics, Access("127.0.0.1"), patience=0.3)) as client:
            asked = [asyncio.create_task(client.get("/runs")) for _ in range(12)]
            assert (await client.get("/healthz")).status_code == 200
            assert "gitsync_store_up 0.0" in (await client.get("/metrics")).text
            said = [await each for each in asked]
            answers.set()
            async with asyncio.timeout(5):
                while (await client.get("/runs")).status_code != 200:
                    pass

    assert {each.status_code for each in said} == {503}
    assert any("does not answer within 0.3 s" in each.text for each in said)
    assert any("too many pages are asked for" in each.text for each in said)


async def test_a_commit_that_cannot_be_found_costs_its_author_only_and_is_asked_for_once(tmp_path):
    asked = []

    class Asked(dict):
        def __contains__(self, sha):
            asked.append(sha)
            return False

    async with stored(tmp_path, GOOD_RUN) as store, Site(store, commits=Asked()).served() as client:
        for _ in range(2):
            assert (await client.get(f"/runs/{GOOD_RUN.id}")).status_code == 200

    assert asked == [REVISION]


# -- everything is hostile ------------------------------------------------------------------------------------------------


def hostile_run():
    finding = Finding(HOSTILE, Severity.ERROR, HOSTILE, HOSTILE, None, None, HOSTILE)
    fields = (FieldDiff(HOSTILE, HOSTILE, {HOSTILE: [HOSTILE]}), FieldDiff(f"a.{HOSTILE}", None, HOSTILE))
    diffs = (ComponentDiff(HOSTILE, Action.UPDATE, fields),)
    services = (
        replace(
            service("x", Outcome.FAILED, diffs=diffs, step=HOSTILE, message=HOSTILE, findings=(finding,)),
            key=ServiceKey(HOSTILE[:40]),
        ),
        replace(service("y", Outcome.HELD, diffs=()), key=ServiceKey(HOSTILE[:39])),
    )
    hold = replace(
        HELD_RUN.holds[0], digest="'><b>" + HOSTILE[:20], reason=HOSTILE, services=((ServiceKey(HOSTILE[:40]), 1),)
    )
    return report(
        "01KDVQXJ2M8Q7R3T5V9W1X3Z6F", services=services, findings=(finding,), holds=(hold,), error=HOSTILE, trigger=HOSTILE[:60],
        revision=HOSTILE[:60], applied_revision=HOSTILE[:59], plan_digest=HOSTILE[:60],
        steps=(replace(GOOD_RUN.steps[0], step=HOSTILE),),
    )  # fmt: skip


async def test_nothing_that_a_repository_or_consul_says_comes_alive_on_a_page(tmp_path):
    run = hostile_run()
    views = {
        "payments": replace(
            GOOD, error=HOSTILE, in_flight=HOSTILE, waiting=HOSTILE, silent=9_999, applied=HOSTILE, failures=1
        )
    }
    commits = {run.revision: Revision(HOSTILE, HOSTILE, "", HOSTILE)}
    async with stored(tmp_path, run) as store, Site(store, views=views, commits=commits).served() as client:
        answers = [
            await client.get(path) for path in ("/", "/runs", f"/runs/{run.id}", "/runs/<script>alert(1)<", "/<b>%0a")
        ]
        for answer in answers:
            shown = Page(answer.text)
            assert not {"script", "b", "img"} & (set(shown.tags) - {"img"}), answer.url
            assert {value for name, value in shown.attributes if name == "src"} <= {
                "./icon.svg",
                "../icon.svg",
                "../../icon.svg",
            }
            assert not {name for name, _ in shown.attributes if name.startswith("on") or name == "style"}
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e]", answer.text)
            assert "49" not in re.findall(r"m (\S+) ", shown.text)
        assert "\\u202e gnp\\x1b[31m {{ 7 * 7 }} &amp; \\u200b" in Page(answers[2].text).text


async def test_json_is_escaped_so_that_no_terminal_obeys_it(tmp_path):
    run = hostile_run()
    async with stored(tmp_path, run) as store, Site(store).served() as client:
        answer = await client.get(f"/runs/{run.id}", headers=JSON)

    assert answer.content.isascii()
    assert b"\x1b" not in answer.content
    assert answer.json()["run"]["error"] == HOSTILE


async def test_a_secret_of_this_process_is_on_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(SECRETS, "_forms", {})
    monkeypatch.setattr(SECRETS, "_pattern", None)
    hide("canary&secret<1>")
    told = "refused: canary&secret<1>"
    run = report("01KDVQXJ2M8Q7R3T5V9W1X3Z7A", services=(service("pay", Outcome.FAILED, message=told),), error=told)
    async with stored(tmp_path, run) as store, Site(store).served() as client:
        for accept in ("text/html", "application/json"):
            for path in ("/", "/runs", f"/runs/{run.id}"):
                text = html.unescape((await client.get(path, headers={"accept": accept})).text)
                assert "canary" not in text


async def test_every_answer_forbids_scripts_frames_and_guesses(tmp_path):
    async with stored(tmp_path, GOOD_RUN) as store, Site(store).served() as client:
        for path in (
            "/",
            "/runs",
            f"/runs/{GOOD_RUN.id}",
            "/nothing",
            "/style.css",
            "/icon.svg",
            "/healthz",
            "/readyz",
            "/metrics",
            "/hooks/x",
        ):
            headers = (await client.get(path)).headers

            policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
            assert policy == {
                "default-src": "'none'", "style-src": "'self'", "img-src": "'self'", "base-uri": "'none'", "form-action": "'none'",
                "frame-ancestors": "'none'",
            }  # fmt: skip
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == (
                "no-store" if path not in ("/style.css", "/icon.svg") else headers["cache-control"]
            )
            assert "server" not in headers


async def test_what_a_page_loads_is_there_and_no_page_leads_elsewhere(tmp_path):
    async with stored(tmp_path, GOOD_RUN, HELD_RUN) as store, Site(store).served() as client:
        for path in ("/", "/runs", "/runs?sync=payments", f"/runs/{GOOD_RUN.id}", "/runs/not-there", "/a/b/c/d"):
            here = await client.get(path)
            for name, value in Page(here.text).attributes:
                if name in ("href", "src"):
                    target = here.url.join(value)
                    assert target.host == here.url.host
                    assert (await client.get(target)).status_code == 200, (path, value)


async def test_head_is_answered_as_get_without_a_body(tmp_path):
    async with stored(tmp_path, GOOD_RUN) as store, Site(store).served() as client:
        answer = await client.head(f"/runs/{GOOD_RUN.id}")

    assert (answer.status_code, answer.content) == (200, b"")
