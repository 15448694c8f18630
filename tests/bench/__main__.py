"""How fast a sync is, as ratios to the bare Consul in the same run.

usage: make bench [BENCH_ARGS="--services 1000,10000 --repeat 3 --only first,nochange --json FILE"]
       make bench BENCH_ARGS="--profile"
GITSYNC_TEST_CONSUL names the Consul, else it is Debian's. docs/performance.md says what each line is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from tests.bench import profiling
from tests.bench.lines import KEYS, Plan, measure
from tests.bench.table import Line, growth, report
from tests.servers.consul import find_consul, version_of

FEW_REPETITIONS = 5000
"""From so many services on, what needs a fresh Consul is measured once unless --repeat says otherwise."""


def keys(text: str) -> frozenset[str]:
    named = frozenset(text.replace(" ", "").split(","))
    if unknown := named - set(KEYS):
        raise argparse.ArgumentTypeError(f"there is no line {', '.join(sorted(unknown))}; there is {', '.join(KEYS)}")
    return named


def sizes(text: str) -> list[int]:
    found = [int(each) for each in text.split(",")]
    if min(found) < 20:
        raise argparse.ArgumentTypeError("at least 20 services: a tenth of them is pruned three times")
    return found


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--services", type=sizes, default=[1000], metavar="N,…", help="how many services (default 1000)")
    add(
        "--repeat",
        type=int,
        help="how often what needs a fresh Consul is measured (default 3; 1 from 5,000 services on)",
    )
    add("--light", type=int, default=5, help="how often all the rest is measured (default 5)")
    add("--only", type=keys, default=frozenset(KEYS), metavar="LINE,…", help=f"of {', '.join(KEYS)}")
    add("--json", type=Path, metavar="FILE", help="write the figures there, too")
    add("--in-memory", action="store_true", help="a Consul without a data folder: to try the bench, not for figures")
    add("--profile", action="store_true", help="say instead where the CPU goes")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table for each size."""
    given = parsed(arguments)
    binary = find_consul()
    version = ".".join(map(str, version_of(binary)))
    measured: list[list[Line]] = []
    for services in given.services:
        began = time.monotonic()
        repeat = given.repeat or (1 if services >= FEW_REPETITIONS else 3)
        with tempfile.TemporaryDirectory(prefix="gitsync-bench-", ignore_cleanup_errors=True) as folder:
            plan = Plan(services, repeat, given.light, given.only, binary, Path(folder), durable=not given.in_memory)
            if given.profile:
                print(asyncio.run(profiling.profiles(plan)), flush=True)
                continue
            try:
                asyncio.run(measure(plan))
            finally:  # where a line breaks, those before it are still worth something
                seconds = time.monotonic() - began
                where = f"Consul {version}, Python {platform.python_version()}, {os.cpu_count()} cores, {seconds:.0f} s in all"
                print(f"\n{services:,} services, {where}. Median (least – most).\n")
                print(report(plan.measured), flush=True)
        measured.append(plan.measured)
    for small, large in pairwise(measured):
        print("\n" + growth(small, large), flush=True)
    if given.json:
        figures = {"consul": version, "lines": [line.as_json() for lines in measured for line in lines]}
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
