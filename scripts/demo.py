"""The main job once, in front of you: a spec repository, a Consul, and gitsync between them.

usage: make demo                        from a checkout, with Python and git on the machine
       make demo DEMO_ARGS=--keep       leaves the Consul running at the end, until Ctrl-C

Everything it starts listens on 127.0.0.1 on free ports, lives in a temporary folder, and ends with this program.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.servers.consul import ConsulServer  # noqa: E402  found only once the checkout is on the path

GITSYNC = [sys.executable, "-m", "gitsync"]
GIT = {
    "GIT_AUTHOR_NAME": "gitsync demo",
    "GIT_AUTHOR_EMAIL": "demo@example.org",
    "GIT_COMMITTER_NAME": "gitsync demo",
    "GIT_COMMITTER_EMAIL": "demo@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}
BOLD, DIM, PLAIN = (
    ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "", "")
)


def title(text: str) -> None:
    """Say what comes next."""
    print(f"\n{BOLD}── {text}{PLAIN}", flush=True)


class Demo:
    """A repository made of specs-example/, a configuration, and a Consul."""

    def __init__(self, folder: Path, consul: ConsulServer) -> None:
        self.folder, self.consul = folder, consul
        self.specs = folder / "specs"
        self.config = folder / "gitsync.yaml"

    def git(self, *arguments: str) -> None:
        """Run git on the spec repository."""
        subprocess.run(
            ["git", "-C", str(self.specs), *arguments], env={**os.environ, **GIT}, check=True, stdout=subprocess.DEVNULL
        )

    def gitsync(self, *arguments: str, fine: tuple[int, ...] = (0,)) -> int:
        """Run a command as a person would type it, and show it."""
        print(f"{DIM}$ gitsync {' '.join(arguments)}{PLAIN}", flush=True)
        env = {**os.environ, "GITSYNC_CONFIG": str(self.config), "GITSYNC_LOG__LEVEL": "warning"}
        with contextlib.ExitStack() as stack:
            with SIGNALS.put_off():
                process = stack.enter_context(subprocess.Popen([*GITSYNC, *arguments], env=env, cwd=ROOT))
                # It ends its own children, and is waited for: nothing writes into our folder any more.
                stack.callback(process.terminate)
            code = process.wait()
        if code not in fine:
            print(
                f"demo: `gitsync {' '.join(arguments)}` ended with exit code {code}, which it should not",
                file=sys.stderr,
            )
            raise SystemExit(1)
        return code

    def begin(self) -> None:
        """Make the repository and the configuration."""
        shutil.copytree(ROOT / "specs-example", self.specs / "services")
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "Our services, as specs")
        text = (ROOT / "config" / "demo.yaml").read_text()
        text = (
            text.replace("SPECS", self.specs.as_uri())
            .replace("STATE", str(self.folder / "state"))
            .replace("CONSUL", self.consul.url)
        )
        self.config.write_text(text)

    def show(self) -> None:
        """What Consul holds now, in a table."""
        rows: dict[str, set[str]] = {}
        for gateway in self.consul.entries("terminating-gateway"):
            for row in gateway.get("Services") or ():
                rows.setdefault(row["Name"], set()).add(gateway["Name"])
        kinds = ("service-defaults", "service-resolver", "service-splitter", "service-router", "service-intentions")
        held = {kind: {entry["Name"] for entry in self.consul.entries(kind)} for kind in kinds}
        names = sorted(set().union(*held.values(), rows))
        print(f"{'service':<28}{'entries':<46}{'gateway':<14}node")
        for name in names:
            entries = " ".join(kind.removeprefix("service-") for kind in kinds if name in held[kind])
            nodes = [node["Node"] for node in self.consul.get(f"/v1/catalog/service/{name}") or ()]
            print(f"{name:<28}{entries:<46}{', '.join(sorted(rows.get(name, ()))) or '-':<14}{', '.join(nodes) or '-'}")


class Told(BaseException):
    """Somebody wants this to end: by Ctrl-C, SIGTERM, or by closing the terminal."""


class Signals:
    """What SIGINT, SIGTERM and SIGHUP do: end the demo in order, once, and not while what has to be ended is half begun."""

    OBEYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._busy, self._told = False, 0

    def obey(self) -> None:
        """From now on. What was to be ignored, as nohup says it, is ignored."""
        for each in self.OBEYED:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, self._tell)

    @contextlib.contextmanager
    def put_off(self) -> Iterator[None]:
        """Let them wait: between a server's start and the line that knows of it they would leave it behind."""
        self._busy = True
        yield
        self._busy = False
        if self._told:
            self._end()

    def _tell(self, number: int, _frame: object) -> None:
        self._told = number
        if not self._busy:
            self._end()

    def _end(self) -> None:
        for each in self.OBEYED:  # a second one would interrupt the tidying up
            signal.signal(each, signal.SIG_IGN)
        raise Told(self._told)


