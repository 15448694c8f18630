"""Accept again: what a revision wants, from what the last one wanted and what differs. Pure; `accept` says the same, of everything."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from gitsync.core.accept import recorded_commit
from gitsync.core.changed import Changed
from gitsync.model.component import Ledger, Origin
from gitsync.model.desired import Desired, ParsedFile, ParsedSpec, Wanted
from gitsync.model.key import DEFAULT, ServiceKey


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one revision wanted, and what that was made from. fresh: the services that have its own commit, as long as no ledger
    says another."""

    files: tuple[ParsedFile, ...]
    ledgers: Mapping[ServiceKey, Ledger]
    desired: Desired
    fresh: frozenset[ServiceKey]

    @classmethod
    def whole(cls, files: tuple[ParsedFile, ...], ledgers: Mapping[ServiceKey, Ledger], desired: Desired) -> Accepted:
        """What was accepted of all files."""
        fresh = (key for key, wanted in desired.services.items() if wanted.origin.commit == desired.revision)
        return cls(files, ledgers, desired, frozenset(fresh))


def accept_again(
    last: Accepted,
    files: tuple[ParsedFile, ...],
    ledgers: Mapping[ServiceKey, Ledger],
    *,
    owner: str,
    revision: str,
    enterprise: bool,
) -> Accepted | None:
    """What *revision* wants, by the same objects where it is what was wanted; None where it has to be judged as a whole.

    That is wherever two documents may be about one service, or something cannot be read, then or now.
    """
    before = last.desired
    new, gone = _apart(files, last.files), _apart(last.files, files)
    if before.refused or before.findings or before.unreadable or not all(map(_plain, new)):
        return None
    changes: dict[ServiceKey, Wanted | None] = {spec.key: None for spec in _specs(gone)}
    for spec in _specs(new):
        key = spec.key
        there = changes[key] if key in changes else before.services.get(key)
        if there is not None or not (enterprise or key[1:] == (DEFAULT, DEFAULT)):
            return None
        commit = recorded_commit(ledgers.get(key), spec.hash, owner) or revision
        changes[key] = Wanted(spec.spec, spec.hash, Origin(spec.place.path, commit), spec.place)
    unsettled = last.fresh | _recorded(ledgers, last.ledgers)
    for key in unsettled:
        wanted = changes[key] if key in changes else before.services.get(key)
        if wanted is not None:
            commit = recorded_commit(ledgers.get(key), wanted.hash, owner) or revision
            if commit != wanted.origin.commit:
                changes[key] = replace(wanted, origin=Origin(wanted.origin.path, commit))
    services = Changed.of(before.services, changes)
    fresh = {key for key in {*unsettled, *changes} if key in services and services[key].origin.commit == revision}
    left, come = {file.path for file in gone}, {file.path for file in new}
    paths = before.paths if left == come else (before.paths - left) | come
    return Accepted(files, ledgers, Desired(revision, services, paths=paths), frozenset(fresh))


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


def _recorded(ledgers: Mapping[ServiceKey, Ledger], before: Mapping[ServiceKey, Ledger]) -> set[ServiceKey]:
    """The services whose ledger is another one now: it may say which commit they have."""
    if ledgers is before:
        return set()
    return {key for key, ledger in ledgers.items() if before.get(key) is not ledger} | (before.keys() - ledgers.keys())
