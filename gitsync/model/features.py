"""What this Consul can do, by the oldest of its servers (consul-facts.md section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import cast

Version = tuple[int, int, int]


class Feature(Enum):
    """Something a Consul can do from a version on; several versions where it was backported. The value: its name, and these versions."""

    META = ("meta", (1, 8, 4))
    INTENTIONS_ENTRY = ("intentions entry", (1, 9, 0))
    LOAD_BALANCER = ("load balancer", (1, 9, 0))
    GATEWAY_HTTP = ("gateway http", (1, 9, 0))
    AUTO_HOST_REWRITE = ("auto host rewrite", (1, 9, 5))
    NO_OP_WRITES = ("no op writes", (1, 9, 16), (1, 10, 9), (1, 11, 4))
    SAN_MATCH = ("san match", (1, 9, 17), (1, 10, 10), (1, 11, 5), (1, 12, 0))
    FILTER_CHECKED = ("filter checked", (1, 12, 0))
    TRANSPARENT_PROXY = ("transparent proxy", (1, 10, 0))
    DELETE_CAS = ("delete cas", (1, 11, 0))
    FILTERED_HEADER = ("filtered header", (1, 11, 0))
    MESH_RULE = ("mesh rule", (1, 11, 0))
    DESTINATION = ("destination", (1, 13, 0))
    RESOLVER_REQUEST_TIMEOUT = ("resolver request timeout", (1, 13, 7), (1, 14, 5), (1, 15, 1))
    RETRY_ON = ("retry on", (1, 14, 0))
    FAILOVER_TARGETS = ("failover targets", (1, 14, 0))
    TXN_GET_OR_EMPTY = ("txn get or empty", (1, 14, 0))
    ROUTER_IDLE_TIMEOUT = ("router idle timeout", (1, 14, 2))
    DISABLE_AUTO_HOST_REWRITE = ("disable auto host rewrite", (1, 18, 2))
    PROTOCOL_ENUM = ("protocol enum", (1, 20, 0))

    @property
    def versions(self) -> tuple[Version, ...]:
        return cast("tuple[Version, ...]", self.value[1:])

    @property
    def since(self) -> str:
        """The first version in words, such as `1.13.7, 1.14.5 or 1.15.1`."""
        texts = [".".join(map(str, version)) for version in self.versions]
        return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " or " + texts[-1]

    def in_version(self, version: Version) -> bool:
        """True from the backport of the version's own minor on, or from the last listed version on."""
        own = next((first for first in self.versions if first[:2] == version[:2]), None)
        return version >= own if own else version >= self.versions[-1]


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
