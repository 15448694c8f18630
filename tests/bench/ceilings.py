"""The ceilings: aiohttp alone, sending what gitsync sent, prepared beforehand. Nothing of gitsync runs here."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from tests.bench.recording import Sent
from tests.servers.consul import ConsulServer

IN_FLIGHT = 48
MOST_OPERATIONS, MOST_BYTES = 64, 500 * 1024
ORDER = ("service-defaults", "service-resolver", "service-splitter", "service-router", "service-intentions")
HEADERS = {"Accept-Encoding": "identity"}  # to compress a list costs Consul more than to send it


@dataclass(frozen=True, slots=True)
class Bodies:
    """What one sync wrote. entries: kind by kind, as one needs the other; the gateways, one write each, come last."""

    entries: tuple[tuple[bytes, ...], ...]
    catalog: tuple[bytes, ...]
    intents: tuple[bytes, ...]
    records: tuple[bytes, ...]
    record_count: int

    @property
    def entry_count(self) -> int:
        return sum(map(len, self.entries))


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds for each part of the bodies."""

    entries: float
    catalog: float
    intents: float
    records: float

    @property
    def everything(self) -> float:
        return self.entries + self.catalog + self.intents + self.records


def bodies_of(sent: Iterable[Sent]) -> Bodies:
    """The bodies of every write in *sent*: of an entry that was written twice the last. Locks are left out."""
    entries: dict[tuple[str, str], bytes] = {}
    nodes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    intents, records = [], []
    for each in sent:
        if each.method == "PUT" and each.path.startswith("/v1/config"):
            body = json.loads(each.body)
            entries[body["Kind"], body["Name"]] = each.body
        elif each.path.startswith("/v1/txn") and each.writes:
            for operation in each.operations:
                _sort_in(operation, nodes, records if each.step == "record" else intents)
    kinds = sorted({kind for kind, _ in entries}, key=lambda kind: ORDER.index(kind) if kind in ORDER else len(ORDER))
    return Bodies(
        tuple(tuple(body for (kind, _), body in entries.items() if kind == each) for each in kinds),
        tuple(json.dumps(operations).encode() for operations in nodes.values()),
        batched(intents),
        batched(records),
        len(records),
    )


def _sort_in(operation: dict[str, Any], nodes: dict[str, list[dict[str, Any]]], pairs: list[dict[str, Any]]) -> None:
    """Put one operation of a transaction where it belongs, without the conditions that hold only where it was sent."""
    [(kind, fields)] = operation.items()
    verb = fields["Verb"].removesuffix("-cas") if fields["Verb"] != "cas" else "set"
    if kind == "KV":
        if verb in ("set", "delete", "delete-tree"):
            pairs.append({"KV": {"Verb": verb, "Key": fields["Key"], "Value": fields.get("Value", "")}})
        return
    inner = fields[kind]
    node = inner["Node"] if kind != "Service" else fields["Node"]
    bare = {name: value for name, value in inner.items() if name not in ("CreateIndex", "ModifyIndex")}
    nodes[node].append({kind: {**fields, "Verb": verb, kind: bare}})


def batched(operations: Sequence[dict[str, Any]]) -> tuple[bytes, ...]:
    """*operations* as transactions of 64."""
    batches: list[list[str]] = []
    size = 0
    for text in map(json.dumps, operations):
        if not batches or len(batches[-1]) == MOST_OPERATIONS or size + len(text) > MOST_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text) + 2
    return tuple(f"[{', '.join(each)}]".encode() for each in batches)


@asynccontextmanager
async def session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """aiohttp as plain as it is, with its connections open, as those of a gitsync are that runs for a while."""
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, cookie_jar=aiohttp.DummyCookieJar()
    ) as client:

        async def greet() -> None:
            async with client.get(f"{url}/v1/status/leader") as answer:
                await answer.read()

        await asyncio.gather(*(greet() for _ in range(IN_FLIGHT)))
        yield client


async def together(work: Iterable[Any], do: Callable[[Any], Awaitable[None]]) -> float:
    """Seconds to *do* all of *work*, 48 at a time."""
    queue = iter(work)

    async def worker() -> None:
        for each in queue:
            await do(each)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


async def transact(client: aiohttp.ClientSession, txn: URL, body: bytes) -> None:
    """Send one transaction, which has to happen."""
    async with client.put(txn, data=body) as answer:
        said = await answer.read()
    assert answer.status == 200, said


