"""`gitsync runs`: what runs did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from gitsync.cli.call import FINE, carry_out, settings_of
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json
from gitsync.cli.screen import Screen, short
from gitsync.core.shown import diff_json, shown_value
from gitsync.model.errors import Invalid
from gitsync.model.plan import FieldDiff
from gitsync.store import Store

Row = Mapping[str, Any]
TONES = {"applied": "good", "failed": "bad", "partial": "bad", "held": "wait"}
SIGNS = {"create": ("+", "new"), "update": ("~", "changed"), "delete": ("-", "gone")}


def runs(
    sync: Annotated[
        str | None, typer.Argument(metavar="SYNC", help="Name of a sync. Default: all.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="How many.")] = 20,
    one: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="RUN",
            help="One run in full, by its id or the last six characters of it, or more.",
            show_default=False,
        ),
    ] = "",
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the runs that did something, the newest first, or show one of them in full.

    A run that found nothing to do is not listed; `gitsync status` says when the last look was.

    Examples:

      gitsync runs payments --limit 5
      gitsync runs --id 01JD4Y8Z4C
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        chosen([sync] if sync else None, settings.syncs)
        # Nothing but the history is opened: what happened can be read while Consul is away.
        async with Store.open(settings.store) as store:
            if not one:
                rows = await store.runs(sync, limit)
                screen.document({"runs": [dict(row) for row in rows]})
                _list(screen, rows)
                return FINE
            found = await store.run(one)
        if found is None:
            raise Invalid(f"there is no run {one!r} in the history. `gitsync runs` lists them.")
        run, services = found
        redact = frozenset(settings.syncs[run["sync"]].redact if run["sync"] in settings.syncs else ())
        services = [_redacted(service, redact) for service in services]
        screen.document({"run": dict(run), "services": services})
        _show(screen, run, services)
        return FINE

    carry_out(work, as_json=as_json, debug=debug)


def _redacted(service: Row, redact: frozenset[str]) -> dict[str, Any]:
    diffs = [
        {**diff, "fields": diff_json([FieldDiff(each["path"], each["before"], each["after"]) for each in diff["fields"]], redact)}
        for diff in service["diffs"]
    ]  # fmt: skip
    return {**service, "diffs": diffs}


def outcome(run: Row) -> tuple[str, str]:
    """What became of a run, in its colour."""
    name = run["outcome"] or "running"
    return name, TONES.get(name, "")


def counts(run: Row) -> str:
    """`3 applied, 1 held`: what is not zero."""
    return ", ".join(f"{count} {name}" for name, count in sorted(run["counts"].items()) if count)


def _list(screen: Screen, rows: Sequence[Row]) -> None:
    if not rows:
        screen.line("no run did anything yet")
    screen.columns(
        [
            (run["started"], run["sync"], outcome(run), short(run["revision"]), counts(run) or "–", run["trigger"], run["id"])
            for run in rows
        ],
        header=("started", "sync", "outcome", "revision", "services", "trigger", "id"),
    )  # fmt: skip


def _show(screen: Screen, run: Row, services: Sequence[Row]) -> None:
    screen.line((f"run {run['id']} of {run['sync']}: ", "head"), outcome(run))
    rows = [("revision", run["revision"] or "–"), ("applied", run["applied_revision"] or "–")]
    rows += [("trigger", run["trigger"]), ("started", run["started"]), ("finished", _finished(run))]
    rows += [("plan", run["plan_digest"] or "–"), ("services", counts(run) or "–")]
    screen.columns(rows, indent=2)
    if run["error"]:
        screen.line(("  error: ", "bad"), run["error"])
    if run["steps"]:
        screen.line(("steps", "head"))
        screen.columns([(step["step"], f"{step['seconds']:.3f} s") for step in run["steps"]], indent=2)
    for hold in run["holds"]:
        screen.line(("hold ", "wait"), f"{hold['digest']}: {hold['reason']}")
    for service in services:
        _show_service(screen, service)
    for finding in run["findings"]:
        _show_finding(screen, finding, "")


def _show_service(screen: Screen, service: Row) -> None:
    at = f" at {service['step']}" if service["step"] else ""
    name = service["service"].removeprefix("default/default/")
    screen.line((name, "head"), f": {service['outcome']}{at}", f": {service['message']}" if service["message"] else "")
    for diff in service["diffs"]:
        screen.line("  ", SIGNS.get(diff["action"], ""), f" {diff['component']}")
        for field in diff["fields"]:
            before, after = field["before"], field["after"]
            change = " → ".join(shown_value(value) for value in (before, after) if value is not None)
            sign = SIGNS["create" if before is None else "delete" if after is None else "update"]
            screen.line("    ", sign, f" {field['path']}: {change}")
    for finding in service["findings"]:
        _show_finding(screen, finding, "  ")


def _show_finding(screen: Screen, finding: Row, indent: str) -> None:
    where = f" [{finding['place']}]" if finding["place"] else ""
    screen.line(f"{indent}{finding['severity']} {finding['code']}{where}: {finding['message']}")


def _finished(run: Row) -> str:
    if not run["finished"]:
        return "not yet"
    seconds = (datetime.fromisoformat(run["finished"]) - datetime.fromisoformat(run["started"])).total_seconds()
    return f"{run['finished']} ({seconds:.0f} s)"
