"""The page of a pull request's plan, over a real connection, from a real store: what merging would do, and nothing hostile alive."""

from __future__ import annotations

from pathlib import Path

from gitsync.core.blast import links_to
from gitsync.core.plan import Policy
from gitsync.core.review_markdown import review_as_json
from gitsync.core.sight import Sight
from gitsync.model.host import ChangeRequest
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Plan
from gitsync.model.review import Review, ReviewRecord, ReviewVerdict
from gitsync.model.revision import Revision
from tests.integration.web.site import Site, stored
from tests.integration.web.test_pages import HOSTILE, JSON, Page
from tests.unit.worlds import ME, Wish, plan, settled

CHANGE = ChangeRequest(12, "a" * 40, "work", "main", False, "org/specs", "open")
BASE = Revision("b" * 40, "", "", "")
REDACT = frozenset({"cost"})


def example() -> Plan:
    """up changes its protocol and a secret label, new comes, five go."""
    old = [Wish(f"old{number}") for number in range(5)]
    world = settled([Wish("up", labels=(("cost", "42-secret"),)), *old, Wish("stays")])
    return plan(
        world,
        [Wish("up", protocol="grpc", labels=(("cost", "43-secret"),)), Wish("new"), Wish("stays")],
        policy=Policy(),
    )


def record(of: Review) -> ReviewRecord:
    kept = review_as_json(of, redact=REDACT)
    return ReviewRecord(
        "payments", 12, of.head, of.base.sha, "c" * 40, str(of.verdict), {}, kept, "2026-01-01T12:00:00Z"
    )


def review(made: Plan | None = None, verdict: ReviewVerdict = ReviewVerdict.PLANNED, **more) -> Review:
    keys = frozenset(made.services if made else ()) - {ServiceKey("stays")}
    return Review("payments", ME, CHANGE, verdict, base=BASE, tree="c" * 40, plan=made, affected=keys, **more)


async def page(folder: Path, of: Review, path: str = "/plans/payments/12") -> Page:
    async with stored(folder) as store:
        await store.reviews.save(record(of))
        async with Site(store).served() as client:
            answer = await client.get(path)
            assert answer.status_code == 200
            return Page(answer.text)


async def test_the_page_tells_what_merging_would_do_and_what_would_wait(tmp_path):
    text = (await page(tmp_path, review(example(), ReviewVerdict.HELD))).text

    for told in (
        "request 12", "Merging it would wait for an approval", "a" * 12, "main at", "b" * 12, "service-defaults/up", '"grpc"',
        "service-defaults/new", "5 deletes wait for an approval", "gitsync approve", "old3",
    ):  # fmt: skip
        assert told in text
    assert "42-secret" not in text
    assert "43-secret" not in text
    assert "stays" not in text


async def test_the_page_names_who_leads_to_the_services(tmp_path):
    world = settled([Wish("up"), Wish("shop", route=("up", ""))])
    links = links_to(Sight(world.found()), [ServiceKey("up")])
    text = (await page(tmp_path, review(example(), links=links))).text

    assert "service-router/shop routes to it" in text


async def test_nothing_hostile_comes_alive_on_the_page(tmp_path):
    world = settled([Wish("up")])
    world.put(Kind.DEFAULTS, "up", Protocol="tcp", Meta={**world.body(Kind.DEFAULTS, "up")["Meta"], "note": HOSTILE})
    made = plan(world, [Wish("up", labels=(("note", "<script>alert(2)</script>"),))], policy=Policy())
    shown = await page(tmp_path, review(made, message=HOSTILE, conflicts=(HOSTILE,)))

    assert not {"script", "img"} & set(shown.tags[shown.tags.index("main") :])
    assert not any(name.startswith("on") for name, _ in shown.attributes)
    assert "\u202e" not in shown.text


async def test_a_fork_and_what_cannot_be_merged_have_their_words(tmp_path):
    forked = (await page(tmp_path, review(None, ReviewVerdict.VALID, unsaid=True))).text
    other = tmp_path / "other"
    other.mkdir()
    clash = (await page(other, review(None, ReviewVerdict.CONFLICTED, conflicts=("services/pay.yaml",)))).text

    assert "no value of them is shown, and Consul was not asked" in forked
    assert "It cannot be merged" in clash
    assert "services/pay.yaml" in clash


async def test_programs_get_the_plan_as_json_and_what_is_not_there_is_said(tmp_path):
    async with stored(tmp_path) as store:
        await store.reviews.save(record(review(example())))
        async with Site(store).served() as client:
            document = (await client.get("/plans/payments/12", headers=JSON)).json()
            missing = await client.get("/plans/payments/13")
            strange = await client.get("/plans/payments/none")
            huge = await client.get(f"/plans/payments/{10**30}")
            other = await client.get("/plans/search/12")

    assert document["number"] == 12
    assert document["updated"] == "2026-01-01T12:00:00Z"
    assert "secret" not in str(document["plan"])
    assert [missing.status_code, other.status_code, huge.status_code] == [404, 404, 404]
    assert 400 <= strange.status_code < 500
    assert "There is no plan for a request 13" in missing.text
