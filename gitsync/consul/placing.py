"""The transaction operations that put a node, its service and its check into the catalog, or take them out. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitsync.core.normalize import canonical
from gitsync.core.sight import node_body
from gitsync.model.component import Body, CatalogCheck, CatalogNode, CatalogService
from gitsync.model.key import Kind

ESM_CHECK = "externalNodeHealth"
"""The check that consul-esm puts on every node it pings. It comes back by itself, so it keeps no node alive."""

Operation = dict[str, Any]

OURS = frozenset({"ID", "Service", "Address", "Port", "Meta"})
"""What gitsync says of a service."""

SERVER_FIELDS = frozenset(
    {"Proxy", "Connect", "Namespace", "Partition", "PeerName", "Datacenter", "Node", "CreateIndex", "ModifyIndex"}
)
"""What Consul shows of a service and what a transaction does not take, or not from Community Edition."""

CHECK_SERVER_FIELDS = frozenset(
    {"ServiceName", "ServiceTags", "Type", "Interval", "Timeout", "ExposedPort", "Namespace", "Partition", "PeerName"}
)


def raw_node(node: str) -> Operation:
    """A get of a node."""
    return {"Node": {"Verb": "get", "Node": {"Node": node}}}


def service_in(node: str, service_id: str) -> Operation:
    """A get of a service."""
    return {"Service": {"Verb": "get", "Node": node, "Service": {"ID": service_id}}}


def place(wanted: Body, seen: CatalogNode | None, there: Mapping[str, Any] | None) -> list[Operation]:
    """What makes *wanted* of *seen*; *there* is the node itself as Consul has it, so that nothing of it is lost.

    Each operation is a compare-and-set at the index that was seen. A check that is equal but for its Status is left alone:
    that belongs to whoever probes.
    """
    service_id = wanted["Service"]["ID"]
    want = canonical(Kind.CATALOG, wanted)
    have = canonical(Kind.CATALOG, node_body(seen, service_id)) if seen else {}
    out: list[Operation] = []
    if seen is None or any(want.get(name) != have.get(name) for name in ("Address", "NodeMeta")):
        out.append(_node(wanted, seen, there))
    service = next((each for each in seen.services if each.id == service_id), None) if seen else None
    if (
        service is None
        or want["Service"] != have.get("Service")
        or _service_fields(wanted, service) != _plain(service.body)
    ):
        out.append(_service(wanted, service))
    check = _check_of(seen, service_id, wanted)
    if wanted.get("Check") and (check is None or want["Check"] != have.get("Check")):
        out.append(_check(wanted, check))
    out += [_check_gone(seen.node, each) for each in _outdated(seen, service_id, wanted)] if seen else []
    return out


def takes_away(
    node: CatalogNode, service: CatalogService | None, check_ids: Sequence[str], *, with_node: bool
) -> list[Operation]:
    """What takes a service and checks off a node, and the node itself if asked."""
    # Checks first: those of the service go with it, and then a delete of one of them would fail.
    out: list[Operation] = [
        _check_gone(node.node, check_id) for check_id in check_ids if any(check.id == check_id for check in node.checks)
    ]
    if service is not None:
        fields = {"ID": service.id, "Service": service.name, "ModifyIndex": service.modify_index}
        out.append({"Service": {"Verb": "delete-cas", "Node": node.node, "Service": fields}})
    if with_node:
        out.append({"Node": {"Verb": "delete-cas", "Node": {"Node": node.node, "ModifyIndex": node.modify_index}}})
    return out


def _node(wanted: Body, seen: CatalogNode | None, there: Mapping[str, Any] | None) -> Operation:
    kept = {name: value for name, value in (there or {}).items() if name in ("ID", "TaggedAddresses") and value}
    fields = {
        **kept,
        "Node": wanted["Node"],
        "Address": wanted["Address"],
        "Meta": wanted["NodeMeta"],
        "ModifyIndex": seen.modify_index if seen else 0,
    }
    return {"Node": {"Verb": "cas", "Node": fields}}


def _service(wanted: Body, there: CatalogService | None) -> Operation:
    fields = {**_service_fields(wanted, there), "ModifyIndex": there.modify_index if there else 0}
    return {"Service": {"Verb": "cas", "Node": wanted["Node"], "Service": fields}}


def _service_fields(wanted: Body, there: CatalogService | None) -> dict[str, Any]:
    """A service as it is sent: what somebody else gave it (tags, weights) goes with it."""
    kept = {name: value for name, value in _plain(there.body).items() if name not in OURS} if there else {}
    return kept | _plain(wanted["Service"])


def _plain(service: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in service.items() if name not in SERVER_FIELDS and value}


def _check(wanted: Body, there: CatalogCheck | None) -> Operation:
    # A check that is sent without its Definition loses it, and one without its Status becomes critical: always all of it.
    now = {name: value for name, value in (there.body if there else {}).items() if name not in CHECK_SERVER_FIELDS}
    fields = {
        "Status": "passing",
        **now,
        **{
            name: value for name, value in wanted["Check"].items() if name in ("CheckID", "Name", "Definition", "Notes")
        },
        "Node": wanted["Node"],
        "ServiceID": wanted["Service"]["ID"],
        "ModifyIndex": there.modify_index if there else 0,
    }
    return {"Check": {"Verb": "cas", "Check": fields}}


def _check_gone(node: str, check_id: str) -> Operation:
    return {"Check": {"Verb": "delete", "Check": {"Node": node, "CheckID": check_id}}}


def _check_of(seen: CatalogNode | None, service_id: str, wanted: Body) -> CatalogCheck | None:
    check_id = (wanted.get("Check") or {}).get("CheckID")
    if seen is None or check_id is None:
        return None
    return next((each for each in seen.checks if each.id == check_id and each.service_id == service_id), None)


def _outdated(seen: CatalogNode, service_id: str, wanted: Body) -> list[str]:
    """Checks of ours on the service that it is not to have any more."""
    wanted_id = (wanted.get("Check") or {}).get("CheckID")
    return [
        check.id
        for check in seen.checks
        if check.service_id == service_id and check.id.startswith("gitsync:") and check.id != wanted_id
    ]
