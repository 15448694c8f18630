"""Changed: a mapping that knows what differs from the one it was made from, so that ten thousand keys are not compared for one. Pure."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Changed(dict[K, V]):
    """A dict, never changed once it was made."""

    __slots__ = ("__weakref__", "_before", "_moved")

    @classmethod
    def of(cls, before: Mapping[K, V], changes: Mapping[K, V | None]) -> Changed[K, V]:
        """*before* with *changes*, None being nothing."""
        made = cls(before)
        for key, value in changes.items():
            if value is None:
                made.pop(key, None)
            else:
                made[key] = value
        # Weak: else every mapping would keep all that came before it.
        made._before = weakref.ref(before) if isinstance(before, Changed) else None
        made._moved = [key for key, value in changes.items() if before.get(key) is not value]
        return made

    def since(self, before: object) -> Collection[K] | None:
        """The keys of what is not the same in *before*; None where this was not made from it."""
        made_from: weakref.ref[Changed[K, V]] | None = getattr(self, "_before", None)
        return self._moved if made_from is not None and made_from() is before else None

    _before: weakref.ref[Changed[K, V]] | None
    _moved: Collection[K]


def moved(new: Mapping[K, V], old: Mapping[K, V]) -> Collection[K]:
    """The keys of what is not the same in both."""
    if new is old:
        return ()
    if isinstance(new, Changed) and (known := new.since(old)) is not None:
        return known
    keys = [key for key, value in new.items() if (was := old.get(key)) is not value and was != value]
    if len(new) != len(old) or keys:
        keys += [key for key in old if key not in new]
    return keys
