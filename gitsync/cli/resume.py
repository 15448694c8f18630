"""`gitsync resume`: a suspended or pinned sync goes on."""

from __future__ import annotations

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, settings_of, told
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json, Syncs
from gitsync.cli.screen import Screen, short
from gitsync.engine import errands
from gitsync.model.kv import Suspension


def resume(syncs: Syncs = None, config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """Let syncs go on: after `gitsync suspend`, and after `gitsync sync --rev`.

    The next run takes the newest commit of the ref. What had been suspended is printed.

    Example:

      gitsync resume payments
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        names = chosen(syncs, settings.syncs)
        resumed = []
        async with wire.opened(settings, said=screen.warn) as house:
            for name in names:
                room = house.room(name)
                was = await errands.resume(room.world, room.sync.owner)
                screen.line(f"{name} goes on: {_was(was)}" if was else f"{name} was not suspended")
                if was:
                    await told(house, name, "resumed", {"reason": was.reason, "pinned": was.pinned}, screen)
                    entry = {"sync": name, "reason": was.reason, "until": was.until or None, "by": was.by}
                    resumed.append({**entry, "pinned": was.pinned or None})
        screen.document({"resumed": resumed})
        return FINE

    carry_out(work, as_json=as_json, debug=debug)


def _was(suspension: Suspension) -> str:
    if suspension.pinned:
        return f"it was held at {short(suspension.pinned)}"
    return f"it was suspended{f' by {suspension.by}' if suspension.by else ''}: {suspension.reason}"
