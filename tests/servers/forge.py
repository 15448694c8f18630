"""A Git host of the shape of Gitea: a repository over smart HTTP with TLS and a password, its API with a memory, signed webhooks.

with GitHttps(root) as git, HostApi(swagger2(…), base="/api/v1") as api:
    forge = Forge(git, api, bench, "acme/specs")
    sha = forge.push()                   # what the bench committed is the head of main
    forge.deliver(port, forge.pushed(sha))
    forge.said(sha, "gitsync/apply/…")   # the statuses of that context, the newest last
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import threading
import time
import uuid
from collections import defaultdict
from typing import Any

from tests.servers.git_hosts import GitHttps
from tests.servers.host_api import HostApi, Reply, Seen
from tests.workbench import Workbench

API_TOKEN, SECRET = "api_CanaryToken9876543210", "hook-CanarySecret-5555"
NOWHERE = "0" * 40
LOGIN = {"id": 7, "login": "gitsync-bot"}


class Forge:
    """One repository of the host, which *bench* pushes to.

    refusing: what every write is answered with, None while the host is well. Requests: `pulls`, by number, as the API has them.
    """

    def __init__(self, git: GitHttps, api: HostApi, bench: Workbench, name: str) -> None:
        self.git, self.api, self.bench, self.name = git, api, bench, name
        self.bare = git.root / "private" / f"{name}.git"
        self.url = f"{git.url}/private/{name}.git"
        self.refusing: Reply | None = None
        self.commits: set[str] = set()
        self.pulls: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.posted: list[tuple[str, dict[str, Any], float]] = []
        """Every status that was taken: the commit, its body, and when (seconds since 1970)."""
        self._lock = threading.Lock()
        self._number = 1000
        bench.git("init", "-q", "--bare", "-b", "main", str(self.bare))
        self._serve()

    # -- the repository

    def push(self, what: str = "HEAD", to: str = "refs/heads/main") -> str:
        """Push *what* of the bench, by force if need be; the commit. Nobody is told of it."""
        sha = self.bench.git("rev-parse", what)
        self.commits.add(sha)
        self.bench.git("push", "-q", "--force", str(self.bare), f"{sha}:{to}")
        return sha

    def delete(self, ref: str = "refs/heads/main") -> None:
        self.bench.git("-C", str(self.bare), "update-ref", "-d", ref)

    # -- pull requests

    def propose(self, number: int, base: str = "main", *, branch: str = "", fork: bool = False) -> str:
        """Open, or go on with, a request of what the bench has checked out; its head."""
        branch = branch or f"request-{number}"
        sha = self.push(to=f"refs/pull/{number}/head")
        if not fork:
            self.push(to=f"refs/heads/{branch}")
        ours = {"id": 1, "full_name": self.name}
        theirs = {"id": 2, "full_name": "mallory/specs"}
        self.pulls[number] = {
            "number": number,
            "state": "open",
            "merged": False,
            "title": "a request",
            "head": {"ref": branch, "sha": sha, "repo": theirs if fork else ours},
            "base": {"ref": base, "repo": ours},
        }
        return sha

    def merge(self, number: int) -> str:
        """Merge a request as the host does, from what the bench has of it; the merge commit, which is the head of main now."""
        pull, bench = self.pulls[number], self.bench
        bench.git("checkout", "-q", "main")
        bench.git("merge", "-q", "--no-ff", "-m", f"merge #{number}", pull["head"]["sha"])
        sha = self.push()
        self.pulls[number] = {**pull, "state": "closed", "merged": True}
        return sha

    # -- webhooks

    def pushed(self, sha: str, ref: str = "refs/heads/main", before: str = NOWHERE) -> tuple[str, dict[str, Any]]:
        return "push", {"ref": ref, "before": before, "after": sha, "repository": {"full_name": self.name}}

    def deleted(self, branch: str = "main") -> tuple[str, dict[str, Any]]:
        """Gitea tells of a branch that is gone by this alone."""
        return "delete", {"ref": branch, "ref_type": "branch", "repository": {"full_name": self.name}}

    def request(self, number: int, action: str, **more: Any) -> tuple[str, dict[str, Any]]:
        body = {"action": action, "number": number, "pull_request": self.pulls[number], **more}
        return "pull_request", {**body, "repository": {"full_name": self.name}}

    def deliver(self, port: int, hook: tuple[str, dict[str, Any]], *, sync: str = "", secret: str = SECRET) -> int:
        """POST a webhook; the status of the answer."""
        event, body = hook
        raw = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Gitea-Event": event,
            "X-Gitea-Delivery": str(uuid.uuid4()),
            "X-Gitea-Signature": hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest(),
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST", f"/hooks/{sync or self.bench.name}", raw, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    # -- the API

    def said(self, sha: str, context: str) -> list[dict[str, Any]]:
        """The statuses of a commit under *context*, the newest last."""
        with self._lock:
            return [body for at, body, _ in self.posted if at == sha and body["context"] == context]

    def _serve(self) -> None:
        repo = f"/repos/{self.name}"
        on = self.api.on
        on("GET", "/user", Reply(200, LOGIN))
        on("GET", repo, Reply(200, {"full_name": self.name, "archived": False, "permissions": {"push": True}}))
        on("GET", f"{repo}/git/commits/.*", self._commit)
        on("POST", f"{repo}/statuses/.*", self._status)
        on("GET", f"{repo}/pulls", self._open)
        on("GET", rf"{repo}/pulls/\d+", self._pull)
        on("GET", rf"{repo}/issues/\d+/comments", lambda seen: Reply(200, self.comments[_number(seen)]))
        on("POST", rf"{repo}/issues/\d+/comments", self._comment)
        on("PATCH", rf"{repo}/issues/comments/\d+", self._edit)

    def _refused(self, seen: Seen) -> Reply | None:
        if seen.headers.get("authorization") != f"token {API_TOKEN}":
            return Reply(401, {"message": "user does not exist"})
        return self.refusing

    def _commit(self, seen: Seen) -> Reply:
        sha = seen.path.rpartition("/")[2]
        return Reply(200, {"sha": sha}) if sha in self.commits else Reply(404, {"message": "not found"})

    def _status(self, seen: Seen) -> Reply:
        if refused := self._refused(seen):
            return refused
        sha = seen.path.rpartition("/")[2]
        if sha not in self.commits:
            return Reply(404, {"message": "object does not exist"})
        with self._lock:
            self.posted.append((sha, seen.json, time.time()))
            made = {"id": len(self.posted), "status": seen.json["state"], "creator": LOGIN}
        return Reply(201, made)

    def _open(self, seen: Seen) -> Reply:
        base = seen.query.get("base_branch")
        return Reply(
            200, [each for each in self.pulls.values() if each["state"] == "open" and each["base"]["ref"] == base]
        )

    def _pull(self, seen: Seen) -> Reply:
        found = self.pulls.get(int(seen.path.rpartition("/")[2]))
        return Reply(200, found) if found else Reply(404, {"message": "not found"})

    def _comment(self, seen: Seen) -> Reply:
        if refused := self._refused(seen):
            return refused
        if _number(seen) not in self.pulls:
            return Reply(404, {"message": "not found"})
        with self._lock:
            self._number += 1
            made = {"id": self._number, "user": LOGIN, "body": seen.json["body"]}
            self.comments[_number(seen)].append(made)
        return Reply(201, made)

    def _edit(self, seen: Seen) -> Reply:
        if refused := self._refused(seen):
            return refused
        wanted = int(seen.path.rpartition("/")[2])
        for every in self.comments.values():
            for each in every:
                if each["id"] == wanted:
                    each["body"] = seen.json["body"]
                    return Reply(200, each)
        return Reply(404, {"message": "not found"})


def _number(seen: Seen) -> int:
    return int(seen.path.split("/")[-2])


__all__ = ["API_TOKEN", "NOWHERE", "SECRET", "Forge"]
