"""Compare one service: what it wants against what is there, and whose that is. Pure; phases and guards come later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from gitsync.core.codes import note
from gitsync.core.diff import differs, field_diffs
from gitsync.core.merge import merged
from gitsync.core.ownership import Adoption, Claim, Standing, claim
from gitsync.core.sight import Sight
from gitsync.model.component import Component, Ledger, LedgerComponent, Observed
from gitsync.model.desired import Wanted
from gitsync.model.finding import Finding
from gitsync.model.key import ENTRY_KINDS, ComponentKey, Kind, ServiceKey
from gitsync.model.plan import Action, Change, Phase, ServicePlan, Verdict
from gitsync.model.spec import META_PAIRS

EXCLUSIVE = frozenset({Kind.DEFAULTS, Kind.RESOLVER, Kind.ROUTER, Kind.SPLITTER})
"""Kinds of which a service has one whether it wants it or not: a foreign one there is a conflict of the whole service.

Intentions are among them where the spec has `intentions`, also none: then it is what says who may call.
"""

WRITE_PHASE = {
    Kind.CATALOG: Phase.CATALOG,
    Kind.DEFAULTS: Phase.DEFAULTS,
    Kind.RESOLVER: Phase.RESOLVERS,
    Kind.SPLITTER: Phase.SPLITTERS,
    Kind.ROUTER: Phase.ROUTERS,
    Kind.INTENTIONS: Phase.INTENTIONS,
    Kind.GATEWAY_ROW: Phase.ROWS,
}
DELETE_PHASE = {
    Kind.GATEWAY_ROW: Phase.ROWS,
    Kind.INTENTIONS: Phase.INTENTIONS_GONE,
    Kind.ROUTER: Phase.ROUTERS_GONE,
    Kind.SPLITTER: Phase.SPLITTERS_GONE,
    Kind.RESOLVER: Phase.RESOLVERS_GONE,
    Kind.DEFAULTS: Phase.DEFAULTS_GONE,
    Kind.CATALOG: Phase.CATALOG_GONE,
}


def expected(components: Iterable[Component]) -> tuple[LedgerComponent, ...]:
    """What a ledger says once *components* were read back."""
    return _expected(_Same(components if isinstance(components, tuple) else tuple(components)))


class _Same:
    """Rendered components, known by what they are and not by what they hold: bodies are never changed once made."""

    __slots__ = ("components",)

    def __init__(self, components: tuple[Component, ...]) -> None:
        self.components = components

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.components is other.components

    def __hash__(self) -> int:
        return id(self.components)


@lru_cache(maxsize=16384)  # a sync renders what did not change only once, and so it is hashed only once
def _expected(same: _Same) -> tuple[LedgerComponent, ...]:
    return tuple(
        LedgerComponent(
            component.key,
            "written",
            component.hash,
            tuple(sorted(component.body.get("Meta") or ())) if component.key.kind in ENTRY_KINDS else (),
        )
        for component in sorted(same.components, key=lambda component: _spot(component.key))
    )


def plan_service(
    key: ServiceKey,
    wanted: Wanted,
    components: Iterable[Component],
    sight: Sight,
    *,
    owner: str,
    ledger: Ledger | None,
    marked: frozenset[ComponentKey],
    adoption: Adoption,
) -> ServicePlan:
    """Plan a service that Git wants. Never touches what *owner* does not own and *adoption* does not give it."""
    components = tuple(components)
    wishes = {component.key: component for component in components}
    findings: list[Finding] = []
    ours, taken, strangers = _sort_out(
        key,
        _relevant(key, wishes, sight, ledger=ledger, marked=marked),
        sight,
        wishes=wishes,
        owner=owner,
        exclusive=EXCLUSIVE | ({Kind.INTENTIONS} if wanted.spec.connect.intentions is not None else frozenset()),
        ledger=ledger,
        adoption=adoption,
    )
    if strangers:
        return ServicePlan(key, Verdict.CONFLICT, findings=_conflict(key, strangers, wanted), ledger=ledger)

    changes: list[Change] = []
    own_ledger = ledger if ledger and ledger.owner == owner else None
    for each, component in sorted(wishes.items(), key=lambda pair: _spot(pair[0])):
        change, carried = _write(each, component, ours.get(each), own_ledger, wanted, taken=each in taken)
        if change:
            changes.append(change)
        seen = ours.get(each)
        if own_ledger is None and seen and each not in taken:
            findings += _kept_labels(each, component, seen, wanted)
        if each.kind in ENTRY_KINDS and change and len((change.after or {}).get("Meta") or ()) > META_PAIRS:
            return ServicePlan(key, Verdict.REFUSED, findings=(_full(each, change, component, wanted),), ledger=ledger)
        if carried:
            findings.append(
                note(
                    "unmanaged-field",
                    f"{each} has fields that no spec can express and gitsync leaves as they are: {', '.join(carried)}.",
                    hint="Nothing to do if they are wanted; else remove them by hand.",
                    service=key,
                    place=wanted.place,
                )
            )
    for each, seen in sorted(ours.items(), key=lambda pair: _spot(pair[0])):
        if each not in wishes and not sight.left_over(each):
            reason = f"no longer in the spec ({wanted.place})"
            changes.append(
                Change(
                    each,
                    Action.DELETE,
                    DELETE_PHASE[each.kind],
                    seen.body,
                    None,
                    seen.modify_index,
                    field_diffs(each.kind, seen.body, None),
                    reason,
                    take=each in taken,
                )
            )
    settled = own_ledger is not None and own_ledger.state == "applied" and own_ledger.spec_hash == wanted.hash
    same_rendering = own_ledger is not None and _reachable(own_ledger, sight) == expected(components)
    created = ledger is None and not ours
    return ServicePlan(
        key,
        Verdict.UNCHANGED if not changes else Verdict.CREATE if created else Verdict.UPDATE,
        tuple(changes),
        tuple(findings),
        records=not (settled and same_rendering and own_ledger is not None and own_ledger.origin == wanted.origin),
        ledger=ledger,
        drift=bool(changes) and settled and same_rendering,
    )


def _sort_out(
    key: ServiceKey,
    keys: Iterable[ComponentKey],
    sight: Sight,
    *,
    wishes: Mapping[ComponentKey, Component],
    owner: str,
    exclusive: frozenset[Kind],
    ledger: Ledger | None,
    adoption: Adoption,
) -> tuple[dict[ComponentKey, Observed], set[ComponentKey], list[tuple[ComponentKey, Claim]]]:
    """What is there of *keys*: ours, which of that is only now taken over, and what is somebody else's and in the way."""
    ours: dict[ComponentKey, Observed] = {}
    taken: set[ComponentKey] = set()
    strangers: list[tuple[ComponentKey, Claim]] = []
    for each in keys:
        seen = sight.observed(each)
        if seen is None:
            continue
        claimed = claim(each, seen, ledger=ledger, owner=owner, sight=sight)
        if claimed.standing is Standing.OURS:
            ours[each] = seen
        elif each in wishes or each.kind in exclusive or _was_theirs(each, claimed, ledger, owner):
            if adoption.allows(key, claimed):
                ours[each] = seen
                taken.add(each)
            else:
                strangers.append((each, claimed))
    if ledger and ledger.owner != owner and ledger.state != "released" and not _may_take(key, ledger, adoption):
        strangers.append((ComponentKey(key, Kind.DEFAULTS), Claim(Standing.FOREIGN, ledger.owner)))
    return ours, taken, strangers


