"""Settings that this version knows and does not act on yet. Whoever builds one deletes its line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from gitsync.settings.shape import KeyPath

LATER: tuple[str, ...] = ("api",)
"""The keys; `*` is any name. Their default says what this version does, so it may be written down; anything else is refused."""


def not_in_this_version(settings: BaseModel) -> Iterator[KeyPath]:
    """The keys whose value this version would silently pass over."""
    for pattern in LATER:
        yield from _set(settings, tuple(pattern.split(".")), ())


def is_later(path: KeyPath) -> bool:
    """Whether the key at *path* (`*` or any name where names stand) is, or is below, one of them."""
    return any(
        len(path) >= len(steps) and all(step in ("*", given) for step, given in zip(steps, path, strict=False))
        for steps in (tuple(pattern.split(".")) for pattern in LATER)
    )


def _set(here: Any, steps: tuple[str, ...], path: KeyPath) -> Iterator[KeyPath]:
    if not steps:
        return
    step, *rest = steps
    if step == "*":
        for name, below in here.items():
            yield from _set(below, tuple(rest), (*path, name))
    elif rest:
        yield from _set(getattr(here, step), tuple(rest), (*path, step))
    elif getattr(here, step) != type(here).model_fields[step].get_default(call_default_factory=True):
        yield (*path, step)
