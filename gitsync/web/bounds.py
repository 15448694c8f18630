"""What keeps strangers at /hooks from costing much: deliveries seen before, tokens for failures, and one purse of bytes. No I/O."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

REMEMBERED_SECONDS = 600.0
"""How long a delivery counts as seen. A person who sends one again later means it (git-hosts: no host retries after so long)."""


class Seen(Generic[Key]):
    """Keys of late, the last *size* of them at most. It only ever saves work: what it forgets is done once more."""

    def __init__(
        self, monotonic: Callable[[], float], *, seconds: float = REMEMBERED_SECONDS, size: int = 20_000
    ) -> None:
        self._monotonic, self._seconds, self._size = monotonic, seconds, size
        self._until: OrderedDict[Key, float] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        self._forget()
        return key in self._until

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: Key) -> None:
        """From now on *key* has been seen."""
        self._until.pop(key, None)
        self._until[key] = self._monotonic() + self._seconds
        self._forget()

    def _forget(self) -> None:
        """All keys live equally long, so the first is the oldest."""
        now = self._monotonic()
        while self._until:
            key, until = next(iter(self._until.items()))
            if until > now and len(self._until) <= self._size:
                return
            del self._until[key]


class Failures(Generic[Key]):
    """How many failures somebody has left: *burst* at once, then one each *pause* seconds. Whoever is not known has all."""

    def __init__(
        self, monotonic: Callable[[], float], *, burst: int = 20, pause: float = 3.0, size: int = 2_000
    ) -> None:
        self._monotonic, self._burst, self._pause, self._size = monotonic, burst, pause, size
        self._empty_until: OrderedDict[Key, float] = OrderedDict()  # when each would have all again

    def wait(self, key: Key) -> float:
        """Seconds until *key* may fail again; 0: it may now."""
        missing = max(0.0, self._empty_until.get(key, -math.inf) - self._monotonic()) / self._pause
        return max(0.0, missing - (self._burst - 1)) * self._pause

    def add(self, key: Key) -> None:
        """*key* has failed."""
        now = self._monotonic()
        full = now + self._burst * self._pause
        self._empty_until[key] = min(max(now, self._empty_until.pop(key, now)) + self._pause, full)
        while len(self._empty_until) > self._size:
            self._empty_until.popitem(last=False)


class Purse:
    """Bytes that all who read bodies at a time share, so that many bodies are no more than some memory."""

    def __init__(self, size: int) -> None:
        self._left = self.size = size

    @property
    def left(self) -> int:
        return self._left

    def take(self, count: int) -> bool:
        """Whether there are *count* bytes left. They are taken then, and `give` puts them back."""
        if count > self._left:
            return False
        self._left -= count
        return True

    def give(self, count: int) -> None:
        self._left += count