SIGNALS = Signals()


def main() -> int:
    """Run the demo."""
    binary = os.environ.get("GITSYNC_CONSUL", "")
    if not binary or not shutil.which("git"):
        print("demo: run it with `make demo`; it needs git on the PATH", file=sys.stderr)
        return 1
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        with SIGNALS.put_off():
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="gitsync-demo-"))
            consul = stack.enter_context(ConsulServer(binary))
        demo = Demo(Path(name), consul)
        demo.begin()
        version = ".".join(map(str, consul.version))
        title(
            f"Consul {version} runs on {consul.url}; a Git repository holds {len(list((demo.specs / 'services').glob('*.yaml')))} specs"
        )
        demo.gitsync("validate", str(demo.specs / "services"), "--consul-version", version, fine=(0, 3))
        title("The first sync: everything is new")
        demo.gitsync("sync", fine=(0, 3, 4))
        title("What Consul holds now")
        demo.show()
        title("A second commit changes one spec and removes another; this is the plan")
        changed, removed = second_commit(demo)
        demo.gitsync("plan", fine=(0, 2, 3, 4))
        title(f"The second sync: {changed} is updated, {removed} is pruned")
        demo.gitsync("sync", fine=(0, 3, 4))
        demo.show()
        title("And the plan after it: what is applied stays applied")
        demo.gitsync("plan", fine=(0, 3))
        demo.gitsync("status", fine=(0, 3, 4))
        title(f"That was all, in {time.monotonic() - began:.0f} s. What to try next")
        print(
            "  make demo DEMO_ARGS=--keep      the same, and the Consul stays up for you to look around\n"
            "  .venv/bin/gitsync init URL      a configuration for your own repository and Consul\n"
            "  .venv/bin/gitsync plan          what would change, and nothing is written\n"
            "  docs/lifecycle.md               how a commit becomes what Consul holds"
        )
        if "--keep" in sys.argv:
            print(f"\nConsul: {consul.url}   configuration: {demo.config}   Ctrl-C ends it all.", flush=True)
            while consul.running:
                time.sleep(1)
    return 0


def second_commit(demo: Demo) -> tuple[str, str]:
    """Change a timeout in one spec and remove another; their names."""
    services = demo.specs / "services"
    changed = next(path for path in sorted(services.glob("*.yaml")) if re.search(r"connect: \d+s", path.read_text()))
    changed.write_text(re.sub(r"connect: \d+s", "connect: 9s", changed.read_text(), count=1))
    named = "\n".join(path.read_text() for path in services.glob("*.yaml"))
    removed = next(
        path
        for path in sorted(services.glob("*.yaml"), reverse=True)
        if path != changed and not re.search(rf"service: {re.escape(_name(path))}\b", named)
    )
    names = _name(changed), _name(removed)
    removed.unlink()
    demo.git("add", "-A")
    demo.git("commit", "-q", "-m", f"A longer timeout for {names[0]}; {names[1]} is retired")
    return names


def _name(path: Path) -> str:
    found = re.search(r"^name: *(\S+)", path.read_text(), re.MULTILINE)
    assert found
    return found[1]


if __name__ == "__main__":
    SIGNALS.obey()
    try:
        sys.exit(main())
    except Told as told:
        print("\ndemo: stopped, and everything it started with it", file=sys.stderr)
        sys.exit(128 + told.args[0])
