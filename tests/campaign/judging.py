"""Judging: one more clean run after a fault, and the oracle."""

from __future__ import annotations

import time

from tests.campaign.blows import Struck
from tests.campaign.lines import Line
from tests.campaign.site import Site


async def judge(
    site: Site,
    line: Line,
    struck: Struck,
    what: str,
    *,
    elsewhere: bool,
    seen: list[str] | None = None,
    timed: bool = True,
) -> bool:
    """One more clean run, to the same commit or back to the one before, and the oracle; whether the fault had come.

    seen: what was wrong in the middle already, before that run. timed: whether that run's time is the line's.
    """
    wrong = list(seen or ())
    if elsewhere:
        site.turn()
    began = time.monotonic()
    clean = await site.sync()
    if timed:
        line.took(time.monotonic() - began)
    wrong += site.wrong(clean)
    alone = struck.exit == 0
    if alone and not elsewhere and clean.code == 0 and clean.outcome != "unchanged":
        wrong.append(f"the run had exit code 0, and the next one found something to do: {clean.outcome}")
    orphans = site.orphans()
    touched = site.touched()
    came = bool(struck.request) or struck.exit is None
    if not came:
        line.missed += 1  # the run ended before; the oracle held all the same, or says so
    else:
        line.injected += 1
        line.orphans += len(orphans)
        if line.alone is not None:
            line.alone += alone
        line.converged += not wrong
    line.foreign += len(touched)
    if orphans:
        line.notes.append(f"{line.fault}, {what}: a session that ends by its TTL ({struck})")
    if wrong or touched:
        words = "; ".join([*wrong, *(f"touched {name}" for name in touched)])
        back = "then Git went back" if elsewhere else "then the same commit"
        line.failures.append(f"{line.fault}, {what} ({struck}), {back}: {words}")
        await site.mended()
        site.touched()
    elif struck.exit not in (0, None) and line.alone is not None:
        line.notes.append(
            f"healed by the next run: {line.fault}, {what} ({struck}): exit {struck.exit}: {site.said[-300:]}"
        )
    return came
