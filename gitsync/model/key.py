"""Who is who: the identity of a service, of a component of it, and of an owner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

DEFAULT = "default"


class Kind(StrEnum):
    """What Consul stores for a service. The value is Consul's own word where it has one."""

    DEFAULTS = "service-defaults"
    RESOLVER = "service-resolver"
    ROUTER = "service-router"
    SPLITTER = "service-splitter"
    INTENTIONS = "service-intentions"
    GATEWAY_ROW = "terminating-gateway"
    CATALOG = "catalog-node"


ENTRY_KINDS = (Kind.DEFAULTS, Kind.RESOLVER, Kind.SPLITTER, Kind.ROUTER, Kind.INTENTIONS)
"""The kinds that are a config entry of the service's own name, in the order in which they may be written."""

RECORD_NAMES = {
    Kind.DEFAULTS: "defaults",
    Kind.RESOLVER: "resolver",
    Kind.ROUTER: "router",
    Kind.SPLITTER: "splitter",
    Kind.INTENTIONS: "intentions",
    Kind.CATALOG: "catalog",
    Kind.GATEWAY_ROW: "tgw",
}
"""The file name of a kind below `svc-handler/desired/…` (design.md section 5), without `.json`."""


class ServiceKey(NamedTuple):
    """One service, unique across partitions and namespaces. A tuple, because it is hashed and compared more than anything else."""

    name: str
    namespace: str = DEFAULT
    partition: str = DEFAULT

    @property
    def path(self) -> str:
        """`<partition>/<namespace>/<name>`, as it stands in KV keys."""
        return f"{self.partition}/{self.namespace}/{self.name}"

    @classmethod
    def from_path(cls, path: str) -> ServiceKey:
        """The inverse of `path`. Raises ValueError for anything else."""
        partition, namespace, name = path.split("/")
        return cls(name, namespace, partition)

    def __str__(self) -> str:
        return self.name if (self.namespace, self.partition) == (DEFAULT, DEFAULT) else self.path


class ComponentKey(NamedTuple):
    """One thing Consul stores for a service.

    `at` says where, for the kinds that are not a config entry of the service's own name: the gateway's name for a row,
    `<datacenter>/<node>` for a catalog node.
    """

    service: ServiceKey
    kind: Kind
    at: str = ""

    @property
    def datacenter(self) -> str:
        return self.at.partition("/")[0] if self.kind is Kind.CATALOG else ""

    @property
    def node(self) -> str:
        return self.at.partition("/")[2] if self.kind is Kind.CATALOG else ""

    def __str__(self) -> str:
        if self.kind is Kind.GATEWAY_ROW:
            return f"{self.kind}/{self.at} row {self.service}"
        if self.kind is Kind.CATALOG:
            return f"{self.kind} {self.at}"
        return f"{self.kind}/{self.service}"


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """Whose a thing is: one sync of one instance of gitsync."""

    instance: str
    sync: str

    def __str__(self) -> str:
        return f"{self.instance}/{self.sync}"

    @classmethod
    def parse(cls, text: str) -> Owner:
        """The inverse of `str`. Raises ValueError for anything else."""
        instance, sync = text.split("/")
        return cls(instance, sync)


MANAGED_BY = "managed-by"
OWNER_MARK = "gitsync-owner"
RELEASED_PREFIX = "released-by-"
EXTERNAL_SOURCE = "external-source"
SERVICE_MARK = "gitsync-service"
"""NodeMeta: the path of the service's key, so that a node says whose it is."""
