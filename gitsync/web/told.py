"""A run's rows in the shape in which a page tells them. Pure: rows in, words and numbers out.

Every text here is as it came. The templates' `finalize` writes out what is not seen, and Jinja escapes the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gitsync.core.contract import CODE as DEVIATES
from gitsync.core.lines import DONE, approve_command
from gitsync.core.shown import REDACTED, counted, diff_json, shown_value
from gitsync.model.key import ServiceKey
from gitsync.model.plan import FieldDiff, Hold
from gitsync.model.revision import NO_REVISION, Revision

Row = Mapping[str, Any]

SERVICES, FIELDS = 100, 60
"""How many services a page shows with their fields, and how many fields of each component. JSON has all."""

NAMES = 500
"""How many more are named."""

OPEN = 12
"""With so many services, or fewer, each stands open."""

TONES = {
    "applied": "good", "unchanged": "calm", "held": "wait", "busy": "wait", "partial": "bad", "failed": "bad", "refused": "bad",
    "conflict": "bad", "running": "busy", "planned": "good", "valid": "good", "unaffected": "calm", "conflicted": "bad",
    "create": "good", "update": "good", "delete": "wait", "drift": "wait",
}  # fmt: skip
MARKS = {
    "applied": "✓", "unchanged": "=", "held": "‖", "busy": "…", "partial": "!", "failed": "✗", "refused": "✗", "conflict": "✗",
    "running": "…", "planned": "✓", "valid": "✓", "unaffected": "=", "conflicted": "✗", "create": "+", "update": "~", "delete": "−",
    "drift": "!",
}  # fmt: skip
SAYS = {
    "applied": "Applied", "unchanged": "Nothing to do", "held": "Waits for an approval", "partial": "Applied in part",
    "failed": "Failed", "running": "Running",
}  # fmt: skip
RANK = {name: at for at, name in enumerate(("failed", "refused", "conflict", "busy", "held", "applied", "unchanged"))}
SIGNS = {"create": "+", "update": "~", "delete": "−"}
TRIGGERS = {
    "schedule": "its interval", "start": "the start of gitsync", "webhook": "a webhook", "signal": "SIGHUP",
    "cli": "`gitsync sync`", "approve": "an approval", "adopt": "`gitsync adopt`",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run. start, width: where its bar begins and how long it is, in percent of all steps."""

    name: str
    seconds: float
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Field:
    """A field that changed. before, after: as JSON, None where it is absent."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Component:
    """A component that changed. more: fields that are left out."""

    name: str
    action: str
    fields: tuple[Field, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """What became of a service."""

    name: str
    outcome: str
    action: str
    step: str
    message: str
    retryable: bool
    components: tuple[Component, ...]
    findings: tuple[Row, ...]

    @property
    def details(self) -> bool:
        """Whether there is more to say than the outcome."""
        return bool(self.components or self.message or self.findings)

    @property
    def word(self) -> str:
        """The outcome, and for one that was applied by deleting it, that."""
        return "pruned" if self.outcome == "applied" and self.action == "delete" else self.outcome


@dataclass(frozen=True, slots=True)
class Held:
    """A hold of a run. command: what lets it go. open: it still waits (None: nobody knows)."""

    digest: str
    reason: str
    services: tuple[str, ...]
    command: str
    open: bool | None


@dataclass(frozen=True, slots=True)
class Told:
    """A run, ready to be shown. services: in full; names: of further ones; left: how many are not even named."""

    id: str
    sync: str
    outcome: str
    headline: str
    summary: str
    trigger: str
    seconds: float | None
    row: Row
    steps: tuple[Step, ...] = ()
    services: tuple[Service, ...] = ()
    names: tuple[Service, ...] = ()
    left: int = 0
    findings: tuple[Row, ...] = ()
    holds: tuple[Held, ...] = ()
    deviations: tuple[Row, ...] = ()
    commit: Revision = NO_REVISION

    @property
    def detailed(self) -> tuple[Service, ...]:
        """The services of which there is something to unfold."""
        return tuple(each for each in self.services if each.details)

    @property
    def plain(self) -> tuple[Service, ...]:
        """The others, and those that are only named."""
        return (*(each for each in self.services if not each.details), *self.names)

    @property
    def running(self) -> bool:
        return self.outcome == "running"


def told(
    run: Row,
    services: Sequence[Row] = (),
    *,
    redact: frozenset[str] | None = frozenset(),
    open_now: frozenset[str] | None = None,
    commit: Revision = NO_REVISION,
) -> Told:
    """A run of the store.

    redact: labels whose values are not shown; None: no value is. open_now: the holds that wait. commit: what it was about.
    """
    outcome = run["outcome"] or "running"
    every = sorted(
        services, key=lambda each: (RANK.get(each["outcome"], 0), each["action"] != "delete", each["service"])
    )
    further = every[SERVICES : SERVICES + NAMES]
    return Told(
        id=run["id"],
        sync=run["sync"],
        outcome=outcome,
        headline=SAYS.get(outcome, outcome),
        summary=summary(run, services),
        trigger=TRIGGERS.get(run["trigger"]) or run["trigger"],
        seconds=lasted(run),
        row=run,
        steps=steps(run["steps"] or ()),
        services=tuple(service(each, redact) for each in every[:SERVICES]),
        names=tuple(service({**each, "diffs": ()}, redact) for each in further),
        left=max(0, len(every) - SERVICES - NAMES),
        findings=ordered(run["findings"] or ()),
        holds=tuple(hold(each, open_now) for each in run["holds"] or ()),
        deviations=_deviations(run, every),
        commit=commit,
    )


def _deviations(run: Row, services: Iterable[Row]) -> tuple[Row, ...]:
    """What was done, or is held, although the reviewed plan said something else."""
    every = [*(run["findings"] or ()), *(finding for each in services for finding in each["findings"])]
    return tuple(finding for finding in every if finding["code"] == DEVIATES)


def summary(run: Row, services: Iterable[Row] = ()) -> str:
    """`12 applied, 1 pruned, 2 refused`."""
    counts = dict(run["counts"] or {})
    if pruned := sum(each["outcome"] == "applied" and each["action"] == "delete" for each in services):
        counts |= {"pruned": pruned, "applied": max(0, counts.get("applied", 0) - pruned)}
    return counted(counts, (*DONE, ("unchanged", "unchanged")))


def lasted(run: Row) -> float | None:
    """Seconds from the beginning to the end, None without an end. The steps know it better than the two times, which are whole."""
    if not run["finished"]:
        return None
    if run["steps"]:
        return float(sum(step["seconds"] for step in run["steps"]))
    return (datetime.fromisoformat(run["finished"]) - datetime.fromisoformat(run["started"])).total_seconds()


def steps(rows: Iterable[Row]) -> tuple[Step, ...]:
    """The steps one after the other, each with its bar."""
    rows = list(rows)
    whole = sum(row["seconds"] for row in rows) or 1.0
    done, shown = 0.0, []
    for row in rows:
        start, width = 100 * done / whole, 100 * row["seconds"] / whole
        shown.append(Step(row["step"], row["seconds"], round(start, 2), round(max(width, 0.4), 2)))
        done += row["seconds"]
    return tuple(shown)


def service(row: Row, redact: frozenset[str] | None) -> Service:
    return Service(
        name=named(row["service"]),
        outcome=row["outcome"],
        action=row["action"] or "",
        step=row["step"] or "",
        message=row["message"],
        retryable=row["retryable"],
        components=tuple(component_of(diff, redact) for diff in row["diffs"]),
        findings=ordered(row["findings"]),
    )


def named(path: str) -> str:
    try:
        return str(ServiceKey.from_path(path))
    except ValueError:
        return path


def component_of(diff: Row, redact: frozenset[str] | None) -> Component:
    fields = diff["fields"] if diff["action"] != "delete" else []
    kept = _fields(fields[:FIELDS], redact)
    shown = (
        Field(
            each["path"],
            _shown(each["before"]),
            _shown(each["after"]),
        )
        for each in kept
    )
    return Component(diff["component"], diff["action"], tuple(shown), max(0, len(fields) - FIELDS))


def _shown(value: Any) -> str | None:
    return None if value is None else REDACTED if value == REDACTED else shown_value(value)


def _fields(fields: Iterable[Row], redact: frozenset[str] | None) -> list[dict[str, Any]]:
    """As they are to be seen. Of a sync that is not configured any more nobody knows what it hid, so every value is."""
    if redact is None:
        return [
            {"path": each["path"], **{side: None if each[side] is None else REDACTED for side in ("before", "after")}}
            for each in fields
        ]
    return diff_json([FieldDiff(each["path"], each["before"], each["after"]) for each in fields], redact)


def without_secrets(row: Row, redact: frozenset[str] | None) -> dict[str, Any]:
    """A row of `run_services`, as JSON shows it."""
    return {**row, "diffs": [{**diff, "fields": _fields(diff["fields"], redact)} for diff in row["diffs"]]}


def ordered(findings: Iterable[Row]) -> tuple[Row, ...]:
    """Errors first."""
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(findings, key=lambda finding: rank.get(finding["severity"], 3)))


def hold(row: Row, open_now: frozenset[str] | None) -> Held:
    waiting = Hold(row["digest"], (), row["reason"], bool(row.get("empty")))
    names = tuple(named(path) for path, _ in row["services"])
    return Held(
        row["digest"],
        row["reason"],
        names,
        approve_command(waiting),
        None if open_now is None else row["digest"] in open_now,
    )
