"""Where a campaign takes place: a spec repository with two states, a Consul with strangers in it, and what is asked after a fault."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from gitsync.model.errors import GitsyncError
from gitsync.model.run import RunReport, exit_code
from tests.campaign.worlds import World
from tests.servers.consul import ConsulServer, is_agent, quoted
from tests.workbench import Workbench

KINDS = (
    "service-defaults", "service-resolver", "service-router", "service-splitter", "service-intentions",
    "terminating-gateway",
)  # fmt: skip
INDEXES = ("CreateIndex", "ModifyIndex", "Hash")
STRANGERS = 50
TIMEOUT = "2s"


class Site:
    """One campaign's place. `at`: which of the two states Git says (0 or 1)."""

    def __init__(self, consul: ConsulServer, folder: Path, worlds: tuple[World, World]) -> None:
        self.consul, self.worlds, self.folder = consul, worlds, folder
        self.bench = Workbench(consul, folder)
        self.bench.policy["prune"] = {"max_count": 50}
        self.at = 0
        self._trees: list[str] = []
        self.strangers: dict[str, int] = {}
        for there, world in zip(({}, worlds[0]), worlds, strict=True):
            self.bench.remove(*(f"services/{name}.yaml" for name in there.keys() - world.keys()))
            self.bench.commit(**world)
            self._trees.append(self.bench.git("rev-parse", "HEAD^{tree}"))
        self.wanted: list[Any] = []
        self.report = folder / "report"

    async def prepare(self) -> None:
        """Strangers first, then each state once, by runs that nothing disturbs: what stands there then is what is right."""
        for number in range(STRANGERS):
            self.consul.put_entry("service-defaults", f"stranger-{number}", Protocol="http", Meta={"by": "terraform"})
            self.consul.put_entry("service-resolver", f"stranger-{number}", ConnectTimeout="7s")
            for key in ("a", "b"):
                self.consul.put(f"/v1/kv/strangers/{key}/{number}", "theirs")
        for gateway in ("tgw", "tgw-2"):
            self.consul.put_entry("terminating-gateway", gateway, Services=[{"Name": "stranger-0", "SNI": "theirs"}])
        self.strangers = self._strangers()
        assert len(self.strangers) == 4 * STRANGERS
        for state in (0, 1):
            self.turn(state)
            report = await self.sync()
            assert exit_code(report) == 0, report
            self.wanted.append(self._owned())
        self.turn(0)
        assert exit_code(await self.sync()) == 0
        assert self._owned() == self.wanted[0], "a state is another one the second time"

    # -- Git

    def turn(self, state: int | None = None) -> None:
        """Commit the other state, or *state*."""
        self.at = 1 - self.at if state is None else state
        made = self.bench.git("commit-tree", self._trees[self.at], "-p", "HEAD", "-m", f"state {self.at}")
        self.bench.git("update-ref", "refs/heads/main", made)

    # -- gitsync

    def use(self, address: str) -> Path:
        """Let gitsync speak to *address*; its configuration, as a file."""
        self.bench.address = address
        self.bench.more["consul"] = {"address": address, "lock_ttl": "10s", "timeout": TIMEOUT}
        config = self.folder / "gitsync.json"
        git = {"url": f"file://{self.bench.repo}", "ref": "main", "path": "services"}
        config.write_text(
            json.dumps(
                {
                    "instance": self.bench.instance,
                    "state_dir": str(self.folder / "state"),
                    "consul": self.bench.more["consul"],
                    "gateway": "tgw",
                    "syncs": {self.bench.name: {"git": git, **self.bench.policy}},
                }
            )
        )
        return config

    async def sync(self) -> RunReport:
        """One run that nothing disturbs."""
        self.use(self.consul.url)
        return await self.bench.sync()

    # -- what is asked after a fault

    def orphans(self) -> list[str]:
        """Sessions of gitsync that are left; they are ended here, so that each is counted once."""
        left = []
        for each in self.consul.get("/v1/session/list"):
            if each["Name"].startswith("svc-handler"):
                left.append(each["ID"])
                self.consul.put(f"/v1/session/destroy/{each['ID']}")
        return left

    async def wrong(self, report: RunReport | GitsyncError) -> list[str]:
        """What is not in order after a run that nothing disturbed, in words; nothing if all is."""
        found: list[str] = []
        if isinstance(report, GitsyncError):
            found.append(f"the clean run could not begin: {report}")
        elif exit_code(report) != 0:
            stopped = [f"{each.key.name}: {each.step}: {each.message}" for each in report.services if each.step]
            found.append(f"the clean run ended with {exit_code(report)}: {report.error} {stopped[:3]}")
        plan = (await self.bench.plan()).plan
        if not plan.empty:
            changed = [str(key) for key, each in plan.services.items() if each.changes]
            found.append(f"the plan is not empty: {changed[:5]}")
        found += _differences(self.wanted[self.at], self._owned())
        found += [f"left: {key}" for key in self._left()]
        found += self._history()
        return found

    def touched(self) -> list[str]:
        """Strangers' entries, keys and rows that are no longer what they were; they are taken as they are from here on."""
        now = self._strangers()
        changed = [name for name in {**self.strangers, **now} if now.get(name) != self.strangers.get(name)]
        self.strangers = now
        for gateway in ("tgw", "tgw-2"):
            rows = (self.consul.entry("terminating-gateway", gateway) or {}).get("Services") or []
            if not any(row["Name"] == "stranger-0" and row.get("SNI") == "theirs" for row in rows):
                changed.append(f"row of {gateway}")
        return changed

    def _strangers(self) -> dict[str, int]:
        found = {
            f"{kind}/{entry['Name']}": entry["ModifyIndex"]
            for kind in KINDS
            for entry in self.consul.entries(kind)
            if entry["Name"].startswith("stranger-")
        }
        pairs = self.consul.get("/v1/kv/strangers/", recurse=True) or []
        return found | {f"kv/{pair['Key']}": pair["ModifyIndex"] for pair in pairs}

    def _owned(self) -> dict[str, Any]:
        """Everything in Consul but strangers, without its indexes: entries, nodes with their services, names of records."""
        found: dict[str, Any] = {}
        for kind in KINDS:
            for entry in self.consul.entries(kind):
                if not entry["Name"].startswith("stranger-"):
                    found[f"{kind}/{entry['Name']}"] = {k: v for k, v in entry.items() if k not in INDEXES}
        for node in self.consul.get("/v1/catalog/nodes", consistent=True):
            if not is_agent(node):
                services = self.consul.get(f"/v1/catalog/node/{quoted(node['Node'])}", consistent=True)["Services"]
                found[f"node/{node['Node']}"] = [
                    node["Address"],
                    node["Meta"],
                    [(each["Service"], each["Address"], each["Port"], each["Meta"]) for each in services.values()],
                ]
        for key in self.consul.keys("svc-handler/"):
            if not key.startswith("svc-handler/locks/") and "/holders/" not in key:
                found[key] = True
        return found

    def _left(self) -> list[str]:
        left = self.consul.keys("svc-handler/locks/")
        left += [key for key in self.consul.keys("svc-handler/owners/") if "/holders/" in key]
        for pair in self.consul.get("/v1/kv/svc-handler/ledger/", recurse=True) or []:
            ledger = json.loads(base64.b64decode(pair["Value"]))
            unfinished = [each for each in ledger["components"] if each["state"] != "written"]
            if ledger["state"] != "applied" or unfinished:
                left.append(f"{pair['Key']} ({ledger['state']}, {len(unfinished)} components not written)")
        return left

    def _history(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "state" / "gitsync.db")) as database:
            unended = database.execute("select id from runs where finished is null or outcome is null").fetchall()
            twice = database.execute(
                "select run from outbox where event = 'run-finished' group by run having count(*) > 1"
            ).fetchall()
            unborn = database.execute(
                "select run from outbox where event = 'run-finished' and run not in (select id from runs)"
            ).fetchall()
        words = {"has no end": unended, "has two ends": twice, "has an end and no beginning": unborn}
        return [f"run {run} {word}" for word, rows in words.items() for (run,) in rows]


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    other = [key for key in wanted.keys() & found.keys() if wanted[key] != found[key]]
    words = {"missing": missing, "too much": extra, "different": other}
    return [f"{word}: {', '.join(sorted(keys)[:4])}" for word, keys in words.items() if keys]
