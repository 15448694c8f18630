"""What the mesh does with requests to a service: protocol, routes, resolution, shares, permissions."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gitsync.model.grammar import (
    HTTP_LIKE,
    Conditions,
    HeaderName,
    Items,
    Methods,
    Path,
    Period,
    Protocol,
    Reference,
    Regex,
    Source,
    Statuses,
    SubsetName,
    UrlPath,
    Weight,
    Word,
    one_of,
    shown,
    whole,
    wrong,
)
from gitsync.model.part import LIST_LENGTH, Part, at_most, at_most_one, empty_is_absent, exactly_one, first_twice, given
from gitsync.model.resolver import Resolver

ROUTES = 100
Verdict = Annotated[Literal["allow", "deny"], one_of("allow", "deny")]


class Timeouts(Part):
    """How long a client waits."""

    connect: Period | None = Field(None, description="For a connection to the server.")
    request: Period | None = Field(None, description="For a whole request, with its retries.")
    idle: Period | None = Field(None, description="For a stream on which nothing happens. Needs a router.")


class MeshPolicy(Part):
    """The protocol and its timeouts."""

    protocol: Protocol = Field(
        "tcp", description="What the server speaks. Routers, splitters and permissions need an http-like one."
    )
    timeouts: Timeouts = Field(Timeouts(), description="How long a client waits.")


class Retries(Part):
    """When a request is sent again."""

    attempts: Annotated[int, BeforeValidator(whole(0, 100))] = Field(
        description="How many times a request is sent again. 0: never.",
        json_schema_extra={"minimum": 0, "maximum": 100},
    )
    per_try_timeout: Period | None = Field(
        None, description="For one attempt. No version of Consul has it: it is recorded and reported as a finding."
    )
    on: Conditions | None = Field(
        None,
        description="Conditions to retry on. Absent: connect-failure, refused-stream, unavailable, cancelled.",
    )
    status_codes: Statuses = Field((), description="HTTP status codes to retry on, beside `on`.")

    @model_validator(mode="after")
    def _something_to_retry_on(self) -> Self:
        if self.attempts and self.on == () and not self.status_codes:
            raise wrong(
                "on is empty and there are no status_codes, so nothing would be retried",
                "remove on, or list conditions",
                at=("on",),
            )
        return self


class HeaderMatch(Part):
    """One header of a request."""

    name: HeaderName = Field(description="Name of the header.")
    present: bool = Field(False, description="It has to be there.")
    exact: Word | None = Field(None, description="Its whole value.")
    prefix: Word | None = Field(None, description="What its value begins with.")
    suffix: Word | None = Field(None, description="What its value ends with.")
    regex: Regex | None = Field(None, description="RE2 that its whole value matches.")
    invert: bool = Field(
        False,
        description="Match requests for which this is not so. One without the header matches only inverted `present`.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        exactly_one(self, "present", "exact", "prefix", "suffix", "regex")
        return self


class QueryMatch(Part):
    """One query parameter of a request."""

    name: Word = Field(description="Name of the parameter.")
    present: bool = Field(False, description="It has to be there.")
    exact: Word | None = Field(None, description="Its whole value.")
    regex: Regex | None = Field(None, description="RE2 that its whole value matches.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        exactly_one(self, "present", "exact", "regex")
        return self


class Match(Part):
    """Which requests a route takes. Everything that is given has to be so."""

    path_exact: UrlPath | None = Field(None, description="The whole path.")
    path_prefix: UrlPath | None = Field(None, description="What the path begins with.")
    path_regex: Regex | None = Field(None, description="RE2 that the whole path matches.")
    methods: Methods = Field((), description="HTTP methods; absent: any.")
    headers: Annotated[Items[HeaderMatch], at_most(LIST_LENGTH)] = Field(
        (), description="Headers, all of which have to match."
    )
    query: Annotated[Items[QueryMatch], at_most(LIST_LENGTH)] = Field(
        (), description="Query parameters, all of which have to match."
    )

    @model_validator(mode="after")
    def _one_path(self) -> Self:
        at_most_one(self, "path_exact", "path_prefix", "path_regex")
        return self


class RouteDestination(Part):
    """Where a route leads."""

    service: Reference | None = Field(None, description="Another service; absent: this one.")
    subset: SubsetName | None = Field(None, description="A subset of that service's resolver.")
    prefix_rewrite: UrlPath | None = Field(None, description="What replaces the matched path or prefix.")
    request_timeout: Period | None = Field(None, description="For a whole request, with its retries.")
    idle_timeout: Period | None = Field(None, description="For a stream on which nothing happens.")
    retries: Retries | None = Field(None, description="When a request is sent again.")


class Route(Part):
    """One route. Without a match it takes every request."""

    match: Annotated[Match | None, AfterValidator(empty_is_absent)] = Field(
        None, description="Which requests it takes; absent: all."
    )
    destination: Annotated[RouteDestination | None, AfterValidator(empty_is_absent)] = Field(
        None, description="Where it leads; absent: to this service, as it is."
    )

    @model_validator(mode="after")
    def _rewrite_needs_a_prefix(self) -> Self:
        if (
            self.destination
            and self.destination.prefix_rewrite
            and not (self.match and (self.match.path_exact or self.match.path_prefix))
        ):
            raise wrong(
                "destination.prefix_rewrite needs something to replace", "add match.path_prefix or match.path_exact",
                code="invalid-combination", at=("destination", "prefix_rewrite"),
            )  # fmt: skip
        return self


class Router(Part):
    """Routes by path, method, header and query. The first that matches wins."""

    prefix: UrlPath | None = Field(None, description="Short for one route with this path prefix.")
    retries: Retries | None = Field(None, description="Retries of that one route.")
    routes: Annotated[Items[Route], at_most(ROUTES)] = Field((), description="Routes, instead of prefix.")

    @model_validator(mode="after")
    def _prefix_or_routes(self) -> Self:
        exactly_one(self, "prefix", "routes")
        if self.routes and self.retries:
            raise wrong(
                "retries stands beside routes, and would belong to none of them",
                "write it into the destination of each route that it is meant for",
                code="invalid-combination",
                at=("retries",),
            )
        return self


class Split(Part):
    """A share of the requests."""

    weight: Weight = Field(description="Per cent, with up to two decimals.")
    service: Reference | None = Field(None, description="Another service; absent: this one.")
    subset: SubsetName | None = Field(None, description="A subset of that service's resolver.")


class PermissionHttp(Part):
    """Which requests a permission is about."""

    path_exact: UrlPath | None = Field(None, description="The whole path.")
    path_prefix: UrlPath | None = Field(None, description="What the path begins with.")
    path_regex: Regex | None = Field(None, description="RE2 that the whole path matches.")
    methods: Methods = Field((), description="HTTP methods; absent: any.")
    headers: Annotated[Items[HeaderMatch], at_most(LIST_LENGTH)] = Field(
        (), description="Headers, all of which have to match."
    )

    @model_validator(mode="after")
    def _some_requests(self) -> Self:
        paths = ("path_exact", "path_prefix", "path_regex")
        at_most_one(self, *paths)
        if not given(self, *paths, "methods", "headers"):
            raise wrong(
                "says nothing", "write a path, methods or headers; for all requests use action", code="missing-field"
            )
        return self


class Permission(Part):
    """A verdict on some requests. The first that matches decides."""

    action: Verdict = Field(description="allow or deny.")
    http: PermissionHttp = Field(description="Which requests.")


class Intention(Part):
    """Who may call the service."""

    source: Source = Field(description="The calling service, or `*`.")
    action: Verdict | None = Field(None, description="allow or deny, for all its requests.")
    permissions: Annotated[Items[Permission], at_most(LIST_LENGTH)] = Field(
        (), description="Verdicts by request, instead of action. Needs an http-like protocol."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        exactly_one(self, "action", "permissions")
        return self


def _unique_sources(intentions: tuple[Intention, ...]) -> tuple[Intention, ...]:
    """In one order, whatever the file's: Consul sorts them by precedence, so the order means nothing."""
    twice = first_twice(intention.source.lower() for intention in intentions)
    if twice:
        raise wrong(f"source {shown(twice)} stands twice", "keep one intention for each source")
    return tuple(sorted(intentions, key=lambda intention: intention.source))


