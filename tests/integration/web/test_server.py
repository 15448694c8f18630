"""The server below the pages and /hooks: what ends a connection without taking an answer with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gitsync.web import Limits, serve

LIMITS = Limits(request=0.6, connection=1.2, body_bytes=1_000, bodies={"/hooks/": 200_000}, linger=0.3)


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def large(_: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * 50_000_000)


APP = Starlette(
    routes=[
        Route("/", hello, methods=["GET", "POST"]),
        Route("/large", large),
        Route("/length", length, methods=["POST"]),
        Route("/hooks/x", length, methods=["POST"]),
    ]
)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serve(APP, "127.0.0.1", 0, limits=LIMITS) as address, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address)
        yield reader, writer
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def answered(reader: asyncio.StreamReader) -> tuple[str, bytes, bool]:
    """The status, the body, and whether the connection ends with it."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head.split(b" ")[1].decode(), await reader.readexactly(size), b"connection: close" in head


async def test_a_young_connection_is_kept_and_an_old_one_ends_with_an_answer_that_says_so():
    async with connected() as (reader, writer):
        ends = []
        while not ends or not ends[-1]:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            status, body, last = await answered(reader)
            assert (status, body) == ("200", b"hello")
            ends.append(last)
            await asyncio.sleep(0.05)

        assert len(ends) > 2
        assert await reader.read() == b""


async def test_who_is_answered_before_his_body_was_read_hears_that_nothing_can_follow():
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n" + b"a" * 400)

        assert await answered(reader) == ("200", b"hello", True)
        assert await reader.read() == b""


async def test_who_sends_on_after_the_answer_still_gets_it():
    async with connected() as (reader, writer):
        writer.write(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"a" * 2_000)
        for _ in range(4):
            writer.write(b"a" * 100)
            await writer.drain()
            await asyncio.sleep(0.02)

        assert (await answered(reader))[0] == "413"


@pytest.mark.parametrize(("path", "longest"), [("/length", 1_000), ("/hooks/x", 200_000)])
@pytest.mark.parametrize("over", [0, 1])
async def test_how_long_a_body_may_be_depends_on_where_it_goes(path: str, longest: int, over: int):
    size = longest + over
    async with connected() as (reader, writer):
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + b"a" * size)

        assert (await answered(reader))[0] == ("413" if over else "200")


async def test_an_empty_body_that_nobody_reads_ends_nothing():
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert await answered(reader) == ("200", b"hello", False)


@pytest.mark.parametrize("path", ["/", "/length", "/hooks/x"])
async def test_who_sends_a_body_without_end_is_gone_soon_and_writes_no_log(path: str, caplog: pytest.LogCaptureFixture):
    async with connected() as (reader, writer):
        began = asyncio.get_running_loop().time()
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
                await writer.drain()
        took = asyncio.get_running_loop().time() - began

        assert (await answer).split(b" ")[1] == (b"200" if path == "/" else b"413")
        assert took < LIMITS.connection
    assert not caplog.records


async def test_who_does_not_read_his_answer_is_gone_after_the_time_of_a_request_and_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
):
    async with connected() as (_, writer):
        began = asyncio.get_running_loop().time()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):  # his reader takes a little, and then nothing
            while True:
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        assert LIMITS.request / 2 < asyncio.get_running_loop().time() - began < LIMITS.connection

        await nobody_is_left()
    assert not caplog.records


async def test_who_goes_while_he_is_answered_and_has_asked_for_more_leaves_nothing_behind():
    async with connected() as (_, writer):
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        assert connections()
        writer.transport.abort()

        await nobody_is_left()


async def nobody_is_left() -> None:
    while True:
        if not connections():
            return
        await asyncio.sleep(0.05)


def connections() -> int:
    """How many the server has."""
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
    return len([name for name in names if name.endswith("_server_callback")])
