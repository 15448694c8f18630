"""Who may read the pages: everybody on this machine, and everybody else only where the configuration says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""What a proxy adds. Behind one a listener on loopback is open to whoever reaches the proxy."""


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of one listener. host: where it listens, as configured. anonymous_read: `web.anonymous_read`."""

    host: str
    anonymous_read: bool = False

    def refusal(self, headers: Mapping[str, str]) -> str:
        """Why a request with *headers* (lower-case names) may not see the pages, in a sentence; "" if it may.

        The name that was asked for has to be this machine's too: a page of somebody else in a browser here can point its own
        name at 127.0.0.1 and would be let in.
        """
        if self.anonymous_read:
            return ""
        how = (
            "Set `web.anonymous_read: true` in gitsync's configuration to show the pages to everybody who reaches them."
        )
        if not is_loopback(self.host):
            return f"These pages are shown on this machine only, and gitsync listens at another address. {how}"
        if not is_loopback(name_of(headers.get("host", ""))) or any(name in headers for name in FORWARDED):
            return (
                f"These pages are shown on this machine only, and this request came by another name or a proxy. {how}"
            )
        return ""


def is_loopback(host: str) -> bool:
    """Whether *host*, an address or a name, is this machine and nothing else."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) and (":" not in name or name.endswith("]")) else host
