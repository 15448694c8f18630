"""Which instances of a service answer, how one is chosen, and who answers when none does."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gitsync.model.grammar import (
    RING_SIZE,
    Datacenter,
    Items,
    Path,
    Period,
    Reference,
    SubsetName,
    Text,
    UrlPath,
    one_of,
    shown,
    whole,
    wrong,
)
from gitsync.model.part import LIST_LENGTH, Part, at_most, at_most_one, empty_is_absent, exactly_one, first_twice, given

Balance = Annotated[
    Literal["random", "round_robin", "least_request", "ring_hash", "maglev"],
    one_of("random", "round_robin", "least_request", "ring_hash", "maglev"),
]
HashField = Annotated[Literal["header", "cookie", "query_parameter"], one_of("header", "cookie", "query_parameter")]


class Subset(Part):
    """Some of the instances of a service."""

    filter: Annotated[Text, Field(max_length=4096)] | None = Field(
        None, description='Consul filter expression, such as Service.Meta.version == "v1".'
    )
    only_passing: bool = Field(False, description="Leave out instances whose checks are in state warning.")


class FailoverTarget(Part):
    """One place to fail over to."""

    service: Reference | None = Field(None, description="Another service; absent: this one.")
    subset: SubsetName | None = Field(None, description="A subset of that service.")
    datacenter: Datacenter | None = Field(None, description="Another datacenter.")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not given(self, "service", "subset", "datacenter"):
            raise wrong("leads nowhere", "write at least one of service, subset, datacenter", code="missing-field")
        return self


class Failover(Part):
    """Where requests go when a subset has no healthy instance."""

    service: Reference | None = Field(None, description="Another service; absent: this one.")
    subset: SubsetName | None = Field(None, description="A subset of that service.")
    datacenters: Annotated[Items[Datacenter], at_most(LIST_LENGTH)] = Field(
        (), description="Datacenters, in this order."
    )
    targets: Annotated[Items[FailoverTarget], at_most(LIST_LENGTH)] = Field(
        (), description="Targets, in this order, instead of the others (Consul 1.14)."
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        alone = given(self, "service", "subset", "datacenters")
        if self.targets and alone:
            raise wrong(
                f"has targets beside {' and '.join(alone)}", "write it into the targets", code="invalid-combination"
            )
        if not self.targets and not alone:
            raise wrong(
                "leads nowhere", "write at least one of service, subset, datacenters, targets", code="missing-field"
            )
        twice = first_twice(self.datacenters)
        if twice:
            raise wrong(f"datacenters has {shown(twice)} twice", "keep it once")
        return self


class Redirect(Part):
    """Somewhere else, always."""

    service: Reference | None = Field(None, description="Another service; absent: this one.")
    subset: SubsetName | None = Field(None, description="A subset of that service.")
    datacenter: Datacenter | None = Field(None, description="Another datacenter.")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not given(self, "service", "datacenter"):
            raise wrong("leads nowhere", "write at least one of service, datacenter", code="missing-field")
        if self.subset and not self.service:
            raise wrong("has a subset but no service; a service that redirects has no subsets", "add service")
        return self


Ring = Annotated[
    int, BeforeValidator(whole(1, RING_SIZE)), Field(json_schema_extra={"minimum": 1, "maximum": RING_SIZE})
]


class RingHash(Part):
    """The size of the ring."""

    minimum: Ring | None = Field(None, description="Least number of entries; Envoy's default is 1024.")
    maximum: Ring | None = Field(None, description="Greatest number of entries.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum and self.maximum and self.minimum > self.maximum:
            raise wrong(f"minimum {self.minimum} is above maximum {self.maximum}", "swap them")
        return self


class LeastRequest(Part):
    """How least_request chooses."""

    choice_count: Annotated[int, BeforeValidator(whole(2, 1000))] = Field(
        description="Of how many random instances the least busy one is taken.",
        json_schema_extra={"minimum": 2, "maximum": 1000},
    )


class CookieConfig(Part):
    """The cookie that Envoy makes where a request has none."""

    session: bool = Field(False, description="A cookie without an expiry.")
    ttl: Period | None = Field(None, description="Its life.")
    path: UrlPath | None = Field(None, description="Its path.")

    @model_validator(mode="after")
    def _one_life(self) -> Self:
        at_most_one(self, "session", "ttl")
        return self


class HashPolicy(Part):
    """What of a request is hashed."""

    field: HashField | None = Field(None, description="Kind of thing to hash.")
    field_value: Annotated[Text, Field(min_length=1)] | None = Field(None, description="Its name.")
    cookie_config: Annotated[CookieConfig | None, AfterValidator(empty_is_absent)] = Field(
        None, description="For field cookie."
    )
    source_ip: bool = Field(False, description="Hash the client's address instead.")
    terminal: bool = Field(False, description="Stop here if this policy gave a hash.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        exactly_one(self, "field", "source_ip")
        if bool(self.field) != bool(self.field_value):
            raise wrong(
                "field and field_value go together", "write both, or source_ip alone", code="invalid-combination"
            )
        if self.cookie_config and self.field != "cookie":
            raise wrong(
                "cookie_config needs field cookie", "remove it, or write 'field: cookie'", code="invalid-combination"
            )
        return self


class LoadBalancer(Part):
    """How an instance is chosen (Consul 1.9)."""

    policy: Balance = Field(description="The way to choose.")
    ring_hash: Annotated[RingHash | None, AfterValidator(empty_is_absent)] = Field(
        None, description="For policy ring_hash."
    )
    least_request: LeastRequest | None = Field(None, description="For policy least_request.")
    hash_policies: Annotated[Items[HashPolicy], at_most(LIST_LENGTH)] = Field(
        (), description="For ring_hash and maglev."
    )

    @model_validator(mode="after")
    def _fits_the_policy(self) -> Self:
        for name, policies in (
            ("ring_hash", ("ring_hash",)), ("least_request", ("least_request",)), ("hash_policies", ("ring_hash", "maglev")),
        ):  # fmt: skip
            if given(self, name) and self.policy not in policies:
                raise wrong(
                    f"{name} needs policy {' or '.join(policies)}, not {self.policy}",
                    f"remove {name}, or change the policy",
                    code="invalid-combination",
                    at=(name,),
                )
        return self


class Resolver(Part):
    """Which instances answer, and who answers when they do not."""

    default_subset: SubsetName | None = Field(None, description="The subset that is meant where none is named.")
    subsets: Annotated[dict[SubsetName, Subset], Field(max_length=LIST_LENGTH)] = Field(
        {}, description="Subsets by name."
    )
    failover: Annotated[dict[str, Failover], Field(max_length=LIST_LENGTH)] = Field(
        {}, description="Where requests go when a subset (or `*`, any) has no healthy instance."
    )
    redirect: Redirect | None = Field(None, description="Another service or datacenter that answers instead, always.")
    load_balancer: LoadBalancer | None = Field(None, description="How an instance is chosen.")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        beside = given(self, "default_subset", "subsets", "failover")
        if self.redirect and beside:
            raise wrong(
                f"has redirect beside {' and '.join(beside)}, which a redirect makes meaningless",
                "keep one of them", code="invalid-combination", at=("redirect",),
            )  # fmt: skip
        if self.default_subset:
            self._has(self.default_subset, at=("default_subset",))
        for name, failover in self.failover.items():
            if name != "*":
                self._has(name, at=("failover", name))
            if failover.subset and not failover.service:
                self._has(failover.subset, at=("failover", name, "subset"))
            for position, target in enumerate(failover.targets):
                if target.subset and not target.service:
                    self._has(target.subset, at=("failover", name, "targets", position, "subset"))
        return self

    def _has(self, subset: str, *, at: Path) -> None:
        if subset not in self.subsets:
            known = ", ".join(sorted(self.subsets)) or "none"
            raise wrong(f"{shown(subset)} is not among the subsets ({known})", f"add {shown(subset)} to subsets", at=at)