def plan_removal(
    key: ServiceKey, sight: Sight, *, owner: str, ledger: Ledger | None, marked: frozenset[ComponentKey], reason: str
) -> ServicePlan:
    """Plan a service of ours that nobody wants any more: everything of it that is ours goes, nothing else."""
    changes: list[Change] = []
    for each in _relevant(key, (), sight, ledger=ledger, marked=marked):
        seen = sight.observed(each)
        if not seen or sight.left_over(each):
            continue
        if claim(each, seen, ledger=ledger, owner=owner, sight=sight).standing is Standing.OURS:
            changes.append(
                Change(
                    each,
                    Action.DELETE,
                    DELETE_PHASE[each.kind],
                    seen.body,
                    None,
                    seen.modify_index,
                    field_diffs(each.kind, seen.body, None),
                    reason,
                )
            )
    return ServicePlan(key, Verdict.DELETE, tuple(changes), records=True, ledger=ledger)


def _reachable(ledger: Ledger, sight: Sight) -> tuple[LedgerComponent, ...]:
    """The ledger's components without those in datacenters that Consul does not know now: they stay recorded there."""
    known = sight.found.datacenters
    return tuple(
        each for each in ledger.components if each.key.kind is not Kind.CATALOG or each.key.datacenter in known
    )


def _relevant(
    key: ServiceKey,
    wishes: Iterable[ComponentKey],
    sight: Sight,
    *,
    ledger: Ledger | None,
    marked: Iterable[ComponentKey],
) -> list[ComponentKey]:
    """Every component key that may hold something of this service, sorted."""
    recorded = (component.key for component in ledger.components) if ledger else ()
    keys = {_spot(each): each for each in (*wishes, *marked, *recorded)}  # cheaper to hash than the keys themselves
    for kind in ENTRY_KINDS:
        if (kind, "") not in keys:
            keys[kind, ""] = ComponentKey(key, kind)
    if ledger is None:
        for gateway in sight.gateways_with(key.name):
            keys.setdefault((Kind.GATEWAY_ROW, gateway), ComponentKey(key, Kind.GATEWAY_ROW, gateway))
    return [keys[spot] for spot in sorted(keys)]


