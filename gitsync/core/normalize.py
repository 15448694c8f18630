"""One spelling for each component, whatever Consul or a renderer made of it: what compares equal is equal. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gitsync.core.schema import PLAIN, SCHEMA, Items, Labels, Leaf, Named, Shape, Struct, Tenancy
from gitsync.model import jsontext
from gitsync.model.component import Body
from gitsync.model.key import DEFAULT, Kind

Scope = tuple[str, str]
"""The namespace and the partition in which an object stands."""

TOP: Scope = (DEFAULT, DEFAULT)
TRIVIAL = frozenset({"", "0s"})


def canonical(kind: Kind, body: Body) -> dict[str, Any]:
    """The managed fields of *body*, each in its one spelling, and nothing else.

    Durations are Go's text, what is empty is absent, sets are sorted. Kind, indexes and what the server fills in are left out,
    and so is every field that gitsync does not manage. Source: consul-facts.md section 3.
    """
    return _struct(SCHEMA[kind], body, TOP, everything=False)


def complete(kind: Kind, body: Body) -> dict[str, Any]:
    """As `canonical`, and with the fields that somebody else put there, as they stand: what a person should see."""
    return _struct(SCHEMA[kind], body, TOP, everything=True)


def content_hash(kind: Kind, body: Body) -> str:
    """SHA-256 (hex) of the canonical object: equal for two bodies that mean the same. Of what is wanted, not of what is sent."""
    return _content_hash(kind, _Same(body))


class _Same:
    """A body, known by what it is and not by what it holds: it is never changed once it was made."""

    __slots__ = ("body",)

    def __init__(self, body: Body) -> None:
        self.body = body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.body is other.body

    def __hash__(self) -> int:
        return id(self.body)


@lru_cache(maxsize=32768)  # ledger, records and digest ask for the same one after the other
def _content_hash(kind: Kind, same: _Same) -> str:
    return hashlib.sha256(canonical_json(canonical(kind, same.body))).hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a canonical value."""
    return jsontext.ordered(value)


def canonical_value(shape: Shape, value: Any, scope: Scope) -> Any:
    """One field in its one spelling; something falsy (or None) where that is the same as absent."""
    return None if value is None else _value(shape, value, scope, everything=False)


def scope_of(body: Body) -> Scope:
    """Where the inner fields of an entry look by default: the entry's own namespace and partition."""
    return body.get("Namespace") or DEFAULT, body.get("Partition") or DEFAULT


def trivial(value: Any) -> bool:
    """Whether a field that we do not manage says nothing: servers answer with `{}`, "" and 0 for what nobody wrote."""
    return not value or (isinstance(value, str) and value in TRIVIAL)


def element_key(shape: Items, element: Mapping[str, Any], scope: Scope) -> Any:
    """What tells an element of a list from the others, hashable. *element* need not be canonical."""
    fields = _struct(shape.item, element, scope, everything=False)
    if not shape.ordered:
        return tuple(fields.get(name, "") for name in shape.key)
    return canonical_json([fields.get(name) for name in shape.key] if shape.key else fields)


def _struct(shape: Struct, body: Body, scope: Scope, *, everything: bool) -> dict[str, Any]:
    out: dict[str, Any] = dict(shape.always)
    fields = shape.fields
    inner = scope_of(body) if shape.entry else scope
    for name, value in body.items():
        if value is None:
            continue
        field = fields.get(name)
        if field is PLAIN:
            if value:
                out[name] = value
        elif field is None:
            if everything and not trivial(value) and name not in shape.ignored and name not in shape.silent:
                out[name] = value
        else:
            result = _value(field, value, scope if type(field) is Tenancy else inner, everything=everything)
            if result or name in shape.always or (type(field) is Struct and field.kept):
                out[name] = result
    return out


def _value(shape: Shape, value: Any, scope: Scope, *, everything: bool) -> Any:
    match shape:
        case Leaf():
            return shape.canonical(value)
        case Labels():
            only = shape.only
            return {key: _label(each) for key, each in value.items() if only is None or key in only}
        case Struct():
            return _struct(shape, value, scope, everything=everything)
        case Named():
            return {name: _struct(shape.item, each or {}, scope, everything=everything) for name, each in value.items()}
        case Items():
            found = [_struct(shape.item, each or {}, scope, everything=everything) for each in value]
            if not shape.ordered:
                found.sort(key=lambda each: [str(each.get(name, "")) for name in shape.key])
            return found
        case Tenancy():
            return None if value == scope[shape.place] else value


def _label(value: Any) -> str:
    """A label as Consul stores it: text, and what YAML or JSON made of something else (`true` becomes "1")."""
    if isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, bool) else str(value)
