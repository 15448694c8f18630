"""Findings as the pipelines of Git hosts take them: at the line at fault. Pure.

What a spec says is hostile here, too: a line that begins with `::` is a command to GitHub's runner, so nothing of it gets there
as it is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from gitsync.core.shown import safe
from gitsync.model.finding import Finding, Severity

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_QUALITY = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def github(finding: Finding) -> str:
    """`::error file=…,line=…,col=…,title=…::message`. Source: GitHub Actions, workflow commands; actions/toolkit, command.ts."""
    place = finding.place
    given: dict[str, Any] = {"file": place.path, "line": place.line, "col": place.column} if place else {}
    properties = {name: value for name, value in {**given, "title": _title(finding)}.items() if value}
    listed = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    return f"::{_COMMANDS[finding.severity]} {listed}::{_data(_sentence(finding))}"


def github_error(message: str) -> str:
    """An error that stands at no line."""
    return f"::error title=gitsync::{_data(safe(message))}"


def code_quality(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """GitLab's Code Quality report: `[{description, check_name, fingerprint, severity, location: {path, lines: {begin}}}]`.

    Findings without a file are left out: GitLab shows none of those. A fingerprint does not depend on the line, so that a finding
    which only moved is not a new one. Source: GitLab documentation, Code Quality report format.
    """
    report = []
    seen: Counter[str] = Counter()
    for finding in findings:
        if finding.place is None:
            continue
        essence = (finding.code, finding.place.path, str(finding.service or ""), finding.spec_path, finding.message)
        print_of = hashlib.sha256("\0".join(essence).encode(errors="backslashreplace")).hexdigest()
        seen[print_of] += 1
        if seen[print_of] > 1:
            print_of = hashlib.sha256(f"{print_of} {seen[print_of]}".encode()).hexdigest()
        report.append(
            {
                "description": _sentence(finding),
                "check_name": finding.code,
                "fingerprint": print_of,
                "severity": _QUALITY[finding.severity],
                "location": {"path": finding.place.path, "lines": {"begin": max(1, finding.place.line)}},
            }
        )
    return report


def _title(finding: Finding) -> str:
    return f"{finding.code}: {safe(str(finding.service), 200)}" if finding.service else finding.code


def _sentence(finding: Finding) -> str:
    return safe(f"{finding.message} {finding.hint}".strip())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
