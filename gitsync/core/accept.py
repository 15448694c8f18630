"""Accept: from the files of one revision to what is wanted, judged against what the ledgers remember. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from gitsync.core.changed import Changed
from gitsync.model.component import Ledger, Origin
from gitsync.model.desired import Desired, ParsedFile, ParsedSpec, Wanted
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.key import DEFAULT, ServiceKey

NOTHING: Mapping[ServiceKey, Wanted] = {}


def accept(
    files: Collection[ParsedFile],
    ledgers: Mapping[ServiceKey, Ledger],
    *,
    owner: str,
    revision: str,
    enterprise: bool,
    known: Mapping[ServiceKey, Wanted] = NOTHING,
) -> Desired:
    """What *revision* wants.

    Two documents for one service: the file that the ledger records as its origin keeps it, the others are in error; where no
    file is recorded, or one file names it twice, the service is refused and keeps what it has. A recorded file of which not
    everything can be read may still hold the service, so that no other takes it meanwhile.
    """
    claims: dict[ServiceKey, ParsedSpec] = {}
    more: dict[ServiceKey, list[ParsedSpec]] = defaultdict(list)
    broken: dict[ServiceKey, list[ParsedFile]] = defaultdict(list)
    findings: list[Finding] = []
    for file in files:
        findings += file.findings
        for spec in file.specs:
            key = spec.key
            if claims.setdefault(key, spec) is not spec:
                more[key].append(spec)
        for key in file.named:
            broken[key].append(file)
    unparsed = frozenset(file.path for file in files if file.unreadable)
    unreadable = unparsed | {file.path for file in files if file.unnamed}
    services: dict[ServiceKey, Wanted] = {}
    refused: dict[ServiceKey, tuple[Finding, ...]] = {}
    disputed = {*more, *broken}
    for key in sorted(disputed):
        broken[key] = [file for file in broken[key] if key not in claims or not _only_its_name(file, key)]
    for key in (*claims, *(broken.keys() - claims.keys())):
        ledger = ledger if (ledger := ledgers.get(key)) and ledger.owner == owner else None
        recorded = ledger.origin.path if ledger else ""
        chosen: ParsedSpec | None = claims.get(key)
        trouble: tuple[Finding, ...] = ()
        if key in disputed:
            specs = [chosen, *more[key]] if chosen else []
            chosen, trouble = _choose(key, specs, broken[key], recorded)
        if chosen and recorded in unreadable and chosen.place.path != recorded:
            trouble, chosen = (*trouble, _still_recorded(key, chosen.place, recorded)), None
        if chosen and not enterprise and key[1:] != (DEFAULT, DEFAULT):
            trouble, chosen = (*trouble, _needs_enterprise(key, chosen.place)), None
        findings += trouble
        if chosen is None:
            own = tuple(finding for file in broken[key] for finding in file.findings if finding.service == key)
            refused[key] = trouble + own
        else:
            commit = recorded_commit(ledger, chosen.hash, owner) or revision
            services[key] = _wanted(chosen, commit, known.get(key))
    return Desired(
        revision=revision,
        services=Changed(services),
        refused=refused,
        unreadable=unreadable,
        unparsed=unparsed,
        findings=tuple(findings),
        paths=frozenset(file.path for file in files),
    )


def recorded_commit(ledger: Ledger | None, spec_hash: str, owner: str) -> str:
    """The commit that brought this spec, "" where it was not applied yet."""
    return ledger.origin.commit if ledger and ledger.owner == owner and ledger.spec_hash == spec_hash else ""


def _wanted(chosen: ParsedSpec, commit: str, before: Wanted | None) -> Wanted:
    if before and before.spec is chosen.spec and before.place is chosen.place and before.origin.commit == commit:
        return before
    return Wanted(chosen.spec, chosen.hash, Origin(chosen.place.path, commit), chosen.place)


def _only_its_name(file: ParsedFile, key: ServiceKey) -> bool:
    """The document means another name, such as one with a capital: that is its own error and takes nobody's place."""
    own = [finding for finding in file.findings if finding.service == key]
    return bool(own) and all(finding.code == "name-invalid" for finding in own)


def _choose(
    key: ServiceKey, specs: list[ParsedSpec], broken: list[ParsedFile], recorded: str
) -> tuple[ParsedSpec | None, tuple[Finding, ...]]:
    """The document that speaks for *key*, and the errors of the others."""
    places = sorted([spec.place for spec in specs] + [Place(file.path) for file in broken])
    if len(places) == 1:
        return (specs[0] if specs else None), ()
    at_origin = [place for place in places if place.path == recorded]
    if len(at_origin) != 1:
        return None, tuple(
            _duplicate(key, place, next(other for other in places if other is not place), kept=False)
            for place in places
        )
    kept = at_origin[0]
    chosen = next((spec for spec in specs if spec.place == kept), None)
    return chosen, tuple(_duplicate(key, place, kept, kept=True) for place in places if place != kept)


def _duplicate(key: ServiceKey, place: Place, other: Place, *, kept: bool) -> Finding:
    outcome = (
        "that one keeps the service, this one is not applied"
        if kept
        else "neither is applied, the service keeps what it has"
    )
    return Finding(
        "duplicate-service",
        Severity.ERROR,
        f"{key} is also defined in {other}: {outcome}.",
        "Keep one of the two documents, or give one another name.",
        service=key,
        place=place,
        spec_path="name",
    )


def _still_recorded(key: ServiceKey, place: Place, recorded: str) -> Finding:
    return Finding(
        "file-unreadable",
        Severity.ERROR,
        f"{key} is recorded in {recorded}, which cannot be read and may still define it, so it is not taken from here and keeps what "
        "it has.",
        f"Mend {recorded}, or remove it.",
        service=key,
        place=place.at("name"),
        spec_path="name",
    )


def _needs_enterprise(key: ServiceKey, place: Place) -> Finding:
    return Finding(
        "enterprise-only",
        Severity.ERROR,
        f"{key} wants partition {key.partition} and namespace {key.namespace}, and this Consul is Community Edition, which has only default.",
        "Leave partition and namespace out, or point gitsync at Consul Enterprise.",
        service=key,
        place=place,
        spec_path="namespace" if key.namespace != DEFAULT else "partition",
    )
