"""What Git (or the API) wants: specs with their origins, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gitsync.model.component import Origin
from gitsync.model.finding import Finding, Place
from gitsync.model.key import ServiceKey
from gitsync.model.spec import ServiceSpec


@dataclass(frozen=True, slots=True)
class ParsedSpec:
    """One document of a file that is a valid spec. `hash` is of the normalised spec: equal hash, equal meaning."""

    spec: ServiceSpec
    hash: str
    place: Place

    @property
    def key(self) -> ServiceKey:
        return self.spec.key


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file holds.

    named: keys of documents that could be named but are no valid spec. unnamed: documents without a readable name.
    unreadable: the file as a whole did not parse, so nothing is known of its documents.
    """

    path: str
    specs: tuple[ParsedSpec, ...] = ()
    findings: tuple[Finding, ...] = ()
    named: tuple[ServiceKey, ...] = ()
    unnamed: int = 0
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """One accepted spec."""

    spec: ServiceSpec
    hash: str
    origin: Origin
    place: Place


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that one revision wants of one Consul.

    refused: services that a document names but that are not acceptable, with the findings that say why; they keep what they
    have. unreadable: paths whose content is not wholly known: services recorded there keep what they have. unparsed: those of
    them that did not parse at all, so that they may be any service's file under a new name.
    """

    revision: str
    services: Mapping[ServiceKey, Wanted] = field(default_factory=dict)
    refused: Mapping[ServiceKey, tuple[Finding, ...]] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    unparsed: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()
    paths: frozenset[str] = frozenset()
    """Every path that holds a spec file at this revision."""

    def hidden_by(self, path: str) -> str:
        """The unreadable path because of which nothing is known of *path*: itself, or a folder above it. "" if there is none.

        A submodule or a link stands where a folder was, and what was read there is then no longer read.
        """
        parts = path.split("/")
        folders = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        names = (path, *(name for folder in folders for name in (folder, f"{folder}/")))
        return next((name for name in names if name in self.unreadable), "")
