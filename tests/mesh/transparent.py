"""A client with a transparent proxy, without the machine's packet filter.

On a real host iptables leads every connection of the application to the proxy, and the kernel tells the proxy where it was
meant to go. Here the application says it itself, with the line of the PROXY protocol; for that, one Envoy takes from Consul
what a transparent proxy gets, and a second one beside it has the same listener with one listener filter for the other. All
else, clusters, certificates and routes, the second one has from Consul as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.mesh.echo import Caller
from tests.mesh.servers import Envoy, Mesh
from tests.servers import free_ports, wait_for

NAME = "shop"
"""The client's service, as intentions name it."""

PROXY_PROTOCOL = {
    "name": "envoy.filters.listener.proxy_protocol",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"},
}


class Transparent:
    """The client `shop` of a mesh, as a context manager."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.consul = mesh, mesh.consul
        self._told_port, self.port = free_ports(2)
        self._file: Path = self.consul.folder / "listeners.json"
        self._wrote = ""

    def __enter__(self) -> Self:
        transparent = {"Mode": "transparent", "TransparentProxy": {"OutboundListenerPort": self._told_port}}
        sidecar = {"Port": free_ports(1)[0], "Checks": [], "Proxy": transparent}
        self.consul.put("/v1/agent/service/register", {"Name": NAME, "Port": 9, "Connect": {"SidecarService": sidecar}})
        self.told = Envoy(self.consul, NAME, "-sidecar-for", NAME, grpc=self.mesh.grpc)
        self.told.start()
        self._keep_in(True)
        self._write(self._listeners())
        self.asked = Envoy(self.consul, NAME, "-sidecar-for", NAME, grpc=self.mesh.grpc, change=self._from_file)
        self.asked.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.stop()
        self.told.stop()
        self.consul.put(f"/v1/agent/service/deregister/{NAME}")
        self.consul.delete("/v1/config/mesh/mesh")

    def _keep_in(self, only: bool) -> None:
        """Whether what is no service is refused, and not dialled directly."""
        self.consul.put("/v1/config", {"Kind": "mesh", "TransparentProxy": {"MeshDestinationsOnly": only}})
        wait_for(lambda: ("original-destination" in self._listeners()) is not only, "the way out being as it shall be")

    @contextmanager
    def letting_out(self) -> Iterator[None]:
        """For as long as this lasts, what is no service is dialled directly: Consul's default."""
        self._keep_in(False)
        try:
            yield
        finally:
            self._keep_in(True)

    def _from_file(self, bootstrap: dict[str, Any]) -> None:
        source = {"path_config_source": {"path": str(self._file)}, "resource_api_version": "V3"}
        bootstrap["dynamic_resources"]["lds_config"] = source

    def _listeners(self) -> str:
        """The outbound listener that Consul made, at our own port and with our own listener filter."""
        dump = json.loads(self.told.told("/config_dump?resource=dynamic_listeners"))
        for each in dump.get("configs", ()):
            if each["name"].startswith("outbound_listener:"):
                listener = each["active_state"]["listener"]
                listener["address"]["socket_address"]["port_value"] = self.port
                kept = [one for one in listener["listener_filters"] if "original_dst" not in one["name"]]
                listener["listener_filters"] = [PROXY_PROTOCOL, *kept]
                return json.dumps({"resources": [listener]}, sort_keys=True)
        return json.dumps({"resources": []})

    def _write(self, text: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self._file)  # Envoy looks again when a file is moved there
        self._wrote = text

    def settle(self) -> None:
        """Wait until both have what Consul has."""
        self.mesh.settle(self.told, self.asked)
        listeners = self._listeners()
        if listeners != self._wrote:
            before = self._updated()
            self._write(listeners)
            wait_for(lambda: self._updated() != before, "the listener from the file", seconds=30)
            self.mesh.settle(self.told, self.asked)

    def _updated(self) -> str:
        return self.asked.told("/stats?filter=listener_manager.lds.update_(success|rejected)")

    def restart(self) -> None:
        """End all Envoys, the gateway's too, and start them anew."""
        for envoy in (self.mesh.gateway, self.told):
            envoy.restart()
        self.mesh.settle(self.told)
        self._write(self._listeners())
        self.asked.restart()
        self.settle()

    def dial(self, host: str, port: int) -> Caller:
        """A caller of what an application calls at *host* (an address) and *port*, once the proxy knows it."""
        known = f'"destination_port": {port},' if host.startswith("127.") else f'"address_prefix": "{host}"'
        wait_for(lambda: known in self._listeners().replace("}", ","), f"a way to {host}:{port}")
        self.settle()
        return self.caller(host, port)

    def caller(self, host: str, port: int) -> Caller:
        """The same at once."""
        return Caller(self.port, prelude=f"PROXY TCP4 127.0.0.1 {host} 40000 {port}\r\n".encode())
