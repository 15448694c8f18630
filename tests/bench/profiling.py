"""Where the CPU goes: cProfile's functions, put together by what they work for."""

from __future__ import annotations

import cProfile
import gc
import pstats
from collections import defaultdict
from pathlib import Path

from gitsync.model.run import RunOutcome
from tests.bench.lines import Plan, say
from tests.bench.table import duration, markdown
from tests.bench.world import Resident, Specs, resident
from tests.servers.git_hosts import GitHttps

Function = tuple[str, int, str]

AREAS = (
    ("store", ("/gitsync/store/", "/sqlalchemy/", "/aiosqlite/", "/sqlite3/", "engine/history")),
    ("git", ("/gitsync/repository/", "/git/", "asyncio/subprocess", "subprocess.py", "unix_events")),
    ("normalise", ("core/normalize", "core/digest")),
    ("load/parse", ("core/load", "yaml_reader", "core/schema", "spec_fields", "core/spelling", "core/paths", "core/accept",
                    "/yaml/", "/pydantic", "model/spec", "model/grammar", "model/duration", "model/connect",
                    "model/routing", "model/resolver", "core/neighbours", "core/hosts")),
    ("render", ("core/render", "core/bridge", "core/exposure", "core/entries", "core/merge")),
    ("diff/compare", ("core/diff", "core/compare", "core/plan", "core/sight", "core/ownership", "core/guard", "core/order",
                      "core/steps", "core/references", "core/sequence", "engine/think", "engine/stirred", "engine/memory",
                      "core/describe", "core/shown", "core/explain", "core/outlook")),
    ("records", ("engine/ledger", "model/kv", "engine/lock", "consul/records")),
    ("request", ("/gitsync/consul/", "engine/retry")),
    ("transport", ("/aiohttp/", "/httpx", "/yarl/", "/multidict/", "/asyncio/", "/selectors.py", "/anyio/", "/async_timeout",
                   "/ssl.py", "/http/", "/propcache/", "/idna/", "/urllib/")),
    ("engine", ("/gitsync/engine/", "/gitsync/model/", "/gitsync/core/", "/gitsync/wire")),
)  # fmt: skip
"""Area → what a path of its code holds; the first that fits."""

SERIALISE = ("/json/", "orjson", "base64", "binascii", "_json")
IDLE = ("select.epoll", "select.poll")


def area_of(function: Function) -> str:
    """Where a function belongs by itself, "" if that is its caller's."""
    path, _, name = function
    if any(word in name for word in IDLE):
        return "idle"
    if "gc.collect" in name or "/tests/" in path:
        return "bench"
    if any(word in path for word in SERIALISE) or any(
        word in name for word in ("_json", "a2b_base64", "b2a_base64", "base64")
    ):
        return "serialise"
    return next((area for area, words in AREAS if any(word in path for word in words)), "")


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds of CPU by area. What belongs nowhere (builtins, the standard library) is its callers', by their share of it."""
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    left = {function: row[2] for function, row in stats.items()}
    total: dict[str, float] = defaultdict(float)
    for _ in range(30):
        passed: dict[Function, float] = defaultdict(float)
        for function, seconds in left.items():
            if area := area_of(function):
                total[area] += seconds
                continue
            callers = {caller: row[3] for caller, row in stats[function][4].items() if caller != function}
            whole = sum(callers.values())
            if not whole:
                total["other"] += seconds
                continue
            for caller, share in callers.items():
                passed[caller] += seconds * share / whole
        left = {function: seconds for function, seconds in passed.items() if seconds > 1e-7}
        if not left:
            break
    total["other"] += sum(left.values())
    return dict(total)


def dearest(profile: cProfile.Profile, count: int = 15) -> list[tuple[str, ...]]:
    """The functions that take most by themselves."""
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    rows = sorted(stats.items(), key=lambda item: -item[1][2])
    result = []
    for (path, line, name), row in rows:
        if area_of((path, line, name)) in ("idle", "bench"):
            continue
        where = path.partition("site-packages/")[2] or "/".join(Path(path).parts[-3:])
        result.append((f"{where}:{line} {name}" if line else name, f"{row[1]:,}", duration(row[2]), duration(row[3])))
        if len(result) == count:
            break
    return result


async def profiled(gitsync: Resident, outcome: RunOutcome, title: str) -> str:
    """One run under cProfile, as two tables."""
    profile = cProfile.Profile()
    gc.collect()
    profile.enable()
    try:
        run = await gitsync.run(outcome)
    finally:
        profile.disable()
    found = shares(profile)
    idle = found.pop("idle", 0.0)
    found.pop("bench", None)
    whole = sum(found.values())
    body = [
        (area, duration(seconds), f"{seconds / whole:.0%}")
        for area, seconds in sorted(found.items(), key=lambda item: -item[1])
    ]
    head = (
        f"{title}: {duration(run.seconds)}, of which {duration(whole)} CPU of the main thread under the profiler and {duration(idle)} "
        f"waiting; {duration(run.cpu)} CPU with other threads and git"
    )
    areas = markdown(("area", "CPU", "share"), body)
    return f"{head}\n\n{areas}\n\n{markdown(('function', 'calls', 'itself', 'with what it calls'), dearest(profile))}\n"


async def profiles(plan: Plan) -> str:
    """A first sync, a run without changes, and one changed file."""
    root, folder = plan.folder / "repositories", plan.folder / "state"
    root.mkdir()
    folder.mkdir()
    with GitHttps(root) as host, plan.consul() as consul:
        say(f"{plan.services:,} specs of mixed kinds")
        specs = Specs(plan.folder / "mixed", host, plan.services)
        async with resident(consul, folder, specs) as gitsync:
            say("first sync under cProfile")
            parts = [await profiled(gitsync, RunOutcome.APPLIED, f"first sync of {plan.services:,}")]
            await gitsync.run(RunOutcome.UNCHANGED)
            specs.touch("again")
            parts.append(await profiled(gitsync, RunOutcome.UNCHANGED, "no change, a new commit"))
            parts.append(await profiled(gitsync, RunOutcome.UNCHANGED, "no change, the same commit"))
            specs.write(2, changed=9)
            specs.pushed("a timeout")
            parts.append(await profiled(gitsync, RunOutcome.APPLIED, "one changed file"))
    return "\n".join(parts)
