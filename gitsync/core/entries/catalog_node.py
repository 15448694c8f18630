"""Catalog nodes: where a service outside the mesh is, one node for each of its servers."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from gitsync.core.entries.entry import filled, marks, tenancy
from gitsync.model.component import Component
from gitsync.model.context import RenderContext
from gitsync.model.key import DEFAULT, SERVICE_MARK, ComponentKey, Kind, ServiceKey
from gitsync.model.routing import Check, Endpoint
from gitsync.model.spec import ServiceSpec


def catalog_nodes(spec: ServiceSpec, context: RenderContext) -> list[Component]:
    """A node for the server of *spec*, or one for each of its endpoints."""
    if not spec.routing.endpoints:
        assert spec.routing.host is not None
        assert spec.routing.port is not None
        return [_node(spec, context, Endpoint(host=spec.routing.host, port=spec.routing.port), node_name(spec.key))]
    return [
        _node(spec, context, endpoint, node_name(spec.key, endpoint))
        for endpoint in sorted(spec.routing.endpoints, key=lambda each: (each.host, each.port))
    ]


def node_name(key: ServiceKey, endpoint: Endpoint | None = None) -> str:
    """`ext-<name>`, with the tenancy where it is not default, and for one of several *endpoint*s with what tells it apart."""
    name = f"ext-{key.name}"
    if (key.namespace, key.partition) != (DEFAULT, DEFAULT):
        name += f".{key.namespace}.{key.partition}"
    if endpoint:
        digest = sha1(f"{endpoint.host}:{endpoint.port}".encode(), usedforsecurity=False).hexdigest()
        name += f"-{digest[:8]}"
    return name


def datacenter_of(spec: ServiceSpec, context: RenderContext) -> str:
    """Where the node is registered: where the gateway runs, which is the agent's own datacenter unless the spec says else."""
    gateway = spec.exposure.terminating_gateway
    return spec.exposure.dc or (gateway.dc if gateway else None) or context.datacenter


def _node(spec: ServiceSpec, context: RenderContext, server: Endpoint, name: str) -> Component:
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
