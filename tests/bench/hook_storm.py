"""A storm of webhooks: what is answered and how soon, how many runs it makes, what memory it takes, and whether anything is lost.

    python tests/bench/hook_storm.py [--rate 1000] [--seconds 10] [--syncs 10] [--slow 800]

gitsync's web room and daemon run in one process (storm_site.py), the deliveries come from another on kept connections, and a third has
clients that send a header or a body byte by byte, and one that sends a body without end. A delivery's time counts from when it was due,
so a server that stands still pays for all that had to wait. Nothing is lost: every delivery has its 202, and when it is quiet again each
sync has applied the newest commit that it was told of.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import resource
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gitsync import log
from gitsync.web import SWITCH_SECONDS, serve
from tests.bench import storm_site
from tests.servers import free_ports

HOST = "127.0.0.1"
BODY_BYTES = 8_000
"""About what GitHub sends for a push."""

CONNECTIONS = 64
SLOW = (
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a"),
    (
        b"POST /hooks/sync-0 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n",
        b"a",
    ),
)
ENDLESS = (
    b"POST /hooks/sync-0 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


# -- the deliveries -------------------------------------------------------------------------------------------------------


def sha(number: int) -> str:
    """A commit; later ones are larger."""
    return f"{number:040x}"


def delivery(number: int, sync: str) -> bytes:
    """The whole request of one push."""
    push = {
        "ref": "refs/heads/main",
        "before": sha(number - 1),
        "after": sha(number),
        "repository": {"full_name": storm_site.REPO},
    }
    body = json.dumps({**push, "padding": "x" * BODY_BYTES}).encode()
    digest = hmac.new(storm_site.SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST /hooks/{sync} HTTP/1.1\r\nHost: gitsync\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-GitHub-Event: push\r\nX-GitHub-Delivery: {number}\r\nX-Hub-Signature-256: sha256={digest}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(slots=True)
class Seen:
    """seconds: of each answer, from when its delivery was due. answers: by status, "lost" for none."""

    seconds: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    connections: int = 0


class Sender:
    """Sends requests on connections that are kept while the server keeps them."""

    def __init__(self, port: int, seen: Seen) -> None:
        self._port, self._seen = port, seen
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def send(self, request: bytes, due: float) -> None:
        async with self._places:
            try:
                async with asyncio.timeout(20):
                    status = await self._answered(request)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                status = "lost"
        self._seen.answers[status] += 1
        self._seen.seconds.append(time.monotonic() - due)

    async def _answered(self, request: bytes) -> str:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # else the server has closed it meanwhile, as it may
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection(HOST, self._port)
            self._seen.connections += 1
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return head.split(b" ", 2)[1].decode()


async def storm(port: int, rate: int, seconds: float, syncs: int) -> tuple[Seen, dict[str, str]]:
    """Send *rate* deliveries a second, whether they are answered or not; and the newest commit of each sync."""
    names = [f"sync-{number % syncs}" for number in range(int(rate * seconds))]
    requests = [delivery(number + 1, name) for number, name in enumerate(names)]
    newest = {name: sha(number + 1) for number, name in enumerate(names)}
    seen = Seen()
    sender = Sender(port, seen)
    async with asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number, request in enumerate(requests):
            due = began + number / rate
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            group.create_task(sender.send(request, due))
    return seen, newest


# -- who comes beside it --------------------------------------------------------------------------------------------------


async def slow_client(port: int, opening: bytes, drip: bytes) -> None:
    """Sends a byte now and then, and comes back when it is shown out."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(opening)
            closed = asyncio.create_task(reader.read())
            while not closed.done():
                await asyncio.wait({closed}, timeout=3)
                writer.write(drip)
            await asyncio.gather(closed, return_exceptions=True)
            writer.close()
        await asyncio.sleep(0.1)


async def endless_client(port: int) -> None:
    """Sends a body without end, as fast as it is taken, and begins again when it is shown out."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.write(ENDLESS)
            while True:
                writer.write(chunk)
                await writer.drain()
        await asyncio.sleep(0.1)


async def beside(port: int, slow: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(slow):
            group.create_task(slow_client(port, *SLOW[number % len(SLOW)]))
            if number % 50 == 49:
                await asyncio.sleep(0.05)
        if slow:
            group.create_task(endless_client(port))


# -- the processes --------------------------------------------------------------------------------------------------------


async def served(port: int, syncs: int, thinking: float, switch: float, *, in_turn: bool) -> None:
    log.configure(sys.stderr, level="warning")
    sys.setswitchinterval(switch)
    async with (
        storm_site.opened([f"sync-{number}" for number in range(syncs)], thinking=thinking, in_turn=in_turn) as site,
        serve(site.app, HOST, port, limits=site.limits),
    ):
        await asyncio.Event().wait()


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, __file__, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def asked(port: int, path: str) -> str:
    """What a GET answers."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


