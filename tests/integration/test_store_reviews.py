"""Reviews in the store: the last word on each request, and what was promised by those that landed."""

from __future__ import annotations

from dataclasses import replace

from gitsync.model.key import ServiceKey
from gitsync.model.review import Reviewed, ReviewRecord

PAY = ServiceKey("pay")
NOON = "2026-01-01T12:00:00Z"
DIGESTS = {
    PAY: Reviewed("d" * 64, "update", ("update service-router/pay",), brought=False),
    ServiceKey("b", "n", "p"): Reviewed("e", "create"),
}
RECORD = ReviewRecord(
    "payments", 12, "h" * 40, "b" * 40, "t" * 40, "planned", DIGESTS, {"schema": 1, "words": "1 to update ‖"}, NOON
)


async def test_a_review_comes_back_as_it_was(store):
    await store.reviews.save(RECORD)

    assert await store.reviews.get("payments", 12) == RECORD
    assert await store.reviews.get("payments", 13) is None
    assert await store.reviews.get("other", 12) is None


async def test_the_newest_stands_for_all_before(store):
    await store.reviews.save(RECORD)
    newer = replace(RECORD, head="i" * 40, digests=None, verdict="unaffected", plan={})
    await store.reviews.save(newer)

    assert await store.reviews.open("payments") == [newer]


async def test_a_closed_request_is_not_open_but_known_until_it_is_old(store):
    await store.reviews.save(RECORD)
    await store.reviews.save(replace(RECORD, number=9_000_000_000))
    await store.reviews.close("payments", 12, "2026-01-02T00:00:00Z")
    await store.reviews.close("payments", 12, "2026-01-03T00:00:00Z")

    assert [each.number for each in await store.reviews.open("payments")] == [9_000_000_000]
    assert await store.reviews.get("payments", 12) == replace(RECORD, closed="2026-01-02T00:00:00Z")
    assert await store.reviews.forget("2026-01-02T00:00:00Z") == 0
    assert await store.reviews.forget("2026-01-02T00:00:01Z") == 1
    assert await store.reviews.get("payments", 12) is None
    await store.reviews.save(RECORD)  # opened again
    assert len(await store.reviews.open("payments")) == 2


async def test_what_landed_is_found_by_tree_and_by_head_the_newest_first(store):
    await store.reviews.save(RECORD)
    by_head = replace(RECORD, number=13, head="x" * 40, tree="", updated="2026-01-02T12:00:00Z")
    await store.reviews.save(by_head)
    await store.reviews.save(replace(RECORD, number=14, head="y" * 40, tree=""))
    await store.reviews.save(replace(RECORD, sync="other", number=15))

    assert await store.reviews.landed("payments", {"t" * 40, ""}, {"x" * 40}) == [by_head, RECORD]
    assert await store.reviews.landed("payments", {""}, set()) == []
