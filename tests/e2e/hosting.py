"""`gitsync run` as a process of its own between a Git host and Consul, told by webhooks, and what it says at the host."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.servers import free_ports, wait_for
from tests.servers.forge import API_TOKEN, SECRET, Forge
from tests.servers.git_hosts import TOKEN, USER
from tests.workbench import external

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 25
"""How long anything may take on a machine that is busy with other tests."""


class Hosting:
    """The daemon, its configuration and its log. It listens on a port that stays over a restart."""

    def __init__(self, forge: Forge, *, interval: str = "1h", sync: Mapping[str, Any] | None = None) -> None:
        self.forge, self.bench = forge, forge.bench
        (self.port,) = free_ports(1)
        self.folder = self.bench.folder
        self.config = self.folder / "gitsync.json"
        self.log_file = self.folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.seconds: float = SECONDS
        for name, secret in (("git-token", TOKEN), ("api-token", API_TOKEN), ("hook-secret", SECRET)):
            (self.folder / name).write_text(secret + "\n")
            (self.folder / name).chmod(0o600)
        self.settings: dict[str, Any] = {
            "instance": self.bench.instance,
            "state_dir": str(self.folder / "state"),
            "consul": {"address": self.bench.address, "lock_ttl": "10s"},
            "gateway": "tgw",
            "web": {"listen": f"127.0.0.1:{self.port}", "public_url": self.url},
            "log": {"format": "json", "level": "debug"},
            "syncs": {
                self.bench.name: {
                    "git": {
                        "url": forge.url,
                        "ref": "main",
                        "path": "services",
                        "username": USER,
                        "token_file": str(self.folder / "git-token"),
                        "ca_file": str(forge.git.ca_file),
                    },
                    "host": {
                        "kind": "gitea",
                        "api_url": forge.api.origin,
                        "repo": forge.name,
                        "token_file": str(self.folder / "api-token"),
                        "webhook_secret_files": [str(self.folder / "hook-secret")],
                    },
                    "interval": interval,
                    **(sync or {}),
                }
            },
        }

    # -- the process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Hosting:
        """Start it, and wait until it is served."""
        self.config.write_text(json.dumps(self.settings))
        before = self.log.count('"ready to run"')
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gitsync", "run", "--config", str(self.config)],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.until(lambda: self.log.count('"ready to run"') > before, "the start")
        return self

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End it in order, if it runs."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """The lines of the log with these fields."""
        said = [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in said if all(line.get(name) == value for name, value in fields.items())]

    def until(self, condition: Callable[[], T], what: str) -> T:
        """The first true answer of *condition*."""

        def alive() -> T:
            assert self.process is None or self.process.poll() is None, f"it ended: {self.log}"
            return condition()

        try:
            return wait_for(alive, what, seconds=self.seconds)
        except TimeoutError as error:
            said = json.dumps([(sha[:12], body) for sha, body, _ in self.forge.posted], indent=1)
            raise AssertionError(f"{error}\nstatuses: {said}\nlog: {self.log[-6000:]}") from error

    def logged(self, **fields: Any) -> dict[str, Any]:
        """The first line with these fields."""
        return self.until(lambda: self.lines(**fields), f"a line with {fields}")[0]

    # -- the host

    def context(self, what: str = "apply") -> str:
        return f"gitsync/{what}/{self.bench.instance}/{self.bench.name}"

    def told(self, hook: tuple[str, dict[str, Any]]) -> None:
        """Deliver a webhook, which is taken."""
        assert self.forge.deliver(self.port, hook) == 202

    def pushed(self, **files: str) -> str:
        """Commit, push and tell of it; the commit."""
        self.bench.commit(**files)
        return self.push()

    def push(self) -> str:
        """Push what is checked out to main, and tell of it."""
        sha = self.forge.push()
        self.told(self.forge.pushed(sha))
        return sha

    def status(self, sha: str, state: str, what: str = "apply") -> dict[str, Any]:
        """The status of *sha*, as soon as the newest one is *state*."""

        def there() -> dict[str, Any] | None:
            said = self.forge.said(sha, self.context(what))
            return said[-1] if said and said[-1]["state"] == state else None

        found = self.until(there, f"the {what} status of {sha[:12]} being {state}")
        assert found is not None
        return found

    def plan(self, sha: str, state: str = "success") -> dict[str, Any]:
        return self.status(sha, state, "plan")

    def states(self, sha: str, what: str = "apply") -> list[str]:
        """Every state that was ever posted for *sha*."""
        return [body["state"] for body in self.forge.said(sha, self.context(what))]

    def get(self, url: str, accept: str = "text/html") -> tuple[int, str]:
        """A page of the daemon."""
        assert url.startswith(self.url)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", url.removeprefix(self.url), headers={"Accept": accept})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def has(self, name: str) -> bool:
        """Whether Consul has the service."""
        return self.bench.consul.entry("service-defaults", name) is not None


def started(hosting: Callable[..., Hosting], *, empty: bool = False, **options: Any) -> Hosting:
    """A daemon that has applied pay, or nothing at all."""
    site = hosting(**options)
    if not empty:
        site.bench.commit(pay=external("pay"))
    first = site.forge.push()
    site.start()
    site.status(first, "success")
    return site


def proposed(
    site: Hosting, number: int, action: str = "opened", *, base: str = "main", fork: bool = False, **files: str
) -> str:
    """A commit on top of what the request has, or of main; its head, of which the host tells."""
    bench = site.bench
    again = number in site.forge.pulls
    bench.git("checkout", "-q", f"request-{number}" if again else "main")
    if not again:
        bench.git("checkout", "-q", "-b", f"request-{number}")
    bench.commit(f"request {number}", **files)
    head = site.forge.propose(number, base, fork=fork)
    bench.git("checkout", "-q", "main")
    site.told(site.forge.request(number, action))
    return head


def scanned(needles: list[str], folder: Path) -> list[str]:
    """The files below *folder* that have one of *needles* in them."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            found += [str(path) for needle in needles if needle.encode() in raw]
    return found
