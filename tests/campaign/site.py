"""Where a campaign takes place: a spec repository with two states, a Consul with strangers in it, and what is asked after a fault."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.nursery import LONGEST, Child, nursery
from tests.campaign.worlds import World, gateways_of
from tests.servers.consul import ConsulServer, Refused, is_agent, quoted
from tests.workbench import Workbench

KINDS = (
    "service-defaults", "service-resolver", "service-router", "service-splitter", "service-intentions",
    "terminating-gateway",
)  # fmt: skip
NAMED = KINDS[:-1]
INDEXES = ("CreateIndex", "ModifyIndex", "Hash")
STRANGERS = 50
TIMEOUT = "2s"
BY_HAND = "by-hand"
"""How the Meta begins that a stranger puts into an entry of ours: it is theirs, and stays."""


@dataclass(frozen=True, slots=True)
class Clean:
    """A run that nothing disturbed, in a process of its own, and the plan after it in words."""

    code: int
    outcome: str = ""
    error: str = ""
    stopped: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    empty: bool = False

    @property
    def fine(self) -> bool:
        return self.code == 0 and self.empty


class Site:
    """One campaign's place. `at`: which of the states Git says.

    instance: whose the syncs are. strangers: whether there are any. without: the safeguard that is taken out of every process
    that is started here.
    """

    def __init__(
        self,
        consul: ConsulServer,
        folder: Path,
        worlds: Iterable[World],
        *,
        instance: str = "test",
        without: str = "",
        timeout: str = TIMEOUT,
    ) -> None:
        self.consul, self.worlds, self.folder = consul, tuple(worlds), folder
        self.bench = Workbench(consul, folder, instance=instance)
        self.bench.policy["prune"] = {"max_count": 50}
        self.without, self.timeout = without, timeout
        self.token = ""
        self.state = "state"
        self.at = 0
        self.trees = [self.tree(world) for world in self.worlds]
        self.strangers: dict[str, int] = {}
        self.guests: dict[str, set[str]] = {}
        """Rows of strangers, by gateway, that come and go in a campaign."""
        self.marked: dict[tuple[str, str], str] = {}
        """Meta that strangers put into entries of ours, by (kind, name)."""
        self.wanted: list[Any] = []
        self.output = folder / "output"
        self.gateways = sorted(set().union(*map(gateways_of, self.worlds)))

    async def prepare(self) -> None:
        """Strangers first, then each state once, by runs that nothing disturbs: what stands there then is what is right."""
        for number in range(STRANGERS):
            self.consul.put_entry("service-defaults", f"stranger-{number}", Protocol="http", Meta={"by": "terraform"})
            self.consul.put_entry("service-resolver", f"stranger-{number}", ConnectTimeout="7s")
            for key in ("a", "b"):
                self.consul.put(f"/v1/kv/strangers/{key}/{number}", "theirs")
        for gateway in self.gateways:
            self.consul.put_entry("terminating-gateway", gateway, Services=[{"Name": "stranger-0", "SNI": "theirs"}])
        self.strangers = self._strangers()
        assert len(self.strangers) == 4 * STRANGERS
        await self.learn()

    async def learn(self) -> None:
        """Go to each state, and note what stands there then; and back to the first."""
        without, self.without = self.without, ""
        for state in range(len(self.worlds)):
            self.turn(state)
            clean = await self.sync()
            assert clean.fine, (clean, self.said)
            self.wanted.append(self.owned())
        self.turn(0)
        clean = await self.sync()
        assert clean.fine, (clean, self.said)
        assert self.owned() == self.wanted[0], "a state is another one the second time"
        self.without = without

    # -- Git

    def tree(self, world: World) -> str:
        """A tree with these specs and no other. The branch does not move."""
        services = self.bench.repo / "services"
        services.mkdir(exist_ok=True)
        for file in services.iterdir():
            file.unlink()
        for name, text in world.items():
            (services / f"{name}.yaml").write_text(text)
        self.bench.git("add", "-A")
        return self.bench.git("write-tree")

    def turn(self, state: int | None = None) -> None:
        """Commit the other state, or *state*."""
        self.at = 1 - self.at if state is None else state
        self.commit(self.trees[self.at], f"state {self.at}")

    def commit(self, tree: str, message: str) -> None:
        made = self.bench.git("commit-tree", tree, "-p", "HEAD", "-m", message)
        self.bench.git("update-ref", "refs/heads/main", made)

    # -- gitsync

    def use(self, address: str) -> Path:
        """Let gitsync speak to *address*; its configuration, as a file."""
        consul: dict[str, Any] = {"address": address, "lock_ttl": "10s", "timeout": self.timeout}
        if self.token:
            secret = self.folder / "token"
            secret.write_text(self.token)
            secret.chmod(0o600)
            consul["token_file"] = str(secret)
        self.bench.address, self.bench.more["consul"] = address, consul
        config = self.folder / "gitsync.json"
        git = {"url": f"file://{self.bench.repo}", "ref": "main", "path": "services"}
        config.write_text(
            json.dumps(
                {
                    "instance": self.bench.instance,
                    "state_dir": str(self.folder / self.state),
                    "consul": consul,
                    "gateway": "tgw",
                    "web": {"listen": "127.0.0.1:0"},
                    "log": {"format": "json", "level": "info"},
                    "syncs": {self.bench.name: {"git": git, "interval": "5s", **self.bench.policy}},
                }
            )
        )
        return config

    async def start(self, address: str) -> Child:
        """`gitsync sync` against *address*, in a process of its own. What it says is `said`."""
        argv = ["sync", "--config", str(self.use(address))]
        return await nursery().start({"argv": argv, "output": str(self.output), "without": self.without})

    async def daemon(self, address: str) -> Child:
        """`gitsync run` against *address*, in a process of its own."""
        argv = ["run", "--config", str(self.use(address))]
        return await nursery().start({"argv": argv, "output": str(self.output), "without": self.without})

    @property
    def said(self) -> str:
        """What the last process said."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    async def sync(self) -> Clean:
        """One run that nothing disturbs, in a process of its own, and a look at the plan after it."""
        told, output = self.folder / "told", self.folder / "clean"
        told.unlink(missing_ok=True)
        config = str(self.use(self.consul.url))
        order = {"config": config, "sync": self.bench.name, "told": str(told), "output": str(output)}
        code = await (await nursery().start({**order, "without": self.without})).ended(LONGEST)
        if code != 0 or not told.exists():
            return Clean(code or 70, error=f"it ended with {code}: {output.read_text(errors='replace')[-400:]}")
        return Clean(**json.loads(told.read_text()))

    # -- what is asked after a fault

    def orphans(self) -> list[str]:
        """Sessions of gitsync that are left; they are ended here, so that each is counted once."""
        left = self.sessions()
        for session in left:
            self.consul.put(f"/v1/session/destroy/{session}")
        return left

    def sessions(self) -> list[str]:
        found = self.consul.get("/v1/session/list", consistent=True)
        return [each["ID"] for each in found if each["Name"].startswith("svc-handler")]

    def wrong(self, clean: Clean) -> list[str]:
        """What is not in order after a run that nothing disturbed, in words; nothing if all is."""
        found: list[str] = []
        if clean.code != 0:
            found.append(f"the clean run ended with {clean.code}: {clean.error} {clean.stopped[:3]}")
        if not clean.empty:
            found.append(f"the plan is not empty: {clean.changes[:5]}")
        found += self.differences()
        found += [f"left: {key}" for key in self.left()]
        found += self.history()
        return found

    def differences(self) -> list[str]:
        """How what stands in Consul differs from what Git wants."""
        return _differences(self.wanted[self.at], self.owned())

    def between(self) -> list[str]:
        """What no reader of Consul may see, not even in the middle of a run."""
        entries = {kind: {each["Name"]: each for each in self.consul.entries(kind)} for kind in KINDS}
        defaults = entries["service-defaults"]
        rows: dict[str, set[str]] = {}
        for gateway, entry in entries["terminating-gateway"].items():
            for row in entry.get("Services") or ():
                rows.setdefault(row["Name"], set()).add(gateway)
        theirs = ("stranger-", "guest-")
        alone = [(f"a row of {name}", name) for name in sorted(rows.keys() - defaults.keys())]
        for kind in NAMED[1:4]:
            alone += [(f"{kind}/{name}", name) for name in sorted(entries[kind].keys() - defaults.keys())]
        found = [f"{what} without its service-defaults" for what, name in alone if not name.startswith(theirs)]
        always = set.intersection(*(set(world) for world in self.worlds))
        found += [f"{name} is behind no gateway" for name in sorted(always - rows.keys())]
        return found

    def touched(self) -> list[str]:
        """Strangers' entries, keys, rows and Meta that are no longer what they were; they are taken as they are from here on."""
        now = self._strangers()
        changed = [name for name in {**self.strangers, **now} if now.get(name) != self.strangers.get(name)]
        self.strangers = now
        for gateway in self.gateways:
            rows = (self.consul.entry("terminating-gateway", gateway) or {}).get("Services") or []
            if not any(row["Name"] == "stranger-0" and row.get("SNI") == "theirs" for row in rows):
                changed.append(f"row of {gateway}")
            there = {row["Name"] for row in rows if row["Name"].startswith("guest-")}
            changed += [f"row {name} of {gateway}" for name in sorted(self.guests.get(gateway, set()) ^ there)]
            self.guests[gateway] = there
        for (kind, name), mark in list(self.marked.items()):
            entry = self.consul.entry(kind, name)
            if entry is None or mark not in (entry.get("Meta") or {}):
                del self.marked[kind, name]
                if entry is not None:
                    changed.append(f"Meta of {kind}/{name}")
        return changed

    def _strangers(self) -> dict[str, int]:
        found = {
            f"{kind}/{entry['Name']}": entry["ModifyIndex"]
            for kind in NAMED
            for entry in self.consul.entries(kind)
            if entry["Name"].startswith("stranger-")
        }
        pairs = self.consul.get("/v1/kv/strangers/", recurse=True, consistent=True) or []
        return found | {f"kv/{pair['Key']}": pair["ModifyIndex"] for pair in pairs}

    def owned(self) -> dict[str, Any]:
        """Everything in Consul but what strangers have, without its indexes: entries, nodes with their services, names of records."""
        found: dict[str, Any] = {}
        for kind in KINDS:
            for entry in self.consul.entries(kind):
                if not entry["Name"].startswith("stranger-"):
                    found[f"{kind}/{entry['Name']}"] = _ours(entry)
        for node in self.consul.get("/v1/catalog/nodes", consistent=True):
            if not is_agent(node):
                there = self.consul.get(f"/v1/catalog/node/{quoted(node['Node'])}", consistent=True) or {"Services": {}}
                found[f"node/{node['Node']}"] = [
                    node["Address"],
                    node["Meta"],
                    [
                        (each["Service"], each["Address"], each["Port"], each["Meta"])
                        for each in there["Services"].values()
                    ],
                ]
        for key in self.consul.keys("svc-handler/"):
            if not key.startswith("svc-handler/locks/") and "/holders/" not in key:
                found[key] = True
        return found

    def left(self) -> list[str]:
        """Locks, holder records and unfinished ledgers."""
        left = []
        for pair in self.consul.get("/v1/kv/svc-handler/", recurse=True, consistent=True) or []:
            key = pair["Key"]
            if key.startswith("svc-handler/locks/") or (key.startswith("svc-handler/owners/") and "/holders/" in key):
                left.append(key)
            if key.startswith("svc-handler/ledger/"):
                ledger = json.loads(base64.b64decode(pair["Value"]))
                unfinished = [each for each in ledger["components"] if each["state"] != "written"]
                if ledger["state"] != "applied" or unfinished:
                    left.append(f"{key} ({ledger['state']}, {len(unfinished)} components not written)")
        return left

    def history(self) -> list[str]:
        """Runs in the history that have not one beginning and one end."""
        with closing(sqlite3.connect(self.folder / self.state / "gitsync.db")) as database:
            unended = database.execute("select id from runs where finished is null or outcome is null").fetchall()
            twice = database.execute(
                "select run from outbox where event = 'run-finished' group by run having count(*) > 1"
            ).fetchall()
            unborn = database.execute(
                "select run from outbox where event = 'run-finished' and run not in (select id from runs)"
            ).fetchall()
        words = {"has no end": unended, "has two ends": twice, "has an end and no beginning": unborn}
        return [f"run {run} {word}" for word, rows in words.items() for (run,) in rows]

    async def mended(self) -> None:
        """What was left by one fault is not to be counted for the next one."""
        without, self.without = self.without, ""
        for state in (1 - self.at, self.at):
            self.turn(state)
            await self.sync()
        # What gitsync cannot know to be its own, because a victim without a safeguard forgot it, is taken away by hand.
        for gateway in self.gateways:
            rows = (self.consul.entry("terminating-gateway", gateway) or {}).get("Services") or []
            wanted = (self.wanted[self.at].get(f"terminating-gateway/{gateway}") or {}).get("Services") or []
            names = {row["Name"] for row in wanted}
            for row in rows:
                theirs = row["Name"].startswith(("stranger-", "guest-"))
                if row["Name"] not in names and not theirs:
                    self.row(gateway, row["Name"], present=False)
        self.without = without

    # -- what strangers do

    def row(self, gateway: str, name: str, *, present: bool) -> None:
        """A stranger adds a row of a gateway or takes it away, by compare-and-set."""
        while True:
            entry = self.consul.entry("terminating-gateway", gateway) or {"ModifyIndex": 0, "Services": []}
            rows = [row for row in entry["Services"] or [] if row["Name"] != name]
            if present:
                rows.append({"Name": name, "SNI": "theirs"})
            try:
                self.rewrite("terminating-gateway", gateway, {**entry, "Services": rows})
            except Refused:
                continue
            return

    def rewrite(self, kind: str, name: str, entry: Mapping[str, Any]) -> None:
        """Write *entry* as it was read and changed. Raises Refused if it is another one by now."""
        body = {key: value for key, value in entry.items() if key not in INDEXES}
        self.consul.put("/v1/config", {**body, "Kind": kind, "Name": name}, cas=entry["ModifyIndex"])


def _ours(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without its indexes, and without what strangers put into it."""
    ours = {key: value for key, value in entry.items() if key not in INDEXES}
    if ours.get("Meta"):
        ours["Meta"] = {key: value for key, value in ours["Meta"].items() if not key.startswith(BY_HAND)}
    if ours.get("Services"):
        ours["Services"] = [row for row in ours["Services"] if not row["Name"].startswith("guest-")]
    return ours


def _differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    other = [key for key in wanted.keys() & found.keys() if wanted[key] != found[key]]
    words = {"missing": missing, "too much": extra, "different": other}
    return [f"{word}: {', '.join(sorted(keys)[:4])}" for word, keys in words.items() if keys]
