"""The spec: what a person writes for one service, in its canonical form.

Two spellings and the configuration's defaults are brought into this form before (`gitsync.core.spelling`); what stands here
is complete, so that equal meaning is an equal hash. A validator raises `wrong(...)`, whose type is the code of the finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from gitsync.model import jsontext
from gitsync.model.connect import (
    Connect,
    HeaderMatch,
    Intention,
    Match,
    MeshPolicy,
    Permission,
    PermissionHttp,
    QueryMatch,
    Retries,
    Route,
    RouteDestination,
    Router,
    Split,
    Timeouts,
)
from gitsync.model.grammar import Name, Tenancy, has_control, shown, wrong
from gitsync.model.key import DEFAULT, EXTERNAL_SOURCE, MANAGED_BY, OWNER_MARK, SERVICE_MARK, ServiceKey
from gitsync.model.part import Part, first_twice
from gitsync.model.resolver import (
    CookieConfig,
    Failover,
    FailoverTarget,
    HashPolicy,
    LeastRequest,
    LoadBalancer,
    Redirect,
    Resolver,
    RingHash,
    Subset,
)
from gitsync.model.routing import Check, Endpoint, Exposure, GatewayRef, Routing, Tls
from gitsync.model.secret import secret_rule

__all__ = [
    "Check", "Connect", "CookieConfig", "Endpoint", "Exposure", "Failover", "FailoverTarget", "GatewayRef", "HashPolicy",
    "HeaderMatch", "Intention", "LeastRequest", "LoadBalancer", "Match", "MeshPolicy", "Part", "Permission",
    "PermissionHttp", "QueryMatch", "Redirect", "Resolver", "Retries", "RingHash", "Route", "RouteDestination", "Router",
    "Routing", "ServiceSpec", "SpecDefaults", "Split", "Subset", "Timeouts", "Tls", "json_schema", "sni_length", "spec_hash",
]  # fmt: skip

SNI_LENGTH = 255
"""The longest SNI that Envoy takes. A longer one takes every upstream from every client of the service."""

META_PAIRS, META_KEY, META_VALUE = 64, 128, 512
"""Consul's limits for the Meta of a config entry: pairs, bytes of a key, bytes of a value."""

RESERVED_LABELS = frozenset((
    MANAGED_BY, OWNER_MARK, SERVICE_MARK, EXTERNAL_SOURCE,
    "routing-host", "routing-port", "tls-sni", "tls-ca-file", "tls-cert-file", "tls-key-file",
))  # fmt: skip
LABELS = META_PAIRS - len(RESERVED_LABELS)

REDIRECT = ("connect", "resolver", "redirect")


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > LABELS:
        raise wrong(
            f"has {len(labels)} labels; {LABELS} fit beside gitsync's own in the {META_PAIRS} pairs of Consul's Meta",
            f"remove {len(labels) - LABELS}", code="too-many-labels",
        )  # fmt: skip
    for key, value in labels.items():
        if not key or len(key.encode()) > META_KEY:
            raise wrong(f"has a name of {len(key.encode())} bytes", f"1 to {META_KEY} are possible", at=(key,))
        if len(value.encode()) > META_VALUE:
            raise wrong(f"has a value of {len(value.encode())} bytes", f"at most {META_VALUE} are possible", at=(key,))
        if key.lower() in RESERVED_LABELS:
            raise wrong("is a label of gitsync's or Consul's own", "rename it", code="label-reserved", at=(key,))
        rule = secret_rule(key, value)
        if rule:
            raise wrong(
                f"looks like a secret (rule {rule}), and labels are stored where everybody reads them",
                "keep secrets out of specs", code="secret-value", at=(key,),
            )  # fmt: skip
        if has_control(key) or has_control(value):
            raise wrong("has control characters", "remove them", at=(key,))
    return labels


