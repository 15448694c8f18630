"""The keys as a tree: what the annotations of the settings say may stand below a key, and what it may be."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gitsync.settings.grammar import Local, localized

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value. local: it names a file of this machine."""

    type: Any
    local: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Fixed keys."""

    model: type[BaseModel]

    def fields(self) -> Iterator[tuple[str, FieldInfo, Shape]]:
        for name, field in self.model.model_fields.items():
            yield name, field, shape(field.annotation, field.metadata)

    def field(self, name: str) -> Shape | None:
        return next((below for known, _, below in self.fields() if known == name), None)


@dataclass(frozen=True, slots=True)
class Table:
    """Keys that the user chooses, each with the same below it."""

    below: Shape


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    item: Shape


Shape = Leaf | Record | Table | Sequence


def shape(annotation: Any, metadata: list[Any] | None = None) -> Shape:
    """What an annotation allows. None beside it (`X | None`) only says that it need not be there."""
    marks = list(metadata or ())
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            marks += more
        elif origin in (Union, types.UnionType):
            (annotation,) = (arg for arg in get_args(annotation) if arg is not type(None))
        else:
            break
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Record(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Table(shape(get_args(annotation)[1]))
    if origin is tuple:
        return Sequence(shape(get_args(annotation)[0]))
    return Leaf(annotation, any(isinstance(mark, Local) for mark in marks))


def localize(value: Any, below: Shape, directory: Path) -> Any:
    """*value*, with every relative path of this machine made absolute from *directory*."""
    match below:
        case Leaf(local=True) if isinstance(value, str):
            return localized(value, directory)
        case Record() if isinstance(value, dict):
            known = {name: field for name, _, field in below.fields()}
            return {key: localize(one, known[key], directory) if key in known else one for key, one in value.items()}
        case Table() if isinstance(value, dict):
            return {key: localize(one, below.below, directory) for key, one in value.items()}
        case Sequence() if isinstance(value, list):
            return [localize(one, below.item, directory) for one in value]
    return value


def at(root: Shape, path: KeyPath) -> Shape | None:
    """What stands at *path*, None where there is no such key."""
    here: Shape | None = root
    for step in path:
        match here:
            case Record():
                here = here.field(str(step))
            case Table():
                here = here.below
            case Sequence():
                here = here.item
            case _:
                return None
    return here


def did_you_mean(name: str, known: Iterator[str] | list[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
