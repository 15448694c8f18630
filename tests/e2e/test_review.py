"""What a pull request would do, planned against a real Consul: the same that its merge does, and nothing is written for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gitsync.core.contract import deviation_words
from gitsync.core.review_markdown import review_as_markdown, review_words
from gitsync.daemon.contracts import Contracts
from gitsync.daemon.reviews import Desk as ReviewDesk
from gitsync.daemon.reviews import Reviews
from gitsync.engine.look import Look
from gitsync.engine.review import Request, review
from gitsync.model.host import ChangeRequest, Status
from gitsync.model.key import ServiceKey
from gitsync.model.review import Promised, Review, ReviewVerdict
from gitsync.model.revision import Revision
from gitsync.model.run import Outcome, RunReport, exit_code
from gitsync.model.sync import Options
from gitsync.repository import MirrorSpecs
from gitsync.repository.change import Changes
from gitsync.wire import House, Room, Silent, system_clock
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, codes, external, outcomes, static

PAY, BOOKS, SHOP = ServiceKey("pay"), ServiceKey("books"), ServiceKey("shop")


class Desk:
    """The requests of a bench: their branches are `request-N`, as a host keeps them."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.deaf = False
        """Whether a look at Consul fails the test."""

    def propose(self, number: int, *, remove: tuple[str, ...] = (), **files: str) -> str:
        """A request with one commit on top of main; its head."""
        bench = self.bench
        bench.git("checkout", "-q", "-B", f"request-{number}")
        bench.remove(*remove)
        head = bench.commit(f"request {number}", **files)
        bench.git("checkout", "-q", "main")
        return head

    def merge(self, number: int, *, squash: bool = False) -> str:
        """Merge it as a host does; the new head of main."""
        bench = self.bench
        if squash:
            bench.git("merge", "-q", "--squash", f"request-{number}")
            bench.git("commit", "-q", "-m", f"request {number}")
        else:
            bench.git("merge", "-q", "--no-ff", "-m", f"merge {number}", f"request-{number}")
        return bench.git("rev-parse", "HEAD")

    async def review(self, number: int, *, fork: bool = False, house: House | None = None) -> Review:
        """Judge it as the daemon does."""
        if house is None:
            async with self.bench.house() as opened:
                return await self.review(number, fork=fork, house=opened)
        room = house.room(self.bench.name)
        assert isinstance(room.world.specs, MirrorSpecs)
        changes = Changes(room.world.specs)
        head = self.bench.git("rev-parse", f"request-{number}")
        base = await changes.base()
        fetched = await changes.fetch(number, head, (f"refs/heads/request-{number}",))
        assert isinstance(fetched, Revision)
        change = ChangeRequest(number, head, f"request-{number}", "main", fork, None, "open")
        world: Any = replace(room.world, consul=Untouchable()) if self.deaf else room.world
        return await review(world, room.sync, changes, Request(change, fetched, base), room.mind.memory)