class ServiceSpec(Part):
    """Everything that is wanted for one service."""

    name: Name = Field(description="Name of the service, unique in the sync.")
    partition: Tenancy = Field(DEFAULT, description="Admin partition; other than default needs Consul Enterprise.")
    namespace: Tenancy = Field(DEFAULT, description="Namespace; other than default needs Consul Enterprise.")
    routing: Routing = Field(description="Where the service is.")
    exposure: Exposure = Field(Exposure(), description="How the mesh reaches the service.")
    connect: Connect = Field(Connect(), description="What the mesh does with requests to the service.")
    metadata: Annotated[dict[str, str], AfterValidator(_labels)] = Field(
        {}, description="Labels, kept in the Meta of the service-defaults as they stand in the file."
    )

    @property
    def key(self) -> ServiceKey:
        return ServiceKey(self.name, self.namespace, self.partition)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for rule in (_endpoints_need_nodes, _dc_once, _unique_splits, _known_subsets, _elsewhere, _short_enough):
            rule(self)
        return self

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON, defaults spelled out and what is absent left out. `from_json` reads it back."""
        document: dict[str, Any] = _without_absent(self.model_dump(mode="json"))
        document["exposure"].setdefault("terminating_gateway", None)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ServiceSpec:
        """A spec from its canonical form. What is absent has the default of the form, not of a configuration.

        Raises pydantic.ValidationError.
        """
        return cls.model_validate(dict(document))


def _without_absent(value: Any) -> Any:
    """*value* without null and empty parts; an empty `on` or `intentions` means something and stays."""
    if isinstance(value, dict):
        pruned = ((name, _without_absent(part)) for name, part in value.items())
        return {
            name: part
            for name, part in pruned
            if part is not None and (part not in ([], {}) or name in ("on", "intentions"))
        }
    return [_without_absent(part) for part in value] if isinstance(value, list) else value


def _endpoints_need_nodes(spec: ServiceSpec) -> None:
    if spec.routing.endpoints and spec.exposure.mode != "catalog_external":
        raise wrong(
            f"routing.endpoints needs exposure.mode catalog_external (a node for each), not {spec.exposure.mode}",
            "write 'mode: catalog_external', or host and port", code="invalid-combination", at=("routing", "endpoints"),
        )  # fmt: skip


def _dc_once(spec: ServiceSpec) -> None:
    gateway = spec.exposure.terminating_gateway
    if gateway and gateway.dc and spec.exposure.dc and gateway.dc != spec.exposure.dc:
        raise wrong(
            f"exposure.dc is {shown(spec.exposure.dc)} and exposure.terminating_gateway.dc is {shown(gateway.dc)}",
            "a node and its gateway are in one datacenter: keep one", code="invalid-combination", at=("exposure", "dc"),
        )  # fmt: skip


def _unique_splits(spec: ServiceSpec) -> None:
    targets = [
        f"{(split.service or spec.name).lower()} {split.subset or ''}".strip() for split in spec.connect.splitter
    ]
    twice = first_twice(targets)
    if twice:
        position = len(targets) - 1 - targets[::-1].index(twice)
        raise wrong(
            f"the target {shown(twice)} stands twice", "add the two weights up", at=("connect", "splitter", position)
        )


def _known_subsets(spec: ServiceSpec) -> None:
    """A subset of this very service has to exist in its resolver. Another service's resolver is not known here."""
    known = spec.connect.resolver.subsets if spec.connect.resolver else {}
    splits = ((("connect", "splitter", position), split) for position, split in enumerate(spec.connect.splitter))
    routes = (
        (("connect", "router", "routes", position, "destination"), route.destination)
        for position, route in enumerate(spec.connect.router.routes if spec.connect.router else ())
    )
    for path, target in (*splits, *routes):
        if (
            target
            and target.subset
            and (target.service or spec.name).lower() == spec.name
            and target.subset not in known
        ):
            raise wrong(
                f"{shown(target.subset)} is not in connect.resolver.subsets ({', '.join(sorted(known)) or 'none'})",
                f"add {shown(target.subset)} to connect.resolver.subsets",
                at=(*path, "subset"),
            )


def _elsewhere(spec: ServiceSpec) -> None:
    redirect = spec.connect.resolver.redirect if spec.connect.resolver else None
    if redirect and (redirect.service or spec.name).lower() == spec.name and not redirect.datacenter:
        raise wrong(
            "connect.resolver.redirect leads to the service itself", "name another service or a datacenter", at=REDIRECT
        )


