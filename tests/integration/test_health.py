"""/healthz and /readyz over real connections, and clients that are slow on purpose."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from gitsync.model.errors import Invalid
from gitsync.model.view import SyncView
from gitsync.web import Limits, health_app, serve

QUICK = Limits(header=0.4, silence=0.4, request=0.6, connection=1.2, body_bytes=1000)
"""The limits of the tests that wait for them."""


class View:
    """The syncs that a test says there are."""

    def __init__(self, *syncs: SyncView) -> None:
        self.all = syncs

    def syncs(self) -> Mapping[str, SyncView]:
        return {sync.name: sync for sync in self.all}


GOOD = SyncView("pay", 60, silent=12, last_success="2026-01-01T12:00:00Z", applied="b" * 40, outcome="unchanged")


async def body_length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


READER = Starlette(routes=[Route("/body", body_length, methods=["POST"])])


@asynccontextmanager
async def connection(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def get(address: tuple[str, int], path: str, method: str = "GET") -> tuple[int, Any]:
    """The status and the JSON, or the text, that is answered."""
    async with connection(address) as (reader, writer):
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        text = body.decode()
        return int(head.split()[1]), json.loads(text) if text.startswith("{") else text


async def seconds_until_dropped(address: tuple[str, int], opening: bytes, drip: bytes, every: float = 0.1) -> float:
    """How long a client that sends *drip* again and again after *opening* keeps its connection."""
    began = time.monotonic()
    async with connection(address) as (reader, writer):
        writer.write(opening)
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(10):
            while not (await asyncio.wait({closed}, timeout=every))[0]:
                writer.write(drip)
        await asyncio.gather(closed, return_exceptions=True)
    return time.monotonic() - began


@asynccontextmanager
async def served(app: ASGIApp, limits: Limits = QUICK) -> AsyncIterator[tuple[str, int]]:
    async with serve(app, "127.0.0.1", 0, limits=limits) as address:
        yield address


# -- what is answered -----------------------------------------------------------------------------------------------------


async def test_a_process_that_lives_says_so_whatever_its_syncs_do():
    broken = SyncView("pay", 60, failures=3, error="no connection to Consul")

    async with served(health_app(View(broken))) as address:
        assert await get(address, "/healthz") == (200, {"status": "alive"})


async def test_it_is_ready_when_every_sync_gets_through_and_shows_where_each_stands():
    shop = SyncView(
        "shop",
        60,
        silent=30,
        outcome="applied",
        in_flight="schedule",
        waiting="webhook",
        next_run="2026-01-01T12:01:00Z",
    )

    async with served(health_app(View(GOOD, shop))) as address:
        status, body = await get(address, "/readyz")

    assert (status, body["status"], body["reasons"]) == (200, "ready", {})
    assert body["syncs"]["pay"] == {
        "ready": True,
        "last_success": "2026-01-01T12:00:00Z",
        "applied": "b" * 40,
        "outcome": "unchanged",
        "suspended": False,
        "in_flight": None,
        "waiting": None,
        "next_run": None,
        "failures": 0,
        "backoff_seconds": 0.0,
        "error": None,
    }
    assert body["syncs"]["shop"]["in_flight"] == "schedule"
    assert body["syncs"]["shop"]["waiting"] == "webhook"
    assert body["syncs"]["shop"]["next_run"] == "2026-01-01T12:01:00Z"


async def test_one_sync_that_does_not_get_through_is_enough_not_to_be_ready():
    new = SyncView("shop", 60, failures=2, backoff=10.04, outcome="failed", error="no connection to Consul")

    async with served(health_app(View(GOOD, new))) as address:
        status, body = await get(address, "/readyz")

    assert (status, body["status"]) == (503, "not ready")
    assert body["reasons"] == {"shop": "it has not yet looked at Git and Consul with success: no connection to Consul"}
    assert (body["syncs"]["pay"]["ready"], body["syncs"]["shop"]["ready"]) == (True, False)
    assert (body["syncs"]["shop"]["failures"], body["syncs"]["shop"]["backoff_seconds"]) == (2, 10.0)


async def test_a_suspended_sync_is_ready():
    stopped = SyncView("shop", 60, silent=5, outcome="suspended", suspended=True)

    async with served(health_app(View(stopped))) as address:
        status, body = await get(address, "/readyz")

    assert status == 200
    assert body["syncs"]["shop"]["suspended"] is True


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/healthz", 405)])
async def test_nothing_else_is_there(method: str, path: str, status: int):
    async with served(health_app(View(GOOD))) as address:
        assert (await get(address, path, method))[0] == status


# -- where it listens -----------------------------------------------------------------------------------------------------


async def test_an_address_that_is_taken_is_a_wrong_configuration():
    async with served(health_app(View())) as (host, port):
        with pytest.raises(Invalid, match=rf"web\.listen: gitsync cannot listen at 127\.0\.0\.1 port {port}: "):
            async with serve(health_app(View()), host, port):
                pass


async def test_it_can_listen_on_ipv6():
    async with serve(health_app(View(GOOD)), "::1", 0) as address:
        assert (await get(address, "/healthz"))[0] == 200


async def test_the_port_is_free_again_at_once_and_an_idle_client_does_not_hold_up_the_end():
    async with served(health_app(View(GOOD)), Limits(closing=0.4)) as (host, port), connection((host, port)):
        await get((host, port), "/healthz")
        began = time.monotonic()

    assert time.monotonic() - began < 2
    async with serve(health_app(View(GOOD)), host, port) as again:
        assert (await get(again, "/healthz"))[0] == 200


# -- slow clients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opening", "drip"),
    [
        pytest.param(b"", b"", id="silent"),
        pytest.param(b"GET /body HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a", id="headers"),
        pytest.param(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", b"a", id="body"),
        pytest.param(
            b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", id="chunks"
        ),
        pytest.param(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
            b"\0\0\x08\6\0\0\0\0\x00pingpong",
            id="HTTP/2 that only pings",
        ),
        pytest.param(
            b"GET /body HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /body HTTP/1.1\r\nHost: x\r\n\r\n", id="never finished"
        ),
    ],
)
async def test_a_slow_client_loses_its_connection(opening: bytes, drip: bytes):
    async with served(READER) as address:
        assert await seconds_until_dropped(address, opening, drip) < QUICK.connection + 1


async def test_a_body_that_takes_too_long_is_answered_408():
    async with served(READER) as address, connection(address) as (reader, writer):
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")
        answer = asyncio.create_task(reader.read())
        while not (await asyncio.wait({answer}, timeout=0.1))[0]:
            writer.write(b"a")

    assert answer.result().startswith(b"HTTP/1.1 408")


async def test_a_body_that_is_too_large_is_answered_413_before_it_is_whole():
    async with served(READER) as address, connection(address) as (reader, writer):
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"a" * 1001)
        answer = await asyncio.wait_for(reader.read(), 5)

    assert answer.startswith(b"HTTP/1.1 413")


async def test_health_is_answered_quickly_among_slow_clients():
    slow = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
    async with served(health_app(View(GOOD)), Limits()) as address, asyncio.TaskGroup() as group:
        for _ in range(100):
            _, writer = await asyncio.open_connection(*address)
            writer.write(slow)
            group.create_task(closed_in_the_end(writer))
        began = time.monotonic()
        for _ in range(10):
            assert (await get(address, "/healthz"))[0] == 200

        assert time.monotonic() - began < 1.0


async def closed_in_the_end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_who_comes_when_all_places_are_taken_is_turned_away_and_others_get_in_later():
    few = Limits(header=0.4, connections=2)
    async with served(health_app(View(GOOD)), few) as address:
        async with connection(address), connection(address), connection(address) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.gather(reader.read(), return_exceptions=True) != [b"HTTP/1.1 200"]
            assert reader.at_eof() or reader.exception()
        async with asyncio.timeout(5):
            while (await asyncio.gather(get(address, "/healthz"), return_exceptions=True))[0] != (
                200,
                {"status": "alive"},
            ):
                pass
