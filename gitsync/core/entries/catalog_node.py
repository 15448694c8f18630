"""Catalog nodes: where a service outside the mesh is, one node for each of its servers."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha1
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gitsync.core.entries.entry import component, filled, marks, tenancy
from gitsync.model.component import Component
from gitsync.model.context import RenderContext
from gitsync.model.grammar import normal_host
from gitsync.model.key import DEFAULT, SERVICE_MARK, ComponentKey, Kind, ServiceKey
from gitsync.model.routing import Check
from gitsync.model.spec import ServiceSpec


class Server(NamedTuple):
    """Where a service is: one address of it."""

    host: str
    port: int


def servers(spec: ServiceSpec) -> list[Server]:
    """Where *spec* is, as one list, whether it has a host or endpoints; in the order of their addresses."""
    if spec.routing.endpoints:
        return sorted(Server(each.host, each.port) for each in spec.routing.endpoints)
    assert spec.routing.host is not None
    assert spec.routing.port is not None
    return [Server(spec.routing.host, spec.routing.port)]


def catalog_nodes(spec: ServiceSpec, context: RenderContext) -> list[Component]:
    """A node for the server of *spec*, or one for each of its endpoints."""
    several = bool(spec.routing.endpoints)
    return [_node(spec, context, server, node_name(spec.key, server if several else None)) for server in servers(spec)]


def node_name(key: ServiceKey, server: Server | None = None) -> str:
    """`ext-<name>`, with the tenancy where it is not default, and for the *server* of an endpoint with what tells it apart."""
    name = f"ext-{key.name}"
    if (key.namespace, key.partition) != (DEFAULT, DEFAULT):
        name += f".{key.namespace}.{key.partition}"
    if server:
        digest = sha1(f"{server.host}:{server.port}".encode(), usedforsecurity=False).hexdigest()
        name += f"-{digest[:8]}"
    return name


def datacenter_of(spec: ServiceSpec, context: RenderContext) -> str:
    """Where the node is registered: where the gateway runs, which is the agent's own datacenter unless the spec says else."""
    gateway = spec.exposure.terminating_gateway
    return spec.exposure.dc or (gateway.dc if gateway else None) or context.datacenter


def _node(spec: ServiceSpec, context: RenderContext, server: Server, name: str) -> Component:
    datacenter = datacenter_of(spec, context)
    service: dict[str, Any] = {
        "ID": spec.name,
        "Service": spec.name,
        "Address": server.host,
        "Port": server.port,
        "Meta": marks(context),
        **{key: value for key, value in tenancy(spec, context).items() if key == "Namespace"},
    }
    body: dict[str, Any] = {
        "Node": name,
        "Datacenter": datacenter,
        "Address": server.host,
        "NodeMeta": {"external-node": "true", "external-probe": "false", **marks(context), SERVICE_MARK: spec.key.path},
        "Service": service,
    }
    if spec.exposure.check:
        body["Check"] = _check(spec.name, spec.exposure.check, server, servers(spec))
    return component(ComponentKey(spec.key, Kind.CATALOG, f"{datacenter}/{name}"), body)


def _check(name: str, check: Check, server: Server, all_servers: Collection[Server]) -> dict[str, Any]:
    """The check of *server*'s node. One that names one of several servers stands for all of them: each is asked itself.

    Else a server that is down would take the others with it, or be held up by them. A check of something else (a page
    of a load balancer's, say) is on every node as it is written.
    """
    tcp, http = check.tcp, check.http
    if tcp:
        host, _, port = tcp.rpartition(":")
        tcp = _asked(host, int(port), server, all_servers) or tcp
    elif http:
        url = urlsplit(http)
        there = _asked(url.hostname or "", url.port or (443 if url.scheme == "https" else 80), server, all_servers)
        http = url._replace(netloc=there).geturl() if there else http
    definition = filled(TCP=tcp, HTTP=http, Interval=str(check.interval), Timeout=str(check.timeout))
    return {"CheckID": f"gitsync:{name}", "Name": f"reachable at {tcp or http}", "Definition": definition}


def _asked(host: str, port: int, server: Server, all_servers: Collection[Server]) -> str:
    """The address at which *server* is asked; "" where that is the check's own, or the check is of something else.

    The port is the server's, where the check names that of a server, else the check's, which then is one for all.
    """
    named = Server(normal_host(host.strip("[]")), port)
    if all(each.host != named.host for each in all_servers):
        return ""
    asked = Server(server.host, server.port if named in all_servers else port)
    if asked == named:
        return ""
    return f"[{asked.host}]:{asked.port}" if ":" in asked.host else f"{asked.host}:{asked.port}"
