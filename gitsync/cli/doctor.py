"""`gitsync doctor`: is everything there that a run needs, and may we do what we must?"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, settings_of, together
from gitsync.cli.checks import Check, State, failed
from gitsync.cli.checkup import examine
from gitsync.cli.choice import chosen
from gitsync.cli.options import Config, Debug, Json, Syncs
from gitsync.cli.screen import Screen, number
from gitsync.model.errors import Invalid

TONES = {State.OK: "good", State.WARNING: "wait", State.WRONG: "bad"}


def doctor(syncs: Syncs = None, config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """Look at everything that a run needs, and say what is wrong and what to do.

    The configuration, the repositories with their credentials, the keys that commits are signed with, the Git hosts, Consul
    and what the token may do there, and the history; and when credentials end. Nothing is written. Ask as the user that the
    daemon runs as: what that one may read is what counts.

    Example:

      gitsync doctor

    Exit code 0 if all is well or there are only warnings, else that of the worst thing that is wrong.
    """

    async def work(screen: Screen) -> int:
        warnings: list[str] = []
        found: list[Check] = []

        def tell(check: Check) -> None:
            found.append(check)
            where = f"{check.area} {check.about}".strip()
            screen.line((f"{check.state:<8}", TONES[check.state]), f"{where:<24} ", check.message)
            if check.hint:
                screen.line((f"{'':<33}→ {check.hint}", "quiet"))

        try:
            settings = settings_of(config, warnings.append)
            names = chosen(syncs, settings.syncs)
        except Invalid as error:
            tell(failed("configuration", "", error))
        else:
            async with wire.hosts_of(settings) as hosts:
                async for check in examine(settings, names, hosts, warnings, now=datetime.now(UTC)):
                    tell(check)
        wrong = [check for check in found if check.state is State.WRONG]
        doubtful = sum(check.state is State.WARNING for check in found)
        screen.line(f"{number(len(found), 'check')}: {len(wrong)} wrong, {number(doubtful, 'warning')}")
        screen.document({"ok": not wrong, "checks": [asdict(check) for check in found]})
        return together(check.exit_code for check in wrong) if wrong else FINE

    carry_out(work, as_json=as_json, debug=debug)
