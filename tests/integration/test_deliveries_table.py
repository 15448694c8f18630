"""The table of what has to be told, in both databases: the newest is wanted, what was told is not told again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from gitsync.core.status_words import replaces
from gitsync.model.delivery import (
    Delivery,
    DeliveryKind,
    DeliveryState,
    Wanted,
    status_of,
    wanted_comment,
    wanted_status,
)
from gitsync.model.host import ChangeRequest, CommitState, Status
from gitsync.model.key import ServiceKey
from gitsync.store import Store
from tests.clockwork import NOON
from tests.office import APPLY, A, B

PAY = ServiceKey("pay")


def wanted(said: str = "1 applied", sha: str = A, state: CommitState = CommitState.SUCCESS, **more: Any) -> Wanted:
    status = Status(sha, more.pop("context", APPLY), state, said, "https://x/runs/1", more.pop("ref", "main"))
    return wanted_status(more.pop("sync", "pay"), status, **more)


async def due(store: Store, seconds: float = 0, *syncs: str, contexts: tuple[str, ...] = ()) -> list[Delivery]:
    return list(
        await store.deliveries.due(NOON + timedelta(seconds=seconds), syncs=syncs or ("pay",), contexts=contexts)
    )


async def the(store: Store, sha: str = A) -> Delivery:
    found = await store.deliveries.get("pay", DeliveryKind.STATUS, sha, APPLY)
    assert found
    return found


async def test_what_is_wanted_waits_until_it_is_told_and_is_then_not_wanted_again(store):
    assert await store.deliveries.want(wanted(), now=NOON)
    assert not await store.deliveries.want(wanted(), now=NOON)
    [row] = await due(store)
    await store.deliveries.done(row, now=NOON, reference="42")

    assert await due(store, 60) == []
    assert not await store.deliveries.want(wanted(), now=NOON)
    row = await the(store)
    assert (row.state, row.reference, row.posted) == (DeliveryState.DONE, "42", row.desired)


async def test_a_status_comes_back_out_as_it_went_in(store):
    change = ChangeRequest(7, A, "feature", "main", True, None, "open")
    status = Status(A, "gitsync/plan/test/pay", CommitState.FAILURE, "é漢 · 2 refused", "https://x", "feature", change)
    await store.deliveries.want(wanted_status("pay", status), now=NOON)

    assert [status_of(row) for row in await due(store)] == [status]


async def test_the_newest_wins_and_has_all_its_tries(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.failed(row, "transient", now=NOON, again=300.0)
    assert await due(store, 60) == []
    await store.deliveries.want(wanted("2 applied"), now=NOON)

    [row] = await due(store)
    assert (row.desired["description"], row.attempts, row.failing, row.last_error) == ("2 applied", 0, "", "")


async def test_what_was_told_while_something_newer_came_does_not_end_the_newer(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.want(wanted("2 applied"), now=NOON)
    await store.deliveries.done(row, now=NOON)

    [row] = await due(store)
    assert row.posted
    assert (row.desired["description"], row.posted["description"]) == ("2 applied", "1 applied")


async def test_what_failed_while_something_newer_came_does_not_put_the_newer_off(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.want(wanted("2 applied"), now=NOON)
    await store.deliveries.failed(row, "invalid", now=NOON, again=None)

    assert [row.desired["description"] for row in await due(store)] == ["2 applied"]


async def test_who_wants_what_was_told_last_gets_it_without_another_word(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.done(row, now=NOON)
    await store.deliveries.want(wanted("2 applied"), now=NOON)

    assert not await store.deliveries.want(wanted("1 applied"), now=NOON)
    assert await due(store) == []
    assert (await the(store)).state is DeliveryState.DONE


async def test_who_wants_back_what_stood_there_gets_it_also_where_another_word_was_on_its_way(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.done(row, now=NOON)
    await store.deliveries.want(wanted("2 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    await store.deliveries.done(row, now=NOON)

    assert [row.desired["description"] for row in await due(store)] == ["1 applied"]


async def test_who_wants_back_what_stood_there_gets_it_also_where_another_word_failed_and_may_have_been_taken(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.done(row, now=NOON)
    await store.deliveries.want(wanted("2 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.failed(row, "no answer", now=NOON, again=60.0)

    assert await store.deliveries.want(wanted("1 applied"), now=NOON)
    assert [row.desired["description"] for row in await due(store)] == ["1 applied"]


async def test_what_was_wanted_while_the_clock_was_years_ahead_is_told_when_it_is_right_again(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON + timedelta(days=900))
    await store.deliveries.want(wanted("1 applied", B), now=NOON, delay=3_600.0)

    assert [row.subject for row in await due(store)] == [A]


async def test_what_was_given_up_is_wanted_again_where_it_is_something_else_or_somebody_says_so(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.failed(row, "forbidden", now=NOON, again=None)

    assert not await store.deliveries.want(wanted("1 applied"), now=NOON)
    assert await store.deliveries.want(wanted("1 applied"), now=NOON, revive=True)
    [row] = await due(store)
    await store.deliveries.failed(row, "forbidden", now=NOON, again=None)
    assert await store.deliveries.want(wanted("2 applied"), now=NOON)


async def test_what_is_closed_stays_closed(store):
    await store.deliveries.want(wanted("1 applied"), now=NOON)
    [row] = await due(store)
    await store.deliveries.want(wanted("2 applied"), now=NOON)
    await store.deliveries.failed(row, "full", now=NOON, again=None, closed=True)

    assert not await store.deliveries.want(wanted("3 applied"), now=NOON, revive=True)
    assert await due(store, 9999) == []


async def test_who_asks_gets_what_is_for_him(store):
    await store.deliveries.want(wanted(), now=NOON)
    await store.deliveries.want(wanted(sync="books"), now=NOON)
    await store.deliveries.want(Wanted("pay", DeliveryKind.NOTIFICATION, "e1", "notify/1", {"x": 1}), now=NOON)
    await store.deliveries.want(wanted_comment("pay", 7, "plan", "m", "text"), now=NOON, delay=5)

    assert [row.kind for row in await due(store)] == [DeliveryKind.STATUS]
    assert [row.kind for row in await due(store, 5)] == [DeliveryKind.STATUS, DeliveryKind.COMMENT]
    assert [row.sync for row in await due(store, 0, "pay", "books")] == ["pay", "books"]
    nobody = await store.deliveries.due(NOON, syncs=(), contexts=("notify/1",))
    assert [row.desired for row in nobody] == [{"x": 1}]
    assert await store.deliveries.due(NOON, syncs=(), contexts=()) == []
    assert await store.deliveries.soonest(syncs=(), contexts=()) == ""
    assert await store.deliveries.soonest(syncs=("books",), contexts=()) == "2026-01-01T12:00:00.000Z"
    assert await store.deliveries.waiting() == {
        ("pay", "status"): 1,
        ("books", "status"): 1,
        ("pay", "notification"): 1,
        ("pay", "comment"): 1,
    }


async def test_old_rows_are_forgotten_and_newer_ones_stay(store):
    await store.deliveries.want(wanted(), now=NOON - timedelta(days=100))
    await store.deliveries.want(wanted(sha=B), now=NOON)

    assert await store.deliveries.forget("2025-12-01T00:00:00Z") == 1
    assert [row.subject for row in await store.deliveries.statuses("pay", APPLY)] == [B]


async def test_two_that_want_at_once_make_one_row_and_the_first_stays_where_nothing_replaces_it(url):
    async with Store.open(url) as one, Store.open(url) as other:
        wants = [
            each.deliveries.want(wanted(state=state, said=str(at)), now=NOON, replaces=replaces)
            for at in range(10)
            for each, state in ((one, CommitState.SUCCESS), (other, CommitState.RUNNING))
        ]
        await asyncio.gather(*wants)
        rows = await due(one)

    assert len(rows) == 1
    assert rows[0].desired["state"] == "success"
