"""`gitsync approve`: let deletes go that wait for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, myself, settings_of, told
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json
from gitsync.cli.screen import Screen, number
from gitsync.cli.telling import tell_report
from gitsync.cli.watching import Watching
from gitsync.core.describe import report_as_json
from gitsync.engine import errands
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.plan import Hold
from gitsync.model.run import exit_code
from gitsync.model.sync import Options
from gitsync.wire import House, Room


def approve(
    digest: Annotated[
        str, typer.Argument(metavar="DIGEST", help="The hold's digest, or its first six digits.", show_default=False)
    ],
    sync: Annotated[
        str | None, typer.Option("--sync", metavar="SYNC", help="Look only in this sync.", show_default=False)
    ] = None,
    empty: Annotated[
        bool, typer.Option("--empty", help="The commit wants no service at all, and that is meant.")
    ] = False,
    now: Annotated[bool, typer.Option("--now", help="Run the sync at once.")] = False,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Approve deletes that are held. The next run carries them out.

    An approval is for exactly these services as they are now: later commits neither void nor extend it. `gitsync status`
    and `gitsync plan` show what is held, and its digest.

    Examples:

      gitsync approve 3f9a0c1d22e4
      gitsync approve 3f9a0c1d22e4 --empty --now
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        names = chosen([sync] if sync else None, settings.syncs)
        async with wire.opened(settings, said=screen.warn) as house:
            room, holds = await _holding(house, names, digest, screen)
            hold = await errands.approve(room.world, room.sync.owner, holds, digest, empty=empty, by=myself())
            name = room.sync.name
            body = {"digest": hold.digest, "services": [key.path for key, _ in hold.services], "empty": hold.empty}
            await told(house, name, "approved", body, screen)
            screen.line(f"approved for {name}: {number(len(hold.services), 'service')} may be deleted")
            screen.columns([(("-", "gone"), str(key)) for key, _ in hold.services], indent=2)
            document = {"approved": hold.digest, "sync": name, "services": [key.path for key, _ in hold.services]}
            if not now:
                screen.line(f"The next run deletes them; `gitsync sync {name}` does it at once.")
                screen.document(document)
                return FINE
            with Watching(screen, name) as watching:
                report = await room.run(Options(trigger="approve"), watching)
            tell_report(screen, room.sync, report)
            screen.document({**document, "runs": [report_as_json(report, redact=room.sync.redact)]})
            return exit_code(report)

    carry_out(work, as_json=as_json, debug=debug)


async def _holding(house: House, names: list[str], digest: str, screen: Screen) -> tuple[Room, tuple[Hold, ...]]:
    """The sync that has such a hold, and its holds: as the last run recorded them, else as a fresh look finds them."""
    if len(digest) < errands.LEAST_DIGITS:
        raise typer.BadParameter(f"write at least {errands.LEAST_DIGITS} digits", param_hint="DIGEST")
    found: list[tuple[Room, tuple[Hold, ...]]] = []
    troubles = []
    for name in names:
        room = house.room(name)
        try:
            holds = tuple(await house.store.open_holds(name))
        except GitsyncError:
            holds = ()  # the history is lost or not to be read: look again
        if not _has(holds, digest):
            try:
                with Watching(screen, name) as watching:
                    holds = (await room.plan(Options(trigger="plan"), watching, defaults=house.defaults)).plan.holds
            except GitsyncError as error:
                troubles.append(f"{name}: {error}")
                continue
        if _has(holds, digest) or len(names) == 1:
            found.append((room, holds))
    if not found:
        more = f" Not looked at: {'; '.join(troubles)}" if troubles else ""
        raise Invalid(f"no sync has a hold with the digest {digest!r}. `gitsync plan` shows what is held.{more}")
    if len(found) > 1:
        where = ", ".join(room.sync.name for room, _ in found)
        raise typer.BadParameter(f"{digest} names holds of {where}. Say which with --sync.")
    return found[0]


def _has(holds: tuple[Hold, ...], digest: str) -> bool:
    return any(hold.digest.startswith(digest) for hold in holds)
