"""Every field of a spec by its path, and what a wrong key was probably meant to be. Pure."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Union

from gitsync.model.part import Part
from gitsync.model.spec import ServiceSpec

SYNONYMS = {
    "addr": "host", "address": "host", "allow_methods": "methods", "cafile": "ca_file", "gateway": "terminating_gateway",
    "hostname": "host", "labels": "metadata", "meta": "metadata", "ns": "namespace", "ports": "port", "servers": "endpoints",
    "tags": "metadata", "timeout": "timeouts",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SpecField:
    """One field. In its path `[]` stands for any element of a list, `*` for any key of a map (`connect.resolver.subsets.*`)."""

    path: str
    name: str
    description: str


def _parts(annotation: Any, suffix: str = "") -> Iterator[tuple[str, type[Part]]]:
    """The mappings that a value of this type can have, each with what it adds to the path."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield suffix, annotation
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        yield from _parts(arguments[0], suffix)
    elif origin is tuple:
        yield from _parts(arguments[0], f"{suffix}[]")
    elif origin is dict:
        yield from _parts(arguments[1], f"{suffix}.*")
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _parts(argument, suffix)


def _fields(part: type[Part], prefix: str) -> Iterator[SpecField]:
    for name, field in part.model_fields.items():
        path = f"{prefix}.{name}" if prefix else name
        yield SpecField(path, name, field.description or "")
        for suffix, inner in _parts(field.annotation):
            yield from _fields(inner, path + suffix)


SPEC_FIELDS: Mapping[str, SpecField] = {field.path: field for field in _fields(ServiceSpec, "")}
"""In the order in which they are written."""

_KEYS: dict[str, list[str]] = {}
_HOMES: dict[str, list[str]] = {}
for _field in SPEC_FIELDS.values():
    _KEYS.setdefault(_field.path.rpartition(".")[0], []).append(_field.name)
    _HOMES.setdefault(_field.name, []).append(_field.path)

NAMES = frozenset(_HOMES)


def keys_at(path: str) -> tuple[str, ...]:
    """The keys that the mapping at *path* can have; none where it is no mapping with fixed keys."""
    return tuple(_KEYS.get(path, ()))


def pattern(location: tuple[str | int, ...]) -> str:
    """A place in a document as a path of this table: `("routing", "endpoints", 2)` is `routing.endpoints[]`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += "[]"
        elif f"{path}.*" in _KEYS:
            path += ".*"
        else:
            path += f".{step}" if path else step
    return path


def meant(key: str, where: str) -> str:
    """What to write instead of the unknown *key* in the mapping at *where*."""
    known = keys_at(where)
    lowered = key[:64].lower().replace("-", "_")
    near = lowered if lowered in known else next(iter(get_close_matches(lowered, known, 1, 0.7)), "")
    if not near and SYNONYMS.get(lowered) in known:
        near = SYNONYMS[lowered]
    if near:
        return f"did you mean '{near}'?"
    homes = [path for path in _HOMES.get(SYNONYMS.get(lowered, lowered), ()) if "[]" not in path and "*" not in path]
    if len(homes) == 1:
        return f"did you mean {homes[0]}?"
    return "possible here: " + ", ".join(known)
