"""What gitsync manages in each kind of component, field by field, and how a field is compared. A table, no behaviour.

Every field that a spec can express stands here, and every field that decides who is reached (a Peer, a Namespace), because
absent in the spec means absent in Consul. A field that does not stand here is somebody else's and is carried over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

from gitsync.model.duration import Duration, DurationError
from gitsync.model.key import MANAGED_BY, OWNER_MARK, SERVICE_MARK, Kind

NODE_MARKS = frozenset({"external-node", "external-probe", MANAGED_BY, OWNER_MARK, SERVICE_MARK})
"""The NodeMeta keys that are ours. Every other one is left alone and never compared."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value, or a list of plain ones. `canonical` gives the one spelling; what is falsy then is the same as absent."""

    canonical: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A Namespace (0) or Partition (1): empty, or that of the entry itself, is the same as absent."""

    place: int


@dataclass(frozen=True, slots=True)
class Labels:
    """A map from text to text. `only`: the keys that are ours to compare, where the others never are (None: all)."""

    only: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Struct:
    """An object with named fields.

    always: fields that are there in any case, with what they are when absent. kept: it means something even when empty.
    group: it only gathers fields, so what others put into it stays when we have nothing in it; else it goes as a whole.
    identity: the fields that say which object it is. entry: its own Namespace and Partition are the default of those in it.
    ignored: what the server fills in. silent: what belongs to somebody else by design, so it is carried without a word.
    """

    fields: Mapping[str, Shape]
    always: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False
    group: bool = False
    identity: tuple[str, ...] = ()
    entry: bool = False
    ignored: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Items:
    """A list of objects. `key`: the fields that tell two of them apart.

    ordered: its order means something, so that elements are compared by position and named by it; else they are compared
    and named by their key. Without a key an element is what it is as a whole.
    """

    item: Struct
    key: tuple[str, ...] = ()
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Named:
    """A map from a name to an object. An empty object under a name is something."""

    item: Struct


Shape: TypeAlias = Leaf | Tenancy | Labels | Struct | Items | Named


@lru_cache(maxsize=4096)
def _go_duration(value: str | int) -> str:
    try:
        length = Duration(value) if isinstance(value, int) else Duration.parse(value)
    except DurationError:
        return str(value)  # Consul has none such; if it ever does, it is shown as it stands
    return str(length) if length.ns else ""


def _as_is(value: Any) -> Any:
    return value


def _lower(value: str) -> str:
    return value.lower()


def _duration(value: str | int) -> str:
    """As Go prints it; Consul takes and gives text, or in some structs whole nanoseconds."""
    return _go_duration(value)


def _weight(value: float) -> float:
    return round(float(value), 2)


def _set(values: list[Any]) -> list[Any]:
    return sorted(set(values))


def _upper_set(values: list[str]) -> list[str]:
    return sorted({value.upper() for value in values})


PLAIN = Leaf(_as_is)
LOWER = Leaf(_lower)
DURATION = Leaf(_duration)
WEIGHT = Leaf(_weight)
SET = Leaf(_set)
UPPER_SET = Leaf(_upper_set)
NAMESPACE = Tenancy(0)
PARTITION = Tenancy(1)
META = Labels()

INDEXES = frozenset({"CreateIndex", "ModifyIndex", "Hash"})
_WHERE: dict[str, Shape] = {"Namespace": NAMESPACE, "Partition": PARTITION}
_ENTRY: dict[str, Shape] = {"Name": PLAIN, "Meta": META, **_WHERE}
_TARGET: dict[str, Shape] = {"Service": PLAIN, "ServiceSubset": PLAIN, **_WHERE}


def _entry(fields: Mapping[str, Shape]) -> Struct:
    return Struct({**_ENTRY, **fields}, identity=("Name",), entry=True, ignored=INDEXES | {"Kind"})


_PATH: dict[str, Shape] = {"PathExact": PLAIN, "PathPrefix": PLAIN, "PathRegex": PLAIN, "Methods": UPPER_SET}
_HEADER = Struct(dict.fromkeys(("Name", "Present", "Exact", "Prefix", "Suffix", "Regex", "Invert"), PLAIN))
_QUERY = Struct(dict.fromkeys(("Name", "Present", "Exact", "Regex"), PLAIN))
_MATCH = Struct(
    {"HTTP": Struct({**_PATH, "Header": Items(_HEADER), "QueryParam": Items(_QUERY)}, group=True)}, group=True
)
_ROUTE_DESTINATION = Struct(
    {
        **_TARGET,
        "PrefixRewrite": PLAIN,
        "RequestTimeout": DURATION,
        "IdleTimeout": DURATION,
        "NumRetries": PLAIN,
        "RetryOnConnectFailure": PLAIN,
        "RetryOn": SET,
        "RetryOnStatusCodes": SET,
    },
    group=True,
)
_COOKIE = Struct({"Session": PLAIN, "TTL": DURATION, "Path": PLAIN})
_LOAD_BALANCER = Struct(
    {
        "Policy": PLAIN,
        "RingHashConfig": Struct({"MinimumRingSize": PLAIN, "MaximumRingSize": PLAIN}),
        # An empty one takes down the gateway at its next restart, so it has to be seen.
        "LeastRequestConfig": Struct({"ChoiceCount": PLAIN}, kept=True),
        "HashPolicies": Items(
            Struct({"Field": PLAIN, "FieldValue": PLAIN, "CookieConfig": _COOKIE, "SourceIP": PLAIN, "Terminal": PLAIN})
        ),
    }
)
_ELSEWHERE: dict[str, Shape] = {**_TARGET, "SamenessGroup": PLAIN}
_SOURCE_KEY = ("Name", "Namespace", "Partition", "Peer", "SamenessGroup")

SCHEMA: Mapping[Kind, Struct] = MappingProxyType(
    {
        Kind.DEFAULTS: _entry({"Protocol": LOWER, "Destination": Struct({"Addresses": PLAIN, "Port": PLAIN})}),
        Kind.RESOLVER: _entry(
            {
                "ConnectTimeout": DURATION,
                "RequestTimeout": DURATION,
                "DefaultSubset": PLAIN,
                "Subsets": Named(Struct({"Filter": PLAIN, "OnlyPassing": PLAIN})),
                "Redirect": Struct({**_ELSEWHERE, "Datacenter": PLAIN, "Peer": PLAIN}),
                "Failover": Named(
                    Struct(
                        {
                            **_ELSEWHERE,
                            "Datacenters": PLAIN,
                            "Targets": Items(Struct({**_TARGET, "Datacenter": PLAIN, "Peer": PLAIN})),
                        }
                    )
                ),
                "LoadBalancer": _LOAD_BALANCER,
            }
        ),
        Kind.ROUTER: _entry(
            {"Routes": Items(Struct({"Match": _MATCH, "Destination": _ROUTE_DESTINATION}), key=("Match",))}
        ),
        Kind.SPLITTER: _entry(
            {
                "Splits": Items(
                    Struct({"Weight": WEIGHT, **_TARGET}, always={"Weight": 0.0}), key=tuple(_TARGET), ordered=False
                )
            }
        ),
        Kind.INTENTIONS: _entry(
            {
                "Sources": Items(
                    Struct(
                        {
                            **dict.fromkeys(_SOURCE_KEY, PLAIN),
                            **_WHERE,
                            "Action": LOWER,
                            "Permissions": Items(
                                Struct({"Action": LOWER, "HTTP": Struct({**_PATH, "Header": Items(_HEADER)})})
                            ),
                        },
                        ignored=frozenset(
                            {"Precedence", "Type", "LegacyID", "LegacyMeta", "LegacyCreateTime", "LegacyUpdateTime"}
                        ),
                    ),
                    key=_SOURCE_KEY,
                    ordered=False,
                )
            }
        ),
        Kind.GATEWAY_ROW: Struct(
            {
                **dict.fromkeys(("Name", "CAFile", "CertFile", "KeyFile", "SNI", "DisableAutoHostRewrite"), PLAIN),
                **_WHERE,
            },
            identity=("Name",),
        ),
        Kind.CATALOG: Struct(
            {
                **dict.fromkeys(("Node", "Datacenter", "Address"), PLAIN),
                "NodeMeta": Labels(only=NODE_MARKS),
                "Service": Struct(
                    {**dict.fromkeys(("ID", "Service", "Address", "Port"), PLAIN), "Meta": META},
                    ignored=INDEXES | {"Proxy", "Connect", "Namespace", "Partition", "PeerName", "Datacenter", "Node"},
                    silent=frozenset({"Weights", "EnableTagOverride", "TaggedAddresses"}),
                ),
                "Check": Struct(
                    {
                        **dict.fromkeys(("CheckID", "Name"), PLAIN),
                        "Definition": Struct({"HTTP": PLAIN, "TCP": PLAIN, "Interval": DURATION, "Timeout": DURATION}),
                    },
                    ignored=INDEXES
                    | {"Node", "ServiceID", "ServiceName", "ServiceTags", "Type", "Interval", "Timeout", "ExposedPort"}
                    | {"Namespace", "Partition", "PeerName"},
                    silent=frozenset({"Status", "Output", "Notes"}),  # they belong to whoever probes
                ),
            },
            identity=("Node", "Datacenter"),
        ),
    }
)
