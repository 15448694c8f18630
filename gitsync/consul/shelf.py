"""What was read whole, and is given again while Consul proves with a tiny answer that nothing of it changed.

Every answer carries X-Consul-Index, which for a list is the index of the whole table: any write to it, a delete too, moves it
(consul-facts.md 4.2; measured for config entries, nodes, services, checks and KV prefixes on 1.8.7, 1.12.9 and 1.21.4). So a
question that finds next to nothing, asked consistently, says whether ten thousand rows are still the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

FRESH_SECONDS = 300.0
"""After that everything is read again. A token may see more or less by then without any index moving, and the trace that a
deleted KV key leaves in its prefix's index goes after 15 minutes."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Any
    index: int
    read: float


class Shelf:
    """The last whole answer to each question, with the index of its table.

    now: seconds, monotonic. token: what is kept was seen with one token, and is nothing to another.
    """

    def __init__(self, now: Callable[[], float], token: Callable[[], str]) -> None:
        self._now, self._token = now, token
        self._seen_with = ""
        self._kept: dict[Hashable, _Kept] = {}

    def worth_asking(self, *names: Hashable) -> bool:
        """Whether anything is kept of *names* that an index may prove current."""
        return any(self._fresh(name) is not None for name in names)

    def current(self, name: Hashable, index: int) -> Any:
        """What is kept as *name*, if the index of its table is *index* now; else None."""
        kept = self._fresh(name)
        return kept.value if kept is not None and kept.index == index else None

    def last(self, name: Hashable) -> Any:
        """What was kept last as *name*, however old: never to be believed, only to be compared with."""
        kept = self._kept.get(name)
        return kept.value if kept else None

    def keep(self, name: Hashable, index: int, value: Any) -> None:
        """Keep *value*, all of which was read at *index*. 0 and 1 are no index: a proxy may have taken the header away."""
        self._fresh(name)  # forgets what another token saw
        if index > 1:
            self._kept[name] = _Kept(value, index, self._now())
        else:
            self._kept.pop(name, None)

    def _fresh(self, name: Hashable) -> _Kept | None:
        token = self._token()
        if token != self._seen_with:
            self._kept.clear()
            self._seen_with = token
        kept = self._kept.get(name)
        return kept if kept is not None and self._now() - kept.read < FRESH_SECONDS else None
