"""Notifications: who is told of what, how often, and that a foreign verifier takes the signature."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from gitsync.daemon.notify import DRIFT, FAILED, FINISHED, HELD, Notices, Subscriber, Subscription, signing_key
from gitsync.model.delivery import Delivery, DeliveryKind, DeliveryState
from gitsync.model.errors import Invalid, Unavailable
from gitsync.model.host import Verdict
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, FieldDiff, Hold
from gitsync.model.plan import Verdict as PlanVerdict
from gitsync.model.run import ComponentDiff, Outcome, RunOutcome, RunReport, ServiceOutcome
from gitsync.store import Store
from tests.office import Office, OfficeTime

A, B = "a" * 40, "b" * 40
PAY = ServiceKey("pay")
HOLD = Hold("abc123def456", ((PAY, 17), (ServiceKey("books"), 18)), "too many")
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
URL = "https://listener.example/hooks?key=hidden"
EVERYTHING = frozenset({FINISHED, FAILED, HELD, DRIFT})


class Listener:
    """Who is told. answer: what it says. got: what it was sent."""

    def __init__(self) -> None:
        self.got: list[httpx.Request] = []
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(204)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.got.append(request)
        return self.answer()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.got]

    @property
    def types(self) -> list[str]:
        return [body["type"] for body in self.bodies]


class Newsroom(Office):
    """Notices, and one who listens."""

    def __init__(self, time: OfficeTime, store: Store, client: httpx.AsyncClient, to: Subscription) -> None:
        super().__init__(time, store.deliveries)
        self.to = to
        self.subscribers = {to.context: Subscriber(to, client, lambda: datetime.now(UTC))}
        self.rooms()

    def rooms(self) -> None:
        self.poster = self.new_poster()
        self.notices = Notices(
            self.wants,
            [self.to],
            instance="test",
            link=lambda _, run: f"https://gitsync.example/runs/{run}" if run else "",
            clock=self.time.clock(),
        )

    async def restarts(self) -> None:
        await self.closes()
        self.rooms()
        await self.opens()

    async def hears(self, *reports: RunReport) -> None:
        for each in reports:
            await self.notices.finished(each)
            await self.notices.looked(each)
            await self.time.settle()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


@pytest.fixture
async def client(listener: Listener) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(listener)) as client:
        yield client


@pytest.fixture
async def room(tmp_path: Path, client: httpx.AsyncClient, secret_file: Path) -> AsyncIterator[Newsroom]:
    async with Store.open(f"sqlite:///{tmp_path / 'gitsync.db'}") as store:
        room = Newsroom(OfficeTime(), store, client, Subscription(URL, EVERYTHING, secret_file))
        await room.opens()
        yield room
        await room.closes()


def report(run: str = "01RUN0001", **changes: Any) -> RunReport:
    values: dict[str, Any] = {
        "id": run,
        "sync": "pay",
        "revision": A,
        "applied_revision": A,
        "trigger": "webhook",
        "started": "2026-01-01T12:00:00Z",
        "finished": "2026-01-01T12:00:09Z",
        "outcome": RunOutcome.APPLIED,
        "counts": {Outcome.APPLIED: 2},
        **changes,
    }
    return RunReport(**values)


def failed(run: str = "01RUN0001", message: str = "no", **changes: Any) -> RunReport:
    stopped = ServiceOutcome(PAY, Outcome.FAILED, PlanVerdict.UPDATE, Action.UPDATE, "write", message)
    return report(run, outcome=RunOutcome.FAILED, counts={Outcome.FAILED: 1}, services=(stopped,), **changes)


def drifted(*names: str, run: str = "") -> RunReport:
    services = tuple(
        ServiceOutcome(
            ServiceKey(name),
            Outcome.UNCHANGED,
            PlanVerdict.DRIFT,
            diffs=(ComponentDiff(f"service-defaults/{name}", Action.UPDATE, (FieldDiff("Meta.cost", "s3cret", "x"),)),),
        )
        for name in names
    )
    return report(run, outcome=RunOutcome.UNCHANGED, counts={Outcome.UNCHANGED: 9}, services=services)


async def look(room: Newsroom, *reports: RunReport) -> None:
    for each in reports:
        await room.notices.looked(each)
        await room.time.settle()


# -- the message ----------------------------------------------------------------------------------------------------------


async def test_a_foreign_verifier_takes_the_message(room, listener):
    await room.hears(report())
    [request] = listener.got

    verified = Webhook(SECRET).verify(request.content, dict(request.headers))

    assert verified == listener.bodies[0]
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize("part", ["body", "id", "timestamp"])
async def test_a_message_that_was_changed_on_its_way_is_refused(room, listener, part):
    await room.hears(report())
    [request] = listener.got
    headers, body = dict(request.headers), request.content
    if part == "body":
        body = body.replace(b"pay", b"pax", 1)
    elif part == "id":
        headers["webhook-id"] += "x"
    else:
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)

    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(body, headers)


async def test_a_finished_run_is_told_with_what_became_of_it(room, listener):
    await room.hears(report())

    assert listener.bodies == [
        {
            "type": "run.finished",
            "timestamp": "2026-01-01T12:00:00Z",
            "data": {
                "instance": "test",
                "sync": "pay",
                "link": "https://gitsync.example/runs/01RUN0001",
                "summary": "2 applied",
                "run": "01RUN0001",
                "revision": A,
                "applied_revision": A,
                "trigger": "webhook",
                "outcome": "applied",
                "counts": {"applied": 2},
                "services": [],
                "error": None,
                "started": "2026-01-01T12:00:00Z",
                "finished": "2026-01-01T12:00:09Z",
            },
        }
    ]


async def test_the_same_message_has_the_same_id_when_it_is_sent_again(room, listener):
    listener.answer = lambda: httpx.Response(500)
    await room.hears(report())
    listener.answer = lambda: httpx.Response(200)
    await room.time.pass_by(60)

    first, second = listener.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.content == second.content


async def test_a_new_secret_is_used_as_soon_as_it_is_there(room, listener, secret_file):
    secret_file.write_text("plain words for a key")
    await room.hears(report())
    [request] = listener.got

    assert Webhook(b"plain words for a key").verify(request.content, dict(request.headers))


async def test_a_secret_that_is_not_there_for_a_moment_only_costs_time(room, listener, secret_file):
    secret_file.unlink()
    await room.hears(report())
    assert listener.got == []
    secret_file.write_text(SECRET)
    await room.time.pass_by(60)

    assert len(listener.got) == 1


async def test_a_redirect_is_not_followed(room, listener):
    listener.answer = lambda: httpx.Response(307, headers={"location": "https://elsewhere.example/"})
    await room.hears(report())
    await room.time.pass_by(20)

    assert {request.url.host for request in listener.got} == {"listener.example"}


@pytest.mark.parametrize(
    ("status", "headers", "verdict", "wait"),
    [
        (200, {}, Verdict.DONE, None),
        (299, {}, Verdict.DONE, None),
        (302, {}, Verdict.TRANSIENT, None),
        (401, {}, Verdict.TRANSIENT, None),
        (410, {}, Verdict.INVALID, None),
        (429, {}, Verdict.LIMIT, None),
        (429, {"retry-after": "17"}, Verdict.LIMIT, 17.0),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, Verdict.LIMIT, None),
        (503, {"retry-after": "17"}, Verdict.LIMIT, 17.0),
        (503, {}, Verdict.TRANSIENT, None),
        (500, {}, Verdict.TRANSIENT, None),
    ],
)
async def test_what_an_answer_means(listener, client, status, headers, verdict, wait):
    listener.answer = lambda: httpx.Response(status, headers=headers)
    result = await Subscriber(Subscription(URL, EVERYTHING), client, lambda: datetime.now(UTC)).tell(a_delivery())

    assert (result.verdict, result.retry_after) == (verdict, wait)


async def test_nobody_who_answers_is_an_address_that_is_tried_again_and_not_shown_whole(client):
    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("key=hidden", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refused)) as broken:
        subscriber = Subscriber(Subscription(URL, EVERYTHING), broken, lambda: datetime.now(UTC))
        result = await subscriber.tell(a_delivery())

    assert result.verdict is Verdict.TRANSIENT
    assert "hidden" not in result.detail + subscriber.name


def a_delivery() -> Delivery:
    return Delivery(
        1, "pay", DeliveryKind.NOTIFICATION, "e", "c", {"type": "run.finished"}, None, DeliveryState.WAITING
    )


@pytest.mark.parametrize("url", ["https://x.example/", "http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/x"])
def test_messages_go_by_https_or_stay_on_this_machine(url):
    assert Subscription(url, EVERYTHING).context.startswith("notify/")


@pytest.mark.parametrize(
    "url", ["http://x.example/", "http://127.0.0.1.x.example/", "ftp://localhost/", "http:///", "http://0.0.0.0/"]
)
def test_messages_go_nowhere_else(url):
    with pytest.raises(Invalid, match="neither https"):
        Subscription(url, EVERYTHING)


@pytest.mark.parametrize("secret", ["", " \n", "whsec_", "whsec_no!base64"])
def test_a_secret_that_is_none_is_refused(secret):
    with pytest.raises(Invalid):
        signing_key(secret)


async def test_a_secret_that_is_none_is_no_reason_to_send_without_one(client, secret_file, listener):
    secret_file.write_text("")
    with pytest.raises(Unavailable, match="no key"):
        await Subscriber(Subscription(URL, EVERYTHING, secret_file), client, lambda: datetime.now(UTC)).tell(
            a_delivery()
        )

    assert listener.got == []


# -- who is told of what --------------------------------------------------------------------------------------------------


async def test_who_wants_failures_hears_of_nothing_else(room, listener, client):
    room.to = Subscription(URL, frozenset({FAILED}))
    room.subscribers = {room.to.context: Subscriber(room.to, client, lambda: datetime.now(UTC))}
    await room.restarts()
    await room.hears(report("01RUN0001"), failed("01RUN0002"))
    await room.notices.held("pay", [HOLD])
    await look(room, drifted("pay"))

    assert listener.types == ["run.failed"]
    assert "webhook-signature" not in listener.got[0].headers


async def test_a_failure_is_told_once_until_it_changes_or_is_over(room, listener):
    runs = [failed("01"), failed("02"), failed("03", "other"), report("04"), failed("05", "other", revision=B)]
    await room.hears(*runs)

    told = [body["data"]["run"] for body in listener.bodies if body["type"] == "run.failed"]
    assert told == ["01", "03", "05"]


async def test_a_failure_is_not_told_again_by_a_new_process_on_the_same_day(room, listener):
    await room.hears(failed("01"))
    await room.restarts()
    await room.hears(failed("02"))

    assert listener.types.count("run.failed") == 1


async def test_a_pass_that_could_not_be_is_a_failure_too(room, listener):
    for _ in range(3):
        await room.notices.troubled("pay", "Consul does not answer")
        await room.time.settle()

    assert listener.types == ["run.failed"]
    assert listener.bodies[0]["data"]["error"] == "Consul does not answer"


async def test_a_hold_is_told_once_however_often_it_is_seen(room, listener):
    for _ in range(2):
        await room.notices.held("pay", [HOLD])
        await room.time.settle()
        await room.restarts()

    [body] = listener.bodies
    assert body["type"] == "sync.held"
    assert body["data"]["summary"] == "2 deletes wait for an approval: too many"
    assert body["data"]["holds"] == [
        {
            "digest": "abc123def456",
            "services": ["pay", "books"],
            "reason": "too many",
            "command": "gitsync approve abc123def456",
        }
    ]


async def test_drift_is_told_once_until_it_changes_and_without_values(room, listener):
    await look(room, drifted("pay"), drifted("pay"), drifted("pay", "books"), drifted())
    await room.restarts()
    await look(room, drifted("pay", "books"))

    assert listener.types == ["sync.drift", "sync.drift"]
    assert [body["data"]["summary"] for body in listener.bodies] == [
        "1 service was changed outside gitsync",
        "2 services were changed outside gitsync",
    ]
    assert listener.bodies[0]["data"]["services"] == [
        {"service": "pay", "components": ["service-defaults/pay"], "outcome": "unchanged"}
    ]
    assert "s3cret" not in str(listener.bodies)


async def test_what_was_put_back_is_drift_too(room, listener):
    (shown,) = drifted("pay").services
    back = replace(shown, outcome=Outcome.APPLIED, verdict=PlanVerdict.UPDATE, drift=True)
    await look(room, report("01RUN0007", outcome=RunOutcome.APPLIED, services=(back,)))

    (body,) = [each for each in listener.bodies if each["type"] == "sync.drift"]
    assert body["data"]["services"] == [
        {"service": "pay", "components": ["service-defaults/pay"], "outcome": "applied"}
    ]


async def test_drift_that_comes_back_another_day_is_told_again(room, listener):
    await look(room, drifted("pay"), drifted())
    room.time.now += 86_400
    await look(room, drifted("pay"))

    assert listener.types == ["sync.drift", "sync.drift"]


async def test_a_run_of_thousands_of_services_fits_into_a_message(room, listener):
    services = tuple(
        ServiceOutcome(ServiceKey(f"service-{at}"), Outcome.APPLIED, PlanVerdict.UPDATE, Action.UPDATE)
        for at in range(5000)
    )
    stopped = ServiceOutcome(PAY, Outcome.REFUSED, PlanVerdict.REFUSED, step="load", message="no")
    await room.hears(report(services=(*services, stopped), counts={Outcome.APPLIED: 5000, Outcome.REFUSED: 1}))

    data = listener.bodies[0]["data"]
    assert data["services"][0] == {"service": "pay", "outcome": "refused", "step": "load", "message": "no"}
    assert len(data["services"]) == 100
    assert data["counts"] == {"applied": 5000, "refused": 1}
