"""What Git says in a campaign: two states of the same services, and the way between them has every kind of change."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.workbench import external, static

World = Mapping[str, str]

ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"
SPLIT = "- {{ weight: {0}, subset: v1 }}\n- {{ weight: {1}, subset: v2 }}"
SUBSETS = (
    "subsets:\n  v1: { filter: 'Service.Meta.version == \"v1\"' }\n  v2: { filter: 'Service.Meta.version == \"v2\"' }"
)


def _behind(gateway: str, text: str) -> str:
    return text.replace("service: tgw }", f"service: {gateway} }}")


def mixed(times: int = 3) -> tuple[World, World]:
    """Ten services before and ten after, so many *times*: create, change, remove, protocol with and without router, strategy, gateway, none."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for number in range(times):
        host, other = f"192.0.2.{10 + number}", f"192.0.2.{100 + number}"
        before[f"gone-{number}"] = external(f"gone-{number}", host, router=ROUTER)
        after[f"new-{number}"] = external(f"new-{number}", other, router=ROUTER)
        before[f"host-{number}"] = external(f"host-{number}", host)
        after[f"host-{number}"] = external(f"host-{number}", other)
        before[f"route-{number}"] = external(f"route-{number}", host, router=ROUTER)
        after[f"route-{number}"] = external(f"route-{number}", host, router=ROUTER.replace("/v1/", "/v2/"))
        before[f"bridge-{number}"] = external(f"bridge-{number}", host, router=ROUTER)
        after[f"bridge-{number}"] = external(f"bridge-{number}", host, protocol="tcp")
        before[f"mode-{number}"] = static(f"mode-{number}", f"m{number}.example.org")
        after[f"mode-{number}"] = external(f"mode-{number}", other)
        before[f"move-{number}"] = external(f"move-{number}", host)
        after[f"move-{number}"] = _behind("tgw-2", external(f"move-{number}", host))
        before[f"split-{number}"] = external(f"split-{number}", host, resolver=SUBSETS, splitter=SPLIT.format(90, 10))
        after[f"split-{number}"] = external(f"split-{number}", host, resolver=SUBSETS, splitter=SPLIT.format(50, 50))
    for number in range(3 * times):
        before[f"same-{number}"] = after[f"same-{number}"] = external(f"same-{number}", f"192.0.2.{200 + number}")
    assert len(before) == len(after) == 10 * times
    return before, after


def many(count: int = 300) -> tuple[World, World]:
    """*count* services of both strategies, a third with routers, on two gateways; a tenth is another one afterwards."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for number in range(count):
        for world, third in ((before, 2), (after, 3)):
            name = f"m-{number}" if number % 10 else f"m-{number}-{third}"
            text = (
                static(name, f"m{number}-{third}.example.org")
                if number % 4 == 3
                else external(name, f"10.{third}.0.{number % 250 + 1}")
            )
            if number % 3 == 0:
                text = text.rstrip("\n") + "\n  router: { prefix: /v1/, retries: { attempts: 2 } }\n"
            world[name] = _behind("tgw-2" if number % 2 else "tgw", text)
    return before, after


def gateways_of(world: World) -> set[str]:
    """The gateways that *world* names."""
    return {
        gateway for text in world.values() for gateway in re.findall(r"terminating_gateway: \{ service: (\S+) \}", text)
    }


def writer(number: int, count: int = 10) -> tuple[World, World]:
    """*count* services of one writer of many, behind the one gateway: a third is others afterwards, a third has another host."""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for each in range(count):
        name = f"w{number}-{each}"
        host = f"10.{number}.0.{each + 1}"
        before[name] = external(name, host)
        if each % 3 == 0:
            name = f"w{number}-{each}-b"
        after[name] = external(name, host.replace(".0.", ".1.") if each % 3 == 1 else host)
    return before, after