def _short_enough(spec: ServiceSpec) -> None:
    named = [spec.exposure.dc, spec.exposure.terminating_gateway.dc if spec.exposure.terminating_gateway else None]
    if spec.connect.resolver:
        named.append(spec.connect.resolver.redirect.datacenter if spec.connect.resolver.redirect else None)
        for failover in spec.connect.resolver.failover.values():
            named += [*failover.datacenters, *(target.datacenter for target in failover.targets)]
    length = sni_length(spec, max((len(name) for name in named if name), default=1))
    if length > SNI_LENGTH:
        raise wrong(
            f"the name that the mesh uses for this service would have {length} characters, at most {SNI_LENGTH} are possible",
            "shorten the name, the longest subset" + (" or the host" if spec.exposure.mode == "tgw_static" else ""),
            code="name-too-long", at=("name",),
        )  # fmt: skip


def sni_length(spec: ServiceSpec, longest_datacenter: int) -> int:
    """An upper bound of the length of the mesh's SNI for *spec* and for what it leads to, for datacenter names of
    *longest_datacenter* characters.

    Above SNI_LENGTH every client of the service loses all of its upstreams at its next restart. For tgw_static the name
    begins with `destination.<host>.`.
    """
    subsets = spec.connect.resolver.subsets if spec.connect.resolver else {}
    own = max((len(subset) + 1 for subset in subsets), default=0) + len(spec.name)
    length = max((own, *_target_lengths(spec))) + 63 + longest_datacenter
    length += sum(len(name) + 1 for name in (spec.namespace, spec.partition) if name != DEFAULT)
    if spec.exposure.mode == "tgw_static" and spec.routing.host:
        length += len("destination.") + len(spec.routing.host) + 1
    return length


def _target_lengths(spec: ServiceSpec) -> Iterator[int]:
    """The lengths of `<subset>.<name>` of everything to which *spec* sends the requests of its clients."""
    resolver, router = spec.connect.resolver, spec.connect.router
    named: list[tuple[str | None, str | None]] = [(split.service, split.subset) for split in spec.connect.splitter]
    named += [
        (each.destination.service, each.destination.subset)
        for each in (router.routes if router else ())
        if each.destination
    ]
    if resolver:
        named += [(resolver.redirect.service, resolver.redirect.subset)] if resolver.redirect else []
        for failover in resolver.failover.values():
            named += [(failover.service, failover.subset)]
            named += [(target.service, target.subset) for target in failover.targets]
    return (len(service or spec.name) + (len(subset) + 1 if subset else 0) for service, subset in named)


def spec_hash(spec: ServiceSpec) -> str:
    """SHA-256 of the canonical JSON of *spec*: equal meaning, equal hash. The order of keys does not matter."""
    return sha256(jsontext.ordered(spec.to_json())).hexdigest()


@dataclass(frozen=True, slots=True)
class SpecDefaults:
    """What the configuration fills into a spec. `gateway`: the terminating gateway of a spec that names none."""

    partition: str = DEFAULT
    namespace: str = DEFAULT
    gateway: str | None = None


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a document, for editors. It takes both spellings, and labels that are no text."""
    schema = ServiceSpec.model_json_schema()
    parts = schema["$defs"]
    policy = parts["MeshPolicy"]["properties"]
    older = "The older spelling of "
    parts["Connect"]["properties"] |= {
        "protocol": policy["protocol"] | {"description": older + "mesh_policy.protocol.", "deprecated": True},
        "timeouts": {"$ref": "#/$defs/Timeouts", "description": older + "mesh_policy.timeouts.", "deprecated": True},
    }
    router = {"anyOf": [{"$ref": "#/$defs/Router"}, {"type": "null"}], "default": None}
    schema["properties"] |= {"router": router | {"description": older + "connect.router.", "deprecated": True}}
    schema["properties"]["metadata"]["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    parts["Resolver"]["properties"]["subsets"]["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "gitsync service spec"}
