"""Which syncs a command is about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import typer

from gitsync.model.errors import Invalid
from gitsync.model.key import ServiceKey
from gitsync.model.spec import SpecDefaults


def chosen(names: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """The named syncs, each once, or all there are. Raises Invalid for one that is not in the configuration."""
    there = sorted(known)
    for name in names or ():
        if name not in there:
            near = difflib.get_close_matches(name, there, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise Invalid(f"there is no sync {name!r} in the configuration.{hint} There is: {', '.join(there)}.")
    return list(dict.fromkeys(names or there))


def the_one(name: str | None, known: Iterable[str], why: str) -> str:
    """The sync that is named, or the only one. Raises a usage error where that is not clear."""
    (first, *more) = chosen([name] if name else None, known)
    if more:
        raise typer.BadParameter(f"{why}, and there are several: {', '.join([first, *more])}. Say which with --sync.")
    return first


def service_key(text: str, defaults: SpecDefaults) -> ServiceKey:
    """A service as a person names it: `name`, or `partition/namespace/name`. Raises a usage error."""
    parts = text.split("/")
    # What Consul itself would take is wider than what a spec may be called, and `show` shows that too.
    if len(parts) not in (1, 3) or not all(part and part.isprintable() and part == part.strip() for part in parts):
        raise typer.BadParameter(f"{text!r} is no service. Write its name, or partition/namespace/name.")
    if len(parts) == 1:
        return ServiceKey(text, defaults.namespace, defaults.partition)
    return ServiceKey.from_path(text)