def _spot(key: ComponentKey) -> tuple[Kind, str]:
    """What tells the components of one service apart, and sorts them as their keys do."""
    return key.kind, key.at


def _write(
    key: ComponentKey,
    component: Component,
    seen: Observed | None,
    ledger: Ledger | None,
    wanted: Wanted,
    *,
    taken: bool,
) -> tuple[Change | None, tuple[str, ...]]:
    recorded = ledger.component(key) if ledger else None
    if seen is None:
        again = recorded is not None and recorded.state == "written"
        reason = "somebody deleted it" if again else f"wanted by {wanted.place}"
        diff = field_diffs(key.kind, None, component.body)
        change = Change(
            key, Action.CREATE, WRITE_PHASE[key.kind], None, component.body, 0, diff, reason, after_hash=component.hash
        )
        return change, ()
    meta_keys = frozenset(recorded.meta_keys) if recorded else None
    body, carried = merged(key.kind, component.body, seen.body, our_meta_keys=meta_keys)
    if not differs(key.kind, body, seen.body) and not taken:
        return None, carried
    if taken:
        reason = "adopted"
    elif ledger and ledger.spec_hash != wanted.hash:
        reason = f"the spec changed ({wanted.place})"
    elif recorded and recorded.state == "written" and recorded.hash == component.hash:
        reason = "somebody changed it"
    else:
        reason = "the rendering, the configuration or this Consul changed"
    diff = field_diffs(key.kind, seen.body, body)
    change = Change(
        key, Action.UPDATE, WRITE_PHASE[key.kind], seen.body, body, seen.modify_index, diff, reason, take=taken
    )
    return change, carried


def _kept_labels(key: ComponentKey, component: Component, seen: Observed, wanted: Wanted) -> Iterator[Finding]:
    """With the ledger lost nothing says who wrote a label, so it stays; from the next run on it counts as somebody else's."""
    if key.kind not in ENTRY_KINDS:
        return
    kept = sorted((seen.body.get("Meta") or {}).keys() - (component.body.get("Meta") or {}).keys())
    if kept:
        yield note(
            "label-kept",
            f"{key} keeps the Meta {', '.join(kept)}, which the spec does not have, because the ledger that says who wrote it is lost.",
            hint="Nothing to do if it is wanted; else remove it by hand.",
            service=key.service,
            place=wanted.place,
        )


def _full(key: ComponentKey, change: Change, component: Component, wanted: Wanted) -> Finding:
    """What others added leaves less room than the spec alone could know."""
    total, ours = len((change.after or {})["Meta"]), len(component.body.get("Meta") or ())
    return note(
        "too-many-labels",
        f"Nothing is written, because {key} would have {total} pairs of Meta, {ours} of gitsync's and {total - ours} that others "
        f"added, and Consul takes {META_PAIRS}.",
        hint=f"Remove {total - META_PAIRS} of them.",
        service=key.service,
        place=wanted.place.at("metadata"),
        spec_path="metadata",
    )


def _was_theirs(key: ComponentKey, claimed: Claim, ledger: Ledger | None, owner: str) -> bool:
    """A part of the service that its former owner recorded: whoever takes the service over takes this too."""
    return ledger is not None and ledger.owner != owner and claimed.by == ledger.owner and bool(ledger.component(key))


def _may_take(key: ServiceKey, ledger: Ledger, adoption: Adoption) -> bool:
    return adoption.allows(key, Claim(Standing.FOREIGN, ledger.owner))


def _conflict(key: ServiceKey, strangers: Iterable[tuple[ComponentKey, Claim]], wanted: Wanted) -> tuple[Finding, ...]:
    findings = []
    for each, claimed in dict.fromkeys(strangers):
        if claimed.standing is Standing.GIVEN_UP:
            why = "it was released, and who released it never takes it back by itself"
        else:
            why = f"{claimed.by} has it" if claimed.by else "it carries no owner mark"
        what = f"{each} is not gitsync's to change: {why}"
        command = f"gitsync adopt {key}" + (f" --from {claimed.by}" if claimed.standing is Standing.FOREIGN else "")
        findings.append(
            note(
                "foreign-component",
                f"{what}, so nothing of {key} is written.",
                hint=f"Take it over with `{command}`, or give the service another name.",
                service=key,
                place=wanted.place,
            )
        )
    return tuple(findings)
