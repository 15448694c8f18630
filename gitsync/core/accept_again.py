"""Accept again: what a revision wants, from what the last one wanted and what differs. Pure; `accept` says the same, of everything."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from gitsync.core.accept import recorded_commit
from gitsync.model.component import Ledger, Origin
from gitsync.model.desired import Desired, ParsedFile, ParsedSpec, Wanted
from gitsync.model.key import DEFAULT, ServiceKey


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one revision wanted, and what that was made from."""

    files: tuple[ParsedFile, ...]
    ledgers: Mapping[ServiceKey, Ledger]
    desired: Desired


def accept_again(
    last: Accepted,
    files: Collection[ParsedFile],
    ledgers: Mapping[ServiceKey, Ledger],
    *,
    owner: str,
    revision: str,
    enterprise: bool,
) -> Desired | None:
    """What *revision* wants, by the same objects where it is what was wanted; None where it has to be judged as a whole.

    That is wherever two documents may be about one service, or something cannot be read, then or now.
    """
    before = last.desired
    new, gone = _apart(files, last.files), _apart(last.files, files)
    if before.refused or before.findings or before.unreadable or not all(map(_plain, new)):
        return None
    services = dict(before.services)
    for spec in _specs(gone):
        services.pop(spec.key, None)
    for spec in _specs(new):
        key = spec.key
        if key in services or not (enterprise or key[1:] == (DEFAULT, DEFAULT)):
            return None
        commit = recorded_commit(ledgers.get(key), spec.hash, owner) or revision
        services[key] = Wanted(spec.spec, spec.hash, Origin(spec.place.path, commit), spec.place)
    for key in _unsettled(services, before.revision, ledgers, last.ledgers):
        wanted = services[key]
        commit = recorded_commit(ledgers.get(key), wanted.hash, owner) or revision
        if commit != wanted.origin.commit:
            services[key] = replace(wanted, origin=Origin(wanted.origin.path, commit))
    paths = (before.paths - {file.path for file in gone}) | {file.path for file in new}
    return Desired(revision, services, paths=paths)


def _apart(files: Collection[ParsedFile], others: Collection[ParsedFile]) -> list[ParsedFile]:
    """Those of *files* that are not among *others*, as objects: a file is parsed once for each content."""
    if files is others:
        return []
    if len(files) == len(others):
        return [file for file, other in zip(files, others, strict=True) if file is not other]
    known = set(map(id, others))
    return [file for file in files if id(file) not in known]


def _plain(file: ParsedFile) -> bool:
    return not (file.findings or file.named or file.unnamed or file.unreadable)


def _specs(files: Iterable[ParsedFile]) -> Iterable[ParsedSpec]:
    return (spec for file in files for spec in file.specs)


def _unsettled(
    services: Mapping[ServiceKey, Wanted],
    revision: str,
    ledgers: Mapping[ServiceKey, Ledger],
    before: Mapping[ServiceKey, Ledger],
) -> list[ServiceKey]:
    """The services whose commit may be another one now: their ledger moved, or did not have this spec yet."""
    unsettled = [key for key, wanted in services.items() if wanted.origin.commit == revision]
    if ledgers is not before:
        unsettled += [key for key, ledger in ledgers.items() if before.get(key) is not ledger and key in services]
        unsettled += [key for key in before if key not in ledgers and key in services]
    return unsettled
