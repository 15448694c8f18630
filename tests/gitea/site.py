"""One repository at a real Gitea, and `gitsync run` as a process between it and a real Consul, as a person sets both up."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from gitsync.model.host import CommitState
from tests.gitea.servers import GiteaServer
from tests.servers import free_ports, wait_for
from tests.workbench import GIT, Workbench

ROOT = Path(__file__).resolve().parents[2]
OWNER, BOT, STRANGER = "ada", "gitsync-bot", "eve"
GIT_SCOPES = ("read:repository",)
"""What the documentation asks for: to read with git, and to look at pull requests."""

HOST_SCOPES = ("write:repository", "write:issue")
"""What it asks for statuses and comments."""

EVENTS = ("push", "create", "delete", "pull_request", "pull_request_sync")
APPLY, PLAN = "gitsync/apply/test/payments", "gitsync/plan/test/payments"
FINAL = {str(state) for state in CommitState} - {"pending", "running"}


class Town:
    """Who lives at the Gitea: OWNER, the BOT whose tokens gitsync has, and a STRANGER. One for all repositories."""

    def __init__(self, gitea: GiteaServer) -> None:
        self.gitea = gitea
        self._passwords = {name: gitea.user(name) for name in (OWNER, BOT, STRANGER)}
        self._made: dict[tuple[str, tuple[str, ...]], str] = {}
        everything = ("write:repository", "write:issue", "write:user")
        self.tokens = {name: self.token(name, everything) for name in (OWNER, STRANGER)}

    def token(self, user: str, scopes: tuple[str, ...]) -> str:
        """A token with exactly these scopes."""
        if (user, scopes) not in self._made:
            self._made[user, scopes] = self.gitea.token(user, self._passwords[user], secrets.token_hex(4), scopes)
        return self._made[user, scopes]


class Daemon:
    """One life of `gitsync run`. Its log is one JSON object a line."""

    def __init__(self, config: Path, folder: Path, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gitsync", "run", "--config", str(config)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """What it logged with these fields."""
        every = [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in every if all(line.get(name) == value for name, value in fields.items())]

    def logged(self, *, seconds: float = 40, **fields: Any) -> dict[str, Any]:
        """The first line with these fields, as soon as it is there."""

        def found() -> list[dict[str, Any]]:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log}"
            return self.lines(**fields)

        try:
            return wait_for(found, f"a line with {fields}", seconds=seconds)[0]
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.log}") from error

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Site:
    """A repository `ada/specs-…`, its webhook, and the daemon that follows it. `bench` is what Ada has on her machine."""

    def __init__(self, town: Town, bench: Workbench) -> None:
        self.town, self.gitea, self.bench = town, town.gitea, bench
        self.name = f"specs-{secrets.token_hex(4)}"
        self.repo = f"{OWNER}/{self.name}"
        self.folder = bench.folder
        self.git: dict[str, Any] = {}
        self.host: dict[str, Any] = {}
        self.sync: dict[str, Any] = {}
        self.daemons: list[Daemon] = []
        [self.port] = free_ports(1)
        self.pages = f"http://127.0.0.1:{self.port}"
        self.gitea.post("/user/repos", {"name": self.name, "private": True}, token=town.tokens[OWNER])
        answer = self.gitea.ask("PUT", f"/repos/{self.repo}/collaborators/{BOT}", {"permission": "write"})
        assert answer.is_success, answer.text
        self.git_token = self._secret("git-token", town.token(BOT, GIT_SCOPES))
        self.host_token = self._secret("host-token", town.token(BOT, HOST_SCOPES))
        self.hook_secret = self._secret("hook-secret", secrets.token_hex(16))

    def _secret(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    # -- Git

    def push(self, *refspecs: str, user: str = OWNER, repo: str = "", force: bool = False) -> None:
        """Push over https, as *user*."""
        login = base64.b64encode(f"{user}:{self.town.tokens[user]}".encode()).decode()
        ran = subprocess.run(
            [
                "git", "-C", str(self.bench.repo), "-c", f"http.extraHeader=Authorization: Basic {login}",
                "push", "-q", *(["--force"] if force else []), f"{self.gitea.url}/{repo or self.repo}.git",
                *(refspecs or ("main",)),
            ],
            env={"PATH": os.environ["PATH"], **GIT, "GIT_SSL_CAINFO": str(self.gitea.ca_file)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"git push: {ran.stderr}"

    def commit(self, message: str = "change", **files: str) -> str:
        """Commit what a sync reads, and push the branch that is checked out; the new head."""
        sha = self.bench.commit(message, **files)
        self.push("HEAD")
        return sha

    def branch(self, name: str) -> None:
        """Check *name* out, made from main if there is none."""
        known = self.bench.git("branch", "--list", name)
        self.bench.git("checkout", "-q", *(() if known else ("-b",)), name, *(() if known else ("main",)))

    # -- Gitea

    def hook(self, *, url: str = "") -> int:
        """Its webhook to the daemon."""
        config = {
            "url": url or f"{self.pages}/hooks/{self.bench.name}",
            "content_type": "json",
            "secret": self.hook_secret.read_text(),
        }
        made = self.gitea.post(
            f"/repos/{self.repo}/hooks",
            {"type": "gitea", "config": config, "events": list(EVENTS), "active": True},
            token=self.town.tokens[OWNER],
        )
        return int(made["id"])

    def open(self, head: str, *, base: str = "main", title: str = "a change", user: str = OWNER) -> int:
        """Open a pull request; its number."""
        if ":" not in head:
            self.known(head)
        made = self.gitea.post(
            f"/repos/{self.repo}/pulls", {"head": head, "base": base, "title": title}, token=self.town.tokens[user]
        )
        return int(made["number"])

    def known(self, branch: str) -> None:
        """Wait until Gitea knows of a branch that was pushed: it writes that down a moment later."""
        where = f"/repos/{self.repo}/branches/{branch}"
        wait_for(lambda: self.gitea.ask("GET", where).is_success, f"branch {branch}", seconds=20)

    def edit(self, number: int, **fields: str) -> None:
        """Change a pull request: its state, its base."""
        self.gitea.patch(f"/repos/{self.repo}/pulls/{number}", fields, token=self.town.tokens[OWNER])

    def merge(self, number: int, how: str = "merge") -> httpx.Response:
        """Ask for its merge; what Gitea answers. That it is still looking whether it can be merged is waited for."""

        def answered() -> httpx.Response | None:
            answer = self.gitea.ask(
                "POST", f"/repos/{self.repo}/pulls/{number}/merge", {"Do": how}, token=self.town.tokens[OWNER]
            )
            return None if answer.status_code == 405 and "try again later" in answer.text.lower() else answer

        return wait_for(answered, "an answer to the merge", seconds=20, every=0.3)

    def pull(self, number: int) -> Any:
        """The pull request as Gitea shows it."""
        return self.gitea.get(f"/repos/{self.repo}/pulls/{number}")

    def statuses(self, sha: str, context: str) -> list[dict[str, Any]]:
        """What was said of a commit in *context*, the oldest first, as Gitea shows it."""
        every = self.gitea.pages(f"/repos/{self.repo}/commits/{sha}/statuses?sort=oldest")
        return sorted((each for each in every if each["context"] == context), key=lambda each: int(each["id"]))

    def words(self, sha: str, context: str) -> list[tuple[str, str]]:
        """The same as state and description."""
        return [(each["status"], each["description"]) for each in self.statuses(sha, context)]

    def told(self, sha: str, context: str, *states: str, seconds: float = 60) -> dict[str, Any]:
        """The last status of a commit, as soon as it is one of *states* (default: a final one)."""

        def there() -> dict[str, Any] | None:
            said = self.statuses(sha, context)
            return said[-1] if said and said[-1]["status"] in (states or FINAL) else None

        try:
            return wait_for(there, f"{context} of {sha[:12]}", seconds=seconds, every=0.2)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.words(sha, context)}\n{self.daemons[-1].log}") from error

    def comments(self, number: int) -> list[dict[str, Any]]:
        """The comments on a pull request by the bot."""
        every = self.gitea.get(f"/repos/{self.repo}/issues/{number}/comments")
        return [each for each in every if each["user"]["login"] == BOT]

    def commented(self, number: int, *words: str, seconds: float = 60) -> str:
        """The text of the only comment, as soon as it has these words."""

        def there() -> str:
            said = self.comments(number)
            assert len(said) <= 1, said
            return said[0]["body"] if said and all(word in said[0]["body"] for word in words) else ""

        try:
            return wait_for(there, f"a comment with {words}", seconds=seconds, every=0.2)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.comments(number)}\n{self.daemons[-1].log}") from error

    def deliver(self, event: str, body: Any) -> int:
        """Deliver *body* as Gitea would; how gitsync answers."""
        raw = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Gitea-Event": event,
            "X-Gitea-Delivery": str(uuid.uuid4()),
            "X-Gitea-Signature": hmac.new(self.hook_secret.read_bytes(), raw, "sha256").hexdigest(),
        }
        url = f"{self.pages}/hooks/{self.bench.name}"
        return httpx.post(url, content=raw, headers=headers, trust_env=False, timeout=10).status_code

    # -- gitsync

    @contextmanager
    def judged(self, number: int, sha: str) -> Iterator[None]:
        """What is done here has the request judged, once more, at *sha*."""
        with self._once_more(action="review", outcome="judged", change=number, revision=sha):
            yield

    @contextmanager
    def forgotten(self, number: int) -> Iterator[None]:
        """What is done here has the request forgotten."""
        with self._once_more(action="review", event="forgotten", change=number):
            yield

    @contextmanager
    def _once_more(self, **fields: Any) -> Iterator[None]:
        daemon = self.daemons[-1]
        before = len(daemon.lines(**fields))
        yield
        try:
            wait_for(lambda: len(daemon.lines(**fields)) > before, f"one more line with {fields}", seconds=40)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {daemon.log}") from error

    def start(self, *, consul: str = "") -> Daemon:
        """Start the daemon."""
        bench = self.bench
        git = {
            "url": f"{self.gitea.url}/{self.repo}.git",
            "ref": "main",
            "path": "services",
            "token_file": str(self.git_token),
            "ca_file": str(self.gitea.ca_file),
            **self.git,
        }
        host = {
            "kind": "gitea",
            "token_file": str(self.host_token),
            "webhook_secret_files": [str(self.hook_secret)],
            **self.host,
        }
        config = self.folder / "gitsync.json"
        config.write_text(
            json.dumps(
                {
                    "instance": bench.instance,
                    "state_dir": str(self.folder / "state"),
                    "consul": {"address": consul or bench.address, "lock_ttl": "10s"},
                    "gateway": "tgw",
                    "web": {"listen": f"127.0.0.1:{self.port}", "public_url": self.pages},
                    "log": {"format": "json", "level": "debug"},
                    "syncs": {bench.name: {"git": git, "host": host, "interval": "10m", **self.sync}},
                }
            )
        )
        daemon = Daemon(config, self.folder, self.folder / f"daemon-{len(self.daemons)}.log")
        self.daemons.append(daemon)
        daemon.logged(action="start")
        return daemon

    def close(self) -> None:
        """End everything, and look whether a secret of ours was written anywhere."""
        for daemon in self.daemons:
            daemon.end()
            assert "Traceback" not in daemon.log, daemon.log
            assert "this is a bug" not in daemon.log, daemon.log
            for secret in (self.git_token, self.host_token, self.hook_secret):
                assert secret.read_text() not in daemon.log

    def page(self, url: str) -> httpx.Response:
        """What a link of ours shows."""
        return httpx.get(url, trust_env=False, timeout=10, headers={"Accept": "application/json"})
