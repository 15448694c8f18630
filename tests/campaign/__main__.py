"""Safe to kill: faults at every request of a real sync into a real Consul, and what is left after each.

usage: make test-faults [FAULTS_ARGS="--only kill --limit 50 --seed 7"]     GITSYNC_TEST_CONSUL names the Consul, else Debian's
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign.campaigns import Budget, Campaign, Line, answers, kill, moments, rare
from tests.campaign.site import Site
from tests.campaign.worlds import World, many, mixed
from tests.servers.consul import ConsulServer, find_consul

CAMPAIGNS: dict[str, tuple[Campaign, tuple[World, World]]] = {
    "kill": (kill, mixed()),
    "rare": (rare, mixed()),
    "answers": (answers, mixed()),
    "moments": (moments, many()),
}


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(lines: list[Line], *, elapsed: float) -> None:
    say(
        "| fault | injected | survived by the run itself | converged | foreign touched | sessions left to their TTL | recovery s, mean/max |"
    )
    say("|---|---|---|---|---|---|---|")
    for line in lines:
        mean = line.seconds / max(1, line.injected + line.missed)
        say(
            f"| {line.fault} | {line.injected} | {line.alone} | {line.converged} | {line.foreign} | {line.orphans} "
            f"| {mean:.2f} / {line.slowest:.2f} |"
        )
    missed = sum(line.missed for line in lines)
    say(f"\n{elapsed:.0f} s; {missed} runs ended before their fault came and are not counted")
    for line in lines:
        for words in (*line.failures, *line.notes):
            say(f"- {words}")


async def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seed", type=int, default=1, help="what chance begins with")
    asked.add_argument("--only", choices=list(CAMPAIGNS), action="append", help="this campaign (again: these)")
    asked.add_argument("--limit", type=int, default=0, help="most faults of each campaign; 0: all requests, or 200")
    asked.add_argument("--seconds", type=float, default=0, help="stop each campaign after so long; 0: never")
    given = asked.parse_args()
    fine = True
    for name in given.only or CAMPAIGNS:
        campaign, worlds = CAMPAIGNS[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="gitsync-faults-") as folder, ConsulServer(find_consul()) as consul:
            version = ".".join(map(str, consul.version))
            say(f"\n{name} on Consul {version}, seed {given.seed}, limit {given.limit or 'none'}\n")
            site = Site(consul, Path(folder), worlds)
            await site.prepare()
            budget = Budget(given.limit, time.monotonic() + given.seconds if given.seconds else 0)
            lines = await campaign(site, random.Random(given.seed), budget)
        table(lines, elapsed=time.monotonic() - began)
        fine = fine and all(line.converged == line.injected and not line.foreign for line in lines)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
