"""From the bytes of one file to its specs, and to what is wrong with it. Pure.

    bytes ──yaml_reader──► nodes ──spelling──► canonical form ──model──► spec
                │ does not parse: the file             │ refused: the document
                └──────────────► findings ◄────────────┘ explain

A bad file isolates itself: what it may own is named, or counted, so that nothing of it is ever pruned by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from pydantic import ValidationError

from gitsync.core.explain import Fault, clashes, faults, fields, finding, sentence
from gitsync.core.paths import accepts
from gitsync.core.spelling import Spelled, spell
from gitsync.core.yaml_reader import MapNode, Node, YamlError, read
from gitsync.model.desired import ParsedFile, ParsedSpec
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.grammar import NAME, TENANCY
from gitsync.model.key import ServiceKey
from gitsync.model.spec import ServiceSpec, SpecDefaults, spec_hash

__all__ = ["SpecDefaults", "accepts", "parse_file", "spec_hash"]

DOCUMENT_FINDINGS, FILE_FINDINGS = 20, 100
"""How many errors are listed. Nobody reads more, and a small file can have fifty thousand."""

EXPLAINED = 200
"""How many errors of a document are put into words, before the first of them in the file are listed."""

OURS = frozenset(("name", "routing", "exposure", "connect"))
"""A document with none of these keys is somebody else's."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_NAME, _TENANCY = re.compile(NAME), re.compile(TENANCY)
_CONFLICT = re.compile(rb"^(<{7} |>{7} |={7}\r?$)", re.MULTILINE)
_COMMENT = re.compile(rb"(^|\s)//", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Read:
    """One document: a spec, or findings with the key that it is about, if that is readable."""

    spec: ParsedSpec | None
    findings: tuple[Finding, ...] = ()
    key: ServiceKey | None = None


def parse_file(path: str, data: bytes, defaults: SpecDefaults, *, name: str = "") -> ParsedFile:
    """The specs of one YAML or JSON file, and what is wrong with it. Never raises for what a file contains.

    name: what a document without a name is called, for callers that know it from elsewhere (the REST door).
    """
    if data.startswith(LFS_POINTER):
        text, hint = (
            "this is a Git LFS pointer, not a spec",
            "keep specs out of Git LFS: git lfs untrack, and commit it again",
        )
        return _unreadable(path, YamlError("lfs-pointer", text, hint, line=1))
    try:
        documents = read(data, json=path.endswith(".json"))
    except YamlError as error:
        return _unreadable(path, _with_better_hint(error, data))
    if not documents:
        note = Finding(
            "empty-file", Severity.NOTE, "The file holds no document.", "Write a spec, or remove it.", place=Place(path)
        )
        return ParsedFile(path, findings=(note,))
    results = [_document(path, node, defaults, name) for node in documents]
    specs = tuple(result.spec for result in results if result.spec)
    valid = {spec.key for spec in specs}
    broken = [result for result in results if not result.spec]
    named = (result.key for result in broken if result.key)
    return ParsedFile(
        path,
        specs=specs,
        findings=_listed(path, (each for result in results for each in result.findings)),
        named=tuple(key for key in named if key not in valid or not _only_misspelt(key, broken)),
        unnamed=sum(1 for result in broken if not result.key),
    )


def _unreadable(path: str, error: YamlError) -> ParsedFile:
    place = Place(path, error.line, error.column)
    found = Finding(error.code, Severity.ERROR, sentence(str(error)), sentence(error.hint), place=place)
    return ParsedFile(path, findings=(found,), unreadable=True)


def _with_better_hint(error: YamlError, data: bytes) -> YamlError:
    """What is usually the matter, where the parser cannot know it."""
    hint = ""
    if error.code.startswith("yaml-") and _CONFLICT.search(data):
        hint = "resolve the merge conflict, whose markers are still in the file"
    elif error.code == "yaml-syntax" and data.lstrip()[:1] == b"{" and _COMMENT.search(data):
        hint = "remove the comments that begin with //, or write them with #"
    return YamlError(error.code, str(error), hint, line=error.line, column=error.column) if hint else error


def _document(path: str, node: Node, defaults: SpecDefaults, name: str) -> _Read:
    if not isinstance(node, MapNode) or not _ours(node, name):
        return _Read(None, (_not_a_spec(path, node),))
    spelled = spell(node, defaults, name=name)
    found = list(clashes(spelled))
    count = len(found)
    try:
        spec = ServiceSpec.model_validate(spelled.value)
    except ValidationError as error:
        count += error.error_count()
        found += islice(faults(error, spelled), EXPLAINED)
    else:
        if not found:
            return _Read(ParsedSpec(spec, spec_hash(spec), Place(path, node.line, node.column, fields(spelled.root))))
    key = _key(spelled)
    return _Read(None, tuple(_sorted(found, count, spelled, path, key)), key)


def _ours(node: MapNode, name: str) -> bool:
    keys = {key.text.lower() for key, _ in node.pairs}
    return bool(keys & OURS) or bool(name)


def _not_a_spec(path: str, node: Node) -> Finding:
    what = "its keys are " + ", ".join(key.text for key, _ in node.pairs[:5]) if isinstance(node, MapNode) else ""
    return Finding(
        "not-a-spec",
        Severity.ERROR,
        "This document is no service spec"
        + (f" ({what})." if what and what.isprintable() and len(what) < 200 else "."),
        f"If it belongs to something else, add '{path}' to git.exclude of the sync (globs work as in "
        ".gitignore), or move it into a folder whose name begins with a dot. If it is meant as a spec, write at least name and routing.",
        place=Place(path, node.line, node.column),
    )


def _key(spelled: Spelled) -> ServiceKey | None:
    """Whose document this is, though it is no valid spec; None if that is not certain.

    A name with capitals counts as the name in lower case, which is what Consul takes it for: the service that was recorded
    under it keeps what it has.
    """
    name, partition, namespace = (spelled.value.get(each) for each in ("name", "partition", "namespace"))
    if not (isinstance(name, str) and isinstance(partition, str) and isinstance(namespace, str)):
        return None
    name = name.lower() if name.isascii() else name
    if (
        not _NAME.fullmatch(name)
        or ".." in name
        or not _TENANCY.fullmatch(partition)
        or not _TENANCY.fullmatch(namespace)
    ):
        return None
    return ServiceKey(name, namespace, partition)


def _only_misspelt(key: ServiceKey, broken: Iterable[_Read]) -> bool:
    """Whether every document in error for *key* is one because of its name's spelling, and so claims nothing."""
    return all(
        any(each.code == "name-invalid" and each.spec_path == "name" for each in result.findings)
        for result in broken
        if result.key == key
    )


def _sorted(found: Iterable[Fault], count: int, spelled: Spelled, path: str, key: ServiceKey | None) -> list[Finding]:
    every = [finding(fault, spelled, path, key) for fault in found]
    every.sort(key=lambda each: (each.place or Place(path), each.spec_path))
    return _cut(path, every, count, DOCUMENT_FINDINGS, key)


def _listed(path: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    every = list(findings)
    return tuple(_cut(path, every, len(every), FILE_FINDINGS, None))


def _cut(path: str, findings: list[Finding], count: int, most: int, key: ServiceKey | None) -> list[Finding]:
    if len(findings) <= most:
        return findings
    left = count - most
    text = f"{left} more {'error is' if left == 1 else 'errors are'} not listed."
    place = findings[most].place or Place(path)
    return [
        *findings[:most],
        Finding("more-findings", Severity.NOTE, text, "Mend these first.", service=key, place=place),
    ]
