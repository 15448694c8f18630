"""Specs and bodies without the labels that nobody outside Consul may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitsync.core.shown import REDACTED

LABELS = frozenset(("Meta", "NodeMeta", "metadata"))
"""Where labels stand: in what Consul stores, and in a spec."""


def without(value: Any, redact: frozenset[str]) -> Any:
    """*value*, JSON, with the labels named in *redact* blotted out, whatever their case."""
    hidden = frozenset(name.lower() for name in redact)
    return _without(value, hidden, labels=False) if hidden else value


def _without(value: Any, hidden: frozenset[str], *, labels: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            name: REDACTED if labels and str(name).lower() in hidden else _without(each, hidden, labels=name in LABELS)
            for name, each in value.items()
        }
    return [_without(each, hidden, labels=False) for each in value] if isinstance(value, list | tuple) else value
