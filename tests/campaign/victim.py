"""What the processes of a campaign do: gitsync's own command line, or a clean run with a look at the plan after it."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401
import contextlib
import encodings.idna  # noqa: F401 (imported here, like what has no use below, so that no victim has to)
import json
import stringprep  # noqa: F401
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiosqlite  # noqa: F401
import sqlalchemy.dialects.sqlite.aiosqlite
import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401
import typer.main

from gitsync.cli import app
from gitsync.core.load import parse_file
from gitsync.model.errors import GitsyncError
from gitsync.model.run import Outcome, exit_code
from gitsync.model.sync import Options
from gitsync.settings import Settings, load_settings
from gitsync.store import Store
from gitsync.wire import Silent, opened, spec_defaults
from tests.campaign.without import take_out
from tests.workbench import external


def obey(order: Mapping[str, Any]) -> int:
    """Do what *order* says, without the safeguard that it names; the exit code.

    argv: the command line of `gitsync`. Without it: one run of `sync` in `config`, and then the plan, told as JSON.
    """
    if order.get("without"):
        take_out(order["without"])
    if order.get("argv"):
        return _command(order["argv"])
    try:
        told = asyncio.run(_clean(order["config"], order["sync"]))
    except GitsyncError as error:
        told = {"code": error.exit_code, "error": f"could not begin: {error}"}
    Path(order["told"]).write_text(json.dumps(told))
    return 0


def warm_up() -> None:
    """Do once what every process does first, so that those that are forked from here find it done: nothing of it stays open."""
    with tempfile.TemporaryDirectory() as folder:
        config, git = Path(folder) / "gitsync.json", {"url": "file:///nowhere", "ref": "main", "path": "services"}
        config.write_text(json.dumps({"instance": "warm", "state_dir": folder, "syncs": {"warm": {"git": git}}}))
        settings = load_settings(config, {})

        async def history() -> None:
            async with Store.open(settings.store) as store:
                await store.begin_run(run="1", sync="warm", revision="", trigger="", started="2026-01-01T00:00:00Z")
                with contextlib.suppress(GitsyncError):  # nobody listens there
                    async with opened(replace_address(settings)):
                        pass

        asyncio.run(history())
        parse_file("services/warm.yaml", external("warm").encode(), defaults=spec_defaults(settings))
    typer.main.get_command(app.app)


def replace_address(settings: Settings) -> Settings:
    """The same settings with a Consul where nobody listens."""
    return settings.model_copy(update={"consul": settings.consul.model_copy(update={"address": "http://127.0.0.1:9"})})


def _command(argv: list[str]) -> int:
    sys.argv = ["gitsync", *argv]
    try:
        app.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


async def _clean(config: str, sync: str) -> dict[str, Any]:
    settings = load_settings(Path(config), {})
    async with opened(settings) as house:
        done = await house.room(sync).run(Options(), Silent())
    async with opened(settings) as house:  # with nothing that the run may have remembered
        plan = (await house.room(sync).plan(Options(), Silent(), defaults=house.defaults)).plan
    return {
        "code": exit_code(done),
        "outcome": str(done.outcome),
        "error": str(done.error or ""),
        "stopped": [
            f"{each.key.name}: {each.outcome} {each.step or ''}: {each.message}"
            for each in done.services
            if each.step or each.outcome not in (Outcome.APPLIED, Outcome.UNCHANGED)
        ],
        "changes": [str(key) for key, each in plan.services.items() if each.changes] if not plan.empty else [],
        "empty": plan.empty,
    }
