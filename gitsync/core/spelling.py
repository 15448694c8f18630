"""From a document as it was written to the one form of it: both spellings, the configuration's defaults, labels as text. Pure.

connect.protocol   →  connect.mesh_policy.protocol
connect.timeouts   →  connect.mesh_policy.timeouts
router             →  connect.router
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gitsync.core.yaml_reader import ListNode, MapNode, Node, Scalar
from gitsync.model.spec import SpecDefaults

Location = tuple[str | int, ...]

OLDER: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("connect", "protocol"), ("connect", "mesh_policy", "protocol")),
    (("connect", "timeouts"), ("connect", "mesh_policy", "timeouts")),
    (("router",), ("connect", "router")),
)
"""The spelling of v2.1.1, and what it is short for."""

_NAMED = (("connect", "resolver", "subsets"), ("connect", "resolver", "failover"))
"""Maps whose keys a person chooses: a key without a value is an empty mapping there, not an absent one."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A document in canonical form, as plain values and as nodes. clashes: what stands in both spellings."""

    value: dict[str, Any]
    root: MapNode
    moved: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    clashes: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()

    def written(self, location: Location) -> Location:
        """A place of the canonical form as it stands in the file."""
        for older, canonical in self.moved:
            if location[: len(canonical)] == canonical:
                return older + location[len(canonical) :]
        return location


def spell(root: MapNode, defaults: SpecDefaults, *, name: str = "") -> Spelled:
    """The canonical form of a document. Nothing is judged here; what is no mapping where one belongs is left as it is.

    name: what a document without a name is called, where the name is known from elsewhere.
    """
    moved, clashes = [], []
    for older, canonical in OLDER:
        node = _at(root, older)
        if node is None:
            continue
        if not _absent(node):
            if not _absent(_at(root, canonical)):
                clashes.append((older, canonical))
            else:
                put = _put(root, canonical, node)
                if put is None:  # something on the way is no mapping, and that is what will be said
                    continue
                root = put
                moved.append((older, canonical))
        root = _without(root, older)
    value = _plain_map(root, ())
    if name:
        value.setdefault("name", name)
    value.setdefault("partition", defaults.partition)
    value.setdefault("namespace", defaults.namespace)
    if defaults.gateway:
        exposure = value.setdefault("exposure", {})
        if isinstance(exposure, dict):
            exposure.setdefault("terminating_gateway", {"service": defaults.gateway})
    return Spelled(value, root, tuple(moved), tuple(clashes))


def _absent(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.value is None)


def _at(node: Node | None, path: tuple[str, ...]) -> Node | None:
    for step in path:
        node = node.get(step) if isinstance(node, MapNode) else None
    return node


def _put(root: MapNode, path: tuple[str, ...], node: Node) -> MapNode | None:
    """*root* with *node* at *path*, whose key stands where the node does. None if something on the way is no mapping."""
    step, rest = path[0], path[1:]
    present = root.get(step)
    inner: Node | None = node
    if rest:
        if _absent(present):
            present = MapNode((), node.line, node.column)
        inner = _put(present, rest, node) if isinstance(present, MapNode) else None
    if inner is None:
        return None
    key = next((key for key, _ in root.pairs if key.text == step), Scalar(step, False, node.line, node.column))
    kept = [pair for pair in root.pairs if pair[0].text != step]
    return MapNode((*kept, (key, inner)), root.line, root.column)


def _without(root: MapNode, path: tuple[str, ...]) -> MapNode:
    pairs = []
    for key, node in root.pairs:
        if key.text == path[0]:
            if len(path) == 1:
                continue
            if isinstance(node, MapNode):
                node = _without(node, path[1:])
        pairs.append((key, node))
    return MapNode(tuple(pairs), root.line, root.column)


def _plain_map(node: MapNode, path: tuple[str, ...]) -> dict[str, Any]:
    """Plain values. A key without a value is absent, except where that says something."""
    if path == ("metadata",):
        return {key.text: _label(inner) for key, inner in node.pairs}
    value: dict[str, Any] = {}
    for key, inner in node.pairs:
        plain = _plain(inner, (*path, key.text))
        if plain is None and path in _NAMED:
            plain = {}
        if plain is not None or (key.text == "terminating_gateway" and path == ("exposure",)):
            value[key.text] = plain
    return value


def _plain(node: Node, path: tuple[str, ...]) -> Any:
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, ListNode):
        return [_plain(item, (*path, "")) for item in node.items]
    return _plain_map(node, path)


def _label(node: Node) -> Any:
    """A label as it stands in the file, so that `0123`, `NO` and `1.10` stay what they are. Nothing at all is no label."""
    if isinstance(node, Scalar):
        return None if node.plain and node.value is None else node.text
    return _plain(node, ("metadata", ""))
