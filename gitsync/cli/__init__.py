"""The command line: Typer and Rich, one file a command. `main` is its entry point."""

from __future__ import annotations

from gitsync.cli.app import main

__all__ = ["main"]
