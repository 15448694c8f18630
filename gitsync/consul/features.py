"""What this Consul is: the version of its oldest server, where it is, and what it allows by default."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gitsync.consul.answer import Answer
from gitsync.consul.client import Client
from gitsync.consul.verdict import TokenGone
from gitsync.model.errors import Forbidden, Invalid, Unavailable
from gitsync.model.features import Features, Version

VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(.*)")
ALIVE = 1
OLDEST = (1, 8, 0)
"""The first version that has terminating gateways."""


async def detect(client: Client, *, version: str | None, primary_datacenter: str | None) -> Features:
    """Ask Consul what it is.

    version, primary_datacenter: as configured, for a token that may not read them. A configured version counts where it is the
    older one: it may speak of servers that are not to be seen. Raises Invalid where something is neither to be read nor
    configured. Source: Consul HTTP API, GET /v1/agent/self, GET /v1/agent/members.
    """
    said, members = await asyncio.gather(
        client.ask("GET", "/v1/agent/self", what="agent"),
        _readable(client, "/v1/agent/members"),
        return_exceptions=True,
    )
    if isinstance(members, BaseException):
        raise members
    if isinstance(said, Forbidden) and not isinstance(said, TokenGone):
        return await _from_configuration(client, members, version, primary_datacenter)
    if isinstance(said, BaseException):
        raise said
    itself = said.json()
    try:
        config, debug, member = itself["Config"], itself.get("DebugConfig") or {}, itself.get("Member") or {}
        own, datacenter, node = config["Version"], config["Datacenter"], config["NodeName"]
    except (KeyError, TypeError) as error:
        raise Unavailable(f"agent: the answer is {said.text[:80]!r}. Check the address of Consul.") from error
    servers = _servers(members)
    if (
        not servers
        and not config.get("Server")
        and str(((itself.get("Stats") or {}).get("consul") or {}).get("known_servers")) == "0"
    ):
        raise Unavailable(
            "agent: it knows no server yet. It has just started, or has lost its cluster; this is tried again."
        )
    if not servers and not config.get("Server") and version is None:
        raise Invalid(
            "Consul does not show gitsync its servers, so their version is not known. Give the token node read "
            '(node_prefix "" { policy = "read" }), or set consul.version to the version of the oldest server.'
        )
    texts = [*servers, *([own] if config.get("Server") or not servers else []), *([version] if version else [])]
    builds = [
        *texts,
        str((member.get("Tags") or {}).get("build") or ""),
        str((itself.get("Stats") or {}).get("build") or ""),
    ]
    return Features(
        version=min(map(parse_version, texts)),
        datacenter=datacenter,
        primary_datacenter=config.get("PrimaryDatacenter") or debug.get("PrimaryDatacenter") or datacenter,
        node=node,
        enterprise=any("+ent" in build for build in builds),
        default_deny=_default_deny(said, debug),
    )


def require_primary(features: Features) -> None:
    """Raise Invalid unless Consul is in the primary datacenter.

    Config entries are written in the primary; elsewhere reads show a copy whose indexes no compare-and-set can use.
    """
    if features.datacenter != features.primary_datacenter:
        raise Invalid(
            f"consul.address is in the datacenter {features.datacenter}, and the primary is {features.primary_datacenter}: config "
            f"entries can only be written safely there. Set consul.address to an agent of {features.primary_datacenter}."
        )


def parse_version(text: str) -> Version:
    """`1.21.4`, `v1.21.4+ent`, `1.8.7:` or `1.18.2-dev` as numbers. Raises Invalid."""
    found = VERSION.match(text.strip())
    if not found:
        raise Invalid(f"{text!r} is no version of Consul. Set consul.version to one such as 1.21.4.")
    version = int(found[1]), int(found[2]), int(found[3])
    if version < OLDEST:
        raise Invalid(f"Consul {text} is too old: terminating gateways came with 1.8.0. Upgrade Consul.")
    return version


async def _from_configuration(
    client: Client, members: Answer | None, version: str | None, primary_datacenter: str | None
) -> Features:
    """For a token that may not read agent/self."""
    missing = [name for name, value in (("version", version), ("primary_datacenter", primary_datacenter)) if not value]
    if missing or not version or not primary_datacenter:
        raise Invalid(
            "the token may not read what Consul is (agent/self). Give it agent read on its agent, or set "
            + " and ".join(f"consul.{name}" for name in missing)
            + "."
        )
    known, answer = await asyncio.gather(
        client.ask("GET", "/v1/catalog/datacenters", what="datacenters"),
        client.ask("GET", "/v1/status/leader", what="leader"),
    )
    servers = _servers(members)
    texts = [*servers, version]
    return Features(
        version=min(map(parse_version, texts)),
        datacenter=await _where(client, known.json(), primary_datacenter),
        primary_datacenter=primary_datacenter,
        enterprise=any("+ent" in text for text in texts),
        default_deny=_default_deny(answer, {}),
    )


async def _where(client: Client, known: Iterable[str], primary: str) -> str:
    """The agent's own datacenter, by whose servers it calls its own: that needs no right at all."""
    names = sorted(known, key=lambda name: (name != primary, name))
    if len(names) == 1:
        return names[0]
    own = await _peers(client, {})
    for name in names:
        try:
            if await _peers(client, {"dc": name}) == own:
                return name
        except Unavailable:
            if name == primary:
                raise
    raise Unavailable(
        "no datacenter that Consul names has the servers that this agent has. Check that the datacenters are joined."
    )


async def _peers(client: Client, params: Mapping[str, str]) -> frozenset[str]:
    answer = await client.ask("GET", "/v1/status/peers", params, what="servers")
    return frozenset(answer.json())


async def _readable(client: Client, path: str) -> Answer | None:
    try:
        return await client.ask("GET", path, what="members")
    except Forbidden:
        return None


def _servers(members: Answer | None) -> list[str]:
    """The builds of the living servers in the agent's own datacenter, as far as the token may see them."""
    found: list[dict[str, Any]] = (members.json() if members else None) or []
    tags = [member.get("Tags") or {} for member in found if member.get("Status") == ALIVE]
    return [tag["build"] for tag in tags if tag.get("role") == "consul" and tag.get("build")]


def _default_deny(answer: Answer, debug: Mapping[str, Any]) -> bool | None:
    """Whether intentions default to deny: Consul's default for ACLs, unless it has one of its own for intentions."""
    policy = (
        debug.get("DefaultIntentionPolicy")
        or answer.headers.get("X-Consul-Default-ACL-Policy")
        or debug.get("ACLDefaultPolicy")
    )
    return None if not policy else policy == "deny"
