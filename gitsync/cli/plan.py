"""`gitsync plan`: what a run would change, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import carry_out, settings_of, together
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json, Syncs
from gitsync.cli.screen import Screen, error_as_json
from gitsync.cli.telling import plan_code, tell_plan
from gitsync.cli.watching import Watching
from gitsync.core.describe import plan_as_json
from gitsync.model.errors import GitsyncError
from gitsync.model.sync import Options


def plan(
    syncs: Syncs = None,
    rev: Annotated[
        str, typer.Option("--rev", metavar="SHA", help="Plan this commit instead of the newest.", show_default=False)
    ] = "",
    path: Annotated[
        Path | None,
        typer.Option(
            "--path",
            metavar="DIR",
            exists=True,
            help="Plan the specs of this folder instead of the repository's, as they stand there now.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="List every service of a large plan, and all there is to know of those that stay as they are.",
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a run would change in Consul, and change nothing.

    Each change comes with its fields, before and after, and with what a client will notice. Deletes that wait for an
    approval are listed with the command that approves them. The digest names exactly these changes:
    `gitsync sync payments --expect DIGEST` goes on only while it is still the same.

    Examples:

      gitsync plan
      gitsync plan payments --rev 4f5c1de0a1b2c3d4e5f60718293a4b5c6d7e8f90
      gitsync plan payments --path ./services

    Exit code 0 if there is nothing to do, 2 if there are changes, 3 if a spec is refused, 4 if something is held or in
    conflict.
    """
    if rev and path:
        raise typer.BadParameter("--rev and --path exclude each other: a folder has no commits.")

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        names = chosen(syncs, settings.syncs)
        if (rev or path) and len(names) > 1:
            raise typer.BadParameter(f"--rev and --path are for one sync. Name it: {', '.join(names)}.")
        codes, documents = [], []
        async with wire.opened(settings, said=screen.warn) as house:
            for name in names:
                room = house.room(name)
                try:
                    with Watching(screen, name) as watching:
                        seen = await room.plan(
                            Options(trigger="plan", rev=rev), watching, directory=path, defaults=house.defaults
                        )
                except GitsyncError as error:
                    screen.fail(f"{name}: {error}")
                    codes.append(error.exit_code)
                    documents.append({"sync": name, "error": error_as_json(error)})
                    continue
                codes.append(plan_code(seen))
                documents.append({"sync": name, **plan_as_json(seen.plan, redact=room.sync.redact)})
                tell_plan(screen, room.sync, seen, full=full)
        screen.document({"plans": documents})
        return together(codes)

    carry_out(work, as_json=as_json, debug=debug)
