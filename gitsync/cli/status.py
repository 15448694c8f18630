"""`gitsync status`: where every sync stands."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gitsync import wire
from gitsync.cli.call import carry_out, settings_of, together
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json, Syncs
from gitsync.cli.screen import Cell, Screen, error_as_json, short
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
        settings = settings_of(config, screen)
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
                holds, last = await _recorded(house, name, screen)
                document = _document(room, found, holds, last)
                documents.append(document)
                _tell(screen, document)
        screen.document({"syncs": documents})
        return together(codes)

    carry_out(work, as_json=as_json, debug=debug)
