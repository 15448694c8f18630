"""What to send: what is wanted, and beside it what somebody else put there and gitsync does not manage. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from gitsync.core.normalize import TOP, Scope, element_key, scope_of, trivial
from gitsync.core.schema import SCHEMA, Items, Labels, Named, Struct
from gitsync.model.component import Body
from gitsync.model.key import Kind


def merged(
    kind: Kind, wanted: Body, found: Body | None, *, our_meta_keys: frozenset[str] | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body to send, and the paths of the unmanaged fields that were carried over into it.

    Fields outside the schema are taken over verbatim from *found*, also inside list elements: a route is recognised by its
    match, a split by its target, an intention's source, a subset and a failover by name. What the server fills in, and fields
    that say nothing (`{}`, "", 0, null), are neither carried nor named.

    Meta is compared three ways. *our_meta_keys* are the keys that we wrote last (None: not known, so every key is kept): one
    of them that is not wanted any more goes, what somebody added stays, and a wanted key has our value.
    """
    if found is None:
        return dict(wanted), ()
    carried: list[str] = []
    body = _struct(SCHEMA[kind], wanted, found, "", carried, TOP)
    if "Meta" in SCHEMA[kind].fields and (meta := _labels(wanted.get("Meta"), found.get("Meta"), our_meta_keys)):
        body["Meta"] = meta
    return body, tuple(carried)


def label(shape: Items, element: Mapping[str, Any], position: int) -> str:
    """How an element of a list is named in a path: by position, by a source's name, by a split's `service:subset`."""
    if shape.ordered:
        return f"[{position}]"
    if "Service" in shape.key:
        service, subset = element.get("Service") or "", element.get("ServiceSubset") or ""
        return f"[{service}:{subset}]" if subset else f"[{service}]"
    where = "/".join(str(element[name]) for name in shape.key if name != "Name" and element.get(name))
    return f"[{element.get('Name', '')}{' in ' + where if where else ''}]"


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _struct(shape: Struct, ours: Body, theirs: Body, path: str, carried: list[str], scope: Scope) -> dict[str, Any]:
    out = dict(ours)
    inner = scope_of(ours) if shape.entry else scope
    for name, value in theirs.items():
        field = shape.fields.get(name)
        if field is None:
            if name not in ours and name not in shape.ignored and not trivial(value):
                out[name] = value
                if name not in shape.silent:
                    carried.append(joined(path, name))
            continue
        mine = ours.get(name)
        if not value or mine == value:
            continue
        match field:
            case Struct():
                if mine is not None or field.group:
                    both = _struct(field, mine or {}, value, joined(path, name), carried, inner)
                    if both or mine is not None:
                        out[name] = both
            case Items() if mine:
                out[name] = _items(field, mine, value, joined(path, name), carried, inner)
            case Named() if mine:
                out[name] = {
                    each: _struct(
                        field.item, body or {}, value.get(each) or {}, f"{joined(path, name)}.{each}", carried, inner
                    )
                    for each, body in mine.items()
                }
            case Labels() if (
                not shape.entry
            ):  # catalog objects carry fixed keys of ours, so nothing of ours ever leaves
                out[name] = _labels(mine, value, None)
            case _:
                pass
    return out


def _items(
    shape: Items, ours: Sequence[Body], theirs: Sequence[Body], path: str, carried: list[str], scope: Scope
) -> list[Any]:
    """Ours in our order, each with what was carried from the element of theirs that is the same one."""
    same: dict[Any, deque[Body]] = defaultdict(deque)
    for each in theirs:
        same[element_key(shape, each or {}, scope)].append(each or {})
    out: list[Any] = []
    for position, each in enumerate(ours):
        waiting = same.get(element_key(shape, each, scope))
        if waiting:
            each = _struct(shape.item, each, waiting.popleft(), path + label(shape, each, position), carried, scope)
        out.append(each)
    return out


def _labels(
    ours: Mapping[str, str] | None, theirs: Mapping[str, str] | None, written: frozenset[str] | None
) -> dict[str, str]:
    kept = {key: value for key, value in (theirs or {}).items() if written is None or key not in written}
    return {**kept, **(ours or {})}