def _whole_traffic(splits: tuple[Split, ...]) -> tuple[Split, ...]:
    total = sum(round(split.weight * 100) for split in splits)
    if splits and total != 10_000:
        raise wrong(f"the weights are {total / 100:.2f} together, each rounded to 0.01", "make them exactly 100.00")
    return splits


class Connect(Part):
    """What the mesh does with requests to the service."""

    mesh_policy: MeshPolicy = Field(MeshPolicy(), description="The protocol and its timeouts.")
    router: Router | None = Field(None, description="Routes by path, method, header and query; absent: none.")
    resolver: Annotated[Resolver | None, AfterValidator(empty_is_absent)] = Field(
        None, description="Subsets, failover, redirect, load balancing; absent: a minimal one."
    )
    splitter: Annotated[Items[Split], at_most(LIST_LENGTH), AfterValidator(_whole_traffic)] = Field(
        (), description="Shares of the requests; absent: none."
    )
    intentions: Annotated[Items[Intention], at_most(LIST_LENGTH), AfterValidator(_unique_sources)] | None = Field(
        None,
        description="Who may call the service. Absent: not managed. An empty list: there are none, and somebody else's are a conflict.",
    )

    @model_validator(mode="after")
    def _protocol_carries_it(self) -> Self:
        protocol = self.mesh_policy.protocol
        if protocol in HTTP_LIKE:
            return self
        needing: list[tuple[str, Path]] = [(name, (name,)) for name in given(self, "router", "splitter")]
        if any(intention.permissions for intention in self.intentions or ()):
            needing.append(("intentions with permissions", ("intentions",)))
        if needing:
            raise wrong(
                f"{needing[0][0]} needs an http-like protocol, and this service's is {protocol}",
                f"write 'mesh_policy: {{protocol: http}}' if the server speaks HTTP, else remove {needing[0][0]}",
                code="protocol-mismatch", at=needing[0][1],
            )  # fmt: skip
        return self
