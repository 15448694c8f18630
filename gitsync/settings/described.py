"""Every setting in words, for the documentation and for `gitsync init`: taken from the keys, so that it cannot be behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from gitsync.model.duration import UNITS, Duration
from gitsync.settings.keys import Settings
from gitsync.settings.later import is_later
from gitsync.settings.layers import ALIASES, PREFIX, TOKEN_KEYS
from gitsync.settings.shape import KeyPath, Leaf, Record, Sequence, Shape, Table

_WORDS = {str: "text", bool: "true or false", int: "whole number", float: "number", Path: "file", Duration: "duration"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key.

    path: with `<sync>` or `<gateway>` where a name stands and `[]` for each of a list. default: as written in the file, "" for
    none. environment: its variable, "" where only the whole list can be given. later: known and refused in this version.
    """

    path: str
    type: str
    default: str
    required: bool
    environment: str
    aliases: tuple[str, ...]
    description: str
    later: bool


def describe() -> list[Setting]:
    """Every setting, in the order of the file."""
    return list(_below(Record(Settings), ()))


def as_markdown() -> str:
    """The table of docs/configuration.md."""
    rows = ["| key | type | default | variable | what it does |", "|---|---|---|---|---|"]
    for one in describe():
        default = "**required**" if one.required else f"`{one.default}`" if one.default else "–"
        variables = "<br>".join(f"`{name}`" for name in (one.environment, *one.aliases) if name) or "–"
        later = "*Not in this version: refused.* " if one.later else ""
        rows.append(
            f"| `{one.path}` | {one.type} | {default} | {variables} | {later}{one.description} |".replace("||", "| |")
        )
    return "\n".join(rows) + "\n"


def _below(record: Record, path: KeyPath) -> Iterator[Setting]:
    for name, field, below in record.fields():
        yield from _setting((*path, name), field, below)


def _setting(path: KeyPath, field: FieldInfo, below: Shape) -> Iterator[Setting]:
    match below:
        case Record():
            yield from _below(below, path)
        case Table(below=Record() as each):
            yield from _below(each, (*path, f"<{str(path[-1]).removesuffix('s')}>"))
        case _:
            if path != TOKEN_KEYS[0]:
                yield _one(path, field, below)
                if isinstance(below, Sequence) and isinstance(below.item, Record):
                    yield from _below(below.item, (*path, "[]"))


def _one(path: KeyPath, field: FieldInfo, below: Shape) -> Setting:
    in_list = "[]" in path
    return Setting(
        path=".".join(str(step) for step in path).replace(".[]", "[]"),
        type=_type(below),
        default=_text(field.get_default(call_default_factory=True)) if not field.is_required() else "",
        required=field.is_required(),
        environment="" if in_list else PREFIX + "__".join(str(step).upper() for step in path),
        aliases=tuple(name for name, at in ALIASES.items() if at == path),
        description=field.description or "",
        later=is_later(path),
    )


def _type(below: Shape) -> str:
    match below:
        case Leaf(type=kind) if isinstance(kind, type) and issubclass(kind, Enum):
            return ", ".join(f"`{one.value}`" for one in kind)
        case Leaf(type=kind):
            return _WORDS[kind]
        case Sequence(item=item):
            return "list" if isinstance(item, Record) else f"list of {_type(item)}"
    return "keys"


def _text(value: Any) -> str:
    """A default as it would stand in the file."""
    match value:
        case None | () | "":
            return ""
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case Duration(ns=ns):
            days, rest = divmod(ns, 24 * UNITS["h"])
            return f"{days}d" if days and not rest else re.sub(r"(?<=[hm])0[ms](0s)?$", "", str(value))
        case tuple():
            return "[" + ", ".join(_text(one) for one in value) + "]"
    return str(value)
