"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

COMMON = "Common options"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration. Default: $GITSYNC_CONFIG, else gitsync.yaml.",
        rich_help_panel=COMMON,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.", rich_help_panel=COMMON)]
Debug = Annotated[
    bool, typer.Option("--debug", help="Log everything, and show the traceback of a bug.", rich_help_panel=COMMON)
]
Syncs = Annotated[
    list[str] | None, typer.Argument(metavar="SYNC", help="Names of syncs. Default: all.", show_default=False)
]
OneSync = Annotated[
    str | None,
    typer.Option("--sync", metavar="SYNC", help="Which sync. Needed where there are several.", show_default=False),
]
Rev = Annotated[str, typer.Option("--rev", metavar="SHA", help="A full commit SHA.", show_default=False)]
