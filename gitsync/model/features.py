"""What this Consul can do, by the oldest of its servers (consul-facts.md section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

Version = tuple[int, int, int]


class Feature(Enum):
    """Something a Consul can do from a version on; three versions where it was backported."""

    META = ((1, 8, 4),)
    INTENTIONS_ENTRY = ((1, 9, 0),)
    LOAD_BALANCER = ((1, 9, 0),)
    GATEWAY_HTTP = ((1, 9, 0),)
    AUTO_HOST_REWRITE = ((1, 9, 5),)
    NO_OP_WRITES = ((1, 9, 16), (1, 10, 9), (1, 11, 4))
    SAN_MATCH = ((1, 9, 17), (1, 10, 10), (1, 11, 5), (1, 12, 0))
    FILTER_CHECKED = ((1, 12, 0),)
    TRANSPARENT_PROXY = ((1, 10, 0),)
    DELETE_CAS = ((1, 11, 0),)
    FILTERED_HEADER = ((1, 11, 0),)
    MESH_RULE = ((1, 11, 0),)
    DESTINATION = ((1, 13, 0),)
    RESOLVER_REQUEST_TIMEOUT = ((1, 13, 7), (1, 14, 5), (1, 15, 1))
    RETRY_ON = ((1, 14, 0),)
    FAILOVER_TARGETS = ((1, 14, 0),)
    TXN_GET_OR_EMPTY = ((1, 14, 0),)
    ROUTER_IDLE_TIMEOUT = ((1, 14, 2),)
    DISABLE_AUTO_HOST_REWRITE = ((1, 18, 2),)
    PROTOCOL_ENUM = ((1, 20, 0),)

    @property
    def since(self) -> str:
        """The first version in words, such as `1.13.7, 1.14.5 or 1.15.1`."""
        texts = [".".join(map(str, version)) for version in self.value]
        return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " or " + texts[-1]

    def in_version(self, version: Version) -> bool:
        """True from the backport of the version's own minor on, or from the last listed version on."""
        own = next((first for first in self.value if first[:2] == version[:2]), None)
        return version >= own if own else version >= self.value[-1]


@dataclass(frozen=True, slots=True)
class Features:
    """One Consul: its servers' oldest version, where it is, and what holds there by default."""

    version: Version
    datacenter: str
    primary_datacenter: str
    node: str = ""
    enterprise: bool = False
    default_deny: bool | None = None
    """Whether intentions default to deny; None where Consul does not tell."""

    def has(self, feature: Feature) -> bool:
        return feature.in_version(self.version)

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))
