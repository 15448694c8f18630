"""The order inside a phase: what leads elsewhere is written after what it leads to, and circles are cut. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from gitsync.core.diff import field_diffs
from gitsync.core.order import levels
from gitsync.core.outlook import Outlook
from gitsync.core.sight import redirected, references, subsets_named
from gitsync.core.steps import ELSEWHERE, Bridges, plain
from gitsync.model.key import Kind
from gitsync.model.plan import Action, Phase


def order_resolvers(outlook: Outlook, result: Bridges) -> None:
    """A resolver is written after those it redirects to, and after those whose new subsets it names."""
    written = {
        name for (kind, name), change in outlook.changes.items() if kind is Kind.RESOLVER and change.after is not None
    }
    if not written:
        return

    def needs(name: str) -> frozenset[str]:
        body = outlook.body(Kind.RESOLVER, name) or {}
        fresh = {service for service, subset in subsets_named(Kind.RESOLVER, body) if _is_new(outlook, service, subset)}
        return (redirected(body) | fresh) - {name}

    ranks, circles = levels(_reachable(written, needs))
    for name in written & ranks.keys():
        change = outlook.changes[(Kind.RESOLVER, name)]
        if ranks[name]:
            result.ranks[change.key] = ranks[name]
        if name in circles:
            steps = result.current(change)
            at = next(at for at, step in enumerate(steps) if step.phase is Phase.RESOLVERS)
            bare = plain(steps[at].after or {})
            first = replace(
                steps[at],
                after=bare,
                after_hash="",
                diff=field_diffs(Kind.RESOLVER, steps[at].before, bare),
                reason="first without what it names, because that names it back",
                bridge=True,
                interrupts=bool(ELSEWHERE & (change.before or {}).keys()),
                rank=-1,
            )
            then = replace(
                steps[at],
                action=Action.UPDATE,
                before=bare,
                take=False,
                diff=field_diffs(Kind.RESOLVER, bare, steps[at].after),
                reason="now with what it names",
            )
            result.steps[change.key] = (*steps[:at], first, then, *steps[at + 1 :])


def _reachable(names: Iterable[str], needs: Callable[[str], frozenset[str]]) -> dict[str, frozenset[str]]:
    """What *names* wait for, and what those wait for, and so on: who does not lead there has no say in their order."""
    waits: dict[str, frozenset[str]] = {}
    left, seen = sorted(names, reverse=True), set(names)
    while left:
        name = left.pop()
        if needed := needs(name):
            waits[name] = needed
            left += sorted(needed - seen, reverse=True)
            seen |= needed
    return dict(sorted(waits.items()))


def _is_new(outlook: Outlook, service: str, subset: str) -> bool:
    entry = outlook.sight.entry(Kind.RESOLVER, service)
    return (Kind.RESOLVER, service) in outlook.changes and subset not in (
        (entry.body if entry else {}).get("Subsets") or {}
    )


def order_splitters(outlook: Outlook, result: Bridges) -> None:
    """A splitter is written after those it splits to; one that goes while another comes that leads to it goes first."""
    splitters = {name: change for (kind, name), change in outlook.changes.items() if kind is Kind.SPLITTER}
    if not splitters:
        return

    def needs(name: str) -> frozenset[str]:
        return references(Kind.SPLITTER, outlook.body(Kind.SPLITTER, name) or {})

    waits = _reachable(splitters, needs)
    ranks, _ = levels(waits)  # a circle that is wanted is Consul's to refuse
    led_to = {each for name in splitters for each in waits.get(name, ())}
    for name, change in splitters.items():
        if change.after is None:
            if name in led_to or references(Kind.SPLITTER, change.before or {}) & splitters.keys():
                steps = result.current(change)
                result.steps[change.key] = tuple(replace(step, phase=Phase.TAKE_ROUTES) for step in steps)
        elif ranks.get(name):
            result.ranks[change.key] = ranks[name]
