"""What slow clients do to an ASGI server: how long it keeps them, and what /healthz answers meanwhile.

    python tests/bench/slow_clients.py [--clients 800] [--watch 40] [SERVER ...]

Each server runs in a process of its own, with the time limits it has. The clients send something every three seconds: a byte of a
header that never ends, a byte of a body of 10,000 that the application waits for, or a PING on an HTTP/2 connection without any
request. The table is Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import granian.constants
import granian.http
import granian.server.embed
import hypercorn.asyncio
import hypercorn.config
import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gitsync.web import serve
from tests.bench import storm_site
from tests.servers import free_ports

HOST = "127.0.0.1"
DRIP_EVERY = 3.0
PROBE_EVERY = 0.2
HEADER = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
BODY = b"POST /hooks/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0pingpong"
ATTACKS = {"headers": (HEADER, b"a"), "body": (BODY, b"a"), "HTTP/2 pings": (PREFACE, PING)}
"""What a client sends first, and what then again and again."""


# -- the servers ----------------------------------------------------------------------------------------------------------


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, but for /hooks/slow, where it waits for the whole body."""
    if scope["type"] != "http":
        return
    more = scope["path"] == "/hooks/slow"
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        more = event.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def with_granian(port: int) -> None:
    settings = granian.http.HTTP1Settings(header_read_timeout=5000)
    interface = granian.constants.Interfaces.ASGINL
    await granian.server.embed.Server(
        application, address=HOST, port=port, interface=interface, http1_settings=settings, backlog=1024
    ).serve()


async def with_hypercorn(port: int) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"{HOST}:{port}"]
    config.keep_alive_timeout, config.read_timeout, config.backlog = 5, 5, 1024
    await hypercorn.asyncio.serve(application, config)


async def with_uvicorn(port: int) -> None:
    await uvicorn.Server(uvicorn.Config(application, host=HOST, port=port, timeout_keep_alive=5, backlog=1024)).serve()


async def with_gitsync(port: int) -> None:
    """hypercorn as gitsync runs it, with gitsync's own application."""
    async with storm_site.opened(["slow"]) as site, serve(site.app, HOST, port, limits=site.limits):
        await asyncio.Event().wait()


SERVERS = {"granian": with_granian, "hypercorn": with_hypercorn, "uvicorn": with_uvicorn, "gitsync": with_gitsync}


# -- the clients ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """held: clients that still had their connection at the end. dropped: when others lost it. probes: seconds of each answer."""

    held: int = 0
    dropped: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    unanswered: int = 0


async def emptied(reader: asyncio.StreamReader) -> None:
    """Until the other side closes."""
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass


async def slow_client(port: int, opening: bytes, drip: bytes, until: float, seen: Seen) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    began = time.monotonic()
    writer.write(opening)
    closed = asyncio.create_task(emptied(reader))
    while time.monotonic() < until and not closed.done():
        await asyncio.wait({closed}, timeout=min(DRIP_EVERY, until - time.monotonic()))
        if not closed.done():
            writer.write(drip)
    if closed.done():
        seen.dropped.append(time.monotonic() - began)
    else:
        seen.held += 1
    closed.cancel()
    await asyncio.gather(closed, return_exceptions=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def health(port: int) -> float:
    """Seconds until /healthz was answered on a new connection."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b" 200 " in answer.partition(b"\r\n")[0], answer[:100]
    return time.monotonic() - began


async def probe(port: int, until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        try:
            seen.probes.append(await asyncio.wait_for(health(port), 5))
        except (OSError, TimeoutError):
            seen.unanswered += 1
        await asyncio.sleep(PROBE_EVERY)


@contextlib.asynccontextmanager
async def running(server: str) -> AsyncIterator[int]:
    [port] = free_ports(1)
    process = subprocess.Popen(  # noqa: ASYNC220 (it takes milliseconds, before anything is measured)
        [sys.executable, __file__, "--serve", server, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    await health(port)
                    break
                await asyncio.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


async def attacked(server: str, attack: str, clients: int, watch: float) -> Seen:
    seen = Seen()
    opening, drip = ATTACKS[attack]
    async with running(server) as port:
        until = time.monotonic() + watch
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(slow_client(port, opening, drip, until, seen))
                if number % 50 == 49:
                    await asyncio.sleep(0.05)  # all at once would measure the queue of the listening socket
            group.create_task(probe(port, until, seen))
    return seen


def row(server: str, attack: str, clients: int, watch: float, seen: Seen) -> str:
    dropped = (
        f"{len(seen.dropped)}, after {min(seen.dropped):.1f}–{max(seen.dropped):.1f} s" if seen.dropped else "none"
    )
    probes = sorted(seen.probes)
    median, worst = probes[len(probes) // 2] * 1000, probes[-1] * 1000
    late = sum(each > 0.1 for each in probes) + seen.unanswered
    answered = f"{median:.0f} ms, worst {worst:.0f} ms, {late} of {len(probes) + seen.unanswered} later than 100 ms"
    return f"| {server} | {attack} | {dropped} | {seen.held} of {clients} after {watch:g} s | {answered} |"


async def main(servers: list[str], clients: int, watch: float) -> None:
    print("| server | slow | dropped | still held | /healthz: median |\n|---|---|---|---|---|")
    for server in servers:
        for attack in ATTACKS:
            print(row(server, attack, clients, watch, await attacked(server, attack, clients, watch)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=f"which: {', '.join(SERVERS)}")
    parser.add_argument("--clients", type=int, default=800)
    parser.add_argument("--watch", type=float, default=40)
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(SERVERS[given.serve](given.port))
    else:
        asyncio.run(main(given.servers or list(SERVERS), given.clients, given.watch))
