"""`gitsync sync`: one run now, of one sync or of all."""

from __future__ import annotations

from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import carry_out, settings_of, together
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json, Syncs
from gitsync.cli.screen import Screen
from gitsync.cli.telling import tell_report
from gitsync.cli.watching import Watching
from gitsync.core.describe import report_as_json
from gitsync.model.run import exit_code
from gitsync.model.sync import Options


def sync(
    syncs: Syncs = None,
    expect: Annotated[
        str,
        typer.Option(
            "--expect", metavar="DIGEST", help="Go on only if the plan still has this digest.", show_default=False
        ),
    ] = "",
    rev: Annotated[
        str,
        typer.Option(
            "--rev", metavar="SHA", help="Go to this commit, and stay there until `gitsync resume`.", show_default=False
        ),
    ] = "",
    accept_rewrite: Annotated[
        str,
        typer.Option(
            "--accept-rewrite",
            metavar="SHA",
            help="The branch was rewritten, and this commit is right.",
            show_default=False,
        ),
    ] = "",
    accept_lineage: Annotated[
        bool,
        typer.Option(
            "--accept-lineage", help="The sync now follows another repository, ref or path, and that is meant."
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring Consul to what the repository says, once.

    What can be done is done: a spec that is refused, or a service that somebody else owns, stops only itself. The run ends
    when Consul was read back and nothing is left to do.

    Examples:

      gitsync sync
      gitsync sync payments --expect 3f9a0c1d22e4
      gitsync sync payments --rev 4f5c1de0a1b2c3d4e5f60718293a4b5c6d7e8f90

    Exit code 0 if all is as it should be, 3 if a spec is refused, 4 if something is held, busy or in conflict, 5 if Consul
    refuses, 6 if something did not answer.
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        names = chosen(syncs, settings.syncs)
        if (expect or rev or accept_rewrite or accept_lineage) and len(names) > 1:
            raise typer.BadParameter(
                f"--expect, --rev, --accept-rewrite and --accept-lineage are for one sync. Name it: {', '.join(names)}."
            )
        options = Options(
            trigger="cli", rev=rev, expect=expect, accept_rewrite=accept_rewrite, accept_lineage=accept_lineage
        )
        codes, documents = [], []
        async with wire.opened(settings, said=screen.warn) as house:
            for name in names:
                room = house.room(name)
                with Watching(screen, name) as watching:
                    report = await room.run(options, watching)
                codes.append(exit_code(report))
                documents.append(report_as_json(report, redact=room.sync.redact))
                tell_report(screen, room.sync, report)
        screen.document({"runs": documents})
        return together(codes)

    carry_out(work, as_json=as_json, debug=debug)
