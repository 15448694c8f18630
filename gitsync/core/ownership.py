"""Whose a component is: read from its marks and from the ledger, never guessed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gitsync.core.normalize import content_hash
from gitsync.core.sight import Sight, owns
from gitsync.model.component import Ledger, Observed
from gitsync.model.key import (
    EXTERNAL_SOURCE,
    MANAGED_BY,
    OWNER_MARK,
    RELEASED_PREFIX,
    SERVICE_MARK,
    ComponentKey,
    Kind,
    ServiceKey,
)


class Standing(StrEnum):
    """Whose a found component is."""

    OURS = "ours"
    FREE = "free"  # carries nobody's mark: adoption may take it
    RELEASED = "released"  # its owner gave it up: anybody else may take it
    GIVEN_UP = "given up"  # we gave it up ourselves: never taken back unless a person names it
    FOREIGN = "foreign"  # somebody else's: only `adopt --from` takes it


@dataclass(frozen=True, slots=True)
class Claim:
    """The standing of a component, and who stands behind it ("" where nobody does)."""

    standing: Standing
    by: str = ""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What may be taken over. `everything`: whatever carries no mark (`adopt: true`). `names`: the services named to
    `gitsync adopt`. `take_from`: the owner from whom the named ones (or, with `everything`, all) are taken, "" for nobody."""

    everything: bool = False
    names: frozenset[ServiceKey] = field(default_factory=frozenset)
    take_from: str = ""

    def allows(self, service: ServiceKey, claim: Claim) -> bool:
        named = self.everything or service in self.names
        match claim.standing:
            case Standing.OURS | Standing.RELEASED:
                return True
            case Standing.FREE:
                return named
            case Standing.GIVEN_UP:
                return service in self.names
            case Standing.FOREIGN:
                return named and bool(self.take_from) and claim.by == self.take_from


def claim(key: ComponentKey, seen: Observed, *, ledger: Ledger | None, owner: str, sight: Sight) -> Claim:
    """Whose *seen* is. *ledger* is the service's ledger, whoever wrote it; *owner* is us."""
    if key.kind is Kind.GATEWAY_ROW:
        return _row(key, seen, ledger=ledger, owner=owner, sight=sight)
    if key.kind is Kind.CATALOG:
        meta = seen.body.get("NodeMeta") or {}
        if meta.get(OWNER_MARK) and meta.get(SERVICE_MARK, key.service.path) != key.service.path:
            return Claim(Standing.FOREIGN, f"{meta[OWNER_MARK]} for {meta[SERVICE_MARK]}")
        return _marked(meta, ledger=ledger, key=key, owner=owner)
    return _marked(seen.body.get("Meta") or {}, ledger=ledger, key=key, owner=owner)


def _marked(meta: Mapping[str, str], *, ledger: Ledger | None, key: ComponentKey, owner: str) -> Claim:
    """The marks say whose it is, and the ledger is ahead of them: it is written first when a service changes hands."""
    mark = meta.get(OWNER_MARK, "")
    if mark and ledger and mark == ledger.owner and ledger.state == "released":
        mark = RELEASED_PREFIX + mark
    elif mark == owner and ledger and ledger.owner != owner and ledger.state != "released":
        mark = ledger.owner
    source = "" if mark else meta.get(EXTERNAL_SOURCE, "")
    # Written by us: the mark was lost, or is still the former owner's. Our record of having written it was not lost.
    if mark == owner or (not source and _written(ledger, key, owner)):
        return Claim(Standing.OURS, owner)
    if mark.startswith(RELEASED_PREFIX):
        former = mark.removeprefix(RELEASED_PREFIX)
        return Claim(Standing.GIVEN_UP if former == owner else Standing.RELEASED, former)
    if mark or source:
        return Claim(Standing.FOREIGN, mark or source)
    return Claim(Standing.FREE, meta.get(MANAGED_BY, ""))


def _row(key: ComponentKey, seen: Observed, *, ledger: Ledger | None, owner: str, sight: Sight) -> Claim:
    """Rows have no Meta, so the ledger speaks for them, and with it lost our mark on the anchor."""
    if ledger is None:
        anchor = sight.entry(Kind.DEFAULTS, key.service.name)
        return Claim(Standing.OURS, owner) if anchor and owns(anchor.meta, owner) else Claim(Standing.FREE)
    recorded = ledger.component(key)
    if recorded is None:
        return Claim(Standing.FREE)
    if ledger.state == "released":
        return Claim(Standing.GIVEN_UP if ledger.owner == owner else Standing.RELEASED, ledger.owner)
    if ledger.owner != owner:
        return Claim(Standing.FOREIGN, ledger.owner)
    if recorded.state == "written" or recorded.hash == content_hash(Kind.GATEWAY_ROW, seen.body):
        return Claim(Standing.OURS, owner)
    return Claim(Standing.FREE)


def _written(ledger: Ledger | None, key: ComponentKey, owner: str) -> bool:
    if ledger is None or ledger.owner != owner or ledger.state == "released":
        return False
    recorded = ledger.component(key)
    return recorded is not None and recorded.state == "written"