async def bare_writes(url: str, bodies: Bodies) -> Spent:
    """Write them all, entries first."""
    config, txn = URL(f"{url}/v1/config?cas=0", encoded=True), URL(f"{url}/v1/txn")
    async with session(url) as client:

        async def put(body: bytes) -> None:
            async with client.put(config, data=body) as answer:
                said = await answer.read()
            assert said.strip() == b"true", said

        gc.collect()
        entries = 0.0
        for kind in bodies.entries:
            entries += await together(kind, put)
        catalog = await together(bodies.catalog, partial(transact, client, txn))
        intents = await together(bodies.intents, partial(transact, client, txn))
        return Spent(entries, catalog, intents, await together(bodies.records, partial(transact, client, txn)))


async def bare_reads(url: str, reads: Sequence[Sent]) -> tuple[float, int]:
    """Seconds to send *reads* and to decode the answers, and the bytes of these."""
    size = 0
    requests = [(each.method, URL(url + each.path, encoded=True), each.body or None) for each in reads]
    async with session(url) as client:

        async def read(request: tuple[str, URL, bytes | None]) -> None:
            nonlocal size
            method, where, body = request
            async with client.request(method, where, data=body) as answer:
                text = await answer.read()
            json.loads(text or b"null") if answer.status == 200 else None
            size += len(text)

        gc.collect()
        return await together(requests, read), size


def bare_loop(consul: ConsulServer, bodies: Bodies, sample: int) -> float:
    """Seconds an entry of `consul config write FILE`, one after the other; what it wrote is deleted again."""
    # Not the gateways: there are a few, and each names every service.
    entries = [(json.loads(body), body) for kind in bodies.entries[:-1] for body in kind]
    names = list(dict.fromkeys(entry["Name"] for entry, _ in entries))
    few = set(names[: max(1, sample * len(names) // len(entries))])
    chosen = [(entry, body) for entry, body in entries if entry["Name"] in few]
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{number}.json") for number in range(len(chosen))]
        for file, (_, body) in zip(files, chosen, strict=True):
            Path(file).write_bytes(body)
        gc.collect()
        began = time.perf_counter()
        for file in files:
            command = [consul.binary, "config", "write", f"-http-addr={consul.url}", file]
            subprocess.run(command, check=True, capture_output=True)
        spent = (time.perf_counter() - began) / len(chosen)
    for entry, _ in reversed(chosen):
        consul.delete(f"/v1/config/{entry['Kind']}/{entry['Name']}")
    return spent


async def bare_gateway(url: str, gateway: str, change: Callable[[dict[str, Any]], None]) -> float:
    """Seconds of one consistent read and one compare-and-set write of a gateway; *change* changes what was read."""
    async with session(url) as client:
        gc.collect()
        began = time.perf_counter()
        async with client.get(f"{url}/v1/config/terminating-gateway/{gateway}?consistent") as answer:
            body = json.loads(await answer.read())
        index = body["ModifyIndex"]
        for name in ("CreateIndex", "ModifyIndex", "Hash"):
            body.pop(name, None)
        change(body)
        data = json.dumps(body, separators=(",", ":")).encode()
        async with client.put(f"{url}/v1/config?cas={index}", data=data) as answer:
            said = await answer.read()
        spent = time.perf_counter() - began
        assert said.strip() == b"true", said
        return spent


async def bare_prune(url: str, sent: Sequence[Sent]) -> tuple[float, float, int]:
    """Seconds to GET and DELETE the entries that *sent* deleted, the same with everything else that it wrote, and how many entries."""
    paths: dict[str, list[str]] = defaultdict(list)
    gateways: dict[str, set[str]] = {}
    for each in sent:
        path = each.path.partition("?")[0]
        if each.method == "DELETE" and path.startswith("/v1/config/"):
            paths[path.split("/")[3]].append(path)
        elif each.method == "PUT" and path == "/v1/config":
            body = json.loads(each.body)
            if body["Kind"] == "terminating-gateway":
                gateways[body["Name"]] = {row["Name"] for row in body["Services"]}
    others = bodies_of(each for each in sent if each.path.startswith("/v1/txn"))
    txn = URL(f"{url}/v1/txn")
    async with session(url) as client:

        async def delete(path: str) -> None:
            async with client.get(f"{url}{path}?consistent") as answer:
                json.loads(await answer.read())
            async with client.delete(url + path) as answer:
                await answer.read()
            assert answer.status == 200, answer

        gc.collect()
        entries = 0.0
        for kind in paths.values():
            entries += await together(kind, delete)
        send = partial(transact, client, txn)
        rest = await together(others.catalog, send) + await together(others.intents + others.records, send)
    for name, kept in gateways.items():

        def keep(body: dict[str, Any], kept: set[str] = kept) -> None:
            body["Services"] = [row for row in body["Services"] if row["Name"] in kept]

        rest += await bare_gateway(url, name, keep)
    return entries, entries + rest, sum(map(len, paths.values()))
