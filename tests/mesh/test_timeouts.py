"""When a request ends that does not answer, and how often it is tried."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.mesh.conftest import Street
from tests.mesh.echo import Deaf, Echo

ROUTER = {"routes": [{"match": {"path_prefix": "/v1/"}}]}


@pytest.mark.parametrize(
    ("router", "path"),
    [(None, "/"), (ROUTER, "/v1/a"), (ROUTER, "/else")],
    ids=["without-router", "routed", "off-the-routes"],
)
async def test_a_request_ends_with_its_timeout(street: Street, echo: Echo, router: Any, path: str):
    connect = {"router": router} if router else {}
    caller = await street.serve(street.spec(echo, timeouts={"request": "1s"}, **connect))

    reply = caller.ask(path, headers={"x-wait": "4"})

    assert reply.status == 504
    assert 0.9 < reply.seconds < 3


async def test_a_long_timeout_holds_with_a_router_without_one_and_off_its_routes(street: Street, echo: Echo):
    timeouts = {"request": "30s"}
    plain = await street.serve(street.spec(echo, timeouts=timeouts))
    routed = await street.serve(street.spec(echo, name=street.also("routed"), timeouts=timeouts, router=ROUTER))

    with ThreadPoolExecutor() as threads:
        asked = [
            threads.submit(caller.ask, path, headers={"x-wait": "17"})
            for caller, path in ((plain, "/"), (routed, "/v1/"), (routed, "/else"))
        ]
        replies = [each.result() for each in asked]

    assert [reply.status for reply in replies] == [200, 200, 200]


async def test_without_a_timeout_a_request_ends_after_15_seconds(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo))

    reply = caller.ask(headers={"x-wait": "18"})

    assert reply.status == 504
    assert 14.5 < reply.seconds < 17


async def test_a_routes_own_timeout_goes_before_the_services(street: Street, echo: Echo):
    routes = [{"match": {"path_exact": "/health"}, "destination": {"request_timeout": "1s"}}]
    caller = await street.serve(street.spec(echo, timeouts={"request": "10s"}, router={"routes": routes}))

    ended, answered = (caller.ask(path, headers={"x-wait": "3"}) for path in ("/health", "/else"))

    assert (ended.status, answered.status) == (504, 200)
    assert 0.9 < ended.seconds < 2.5


@pytest.mark.parametrize("path", ["/v1/a", "/else"])
async def test_a_silent_stream_ends_with_the_idle_timeout(street: Street, echo: Echo, path: str):
    caller = await street.serve(street.spec(echo, timeouts={"request": "20s", "idle": "1s"}, router=ROUTER))

    reply = caller.ask(path, headers={"x-wait": "4"})

    assert reply.status in (408, 504)
    assert 0.9 < reply.seconds < 3


async def test_a_routes_own_idle_timeout_goes_before_the_services(street: Street, echo: Echo):
    routes = [{"match": {"path_exact": "/quick"}, "destination": {"idle_timeout": "1s"}}]
    caller = await street.serve(
        street.spec(echo, timeouts={"request": "20s", "idle": "10s"}, router={"routes": routes})
    )

    ended, answered = (caller.ask(path, headers={"x-wait": "3"}) for path in ("/quick", "/else"))

    assert ended.status in (408, 504)
    assert answered.status == 200


async def test_an_idle_timeout_without_a_router_ends_nothing_and_the_finding_says_so(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, timeouts={"idle": "1s"}))

    assert caller.ask(headers={"x-wait": "2.5"}).status == 200
    assert "idle-without-router" in street.said


async def test_request_and_idle_timeouts_on_tcp_end_nothing_and_the_finding_says_so(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, protocol="tcp", timeouts={"request": "1s", "idle": "1s"}))

    assert caller.ask(headers={"x-wait": "2.5"}).status == 200
    assert "timeout-on-tcp" in street.said


async def test_a_timeout_for_each_try_ends_nothing_and_the_finding_says_so(street: Street, echo: Echo):
    retries = {"attempts": 2, "per_try_timeout": "1s", "on": ["5xx", "reset"]}
    routes = [{"match": {"path_prefix": "/v1/"}, "destination": {"retries": retries}}]
    caller = await street.serve(
        street.spec(echo, router={"prefix": "/", "retries": retries}),
        street.spec(echo, name=street.also("route"), router={"routes": routes}),
    )
    route = street.mesh.dial(street.also("route"))

    with ThreadPoolExecutor() as threads:
        slow = {"x-wait": "2.5", "x-ask": "slow"}
        asked = [threads.submit(each.ask, "/v1/", headers=slow) for each in (caller, route)]
        replies = [each.result() for each in asked]

    assert [reply.status for reply in replies] == [200, 200]
    assert echo.count(x_ask="slow") == 2
    assert "per-try-timeout" in street.said


@pytest.mark.parametrize("connect", [1, 3])
async def test_a_connection_that_does_not_come_ends_with_its_timeout(street: Street, connect: int):
    with Deaf() as deaf:
        caller = await street.serve(street.spec(deaf, timeouts={"connect": f"{connect}s"}))

        reply = caller.ask()

    assert reply.status == 503
    assert connect - 0.1 < reply.seconds < connect + 1


# -- tries ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retries", "answer", "requests"),
    [
        ({"attempts": 3, "status_codes": [503]}, 503, 4),
        ({"attempts": 3, "status_codes": [503]}, 500, 1),
        ({"attempts": 2, "on": ["5xx"]}, 500, 3),
        ({"attempts": 2, "on": ["gateway-error"]}, 502, 3),
        ({"attempts": 2, "on": ["gateway-error"]}, 500, 1),
        ({"attempts": 1, "on": ["retriable-4xx"]}, 409, 2),
        ({"attempts": 3}, 503, 1),
        ({"attempts": 0}, 503, 1),
        ({"attempts": 0, "on": ["5xx"], "status_codes": [503]}, 503, 1),
        (None, 503, 1),
    ],
    ids=lambda value: "" if value is None else str(value).translate(str.maketrans("", "", "{}[]' ")),
)
async def test_a_server_gets_as_many_requests_as_the_retries_say(
    street: Street, echo: Echo, retries: Any, answer: int, requests: int
):
    router = {"prefix": "/"} | ({"retries": retries} if retries else {})
    caller = await street.serve(street.spec(echo, router=router))

    reply = caller.ask(headers={"x-answer": str(answer), "x-ask": "this"})

    assert reply.status == answer
    assert echo.count(x_ask="this") == requests


async def test_a_route_has_retries_of_its_own(street: Street, echo: Echo):
    routes = [
        {"match": {"path_prefix": "/again/"}, "destination": {"retries": {"attempts": 2, "status_codes": [503]}}},
        {"match": {"path_prefix": "/on/"}, "destination": {"retries": {"attempts": 1, "on": ["5xx"]}}},
    ]
    caller = await street.serve(street.spec(echo, router={"routes": routes}))

    for path, word in (("/again/", "again"), ("/on/", "on"), ("/once/", "once")):
        caller.ask(path, headers={"x-answer": "503", "x-ask": word})

    assert [echo.count(x_ask=word) for word in ("again", "on", "once")] == [3, 2, 1]


@pytest.mark.parametrize(
    ("retries", "connections"), [({"attempts": 2}, 1), ({"attempts": 2, "status_codes": [503]}, 3)]
)
async def test_a_server_that_refuses_is_tried_again_only_by_the_status_that_the_gateway_gives(
    street: Street, echo: Echo, retries: dict[str, Any], connections: int
):
    caller = await street.serve(street.spec(echo, router={"prefix": "/", "retries": retries}))
    echo.stop()

    reply = caller.ask()

    refused = street.mesh.gateway.told(f"/stats?filter=cluster.{street.name}.*upstream_cx_connect_fail")
    assert reply.status == 503
    assert [line.rpartition(" ")[2] for line in refused.splitlines()] == [str(connections)]
