"""What a person may see of a value: redacted, on one line, without characters that are not what they look like. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gitsync.model.finding import Finding
from gitsync.model.plan import FieldDiff
from gitsync.model.revision import escaped

REDACTED = "(redacted)"
LABELS = "Meta"
TEXT_LENGTH = 2000
VALUE_LENGTH = 300


def safe(text: str, length: int = TEXT_LENGTH) -> str:
    """*text* on one line, with controls and marks that turn text around written out, cut to *length* characters."""
    return escaped(text, length)


def shown_value(value: Any, length: int = VALUE_LENGTH) -> str:
    """A value as compact JSON, readable as it stands: `"http"`, `49519`, `["a","b"]`."""
    return safe(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")), length)


def redacted(diffs: Iterable[FieldDiff], redact: frozenset[str]) -> tuple[FieldDiff, ...]:
    """*diffs* without the values of the labels in *redact*. That there is one, and that it changed, stays to be seen.

    Names of labels are compared without their case: a policy that a capital escapes would be none.
    """
    hidden = frozenset(name.lower() for name in redact)
    return tuple(_redacted(diff, hidden) for diff in diffs) if hidden else tuple(diffs)


def _redacted(diff: FieldDiff, hidden: frozenset[str]) -> FieldDiff:
    path = f".{diff.path}"
    _, is_label, name = path.partition(f".{LABELS}.")
    if is_label and name.lower() in hidden:
        before, after = (None if value is None else REDACTED for value in (diff.before, diff.after))
        return FieldDiff(diff.path, before, after)
    whole = path.endswith(f".{LABELS}")
    before, after = (_without(value, hidden, labels=whole) for value in (diff.before, diff.after))
    return FieldDiff(diff.path, before, after)


def _without(value: Any, hidden: frozenset[str], *, labels: bool) -> Any:
    """A value of which labels may be a part, as in an element of a list that comes or goes as a whole."""
    if isinstance(value, Mapping):
        return {
            name: REDACTED if labels and name.lower() in hidden else _without(each, hidden, labels=name == LABELS)
            for name, each in value.items()
        }
    return [_without(each, hidden, labels=False) for each in value] if isinstance(value, list | tuple) else value


def diff_json(diffs: Iterable[FieldDiff], redact: frozenset[str]) -> list[dict[str, Any]]:
    """Field by field `{path, before, after}`; None where it is absent."""
    return [{"path": diff.path, "before": diff.before, "after": diff.after} for diff in redacted(diffs, redact)]


def finding_json(finding: Finding) -> dict[str, Any]:
    """`{code, severity, message, hint, service, path, line, column, spec_path}`; "" and 0 where there is nothing to say."""
    place = finding.place
    return {
        "code": finding.code,
        "severity": str(finding.severity),
        "message": finding.message,
        "hint": finding.hint,
        "service": str(finding.service) if finding.service else "",
        "path": place.path if place else "",
        "line": place.line if place else 0,
        "column": place.column if place else 0,
        "spec_path": finding.spec_path,
    }


def counted(counts: Mapping[str, int], words: Iterable[tuple[str, str]]) -> str:
    """`2 to create, 1 refused`: what is not zero, in the order of *words* (name, what is said of it)."""
    return ", ".join(f"{counts[name]} {word}" for name, word in words if counts.get(name))
