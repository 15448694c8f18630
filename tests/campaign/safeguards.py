"""The campaigns themselves put to the test: gitsync without one of its safeguards, which a campaign has to notice."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.campaign import campaigns
from tests.campaign.blind import GIT, LIST, blind
from tests.campaign.lines import Budget, Line
from tests.campaign.site import Site
from tests.campaign.worlds import mixed
from tests.servers.consul import ConsulServer

MOST = 150
"""Faults in which a campaign has to notice."""

OnSite = Callable[[Site, random.Random, Budget], Awaitable[list[Line]]]


async def _on_site(campaign: OnSite, folder: Path, chance: random.Random, budget: Budget, without: str) -> list[Line]:
    with ConsulServer() as consul:
        site = Site(consul, folder, mixed(), without=without)
        await site.prepare()
        return await campaign(site, chance, budget)


async def _kill(folder: Path, chance: random.Random, budget: Budget, without: str) -> list[Line]:
    return await _on_site(campaigns.kill, folder, chance, budget, without)


async def _strangers(folder: Path, chance: random.Random, budget: Budget, without: str) -> list[Line]:
    return await _on_site(campaigns.strangers, folder, chance, budget, without)


async def _lists(folder: Path, chance: random.Random, budget: Budget, without: str) -> list[Line]:
    return await blind(folder, chance, budget, without=without, only=lambda case: case.line == LIST and case.changed)


async def _git(folder: Path, chance: random.Random, budget: Budget, without: str) -> list[Line]:
    return await blind(folder, chance, budget, without=without, only=lambda case: case.line == GIT)


NOTICED_BY: dict[str, tuple[str, Callable[[Path, random.Random, Budget, str], Awaitable[list[Line]]]]] = {
    "ledger first": ("kill", _kill),
    "CAS": ("strangers", _strangers),
    "reads by name": ("blind", _lists),
    "order": ("kill", _kill),
    "prune guard": ("blind", _git),
    "verify": ("strangers", _strangers),
}


async def safeguards(folder: Path, chance: random.Random, budget: Budget) -> list[Line]:
    """Each of them taken out; the campaign named beside it has to fail. Converged means: it did."""
    lines = []
    names = list(NOTICED_BY)
    for number in budget.faults(len(names)):
        name = names[number]
        its = folder / name.replace(" ", "-")
        its.mkdir()
        line = await noticed(name, its, chance)
        lines.append(line)
    return lines


async def noticed(name: str, folder: Path, chance: random.Random) -> Line:
    """Whether the campaign that is for the safeguard *name* fails without it, and at which case."""
    campaign, run = NOTICED_BY[name]
    line = Line(f"gitsync without {name}: `{campaign}` fails", injected=1)
    within = Budget(MOST, first=True)
    found = [words for each in await run(folder, chance, within, name) for words in each.failures]
    if found:
        line.converged = 1
        line.notes.append(f"without {name}, case {within.count} of `{campaign}` noticed: {found[0][:600]}")
    else:
        line.failures.append(f"without {name}, {within.count} cases of `{campaign}` noticed nothing")
    return line
