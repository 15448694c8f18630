"""The poster, with a real table, a host that answers from a script, and a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gitsync.daemon.recipient import HostRecipient
from gitsync.hosts import provider
from gitsync.log import hide
from gitsync.model.delivery import DeliveryKind, DeliveryState, Wanted, wanted_comment, wanted_status
from gitsync.model.errors import Rejected
from gitsync.model.host import CommitState, PostResult, Status, Verdict
from gitsync.store import Store
from tests.clockwork import NOON
from tests.office import APPLY, DONE, A, B, C, Office, OfficeTime, ScriptedHost, says


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with Store.open(f"sqlite:///{tmp_path / 'gitsync.db'}") as store:
        office = Office(OfficeTime(), store.deliveries)
        await office.opens()
        yield office
        if office.host.hangs:
            office.host.hangs.set()
        await office.closes()


# -- what is told ---------------------------------------------------------------------------------------------------------


async def test_what_is_wanted_is_told_at_once_and_as_it_is(office):
    await office.want()

    assert office.host.times == [0]
    assert office.host.statuses == [Status(A, APPLY, CommitState.SUCCESS, "1 applied", "https://x/runs/1", "main")]
    assert (await office.row()).state is DeliveryState.DONE


async def test_the_same_is_told_once_also_by_the_next_process(office):
    await office.want()
    await office.want()
    await office.restarts()
    await office.want()
    await office.time.pass_by(600)

    assert len(office.host.calls) == 1


async def test_each_change_is_told_once(office):
    for said in ("1 applied", "2 applied", "2 applied", "1 applied"):
        await office.want(said=said)

    assert [status.description for status in office.host.statuses] == ["1 applied", "2 applied", "1 applied"]


async def test_only_the_newest_is_told_of_what_waits(office):
    await office.want(state=CommitState.PENDING, delay=1)
    await office.want(state=CommitState.SUCCESS)
    await office.time.pass_by(60)

    assert office.host.calls == [(0, "success a")]


async def test_what_may_wait_a_moment_waits_for_it(office):
    await office.want(state=CommitState.PENDING, delay=1)
    assert office.host.calls == []
    await office.time.pass_by(1)

    assert office.host.calls == [(1, "pending a")]


async def test_what_is_wanted_while_something_is_on_its_way_is_told_next(office):
    office.host.hangs = asyncio.Event()
    await office.want(said="1 applied")
    await office.want(said="2 applied")
    office.host.hangs.set()
    office.host.hangs = None
    await office.time.settle()

    assert [status.description for status in office.host.statuses] == ["1 applied", "2 applied"]
    assert (await office.row()).state is DeliveryState.DONE


async def test_one_call_at_a_time_goes_to_a_host_whoever_it_is_for(office):
    office.hosts["books"] = HostRecipient("git.example", office.host, office.tokens)
    await office.restarts()
    for sha in (A, B, C):
        for sync in ("pay", "books"):
            await office.want(sha, sync=sync, context=f"gitsync/apply/test/{sync}")
    await office.time.pass_by(10)

    assert len(office.host.calls) == 6
    assert office.host.most_active == 1


async def test_a_host_that_hangs_does_not_hold_up_another(office):
    other = ScriptedHost(office.time)
    office.hosts["books"] = HostRecipient("other.example", other, office.tokens)
    await office.restarts()
    office.host.hangs = asyncio.Event()
    await office.want()
    await office.want(sync="books")

    assert (len(office.host.calls), len(other.calls)) == (1, 1)


async def test_no_more_than_sixty_a_minute_go_to_a_host(office):
    await office.closes()
    for at in range(70):
        await office.want(f"{at:040x}")
    await office.opens()
    await office.time.pass_by(59)
    assert len(office.host.calls) == 60
    await office.time.pass_by(2)

    assert len(office.host.calls) == 70


async def test_a_sync_that_has_no_host_any_more_leaves_the_others_alone(office):
    await office.want(sync="gone")
    await office.want()
    await office.time.pass_by(60)

    assert office.host.calls == [(0, "success a")]


async def test_another_process_may_have_written_into_the_table(office):
    status = Status(A, APPLY, CommitState.SUCCESS, "1 applied", "https://x")
    await office.table.want(wanted_status("pay", status), now=NOON)
    await office.time.pass_by(31)

    assert office.host.times == [30]


# -- comments -------------------------------------------------------------------------------------------------------------


async def test_a_comment_is_made_once_and_then_edited_ten_seconds_apart(office):
    office.host.answers = [PostResult(Verdict.DONE, id="c1"), PostResult(Verdict.DONE, id="c1")]
    for body in ("first", "second", "third"):
        await office.wants.want(wanted_comment("pay", 7, "plan", "<!-- m -->", body))
        await office.time.settle()
    await office.time.pass_by(30)

    assert office.host.comments == [(7, "first", None), (7, "third", "c1")]
    assert office.host.times == [0, 10]


async def test_the_pause_between_two_edits_survives_a_restart(office):
    await office.wants.want(wanted_comment("pay", 7, "plan", "m", "first"))
    await office.time.settle()
    await office.restarts()
    await office.wants.want(wanted_comment("pay", 7, "plan", "m", "second"))
    await office.time.pass_by(30)

    assert office.host.times == [0, 10]


# -- what goes wrong ------------------------------------------------------------------------------------------------------


async def test_new_credentials_are_tried_once_at_once(office):
    office.host.answers = [says(Verdict.AUTH)]
    await office.want()

    assert (office.host.times, office.tokens.invalidated) == ([0, 0], 1)
    assert (await office.row()).state is DeliveryState.DONE


async def test_credentials_that_are_refused_are_not_tried_again_until_they_change(office):
    office.host.always = says(Verdict.AUTH, detail="401")
    await office.want()
    await office.want(B)
    await office.time.pass_by(1200)
    assert office.host.times == [0, 0]
    assert office.poster.locked() == ("pay",)

    office.tokens.value, office.host.always = "two", DONE
    await office.time.pass_by(61)

    assert sorted(what for _, what in office.host.calls[2:]) == ["success a", "success b"]
    assert office.poster.locked() == ()


async def test_credentials_that_cannot_be_had_are_asked_for_until_they_can(office):
    office.tokens.value = Rejected("there is no installation")
    office.host.always = says(Verdict.AUTH)
    await office.want()
    await office.time.pass_by(300)
    office.tokens.value, office.host.always = "two", DONE
    await office.time.pass_by(61)

    assert (await office.row()).state is DeliveryState.DONE


async def test_what_is_forbidden_is_given_up_with_one_warning(office, capsys):
    office.host.always = says(Verdict.FORBIDDEN, detail="403")
    await office.want()
    await office.want(B)
    await office.time.pass_by(1200)

    assert len(office.host.calls) == 2
    assert (await office.row()).state is DeliveryState.DROPPED
    out = capsys.readouterr().out
    assert out.count("[warning  ]") == 1


async def test_a_commit_that_the_host_does_not_know_is_tried_three_times_in_a_minute(office):
    office.host.always = says(Verdict.UNKNOWN_SHA)
    await office.want()
    await office.time.pass_by(1200)

    assert office.host.times == [0, 20, 60]
    assert (await office.row()).state is DeliveryState.DROPPED


async def test_a_commit_that_the_host_knows_in_the_end_is_told(office):
    office.host.answers = [says(Verdict.UNKNOWN_SHA)]
    await office.want()
    await office.time.pass_by(60)

    assert office.host.times == [0, 20]
    assert (await office.row()).state is DeliveryState.DONE


async def test_a_limit_holds_everybody_of_that_host_for_as_long_as_it_says(office):
    office.hosts["books"] = HostRecipient("git.example", office.host, office.tokens)
    await office.restarts()
    office.host.answers = [says(Verdict.LIMIT, 90.0)]
    await office.want()
    await office.want(sync="books", context="other")
    await office.time.pass_by(89)
    assert office.host.times == [0]
    await office.time.pass_by(5)

    assert office.host.times == [0, 90, 91]  # and a second lies between two calls from then on


@pytest.mark.parametrize(("asked", "waits"), [(None, 60), (0.0, 1), (1e9, 3600), (float("inf"), 3600), (-5.0, 1)])
async def test_a_limit_is_never_taken_to_be_forever_or_nothing(office, asked, waits):
    office.host.answers = [says(Verdict.LIMIT, asked)]
    await office.want()
    await office.time.pass_by(4000)

    assert office.host.times == pytest.approx([0, waits])


async def test_a_limit_is_remembered_by_the_next_process(office):
    office.host.answers = [says(Verdict.LIMIT, 90.0)]
    await office.want()
    await office.restarts()
    await office.time.pass_by(95)

    assert office.host.times == [0, 90]


async def test_another_update_of_the_same_is_waited_for_five_times(office):
    office.host.always = says(Verdict.CONFLICT)
    await office.want()
    await office.time.pass_by(1200)

    assert office.host.times == pytest.approx([0, 1, 3, 7, 15])
    assert (await office.row()).state is DeliveryState.DROPPED


async def test_where_no_more_fits_nothing_is_told_any_more_of_that_commit(office):
    office.host.answers = [says(Verdict.FULL)]
    await office.want()
    await office.want(said="2 applied")
    await office.restarts()
    await office.want(said="3 applied")
    await office.want(B)
    await office.time.pass_by(600)

    assert [what for _, what in office.host.calls] == ["success a", "success b"]
    assert (await office.row()).state is DeliveryState.CLOSED


async def test_what_the_host_will_never_take_is_given_up_and_counted(office):
    office.host.always = says(Verdict.INVALID, detail="422 description")
    await office.want()
    await office.time.pass_by(1200)

    assert len(office.host.calls) == 1
    assert office.poster.verdicts["status", "invalid"] == 1
    assert (await office.row()).last_error == "invalid: 422 description"


async def test_a_bug_in_a_provider_costs_one_delivery(office):
    office.host.answers = [KeyError("x")]
    await office.want()
    await office.want(B)

    assert [(await office.row(sha)).state for sha in (A, B)] == [DeliveryState.DROPPED, DeliveryState.DONE]


async def test_a_host_that_is_away_is_tried_less_and_less_and_given_up_after_an_hour(office):
    office.host.always = says(Verdict.TRANSIENT)
    await office.want()
    await office.time.pass_by(2 * 3600)

    pauses = [later - sooner for sooner, later in zip(office.host.times, office.host.times[1:], strict=False)]
    assert pauses[:7] == pytest.approx([5, 10, 20, 40, 80, 160, 300])
    assert pauses[7:] == pytest.approx([300] * len(pauses[7:]))
    assert 3600 <= office.host.times[-1] < 3900
    assert (await office.row()).state is DeliveryState.DROPPED


async def test_a_host_that_is_away_and_says_for_how_long_is_not_asked_before(office):
    office.host.answers = [says(Verdict.TRANSIENT, 120.0)]
    await office.want()
    await office.time.pass_by(200)

    assert office.host.times == [0, 120]


async def test_a_host_that_comes_back_is_told_the_newest_once(office):
    office.host.always = says(Verdict.TRANSIENT)
    await office.want(state=CommitState.RUNNING)
    await office.time.pass_by(600)
    await office.want(state=CommitState.SUCCESS)
    await office.time.pass_by(600)
    office.host.always = DONE
    before = len(office.host.calls)
    await office.time.pass_by(600)

    assert [what for _, what in office.host.calls[before:]] == ["success a"]


async def test_a_process_that_was_not_there_for_an_hour_still_tries(office):
    office.host.always = says(Verdict.TRANSIENT)
    await office.want()
    await office.closes()
    office.time.now += 4 * 3600
    await office.restarts()
    office.host.always = DONE
    await office.time.pass_by(60)

    assert (await office.row()).state is DeliveryState.DONE


async def test_what_was_overtaken_by_something_told_on_its_ref_is_not_tried_again(office):
    office.host.answers = [says(Verdict.TRANSIENT)]
    await office.want(A)
    await office.want(B)
    office.host.answers = [says(Verdict.TRANSIENT)]
    await office.time.pass_by(600)

    assert [what for _, what in office.host.calls] == ["success a", "success b", "success a"]
    assert (await office.row(A)).state is DeliveryState.DROPPED


async def test_what_was_told_on_another_ref_overtakes_nothing(office):
    office.host.answers = [says(Verdict.TRANSIENT)]
    await office.want(A)
    await office.want(B, ref="other")
    office.host.answers = [says(Verdict.TRANSIENT)]
    await office.time.pass_by(600)

    assert (await office.row(A)).state is DeliveryState.DONE


async def test_a_call_that_hangs_is_ended_and_tried_again(tmp_path):
    async with Store.open(f"sqlite:///{tmp_path / 'gitsync.db'}") as store:
        office = Office(OfficeTime(), store.deliveries)
        office.call_seconds = 0.05
        office.poster = office.new_poster()
        office.host.hangs = asyncio.Event()
        await office.opens()
        await office.want()
        async with asyncio.timeout(10):
            while not (await office.row()).attempts:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        office.host.hangs = None
        await office.time.pass_by(10)

        assert (await office.row()).state is DeliveryState.DONE
        await office.closes()


# -- what else can happen -------------------------------------------------------------------------------------------------


async def test_a_database_that_is_away_costs_nothing_but_time(office):
    office.store.away = True
    await office.want()
    await office.time.pass_by(60)
    assert office.host.calls == []
    office.store.away = False
    await office.time.pass_by(300)

    assert [what for _, what in office.host.calls] == ["success a"]


async def test_what_was_told_while_the_database_went_away_is_recorded_before_anything_is_told_again(office):
    office.host.hangs = asyncio.Event()
    await office.want()
    office.store.away = True
    office.host.hangs.set()
    office.host.hangs = None
    await office.time.pass_by(120)
    office.store.away = False
    await office.time.pass_by(600)

    assert len(office.host.calls) == 1
    assert (await office.row()).state is DeliveryState.DONE


async def test_what_was_on_its_way_when_the_process_ended_is_told_once_more_as_it_was(office):
    office.host.hangs = asyncio.Event()
    await office.want()
    await office.closes()
    office.host.hangs = None
    await office.restarts()
    await office.time.pass_by(60)

    assert len(office.host.statuses) == 2
    assert office.host.statuses[0] == office.host.statuses[1]


async def test_a_process_that_is_told_to_stop_records_what_it_has_just_told(office, monkeypatch):
    """The answer is there, the table is slow, and the cancel comes between."""
    slow, reached = asyncio.Event(), asyncio.Event()
    done = office.deliveries.done

    async def slowly(*given, **more) -> None:
        reached.set()
        await slow.wait()
        await done(*given, **more)

    monkeypatch.setattr(office.deliveries, "done", slowly)
    status = Status(A, APPLY, CommitState.SUCCESS, "1 applied", "https://x")
    await office.wants.want(wanted_status("pay", status))
    await asyncio.wait_for(reached.wait(), 10)
    assert office.task
    office.task.cancel()
    await asyncio.sleep(0)
    slow.set()
    await office.closes()

    assert (await office.row()).state is DeliveryState.DONE


async def test_what_the_table_holds_of_a_kind_that_is_not_for_hosts_is_given_up(office):
    wanted = Wanted("pay", DeliveryKind.NOTIFICATION, "e1", "notify/x", {})
    await office.wants.want(wanted)
    await office.time.pass_by(60)

    assert office.host.calls == []


async def test_what_is_waiting_is_counted(office):
    office.host.always = says(Verdict.TRANSIENT)
    await office.want()
    await office.want(B)
    await office.wants.want(wanted_comment("pay", 7, "plan", "m", "x"))
    await office.time.settle()

    assert await office.table.waiting() == {("pay", "status"): 2, ("pay", "comment"): 1}


async def test_a_secret_in_an_answer_is_not_kept(office):
    hide("s3cr3t-token-value")
    office.host.answers = [says(Verdict.TRANSIENT, detail="bad header: s3cr3t-token-value")]
    await office.want()

    assert "s3cr3t" not in (await office.row()).last_error


async def test_the_scripted_host_is_a_provider_like_any_other(office):
    host: provider.Provider = office.host

    assert host.capabilities.comment
