"""`gitsync status`: where every sync stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gitsync import wire
from gitsync.cli.call import carry_out, settings_of, together
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json, Syncs
from gitsync.cli.runs import counts, outcome
from gitsync.cli.screen import Cell, Screen, error_as_json, number, short
from gitsync.core.describe import hold_json
from gitsync.engine import errands
from gitsync.engine.errands import Status
from gitsync.engine.look import suspended
from gitsync.model.errors import GitsyncError
from gitsync.model.kv import Suspension
from gitsync.model.plan import Hold
from gitsync.wire import House, Room


def status(syncs: Syncs = None, config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """Show where syncs stand: the applied revision, what it lacks, what is held or suspended, and the last run.

    Nothing is fetched and nothing is compared: this is what the records say. `gitsync plan` compares.

    Example:

      gitsync status payments
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        names = chosen(syncs, settings.syncs)
        documents, codes = [], []
        async with wire.opened(settings, said=screen.warn) as house:
            for name in names:
                room = house.room(name)
                try:
                    found = await errands.status(room.world, room.sync.owner)
                except GitsyncError as error:
                    screen.fail(f"{name}: {error}")
                    codes.append(error.exit_code)
                    documents.append({"sync": name, "error": error_as_json(error)})
                    continue
                document = _document(room, found, *await _recorded(house, name, screen))
                documents.append(document)
                _tell(screen, document)
        screen.document({"syncs": documents})
        return together(codes)

    carry_out(work, as_json=as_json, debug=debug)


Row = Mapping[str, Any]


async def _recorded(house: House, name: str, screen: Screen) -> tuple[list[Hold], Row | None, Row | None]:
    """What the history says: open holds, the last run, the last look. Nothing where it cannot be read."""
    try:
        store = house.store
        return await store.open_holds(name), await store.last_run(name), await store.last_checked(name)
    except GitsyncError as error:
        screen.warn(f"{name}: the history is not to be read: {error}")
        return [], None, None


def _document(room: Room, found: Status, holds: list[Hold], last: Row | None, checked: Row | None) -> dict[str, Any]:
    records = found.records
    applied, suspension = records.applied, records.suspension
    states = Counter(ledger.state for ledger in found.ledgers.values())
    return {
        "sync": room.sync.name,
        "owner": str(room.sync.owner),
        "repository": records.lineage or room.sync.lineage,
        "applied": {"revision": applied.revision, "at": applied.at, "run": applied.run} if applied else None,
        "exceptions": dict(applied.exceptions) if applied else {},
        "suspended": _suspension(suspension, room) if suspension else None,
        "services": {"total": sum(states.values()), **dict(sorted(states.items()))},
        "holds": [hold_json(hold) for hold in holds],
        "approvals": [
            {"digest": each.digest, "services": len(each.services), "by": each.by, "at": each.at}
            for each in records.approvals
        ],
        "last_run": {name: last[name] for name in RUN} if last else None,
        "last_checked": checked["last_checked"] if checked else None,
    }


LISTED = 20
"""How many of the things that the applied revision lacks are listed on a screen."""

RUN = ("id", "revision", "trigger", "started", "finished", "outcome", "counts", "error")
"""What is shown of the last run; `gitsync runs --id` shows all of it."""


def _suspension(suspension: Suspension, room: Room) -> dict[str, Any]:
    return {
        "reason": suspension.reason,
        "until": suspension.until or None,
        "by": suspension.by or None,
        "pinned": suspension.pinned or None,
        "over": not suspension.pinned and not suspended(suspension, room.world.clock.now()),
    }


def _tell(screen: Screen, document: dict[str, Any]) -> None:
    applied, last = document["applied"], document["last_run"]
    screen.line((document["sync"], "head"))
    services = {**document["services"]}
    total = services.pop("total")
    by_state = ", ".join(f"{count} {state}" for state, count in services.items())
    rows: list[tuple[Cell, ...]] = [("repository", document["repository"]), ("owner", document["owner"])]
    rows.append(("applied", f"{short(applied['revision'])} {applied['at']}" if applied else "nothing yet"))
    rows.append(("services", f"{total} ({by_state})" if total else "none"))
    if stopped := document["suspended"]:
        rows.append(_stopped(stopped))
    lacking = list(document["exceptions"].items())
    rows += [(("lacking", "bad"), f"{path.removeprefix('default/default/')}: {why}") for path, why in lacking[:LISTED]]
    if len(lacking) > LISTED:
        rows.append(("", f"and {len(lacking) - LISTED} more; --json lists them all"))
    for hold in document["holds"]:
        count = number(len(hold["services"]), "delete")
        rows.append((("held", "wait"), f"{count}: {hold['reason']}. `{hold['approve']}` lets them go."))
    rows += [("approved", f"{each['digest']} by {each['by']} {each['at']}") for each in document["approvals"]]
    if last:
        became, tone = outcome(last)
        rows.append(("last run", (f"{became}  {last['started']}  {counts(last) or '–'}  {last['id']}", tone)))
        if last["error"]:
            rows.append(("", last["error"]))
    if document["last_checked"]:
        rows.append(("in order", document["last_checked"]))
    screen.columns(rows, indent=2)


def _stopped(suspension: dict[str, Any]) -> tuple[Cell, ...]:
    by = f" by {suspension['by']}" if suspension["by"] else ""
    if suspension["pinned"]:
        return ("held at", "wait"), f"{short(suspension['pinned'])}{by}; `gitsync resume` lets it go on"
    if suspension["over"]:
        return "suspended", f"until {suspension['until']}, which is over: {suspension['reason']}"
    until = f" until {suspension['until']}" if suspension["until"] else ""
    return ("suspended", "wait"), f"{suspension['reason']}{by}{until}"
