"""The campaigns by name, each with the place that it needs."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.campaign import campaigns
from tests.campaign.blind import blind
from tests.campaign.lines import Budget, Line
from tests.campaign.outages import consul
from tests.campaign.safeguards import safeguards
from tests.campaign.several import processes, stops
from tests.campaign.site import Site
from tests.campaign.worlds import World, many, mixed
from tests.servers.consul import ConsulServer

OnSite = Callable[[Site, random.Random, Budget], Awaitable[list[Line]]]
InFolder = Callable[[Path, random.Random, Budget], Awaitable[list[Line]]]


@dataclass(frozen=True, slots=True)
class Stage:
    """A campaign. many: whether several worlds can share it."""

    run: InFolder
    many: bool = True

    async def __call__(self, folder: Path, chance: random.Random, budget: Budget) -> list[Line]:
        return await self.run(folder, chance, budget)


def on_site(campaign: OnSite, worlds: Callable[[], tuple[World, World]]) -> Stage:
    """A campaign on a Consul in memory, with strangers."""

    async def run(folder: Path, chance: random.Random, budget: Budget) -> list[Line]:
        with ConsulServer() as server:
            site = Site(server, folder, worlds())
            await site.prepare()
            return await campaign(site, chance, budget)

    return Stage(run)


CAMPAIGNS: dict[str, Stage] = {
    "kill": on_site(campaigns.kill, mixed),
    "rare": on_site(campaigns.rare, mixed),
    "moments": on_site(campaigns.moments, many),
    "answers": on_site(campaigns.answers, mixed),
    "strangers": on_site(campaigns.strangers, mixed),
    "terms": on_site(campaigns.terms, mixed),
    "blind": Stage(blind),
    "processes": Stage(processes, many=False),
    "stops": Stage(stops, many=False),
    "consul": Stage(consul),
    "safeguards": Stage(safeguards),
}