async def until_ready(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                if all(each["applied"] is not None or each["outcome"] for each in (await syncs_of(port)).values()):
                    return
            await asyncio.sleep(0.1)


async def syncs_of(port: int) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = json.loads(await asked(port, "/readyz"))["syncs"]
    return found


async def until_quiet(port: int) -> None:
    """Until no run goes on and none waits."""
    async with asyncio.timeout(60):
        while True:
            if not any(each["in_flight"] or each["waiting"] for each in (await syncs_of(port)).values()):
                return
            await asyncio.sleep(0.2)


async def figures(port: int, name: str) -> dict[str, float]:
    """The samples of one metric, by labels."""
    lines = (await asked(port, "/metrics")).splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(name) and not line.startswith("#"))
    return {labels.removeprefix(name): float(value) for labels, value in pairs}


async def watched(port: int, most: list[float]) -> None:
    """The memory of the server, now and then."""
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            most.append((await figures(port, "gitsync_process_resident_memory_bytes"))[""])
        await asyncio.sleep(0.5)


async def main(rate: int, seconds: float, syncs: int, slow: int, *server: str) -> None:
    [port] = free_ports(1)
    with child("--serve", str(port), "--syncs", str(syncs), *server):
        await until_ready(port)
        runs_before = sum((await figures(port, "gitsync_runs_total")).values())
        memory = [(await figures(port, "gitsync_process_resident_memory_bytes"))[""]]
        with child("--beside", str(port), "--slow", str(slow)):
            await asyncio.sleep(3 if slow else 0)
            watching = asyncio.create_task(watched(port, memory))
            cpu_before = (await figures(port, "gitsync_process_cpu_seconds_total"))[""]
            began = time.monotonic()
            seen, newest = await storm(port, rate, seconds, syncs)
            took = time.monotonic() - began
            cpu = (await figures(port, "gitsync_process_cpu_seconds_total"))[""] - cpu_before
            watching.cancel()
        await until_quiet(port)
        applied = {name: each["applied"] for name, each in (await syncs_of(port)).items()}
        runs = sum((await figures(port, "gitsync_runs_total")).values()) - runs_before
        verdicts = await figures(port, "gitsync_webhooks_total")
    tell(seen, newest, applied, rate=rate, took=took, runs=runs, memory=memory, cpu=cpu, verdicts=verdicts)


def tell(seen: Seen, newest, applied, *, rate, took, runs, memory, cpu, verdicts) -> None:
    """The figures, a line each."""
    times = sorted(seen.seconds)
    at = lambda part: times[min(len(times) - 1, int(len(times) * part))] * 1000  # noqa: E731
    total: Counter[str] = Counter()
    for labels, count in verdicts.items():
        total[labels.partition('verdict="')[2].partition('"')[0]] += int(count)
    print(
        f"deliveries: {len(times)} at {rate}/s in {took:.1f} s, on {seen.connections} connections; answers: {dict(seen.answers)}"
    )
    print(
        f"answered after (from when it was due): median {at(0.5):.1f} ms, p95 {at(0.95):.1f}, p99 {at(0.99):.1f}, worst {times[-1] * 1000:.0f}"
    )
    print(f"runs started: {runs:.0f}; verdicts: {dict(total)}")
    print(
        f"memory of the server: {memory[0] / 1e6:.0f} MB before, {max(memory) / 1e6:.0f} MB at most; its CPU: {cpu / took:.2f} cores"
    )
    behind = {name: commit for name, commit in newest.items() if applied.get(name) != commit}
    print("nothing is lost" if not behind and set(seen.answers) == {"202"} else f"LOST: {behind or dict(seen.answers)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000, help="deliveries a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--syncs", type=int, default=10)
    parser.add_argument(
        "--slow", type=int, default=800, help="slow clients beside it; with any there is an endless body too"
    )
    parser.add_argument(
        "--thinking", type=float, default=0.05, help="seconds of each run in which it keeps a core busy"
    )
    parser.add_argument("--in-turn", action="store_true", help="only one run thinks at a time")
    parser.add_argument(
        "--switch", type=float, default=SWITCH_SECONDS, help="seconds after which a thread lets another one in"
    )
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--beside", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    if given.serve:
        asyncio.run(served(given.serve, given.syncs, given.thinking, given.switch, in_turn=given.in_turn))
    elif given.beside:
        asyncio.run(beside(given.beside, given.slow))
    else:
        server = ["--thinking", str(given.thinking), "--switch", str(given.switch)]
        server += ["--in-turn"] if given.in_turn else []
        asyncio.run(main(given.rate, given.seconds, given.syncs, given.slow, *server))
