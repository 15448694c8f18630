"""`gitsync adopt`: take over what stands in Consul already."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import CHANGES, carry_out, settings_of
from gitsync.cli.choice import service_key, the_one
from gitsync.cli.options import Config, Debug, Json, OneSync
from gitsync.cli.screen import Screen
from gitsync.cli.telling import tell_plan, tell_report
from gitsync.cli.watching import Watching
from gitsync.core.describe import report_as_json
from gitsync.model.errors import Invalid
from gitsync.model.key import Owner
from gitsync.model.run import exit_code
from gitsync.model.sync import Options


def adopt(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="The services to take over.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every service that the sync's specs name.")] = False,
    take_from: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="OWNER",
            help="Take it from this owner: instance/sync of another gitsync, or an external-source such as kubernetes. "
            "Without it, only what carries no owner mark is taken.",
            show_default=False,
        ),
    ] = "",
    sync: OneSync = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Take over services that stand in Consul already and that a spec of the sync names.

    The plan is shown first, and on a terminal you are asked. What was there is kept, and `gitsync show NAME` shows it. The
    run that follows applies the whole sync.

    Examples:

      gitsync adopt pay refunds --sync payments
      gitsync adopt --all --from old-instance/payments --sync payments
    """
    if bool(names) == everything:
        raise typer.BadParameter("Name the services, or say --all: one of the two.")
    owner = _owner(take_from)

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        room_name = the_one(sync, settings.syncs, "a service is adopted by one sync")
        async with wire.opened(settings, said=screen.warn) as house:
            room = house.room(room_name)
            keys = frozenset(service_key(name, house.defaults) for name in names or ())
            options = Options(trigger="adopt", adopt=keys, adopt_all=everything, adopt_from=owner)
            with Watching(screen, room_name) as watching:
                seen = await room.plan(options, watching, defaults=house.defaults)
            if unknown := sorted(keys - seen.plan.services.keys()):
                raise Invalid(
                    f"no spec of {room.sync.owner} names {', '.join(map(str, unknown))}: only what a spec wants can be adopted. "
                    "Commit the spec first."
                )
            tell_plan(screen, room.sync, seen)
            if not yes and sys.stdin.isatty() and screen.err.is_terminal and not _asked():
                screen.note("nothing was changed")
                screen.document({"runs": []})
                return CHANGES
            expected = replace(options, expect=seen.plan.digest)
            with Watching(screen, room_name) as watching:
                report = await room.run(expected, watching)
        tell_report(screen, room.sync, report)
        screen.document({"runs": [report_as_json(report, redact=room.sync.redact)]})
        return exit_code(report)

    carry_out(work, as_json=as_json, debug=debug)


def _asked() -> bool:
    """Whether the person at the terminal says yes. Ctrl-C ends the command at once, although the event loop would wait."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm("Go on?", err=True)
    finally:
        signal.signal(signal.SIGINT, before)


def _owner(text: str) -> str:
    """`instance/sync`, or an external-source as it stands. Raises a usage error."""
    if "/" in text:
        try:
            Owner.parse(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is no owner. Write instance/sync.", param_hint="--from") from None
    return text
