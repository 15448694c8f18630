"""A bench for whole runs: a spec repository in real Git, a real Consul, and gitsync between them as its command line wires it."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gitsync.engine.look import Look
from gitsync.model.key import ServiceKey
from gitsync.model.run import Outcome, RunReport
from gitsync.model.sync import Options
from gitsync.settings import Settings
from gitsync.wire import House, Silent, opened
from tests.servers.consul import ConsulServer

GIT = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}

B = """
name: {name}
routing: {{ host: {host}, port: 8080 }}
exposure: {{ mode: catalog_external, terminating_gateway: {{ service: tgw }} }}
connect:
  mesh_policy: {{ protocol: http }}
"""
"""A service that works for most: an external node behind a gateway."""

A = """
name: {name}
routing: {{ host: {host}, port: 80 }}
exposure: {{ mode: tgw_static, terminating_gateway: {{ service: tgw }} }}
connect:
  mesh_policy: {{ protocol: http }}
"""


def external(name: str, host: str = "192.0.2.10", **extra: str) -> str:
    """A catalog_external spec of *name*; *extra* is YAML to put below `connect:` (router=…) or beside it."""
    return _with(B.format(name=name, host=host), extra)


def static(name: str, host: str = "pay.example.org", **extra: str) -> str:
    """A tgw_static spec of *name*."""
    return _with(A.format(name=name, host=host), extra)


def _with(text: str, extra: Mapping[str, str]) -> str:
    for key, value in extra.items():
        block = textwrap.dedent(value).strip("\n")
        if key in ("router", "resolver", "splitter", "intentions"):
            text = text.rstrip("\n") + f"\n  {key}:\n" + textwrap.indent(block, "    ") + "\n"
        elif key == "protocol":
            text = text.replace("protocol: http", f"protocol: {value}")
        else:
            text = text.rstrip("\n") + f"\n{key}:\n" + textwrap.indent(block, "  ") + "\n"
    return text


class Workbench:
    """One spec repository and one sync of it, `payments` of the instance `test`, unless told otherwise."""

    def __init__(
        self,
        consul: ConsulServer,
        folder: Path,
        *,
        instance: str = "test",
        sync: str = "payments",
        repo: Path | None = None,
    ) -> None:
        self.consul, self.folder, self.instance, self.name = consul, folder, instance, sync
        self.address = consul.url
        self.repo = repo or folder / "specs"
        self.policy: dict[str, Any] = {}
        self.git_settings: dict[str, Any] = {}
        self.more: dict[str, Any] = {}
        if repo is None:
            self.repo.mkdir(parents=True)
            self.git("init", "-q", "-b", "main")
            self.write("README.md", "specs\n")
            self.commit("begin")

    # -- the repository ----------------------------------------------------------------------------------------------

    def git(self, *arguments: str) -> str:
        ran = subprocess.run(
            ["git", "-C", str(self.repo), *arguments],
            env={**os.environ, **GIT},
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    def write(self, path: str, text: str) -> None:
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.repo / path).unlink()

    def commit(self, message: str = "change", **files: str) -> str:
        """Commit everything; the new commit's SHA. *files*: name → text, each `<name>.yaml` in the sync's folder."""
        for name, text in files.items():
            self.write(f"services/{name.replace('_', '-')}.yaml", text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    # -- gitsync -----------------------------------------------------------------------------------------------------

    def settings(self) -> Settings:
        git = {"url": f"file://{self.repo}", "ref": "main", "path": "services", **self.git_settings}
        given = {
            "instance": self.instance,
            "state_dir": str(self.folder / "state"),
            "consul": {"address": self.address, "lock_ttl": "10s"},
            "gateway": "tgw",
            "syncs": {self.name: {"git": git, **self.policy}},
            **self.more,
        }
        return Settings(**given)

    @asynccontextmanager
    async def house(self) -> AsyncIterator[House]:
        async with opened(self.settings()) as house:
            yield house

    async def sync(self, **options: Any) -> RunReport:
        """One run, as a process of its own would do it."""
        async with self.house() as house:
            return await house.room(self.name).run(Options(**options), Silent())

    async def plan(self, **options: Any) -> Look:
        async with self.house() as house:
            return await house.room(self.name).plan(Options(**options), Silent(), defaults=house.defaults)

    def forget_history(self) -> None:
        """Delete the database."""
        for file in (self.folder / "state").glob("gitsync.db*"):
            file.unlink()

    def forget_mirror(self) -> None:
        shutil.rmtree(self.folder / "state" / "mirrors", ignore_errors=True)


def outcomes(report: RunReport) -> dict[str, Outcome]:
    """What became of each service that a report names."""
    return {str(service.key): service.outcome for service in report.services}


def codes(report: RunReport | Look, name: str | None = None) -> set[str]:
    """The codes of a service's findings, or of the run's own."""
    if isinstance(report, Look):
        findings = report.plan.findings if name is None else report.plan.services[ServiceKey(name)].findings
        return {finding.code for finding in findings}
    if name is None:
        return {finding.code for finding in report.findings}
    return {finding.code for service in report.services if str(service.key) == name for finding in service.findings}


__all__ = ["Workbench", "codes", "external", "outcomes", "static"]
