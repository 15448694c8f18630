"""Who waits for whom: ranks, so that what is waited for comes first, and the circles that have to be cut. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping


def levels(waits: Mapping[str, Collection[str]]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The rank of every name in *waits*, and the names at which circles were cut.

    A name's rank is above that of each name it waits for (one that is not in *waits* is 0); nobody waits for a name that was
    cut: it needs a step of its own before all the others. Linear, whatever the length of a chain, and the same for any order.
    """
    open_for = {name: {each for each in needs if each in waits and each != name} for name, needs in waits.items()}
    waiters: dict[str, list[str]] = defaultdict(list)
    for name, needs in open_for.items():
        for each in needs:
            waiters[each].append(name)
    ranks = {name: int(any(each not in waits for each in needs)) for name, needs in waits.items()}
    ready = sorted(name for name, needs in open_for.items() if not needs)
    left = {name for name, needs in open_for.items() if needs}
    cut: list[str] = []
    while ready or left:
        if not ready:
            chosen = _in_circle(open_for, left)
            cut.append(chosen)
            freed = _release(chosen, open_for, waiters, ranks, 0)
        else:
            name = ready.pop()
            freed = [] if name in cut else _release(name, open_for, waiters, ranks, ranks[name] + 1)
        ready += sorted(each for each in freed if each in left)
        left.difference_update(freed)
    return ranks, tuple(sorted(cut))


def _release(
    name: str,
    open_for: Mapping[str, set[str]],
    waiters: Mapping[str, list[str]],
    ranks: dict[str, int],
    rank: int,
) -> list[str]:
    """Nobody waits for *name* any more; those that now wait for nothing."""
    freed = []
    for each in waiters.get(name, ()):
        open_for[each].discard(name)
        ranks[each] = max(ranks[each], rank)
        if not open_for[each]:
            freed.append(each)
    return freed


def _in_circle(open_for: Mapping[str, set[str]], left: Collection[str]) -> str:
    """The least member of a circle among *left*, each of which waits for another one of them."""
    path: dict[str, int] = {}
    name = min(left)
    while name not in path:
        path[name] = len(path)
        name = min(each for each in open_for[name] if each in left)
    return min(each for each, at in path.items() if at >= path[name])
