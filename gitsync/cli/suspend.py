"""`gitsync suspend`: nothing is written any more, on whatever machine the sync runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, myself, settings_of, told
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json, Syncs
from gitsync.cli.screen import Screen
from gitsync.engine import errands
from gitsync.model.duration import Duration, DurationError
from gitsync.model.kv import Suspension
from gitsync.settings.grammar import days


def suspend(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever wonders.", show_default=False)
    ],
    syncs: Syncs = None,
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="For how long, such as 2h, 90m or 3d.", show_default=False)
    ] = "",
    until: Annotated[
        str,
        typer.Option("--until", metavar="TIME", help="Until when, such as 2030-01-31T18:00:00Z.", show_default=False),
    ] = "",
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Stop syncs, until a time or until `gitsync resume`.

    Consul keeps what it has, and `gitsync plan` goes on showing what would change. A run that writes at this moment ends
    first.

    Examples:

      gitsync suspend payments --reason "moving the gateway" --for 2h
      gitsync suspend --reason "change freeze" --until 2030-01-02T06:00:00Z
    """
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    end = _end(for_, until, datetime.now(UTC))

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        names = chosen(syncs, settings.syncs)
        suspension = Suspension(reason.strip(), until=end, by=myself())
        async with wire.opened(settings, said=screen.warn) as house:
            for name in names:
                room = house.room(name)
                await errands.suspend(room.world, room.sync.owner, suspension)
                body = {"reason": suspension.reason, "until": end}
                await told(house, name, "suspended", body, screen)
                screen.line(f"{name} is suspended ", f"until {end}" if end else "until `gitsync resume`")
        screen.document({"suspended": names, "reason": suspension.reason, "until": end or None, "by": suspension.by})
        return FINE

    carry_out(work, as_json=as_json, debug=debug)


def _end(for_: str, until: str, now: datetime) -> str:
    """When it ends, "" for never. Raises a usage error."""
    if for_ and until:
        raise typer.BadParameter("--for and --until exclude each other.")
    if for_:
        try:
            span = Duration.parse(days(for_))
        except DurationError as error:
            raise typer.BadParameter(f"{for_!r}: {error}. {error.hint}".strip(), param_hint="--for") from None
        moment = now + timedelta(seconds=span.seconds)
    elif until:
        try:
            moment = datetime.fromisoformat(until)
        except ValueError:
            raise typer.BadParameter(
                f"{until!r} is no time. Write it like 2030-01-31T18:00:00Z.", param_hint="--until"
            ) from None
        if moment.tzinfo is None:
            raise typer.BadParameter(
                f"{until!r} does not say which time zone. Write it like 2030-01-31T18:00:00Z.", param_hint="--until"
            )
    else:
        return ""
    if moment <= now:
        raise typer.BadParameter(f"{for_ or until} is over already.", param_hint="--for" if for_ else "--until")
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
