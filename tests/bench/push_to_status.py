"""From `git push` to the status `success` on the commit, by webhook: the daemon as it is, a real Consul with a data folder, a
repository behind smart HTTP with TLS, and a host's API on loopback that answers at once. One service of many is changed.

    python -m tests.bench.push_to_status [--services 1000] [--repeat 10]

push      git push itself, from its start until the host has the commit (the host's own work; it is not gitsync's)
hook      from the webhook's first byte to its answer
wake      from there until the run begins
<steps>   of the run, as its page has them
told      from the end of the run until the status is at the host
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.bench.world import GATEWAYS, mixed
from tests.e2e.hosting import Hosting
from tests.servers.consul import ConsulServer, find_consul
from tests.servers.forge import Forge
from tests.servers.git_hosts import GitHttps
from tests.servers.host_api import HostApi
from tests.workbench import Workbench


def main(services: int, repeat: int) -> None:
    """Measure, and print a table."""
    with (
        tempfile.TemporaryDirectory(prefix="gitsync-bench-", ignore_cleanup_errors=True) as folder,
        ConsulServer(find_consul(), durable=True) as consul,
    ):
        root = Path(folder) / "root"
        root.mkdir()
        with GitHttps(root) as git, HostApi(base="/api/v1") as api:
            bench = Workbench(consul, Path(folder) / "bench")
            for number in range(services):
                bench.write(_path(number), mixed(number))
            bench.commit("everything")
            forge = Forge(git, api, bench, "acme/specs")
            site = Hosting(forge)
            site.seconds = 300
            site.settings["gateways"] = {f"tgw-{number}": {} for number in range(GATEWAYS)}
            site.settings["log"]["level"] = "info"
            first = forge.push()
            try:
                site.start()
                site.status(first, "success")
                every = [measured(site, number % services, number + 2) for number in range(-1, repeat)][1:]
            finally:
                site.stop()
    tell(services, every)


PAUSE = 1.0
"""Seconds between a commit and its push: part of what is measured, not a wait for a result. Nobody pushes while the last push is
still being read again; without it every push but the first would be measured behind that."""


def measured(site: Hosting, number: int, changed: int) -> dict[str, float]:
    """One push; seconds of each part."""
    site.bench.write(_path(number), mixed(number, changed))
    site.bench.commit(f"change {number}")
    time.sleep(PAUSE)
    pushing = time.time()
    sha = site.forge.push()
    pushed = time.time()
    site.told(site.forge.pushed(sha))
    answered = time.time()
    said = site.status(sha, "success")
    assert said["description"] == "1 applied", said
    (at,) = [when for commit, body, when in site.forge.posted if commit == sha and body["state"] == "success"]
    (line,) = site.lines(action="run", revision=sha, outcome="applied")
    ended = datetime.fromisoformat(line["time"]).timestamp()
    run = json.loads(site.get(said["target_url"], "application/json")[1])["run"]
    steps = run["steps"] if isinstance(run["steps"], list) else json.loads(run["steps"])
    parts = {"push": pushed - pushing, "hook": answered - pushed, "wake": ended - line["seconds"] - answered}
    parts |= {step["step"]: step["seconds"] for step in steps}
    return {**parts, "told": at - ended, "all but the push": at - pushed, "all": at - pushing}


def tell(services: int, every: list[dict[str, float]]) -> None:
    """The table: medians, and the least and most."""
    print(f"\nFrom git push to success, one of {services:,} services changed, {len(every)} pushes. Milliseconds.\n")
    print(f"{'part':18} {'median':>8} {'least':>8} {'most':>8}")
    for name in every[0]:
        values = [each.get(name, 0.0) * 1000 for each in every]
        print(f"{name:18} {statistics.median(values):8.0f} {min(values):8.0f} {max(values):8.0f}")


def _path(number: int) -> str:
    return f"services/{number // 500}/service-{number}.yaml"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000, help="how many services there are")
    parser.add_argument("--repeat", type=int, default=10, help="how many pushes")
    given = parser.parse_args()
    main(given.services, given.repeat)
