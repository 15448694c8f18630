"""`gitsync release`: give a service up without changing what it does."""

from __future__ import annotations

from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, settings_of, told
from gitsync.cli.choice import chosen, service_key
from gitsync.cli.options import Config, Debug, Json
from gitsync.cli.screen import Screen
from gitsync.engine import errands
from gitsync.engine.observe import read_ledgers
from gitsync.model.errors import Invalid
from gitsync.model.key import Owner, ServiceKey
from gitsync.wire import House, Room


def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The service.", show_default=False)],
    sync: Annotated[
        str | None,
        typer.Option("--sync", metavar="SYNC", help="Whose service. Default: who owns it.", show_default=False),
    ] = None,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Give a service up. It goes on working as it is, and no longer belongs to the sync.

    Any gitsync may take it over from then on; this sync takes it back only when told to with `gitsync adopt`. Take its spec
    out of the repository, or every plan shows it as a conflict.

    Example:

      gitsync release pay --sync payments
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        chosen([sync] if sync else None, settings.syncs)
        async with wire.opened(settings, said=screen.warn) as house:
            key = service_key(name, house.defaults)
            room = house.room(sync) if sync else await _owning(house, key)
            components = await errands.release(room.world, room.sync.owner, key)
            await told(house, room.sync.name, "released", {"service": key.path}, screen)
        screen.line(f"{key} is released by {room.sync.owner}")
        screen.columns([("no longer marked as ours", str(component)) for component in components], indent=2)
        screen.document(
            {"released": key.path, "owner": str(room.sync.owner), "components": [str(each) for each in components]}
        )
        return FINE

    carry_out(work, as_json=as_json, debug=debug)


async def _owning(house: House, key: ServiceKey) -> Room:
    """The room of the sync that owns *key*. Raises Invalid if none of this configuration does."""
    first = next(iter(house.rooms.values()))
    ledger = (await read_ledgers(first.world.consul, first.world.clock)).read.get(key)
    if ledger is None:
        raise Invalid(f"gitsync has no record of a service {key}. `gitsync status` lists what it has.")
    room = house.rooms.get(Owner.parse(ledger.owner).sync)
    if room is None or str(room.sync.owner) != ledger.owner:
        raise Invalid(f"{key} belongs to {ledger.owner}, which is not in this configuration. Release it there.")
    return room
