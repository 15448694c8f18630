"""The peak memory of gitsync in a process of its own, which runs three times. What it is told comes by its standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from gitsync.model.run import RunOutcome
from gitsync.model.sync import Options
from gitsync.wire import Silent
from tests.bench.world import Specs
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench

ROOT = Path(__file__).resolve().parents[2]


def peak() -> float:
    """The most that this process ever held, in MB. ru_maxrss would be that of the process which started it, if that is more."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


async def three_runs(consul: ConsulServer, folder: Path, specs: Specs, *, changed: int) -> list[float]:
    """MB after a first sync, after a run without changes, and after one with one changed file."""
    given = json.dumps({"url": consul.url, "folder": str(folder), "repo": str(specs.repo), "git": specs.url})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.memory", given,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    peaks = []
    for number in range(3):
        if number == 2:
            specs.write(2, changed=changed)
            specs.pushed("one file")
        process.stdin.write(b"go\n")
        peaks.append(float(await process.stdout.readline()))
    process.stdin.close()
    assert await process.wait() == 0
    return peaks


@dataclass(frozen=True, slots=True)
class At:
    """A Consul that somebody else started."""

    url: str


async def main(given: dict[str, str]) -> None:
    bench = Workbench(At(given["url"]), Path(given["folder"]), repo=Path(given["repo"]))
    bench.git_settings = {"url": given["git"]}
    bench.more = {"consul": {"address": given["url"]}}
    async with bench.house() as house:
        room = house.room(bench.name)
        for expected in (RunOutcome.APPLIED, RunOutcome.UNCHANGED, RunOutcome.APPLIED):
            await asyncio.to_thread(sys.stdin.readline)
            report = await room.run(Options(trigger="bench"), Silent())
            assert report.outcome is expected, (report.outcome, report.error)
            print(peak(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
