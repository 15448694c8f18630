"""Campaigns of what is not to be seen: lists that are empty for want of rights, on the way, or because Git lost its specs."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaign.blows import Struck
from tests.campaign.judging import judge
from tests.campaign.lines import Budget, Line
from tests.campaign.site import KINDS, Site
from tests.campaign.worlds import World, mixed
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import FaultProxy, Request, Script

TIMES = 2
"""So often each case, with Git as it was, and with a commit that is new."""


class Blinding(FaultProxy):
    """A proxy that hides: lists whose path *lists* matches are empty, requests lose the headers in *asked*, answers those in *told*."""

    def __init__(self, upstream: str, *, lists: str = "", asked: str = "", told: str = "") -> None:
        super().__init__(upstream)
        self.lists, self.asked, self.told = (re.compile(each) if each else None for each in (lists, asked, told))
        self.hidden = 0

    async def _handle(
        self, request: Request, script: Script | None, upstream: Any, writer: asyncio.StreamWriter
    ) -> bool:
        del script
        if self.asked and request.method == "GET":
            head = _dropped(request.head, self.asked)
            self.hidden += head != request.head
            request = Request(request.method, request.target, head, request.body)
        answer = await upstream.ask(request)
        if self.told:
            head, gap, body = answer.partition(b"\r\n\r\n")
            kept = _dropped(head, self.told)
            self.hidden += kept != head
            answer = kept + gap + body
        if self.lists and request.method == "GET" and self.lists.search(request.target):
            self.hidden += 1
            answer = _empty(request, answer)
        writer.write(answer)
        await writer.drain()
        return True


def _dropped(head: bytes, names: re.Pattern[str]) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join([lines[0], *(line for line in lines[1:] if not names.match(line.decode("latin-1")))])


def _empty(request: Request, answer: bytes) -> bytes:
    """What Consul says to somebody who may see nothing of it."""
    head = answer.partition(b"\r\n\r\n")[0]
    if request.target.startswith("/v1/kv/"):
        head, body = b"HTTP/1.1 404 Not Found\r\n" + head.partition(b"\r\n")[2], b""
    else:
        body = b"{}" if request.target.startswith("/v1/catalog/services") else b"[]"
    head = _dropped(
        head, re.compile(r"(?i)content-length|transfer-encoding|content-encoding|x-consul-results-filtered")
    )
    return head + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body


ALL = {
    "services": 'service_prefix "" { policy = "write" intentions = "write" }',
    "nodes": 'node_prefix "" { policy = "write" }',
    "keys": 'key_prefix "" { policy = "write" }',
    "sessions": 'session_prefix "" { policy = "write" }',
    "agent": 'agent_prefix "" { policy = "read" }',
    "gateways": 'operator = "write"',
}
DENIED = {
    "no service": {"services": ""},
    "services, but none that stays": {"services": ALL["services"] + ' service_prefix "same-" { policy = "deny" }'},
    "services, but none that moves": {"services": ALL["services"] + ' service_prefix "move-" { policy = "deny" }'},
    "services to read": {"services": 'service_prefix "" { policy = "read" }'},
    "no node": {"nodes": ""},
    "no key": {"keys": ""},
    "no ledger": {"keys": ALL["keys"] + ' key_prefix "svc-handler/ledger/" { policy = "deny" }'},
    "no gateway": {"gateways": ""},
    "nothing": dict.fromkeys(ALL, ""),
}
SHORTENED = ("services, but none that stays", "services, but none that moves", "no service")
LISTS = {
    **{f"the list of {kind}": rf"^/v1/config/{kind}(\?|$)" for kind in KINDS if kind != "service-intentions"},
    "all lists of entries": r"^/v1/config/[a-z-]+(\?|$)",
    "the ledgers": r"^/v1/kv/svc-handler/ledger/\?",
    "all records": r"^/v1/kv/[^?]*/\?",
    "the nodes": r"^/v1/(catalog/nodes|internal/ui/nodes|health/state|catalog/node-services)",
    "the names of the catalog": r"^/v1/catalog/services",
    "every list": r"^/v1/(config/[a-z-]+(\?|$)|kv/[^?]*/\?|catalog/(nodes|services))",
}
HEADERS = {
    "X-Consul-Index of the answers": {"told": r"(?i)x-consul-index"},
    "all X-Consul- headers of the answers": {"told": r"(?i)x-consul-"},
    "the token of the reads": {"asked": r"(?i)x-consul-token"},
}
LOST = ("no spec at all", "five specs of thirty")


@dataclass(frozen=True, slots=True)
class Case:
    """What is hidden, and how: rules of the token, or arguments of the proxy; changed: whether Git has a new commit."""

    line: str
    what: str
    changed: bool
    rules: str = ""
    proxy: dict[str, str] | None = None


TOKEN, LIST, HEADER, GIT = (
    "a token that lost rights", "a list that is empty on the way", "a header that is lost on the way", "a commit that lost specs",
)  # fmt: skip


def cases(version: tuple[int, int, int]) -> list[Case]:
    """All of them, in the same order for every part."""
    found = []
    rules = {}
    for what, less in DENIED.items():
        parts = ALL | less
        if version >= (1, 12) and parts["gateways"]:
            parts["gateways"] += ' mesh = "write"'
        rules[what] = " ".join(parts.values())
    for changed in (False, True):
        found += [Case(TOKEN, what, changed, rules=each) for what, each in rules.items()]
        found += [Case(LIST, what, changed, proxy={"lists": lists}) for what, lists in LISTS.items()]
        found += [Case(HEADER, what, changed, proxy=names) for what, names in HEADERS.items()]
        # Consul has this header only in what it shortened, so the token is one of those for which it does.
        for what in SHORTENED:
            told = {"told": r"(?i)x-consul-results-filtered"}
            found.append(
                Case(HEADER, f"X-Consul-Results-Filtered-By-ACLs, to a token: {what}", changed, rules[what], told)
            )
        told = {"told": r"(?i)x-consul-"}
        found.append(Case(HEADER, "X-Consul- headers, to a token with no service", changed, rules["no service"], told))
    found += [Case(GIT, what, changed=True) for what in LOST]
    found *= TIMES
    random.Random(1).shuffle(found)
    return found


async def blind(
    folder: Path,
    chance: random.Random,
    budget: Budget,
    *,
    without: str = "",
    only: Callable[[Case], bool] = lambda _: True,
    worlds: tuple[World, World] | None = None,
) -> list[Line]:
    """Something cannot be seen during one run; nothing is deleted or made because of it, and the next run finds all in order."""
    del chance
    lines = {name: Line(name) for name in (TOKEN, LIST, HEADER, GIT)}
    budget.watch(lines.values())
    with ConsulServer(acl=True) as consul:
        site = Site(consul, folder, worlds or mixed(), without=without)
        assert consul.token
        site.token = consul.token
        await site.prepare()
        few = [site.tree(dict(list(world.items())[:5])) for world in site.worlds]
        none = site.tree({})
        every = [case for case in cases(consul.version) if only(case)]
        for number in budget.faults(len(every)):
            case = every[number]
            if case.line == GIT:
                await _lost(site, lines[GIT], case.what, {LOST[0]: none, LOST[1]: few[site.at]}[case.what])
            else:
                await _hidden(site, lines[case.line], case)
    return list(lines.values())


async def _hidden(site: Site, line: Line, case: Case) -> None:
    consul = site.consul
    assert consul.token
    before = consul.dump()
    other = set(site.worlds[0].items()) ^ set(site.worlds[1].items()) if case.changed else set()
    if case.changed:
        site.turn()
    site.token = consul.new_token(case.rules) if case.rules else consul.token
    async with Blinding(consul.url, **(case.proxy or {})) as proxy:
        code = await (await site.start(proxy.url)).ended()
    site.token = consul.token
    after = consul.dump()
    wrong = _undue(before, after, {name for name, _ in other})
    struck = Struck(case.what, code or None, "with a new commit" if case.changed else "with the same commit")
    if case.proxy and not proxy.hidden and consul.version >= (1, 11):
        wrong.append("nothing was hidden: the proxy does not know these requests")
    await judge(site, line, struck, case.what, elsewhere=False, seen=wrong)


def _undue(before: dict[tuple[str, ...], Any], after: dict[tuple[str, ...], Any], may: set[str]) -> list[str]:
    """What was deleted, made or written although nothing in Git says so. may: the services that Git changed."""
    words = []
    for key in sorted({**before, **after}, key=str):
        if before.get(key) == after.get(key) or _is_passing(key):
            continue
        verb = "made" if key not in before else "deleted" if key not in after else "written"
        if verb == "written" and key[0] == "kv" and key[1].startswith("svc-handler/"):
            continue  # a run that takes its locks says so in its records, and takes it back
        if not any(re.search(rf"(^|[/-]){re.escape(name)}(/|\.|$)", key[-1]) for name in may) and not _gateway(
            key, before, after, may
        ):
            words.append(f"{verb}: {'/'.join(key)}")
    return words[:5]


def _is_passing(key: tuple[str, ...]) -> bool:
    """Records of a run that come and go, and the applied revision."""
    return key[0] == "kv" and key[1].startswith(("svc-handler/owners/", "svc-handler/locks/"))


def _gateway(
    key: tuple[str, ...], before: dict[tuple[str, ...], Any], after: dict[tuple[str, ...], Any], may: set[str]
) -> bool:
    """A gateway of which only rows changed that may."""
    if key[:2] != ("config", "terminating-gateway") or key not in before or key not in after:
        return False
    rows = [{row["Name"]: row for row in (side[key].get("Services") or ())} for side in (before, after)]
    return all(name in may for name in {**rows[0], **rows[1]} if rows[0].get(name) != rows[1].get(name))


async def _lost(site: Site, line: Line, what: str, tree: str) -> None:
    """Git has a commit that lost most of its specs: nothing is deleted, and somebody is told."""
    before = site.consul.dump()
    site.commit(tree, what)
    code = await (await site.start(site.consul.url)).ended()
    wrong = _undue(before, site.consul.dump(), set())
    if code in (0, None):
        wrong.append(f"its exit code was {code}")
    site.turn(site.at)
    await judge(site, line, Struck(what, code), what, elsewhere=False, seen=wrong)
