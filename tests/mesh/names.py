"""The DNS of the mesh's gateway: every name of the tests is an address of this machine. As much of DNS as an Envoy asks."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from typing import Any, Self

ADDRESS, INTERNET, MISSING = 1, 1, 3


class Names:
    """A DNS server on UDP, as a context manager. `known[name] = address`; every other name does not exist."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask_here(self, bootstrap: dict[str, Any]) -> None:
        """Make the Envoy of this bootstrap ask here."""
        bootstrap["typed_dns_resolver_config"] = {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": self.port}}],
                "dns_resolver_options": {"no_default_search_domain": True},
            },
        }

    def _serve(self) -> None:
        while True:
            try:
                asked, sender = self._socket.recvfrom(4096)
                self._socket.sendto(self._answer(asked), sender)
            except OSError:  # closed: the mesh is over
                return

    def _answer(self, asked: bytes) -> bytes:
        labels, at = [], 12
        while length := asked[at]:
            labels.append(asked[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
            at += 1 + length
        question = asked[12 : at + 5]
        (kind,) = struct.unpack("!H", asked[at + 1 : at + 3])
        address = self.known.get(".".join(labels))
        answer = b""
        if address and kind == ADDRESS:
            packed = ipaddress.ip_address(address).packed
            answer = struct.pack("!HHHIH", 0xC00C, ADDRESS, INTERNET, 600, len(packed)) + packed
        flags = 0x8180 | (0 if address else MISSING)
        return asked[:2] + struct.pack("!HHHHH", flags, 1, 1 if answer else 0, 0, 0) + question + answer
