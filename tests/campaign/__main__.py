"""Safe to kill: faults at every request of a real sync into a real Consul, and what is left after each.

usage: make test-faults [FAULTS_ARGS="--only kill --limit 50 --seed 7"]     GITSYNC_TEST_CONSUL names the Consul, else Debian's
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.campaign.lines import Budget, Line, survived
from tests.campaign.nursery import ROOT
from tests.campaign.stages import CAMPAIGNS
from tests.servers.consul import find_consul, version_of

EVERY = 10.0
"""Seconds between two words on how far a campaign is."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    asked = argparse.ArgumentParser(
        prog="make test-faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("--seed", type=int, default=1, help="what chance begins with (default: 1)")
    asked.add_argument(
        "--only",
        choices=list(CAMPAIGNS),
        action="append",
        metavar="NAME",
        help=f"this campaign, and again for others: {', '.join(CAMPAIGNS)} (default: all of them)",
    )
    asked.add_argument("--limit", type=int, default=0, help="most faults of each campaign (default: all that it has)")
    asked.add_argument("--seconds", type=float, default=0, help="end each campaign after so long (default: at its end)")
    asked.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="worlds at once, each with a Consul, a repository and a history (default: 1)",
    )
    asked.add_argument("--part", default="", help=argparse.SUPPRESS)  # of a worker: campaign:part/parts
    return asked.parse_args()


# -- one world ------------------------------------------------------------------------------------------------------------


async def world(given: argparse.Namespace) -> int:
    """One part of one campaign; what it finds goes to the standard output, a JSON object a line."""
    name, _, share = given.part.partition(":")
    part, parts = map(int, share.split("/"))
    last = [0.0]

    def told(done: int, of: int) -> None:
        if done == of or time.monotonic() - last[0] > 1:
            last[0] = time.monotonic()
            say(json.dumps({"done": done, "of": of}))

    budget = Budget(given.limit, given.seconds, part, parts, told)
    with tempfile.TemporaryDirectory(prefix="gitsync-faults-") as folder:
        lines = await CAMPAIGNS[name](Path(folder), random.Random(f"{given.seed}/{name}/{part}"), budget)
    for line in lines:
        say(json.dumps({"line": line.to_json()}))
    return 0


# -- all of them ----------------------------------------------------------------------------------------------------------


class Progress:
    """How far the worlds of a campaign are, told now and then."""

    def __init__(self, name: str, parts: int) -> None:
        self.name, self.began, self.told = name, time.monotonic(), time.monotonic()
        self.done, self.of = [0] * parts, [0] * parts
        self.first = 0.0

    def heard(self, part: int, done: int, of: int) -> None:
        now = time.monotonic()
        self.first = self.first or now
        self.done[part], self.of[part] = done, of
        if now - self.told < EVERY or not all(self.of):
            return
        self.told = now
        done, of = sum(self.done), sum(self.of)
        left = (now - self.first) / done * (of - done) if done else 0
        say(
            f"{self.name}: {done} of {of} after {now - self.began:.0f} s"
            + (f", about {left:.0f} s left" if done else "")
        )


async def campaign(name: str, given: argparse.Namespace, jobs: int) -> tuple[list[Line], float]:
    """All worlds of a campaign, and their lines together."""
    progress = Progress(name, jobs)
    lines: dict[str, Line] = {}

    async def part(number: int) -> None:
        command = [sys.executable, "-m", "tests.campaign", "--part", f"{name}:{number}/{jobs}"]
        command += ["--seed", str(given.seed), "--limit", str(given.limit), "--seconds", str(given.seconds)]
        worker = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=2**26)
        assert worker.stdout
        try:
            async for word in worker.stdout:
                heard: dict[str, Any] = json.loads(word)
                if "line" in heard:
                    line = Line(**heard["line"])
                    lines.setdefault(line.fault, Line(line.fault, alone=line.alone and 0, must=line.must)).add(line)
                else:
                    progress.heard(number, heard["done"], heard["of"])
            if code := await worker.wait():
                lines[f"world {number}"] = Line(f"world {number}", failures=[f"{name}: a world ended with {code}"])
        finally:
            if worker.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.terminate()
                await worker.wait()

    await asyncio.gather(*(part(number) for number in range(jobs)))
    return list(lines.values()), time.monotonic() - progress.began


HEAD = (
    "| campaign | fault | injected | converged | survived by the run itself | strangers touched | sessions left to their TTL "
    "| s, mean / longest |\n|---|---|---|---|---|---|---|---|"
)


def row(name: str, line: Line) -> str:
    times = f"{line.seconds / line.timed:.2f} / {line.slowest:.2f}" if line.timed else ""
    alone = "" if line.alone is None else line.alone
    return (
        f"| `{name}` | {line.fault} | {line.injected} | {line.converged} | {alone} | {line.foreign} | {line.orphans} "
        f"| {times} |"
    )


def told(name: str, lines: Sequence[Line], seconds: float) -> bool:
    """Say what came of a campaign; whether all was well."""
    missed = sum(line.missed for line in lines)
    fine = all(line.fine for line in lines)
    say(
        f"\n{name}: {seconds:.0f} s"
        + (f"; {missed} runs ended before their fault came and are not counted" if missed else "")
    )
    alone, asked, must = survived(lines)
    if must:
        say(f"survived by the run itself: {alone} of {asked}, at least {must:.0%} must be")
        fine = fine and alone >= must * asked
    for line in lines:
        for words in (*line.failures, *line.notes):
            say(f"- {words}")
    return fine


async def main() -> int:
    given = arguments()
    if given.part:
        return await world(given)
    binary = find_consul()
    version = ".".join(map(str, version_of(binary)))
    began = time.monotonic()
    fine = True
    rows = []
    for name in given.only or CAMPAIGNS:
        jobs = given.jobs if CAMPAIGNS[name].many else 1
        say(f"\n{name} on Consul {version}, seed {given.seed}, limit {given.limit or 'none'}, {jobs} at once")
        lines, seconds = await campaign(name, given, jobs)
        fine = told(name, lines, seconds) and fine
        rows += [row(name, line) for line in lines]
    words = shlex.join(sys.argv[1:])
    say(f"\nConsul {version}, `make test-faults" + (f' FAULTS_ARGS="{words}"' if words else "") + "`, "
        f"{(time.monotonic() - began) / 60:.0f} minutes:\n\n{HEAD}\n" + "\n".join(rows))  # fmt: skip
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