class Untouchable:
    """A Consul that nobody may ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"Consul was asked: {name}")


@pytest.fixture
def desk(bench: Workbench) -> Desk:
    return Desk(bench)


@dataclass(frozen=True)
class Kept:
    """A contract, as the store keeps it: what reviews promised."""

    reviews: tuple[Review, ...]

    async def promised(self, sync: str, applied: str, revision: str) -> Promised:  # noqa: ARG002 -- as the Protocol names them
        services: dict[ServiceKey, Any] = {}
        for each in self.reviews:
            for key, seen in each.digests.items():
                services[key] = (*services.get(key, ()), seen)
        return Promised(services, ", ".join(f"#{each.change.number}" for each in self.reviews))


def promising(room: Room, *reviews: Review, require: bool = False) -> Room:
    """The room, with a contract."""
    return replace(
        room,
        world=replace(room.world, contract=Kept(reviews)),
        sync=replace(room.sync, require_reviewed=require),
    )


async def ran(bench: Workbench, *reviews: Review, require: bool = False, **options: Any) -> RunReport:
    async with bench.house() as house:
        return await promising(house.room(bench.name), *reviews, require=require).run(Options(**options), Silent())


async def looked(bench: Workbench) -> Look:
    return await bench.plan()


def digests(of: Review | Look) -> Mapping[ServiceKey, str]:
    return {key: each.digest for key, each in of.digests.items()} if isinstance(of, Review) else of.plan.digests


def everything(bench: Workbench, consul: ConsulServer) -> tuple[object, ...]:
    """All that a review could write: Consul, the store, and the working copy."""
    with sqlite3.connect(bench.folder / "state" / "gitsync.db") as store:
        rows = tuple(store.iterdump())
    return consul.dump(), rows, bench.git("status", "--porcelain"), bench.git("rev-parse", "HEAD")


# -- the plan of the request is the plan of the merge


@pytest.mark.parametrize("squash", [False, True])
async def test_the_plan_of_a_request_is_the_plan_of_its_merge(bench: Workbench, desk: Desk, squash: bool) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"), shop=static("shop"))
    await bench.sync()
    desk.propose(
        12, remove=("services/shop.yaml",), pay=external("pay", router="prefix: /v1/"), new=external("new", "192.0.2.9")
    )
    bench.commit(books=external("books", "192.0.2.12"))  # the base moved on meanwhile
    await bench.sync()

    reviewed = await desk.review(12)
    desk.merge(12, squash=squash)
    after = await looked(bench)

    assert reviewed.verdict is ReviewVerdict.PLANNED
    assert reviewed.affected == {PAY, SHOP, ServiceKey("new")}
    assert digests(reviewed) == digests(after)
    assert reviewed.plan is not None
    assert reviewed.plan.digest == after.plan.digest
    assert reviewed.tree == bench.git("rev-parse", "HEAD^{tree}")
    assert review_words(reviewed).startswith("1 to create, 1 to update, 1 to delete")


async def test_nothing_is_written_by_a_review(bench: Workbench, desk: Desk, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    desk.propose(12, remove=("services/pay.yaml",), new=external("new", "192.0.2.9"))
    before = everything(bench, consul)

    reviewed = await desk.review(12)

    assert reviewed.plan is not None
    assert reviewed.plan.pending
    assert everything(bench, consul) == before


async def test_a_review_leaves_what_the_runs_remember_as_it_is(
    bench: Workbench, desk: Desk, consul: ConsulServer
) -> None:
    for number in range(30):
        bench.write(f"services/s{number}.yaml", external(f"s{number}", f"192.0.2.{number + 1}"))
    bench.commit()
    desk.propose(12, s1=external("s1", "192.0.2.200"), new=external("new", "192.0.2.201"))
    async with bench.house() as house:
        room = house.room(bench.name)
        await room.run(Options(), Silent())
        await room.run(Options(), Silent())
        memory = room.mind.memory
        before = (
            memory.decision,
            memory.accepted,
            memory.sight,
            memory.desires.last,
            memory.entries.last,
            memory.ledgers.last,
        )

        first = await desk.review(12, house=house)
        second = await desk.review(12, house=house)

        after = (
            memory.decision,
            memory.accepted,
            memory.sight,
            memory.desires.last,
            memory.entries.last,
            memory.ledgers.last,
        )
        assert all(one is two for one, two in zip(before, after, strict=True))
        report = await room.run(Options(), Silent())
    fresh = await desk.review(12)

    assert not report.services
    assert digests(first) == digests(second) == digests(fresh)
    assert first.affected == fresh.affected == {ServiceKey("s1"), ServiceKey("new")}


async def test_what_would_come_anyway_is_not_the_requests(bench: Workbench, desk: Desk, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    bench.commit(books=external("books", "192.0.2.12"))  # not applied yet
    desk.propose(12, pay=external("pay", "192.0.2.77"))

    reviewed = await desk.review(12)
    text = review_as_markdown(reviewed, marker="<!-- m -->", redact=frozenset(), limit=60_000)

    assert reviewed.affected == {PAY}
    assert set(reviewed.digests) == {PAY, BOOKS}
    assert [key for key, each in reviewed.digests.items() if each.brought] == [PAY]
    assert "would change with the next run anyway" in text


async def test_a_request_beside_the_specs_affects_nothing_and_consul_is_not_asked(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"))
    bench.git("checkout", "-q", "-B", "request-12")
    bench.write("README.md", "new words\n")
    bench.commit("words")
    bench.git("checkout", "-q", "main")
    desk.deaf = True

    reviewed = await desk.review(12)

    assert reviewed.verdict is ReviewVerdict.UNAFFECTED
    assert reviewed.plan is None
    assert review_words(reviewed) == "no service affected"


async def test_a_comment_in_a_spec_affects_nothing(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    desk.propose(12, pay="# words\n\n" + external("pay"))

    reviewed = await desk.review(12)

    assert (reviewed.verdict, reviewed.affected) == (ReviewVerdict.UNAFFECTED, frozenset())


async def test_a_conflict_is_told_with_its_files(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"))
    desk.propose(12, pay=external("pay", "192.0.2.77"))
    bench.commit(pay=external("pay", "192.0.2.78"))

    reviewed = await desk.review(12)

    assert reviewed.verdict is ReviewVerdict.CONFLICTED
    assert reviewed.conflicts == ("services/pay.yaml",)


# -- what it says


async def test_what_the_guard_would_hold_is_said_before_the_merge(bench: Workbench, desk: Desk) -> None:
    names = [f"s{number}" for number in range(6)]
    for number, name in enumerate(names):
        bench.write(f"services/{name}.yaml", external(name, f"192.0.2.{number + 1}"))
    bench.commit()
    await bench.sync()
    desk.propose(12, remove=tuple(f"services/{name}.yaml" for name in names[:4]))

    reviewed = await desk.review(12)
    desk.merge(12)
    report = await bench.sync()

    assert reviewed.verdict is ReviewVerdict.HELD
    assert reviewed.plan is not None
    assert [hold.digest for hold in reviewed.plan.holds] == [hold.digest for hold in report.holds]


async def test_who_else_in_consul_leads_to_the_service_is_said(
    bench: Workbench, desk: Desk, consul: ConsulServer
) -> None:
    routes = "routes:\n  - { match: { path_prefix: /b }, destination: { service: books } }"
    bench.commit(books=external("books"), shop=external("shop", "192.0.2.12", router=routes))
    await bench.sync()
    consul.put_entry("service-defaults", "theirs", Protocol="http")
    consul.put_entry("service-splitter", "theirs", Splits=[{"Weight": 100, "Service": "books"}])
    consul.put_entry("service-defaults", "other", Protocol="http")
    consul.put_entry("service-resolver", "other", Failover={"*": {"Service": "books"}})
    desk.propose(12, books=external("books", "192.0.2.50"))

    reviewed = await desk.review(12)

    assert [(str(each.kind), each.name, each.how, each.owner) for each in reviewed.links] == [
        ("service-resolver", "other", "fails over to it", ""),
        ("service-router", "shop", "routes to it", "test/payments"),
        ("service-splitter", "theirs", "splits traffic to it", ""),
        ("terminating-gateway", "tgw", "carries it", ""),
    ]


async def test_what_would_be_refused_fails_the_review_and_not_what_was_wrong_before(
    bench: Workbench, desk: Desk
) -> None:
    bench.commit(pay=external("pay"), wrong="name: [")
    await bench.sync()
    desk.propose(12, new=external("new", "192.0.2.9"))
    desk.propose(13, bad="name: bad\nrouting: { host: 7 }\n")
    desk.propose(14, wrong=external("wrong", "192.0.2.10"))

    assert (await desk.review(12)).verdict is ReviewVerdict.PLANNED
    assert (await desk.review(14)).verdict is ReviewVerdict.PLANNED
    refused = await desk.review(13)
    assert refused.verdict is ReviewVerdict.REFUSED
    assert "refused" in review_words(refused)


async def test_a_strict_sync_refuses_the_whole_commit(bench: Workbench, desk: Desk) -> None:
    bench.policy = {"strict": True}
    bench.commit(pay=external("pay"))
    await bench.sync()
    desk.propose(12, new=external("new", "192.0.2.9"), bad="name: [")

    reviewed = await desk.review(12)

    assert reviewed.verdict is ReviewVerdict.REFUSED
    assert review_words(reviewed).startswith("strict: the commit would be refused as a whole")
    assert ServiceKey("new") in reviewed.affected


async def test_a_foreign_service_is_a_conflict_before_the_merge(
    bench: Workbench, desk: Desk, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    consul.put_entry("service-defaults", "theirs", Protocol="http")
    desk.propose(12, theirs=external("theirs", "192.0.2.9"))

    reviewed = await desk.review(12)

    assert reviewed.verdict is ReviewVerdict.REFUSED
    assert review_words(reviewed).startswith("theirs would be in conflict")


async def test_a_path_that_a_request_makes_a_link_is_its_own_fault(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.git("checkout", "-q", "-B", "request-12")
    bench.git("rm", "-rq", "services")
    (bench.repo / "services").symlink_to("/etc")
    bench.commit("link")
    bench.git("checkout", "-q", "main")

    reviewed = await desk.review(12)

    assert reviewed.verdict is ReviewVerdict.REFUSED
    assert "symbolic link" in reviewed.message


async def test_the_first_request_of_a_new_repository_is_planned_too(bench: Workbench, desk: Desk) -> None:
    desk.propose(1, pay=external("pay"))

    reviewed = await desk.review(1)

    assert (reviewed.verdict, reviewed.affected) == (ReviewVerdict.PLANNED, {PAY})


# -- forks


async def test_of_a_fork_only_the_files_are_judged(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    desk.propose(12, new=external("new", "192.0.2.9"))
    desk.propose(13, bad="name: bad\nrouting: { host: 'hunter2!', port: 80 }\n")
    desk.deaf = True

    good, bad = await desk.review(12, fork=True), await desk.review(13, fork=True)

    assert (good.verdict, good.plan, good.specs) == (ReviewVerdict.VALID, None, 1)
    assert (bad.verdict, bad.plan) == (ReviewVerdict.REFUSED, None)
    assert review_words(good) == "1 spec changed, all of them valid"
    text = review_as_markdown(bad, marker="<!-- m -->", redact=frozenset(), limit=60_000)
    assert "`bad.yaml:2" in text
    assert "hunter2" not in text


async def test_a_fork_that_changes_no_spec_affects_nothing(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"), wrong="name: [")
    bench.git("checkout", "-q", "-B", "request-12")
    bench.write("README.md", "new words\n")
    bench.commit("words")
    bench.git("checkout", "-q", "main")
    desk.deaf = True

    assert (await desk.review(12, fork=True)).verdict is ReviewVerdict.UNAFFECTED


async def test_a_fork_does_not_answer_for_what_was_wrong_before(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"), wrong="name: [")
    desk.propose(12, new=external("new", "192.0.2.9"))

    assert (await desk.review(12, fork=True)).verdict is ReviewVerdict.VALID


# -- the contract


async def test_a_merge_that_does_what_was_reviewed_is_told_of_as_any(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    desk.propose(12, pay=external("pay", "192.0.2.77"), remove=("services/books.yaml",))
    reviewed = await desk.review(12)
    desk.merge(12)

    report = await ran(bench, reviewed, require=True)

    assert outcomes(report) == {"pay": Outcome.APPLIED, "books": Outcome.APPLIED}
    assert "plan-deviates" not in codes(report, "pay") | codes(report, "books")


async def test_what_consul_became_meanwhile_is_told(bench: Workbench, desk: Desk, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    desk.propose(12, pay=external("pay", "192.0.2.77"), new=external("new", "192.0.2.9"))
    reviewed = await desk.review(12)
    consul.put_entry("service-defaults", "pay", **{**_fields(consul, "pay"), "Protocol": "tcp"})
    desk.merge(12)

    after = await desk_look(bench, reviewed)
    report = await ran(bench, reviewed)

    assert digests(reviewed)[PAY] != after.plan.digests[PAY]
    assert digests(reviewed)[ServiceKey("new")] == after.plan.digests[ServiceKey("new")]
    assert outcomes(report) == {"pay": Outcome.APPLIED, "new": Outcome.APPLIED}
    assert codes(report, "pay") >= {"plan-deviates"}
    assert "plan-deviates" not in codes(report, "new")
    findings = [finding for service in report.services for finding in service.findings]
    assert deviation_words(findings) == "1 differs from the reviewed plan: pay"
    (finding,) = [each for each in findings if each.code == "plan-deviates"]
    assert "not as reviewed in #12: the same steps were reviewed with another content" in finding.message


async def test_drift_is_put_back_without_a_review(bench: Workbench, desk: Desk, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    desk.propose(12, pay=external("pay", "192.0.2.77"))
    reviewed = await desk.review(12)
    consul.put_entry("service-defaults", "books", **{**_fields(consul, "books"), "Protocol": "tcp"})
    desk.merge(12)

    report = await ran(bench, reviewed, require=True)

    assert outcomes(report) == {"pay": Outcome.APPLIED, "books": Outcome.APPLIED}


async def test_where_a_review_is_required_what_deviates_is_held_until_somebody_looked(
    bench: Workbench, desk: Desk, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    desk.propose(12, pay=external("pay", "192.0.2.77"), new=external("new", "192.0.2.9"))
    reviewed = await desk.review(12)
    consul.put_entry("service-defaults", "pay", **{**_fields(consul, "pay"), "Protocol": "tcp"})
    desk.merge(12)
    bench.commit(late=external("late", "192.0.2.8"))  # and nobody reviewed that

    report = await ran(bench, reviewed, require=True)
    again = await ran(bench, reviewed, require=True)

    assert exit_code(report) == 4
    assert outcomes(report) == {"pay": Outcome.HELD, "late": Outcome.HELD, "new": Outcome.APPLIED}
    assert outcomes(again) == {"pay": Outcome.HELD, "late": Outcome.HELD}
    assert _fields(consul, "pay")["Protocol"] == "tcp"
    digest = (await desk_look(bench, reviewed, require=True)).plan.digest
    freed = await ran(bench, reviewed, require=True, expect=digest)
    assert outcomes(freed) == {"pay": Outcome.APPLIED, "late": Outcome.APPLIED}
    assert not (await ran(bench, reviewed, require=True)).services


async def test_what_is_held_holds_what_depends_on_it(bench: Workbench, desk: Desk, consul: ConsulServer) -> None:
    routes = "routes:\n  - { match: { path_prefix: /b }, destination: { service: books } }"
    bench.commit(
        pay=external("pay", router=routes), books=external("books", "192.0.2.11"), shop=external("shop", "192.0.2.12")
    )
    await bench.sync()
    before = {entry["Name"] for entry in consul.entries("service-router")}
    bench.commit(pay=external("pay"))  # not reviewed: the route stays, so books must
    desk.propose(12, remove=("services/books.yaml",))
    reviewed = await desk.review(12)
    promise = replace(reviewed, digests={BOOKS: reviewed.digests[BOOKS]})
    desk.merge(12)

    report = await ran(bench, promise, require=True)

    assert outcomes(report) == {"pay": Outcome.HELD, "books": Outcome.REFUSED}
    assert "still-referenced" in codes(report, "books")
    assert {entry["Name"] for entry in consul.entries("service-router")} == before


async def test_where_it_cannot_be_known_what_was_reviewed_nothing_was(bench: Workbench, desk: Desk) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.commit(pay=external("pay", "192.0.2.77"))

    assert outcomes(await ran(bench, require=True)) == {"pay": Outcome.HELD}
    assert outcomes(await ran(bench)) == {"pay": Outcome.APPLIED}


def _fields(consul: ConsulServer, name: str) -> dict[str, Any]:
    entry = consul.entry("service-defaults", name)
    assert entry is not None
    return {
        key: value for key, value in entry.items() if key not in ("Kind", "Name", "CreateIndex", "ModifyIndex", "Hash")
    }


async def desk_look(bench: Workbench, *reviews: Review, require: bool = False) -> Look:
    async with bench.house() as house:
        room = promising(house.room(bench.name), *reviews, require=require)
        return await room.plan(Options(), Silent(), defaults=house.defaults)


# -- from the request to the run, with everything that stands between


@dataclass
class Host:
    """A host that has one request, and keeps what it is told."""

    desk: Desk
    number: int
    state: str = "open"
    statuses: list[Status] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def get_change(self, number: int) -> ChangeRequest | None:
        head = self.desk.bench.git("rev-parse", f"request-{number}")
        return ChangeRequest(number, head, f"request-{number}", "main", False, None, self.state)  # type: ignore[arg-type]

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        found = await self.get_change(self.number)
        if found and found.state == "open" and base_ref == "main":
            yield found

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        return (f"refs/heads/{change.head_ref}",)

    async def want_status(self, status: Status, *, delay: float = 0.0) -> None:  # noqa: ARG002 -- as the Protocol names it
        self.statuses.append(status)

    async def want_comment(self, number: int, marker: str, body: str) -> None:  # noqa: ARG002 -- as the Protocol names it
        self.comments.append(body)
        self.told.set()


class Followed(Changes):
    """The mirror, which says when a request is forgotten."""

    def __init__(self, specs: MirrorSpecs) -> None:
        super().__init__(specs)
        self.dropped = asyncio.Event()

    async def drop(self, number: int) -> None:
        await super().drop(number)
        self.dropped.set()


async def heard(host: Host, comments: int) -> None:
    """Until the host has been told so often."""
    async with asyncio.timeout(20):
        while len(host.comments) < comments:
            host.told.clear()
            await host.told.wait()


async def test_what_was_said_on_the_request_is_what_the_run_is_held_to(
    bench: Workbench, desk: Desk, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    desk.propose(12, pay=external("pay", "192.0.2.77"), new=external("new", "192.0.2.9"))
    host = Host(desk, 12)
    async with bench.house() as house:
        room, clock = house.room(bench.name), system_clock()
        assert isinstance(room.world.specs, MirrorSpecs)
        changes = Followed(room.world.specs)
        records = house.store.reviews
        station = ReviewDesk(
            sync=bench.name, base="main", context="gitsync/plan/test/payments", marker="<!-- m -->", host=host, repository=changes,
            records=records, judge=lambda asked: review(room.world, room.sync, changes, asked, room.mind.memory),
            want_status=host.want_status, want_comment=host.want_comment, link=lambda number: f"https://g.example/{number}",
        )  # fmt: skip
        reviews = Reviews([station], clock)
        working = asyncio.ensure_future(reviews.run())
        try:
            await heard(host, 1)  # found by looking
            first = host.statuses[-1].sha
            bench.git("checkout", "-q", "request-12")
            second = bench.commit("more", new=external("new", "192.0.2.10"))
            bench.git("checkout", "-q", "main")
            reviews.look(bench.name, 12)
            await heard(host, 2)
            consul.put_entry("service-defaults", "pay", **{**_fields(consul, "pay"), "Protocol": "tcp"})
            desk.merge(12, squash=True)
            host.state = "merged"
            reviews.look(bench.name, 12)
            await asyncio.wait_for(changes.dropped.wait(), 20)
            kept = await records.get(bench.name, 12)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

        @asynccontextmanager
        async def held() -> AsyncIterator[Any]:
            yield records

        world = replace(room.world, contract=Contracts({bench.name: changes}, held))
        held_to = replace(room, world=world, sync=replace(room.sync, require_reviewed=True))
        report = await held_to.run(Options(), Silent())

    assert first != second
    assert [(status.sha, str(status.state)) for status in host.statuses] == [
        (first, "pending"), (first, "success"), (second, "pending"), (second, "success"),
    ]  # fmt: skip
    assert host.statuses[-1].description.startswith("1 to create, 1 to update")
    assert kept is not None
    assert kept.closed
    assert kept.tree == bench.git("rev-parse", "HEAD^{tree}")
    assert outcomes(report) == {"pay": Outcome.HELD, "new": Outcome.APPLIED}
    assert "as reviewed in #12" in str(report.services)
