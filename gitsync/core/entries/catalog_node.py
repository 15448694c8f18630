"""Catalog nodes: where a service outside the mesh is, one node for each of its servers."""

from __future__ import annotations

from hashlib import sha1
from typing import Any, NamedTuple

from gitsync.core.entries.entry import filled, marks, tenancy
from gitsync.model.component import Component
from gitsync.model.context import RenderContext
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
        body["Check"] = _check(spec.name, spec.exposure.check)
    return Component(ComponentKey(spec.key, Kind.CATALOG, f"{datacenter}/{name}"), body)


def _check(name: str, check: Check) -> dict[str, Any]:
    definition = filled(TCP=check.tcp, HTTP=check.http, Interval=str(check.interval), Timeout=str(check.timeout))
    return {"CheckID": f"gitsync:{name}", "Name": f"reachable at {check.tcp or check.http}", "Definition": definition}
