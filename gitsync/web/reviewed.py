"""What was said of a pull request, in the shape in which its page tells it. Pure: the kept record in, words out.

Redacted values were taken out before the record was kept (gitsync/core/review_markdown.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitsync.model.review import ReviewRecord
from gitsync.web.told import Component, Held, Row, Service, component_of, named, ordered

HEADLINES = {
    "unaffected": "No service is affected", "planned": "What merging it would do", "held": "Merging it would wait for an approval",
    "refused": "Not all of it would be applied", "conflicted": "It cannot be merged", "valid": "Its files are in order",
    "failed": "It could not be judged",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planned:
    """A request as it was judged last. closed: "" while it is open. anyway: services of which something would be done without it."""

    sync: str
    number: int
    verdict: str
    headline: str
    words: str
    message: str
    head: str
    base: str
    base_ref: str
    updated: str
    closed: str
    fork: bool
    services: tuple[Service, ...]
    findings: tuple[Row, ...]
    holds: tuple[Held, ...]
    links: tuple[Row, ...]
    anyway: tuple[str, ...]
    conflicts: tuple[str, ...]


def planned(record: ReviewRecord) -> Planned:
    """The record, ready to be shown."""
    kept = record.plan
    plan: Mapping[str, Any] = kept.get("plan") or {}
    return Planned(
        sync=record.sync,
        number=record.number,
        verdict=record.verdict,
        headline=HEADLINES.get(record.verdict, record.verdict),
        words=str(kept.get("words") or ""),
        message=str(kept.get("message") or ""),
        head=record.head,
        base=record.base,
        base_ref=str(kept.get("base_ref") or ""),
        updated=record.updated,
        closed=record.closed,
        fork=bool(kept.get("fork")),
        services=tuple(_service(each) for each in plan.get("services") or ()),
        findings=_findings(kept.get("findings") or ()),
        holds=tuple(
            Held(each["digest"], each["reason"], tuple(each["services"]), each["approve"], None)
            for each in plan.get("holds") or ()
        ),
        links=tuple({**each, "service": named(each["service"])} for each in kept.get("links") or ()),
        anyway=tuple(named(path) for path in kept.get("anyway") or ()),
        conflicts=tuple(kept.get("conflicts") or ()),
    )


def _service(row: Row) -> Service:
    return Service(
        name=row["service"],
        outcome=row["verdict"],
        action="",
        step="",
        message="",
        retryable=False,
        components=tuple(_component(change) for change in row["changes"]),
        findings=_findings(row["findings"]),
    )


def _component(change: Row) -> Component:
    return component_of({**change, "fields": change["diff"]}, frozenset())


def _findings(rows: Sequence[Row]) -> tuple[Row, ...]:
    """As a plan has them in JSON: the place in three parts."""
    return ordered(
        {**row, "place": ":".join(str(part) for part in (row.get("path"), row.get("line")) if part) or None}
        for row in rows
    )
