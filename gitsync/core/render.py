"""Render: from a spec to everything that one Consul is to store for it, and what there is to say about that. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from gitsync.core.codes import note
from gitsync.core.exposure.registry import STRATEGIES
from gitsync.core.sight import references
from gitsync.model.context import RenderContext, Rendered
from gitsync.model.features import Feature
from gitsync.model.finding import Finding, Place
from gitsync.model.key import DEFAULT
from gitsync.model.spec import SNI_LENGTH, ServiceSpec, sni_length

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""What can be one label of a DNS name, and the name of an ACL identity."""


def render(spec: ServiceSpec, place: Place, context: RenderContext) -> Rendered:
    """The components of *spec*, in the order of writing. *place* is where the spec stands; every finding carries it.

    Never raises for a valid spec. With an error among the findings nothing of it is to be written.
    """
    exposed = STRATEGIES[spec.exposure.mode].components(spec, context)
    findings = [*_consul(spec, context), *exposed.findings, *_name(spec, context), *_capitals(spec)]
    named = frozenset(
        name for component in exposed.components for name in references(component.key.kind, component.body)
    )
    return Rendered(
        exposed.components,
        tuple(replace(finding, service=spec.key, place=place.at(finding.spec_path)) for finding in findings),
        named,
    )


def _consul(spec: ServiceSpec, context: RenderContext) -> Iterator[Finding]:
    if not context.features.has(Feature.META):
        yield note(
            "consul-too-old",
            f"Nothing is written, because Consul {context.features.version_text} stores no Meta, and nothing could be told from what "
            "others wrote.",
            hint=f"Update Consul to {Feature.META.since}.",
        )
    if not context.features.enterprise and (spec.namespace, spec.partition) != (DEFAULT, DEFAULT):
        yield note(
            "enterprise-only",
            f"Nothing is written, because this Consul is Community Edition and has no partition {spec.partition} with a namespace "
            f"{spec.namespace}.",
            hint="Leave partition and namespace out, or point gitsync at Consul Enterprise.",
            spec_path="namespace" if spec.namespace != DEFAULT else "partition",
        )


def _name(spec: ServiceSpec, context: RenderContext) -> Iterator[Finding]:
    length = sni_length(spec, len(context.datacenter))
    if length > SNI_LENGTH:
        yield too_long(spec, context.datacenter, length)
    if not LABEL.fullmatch(spec.name):
        what = "DNS" if re.fullmatch(r"[a-z0-9_-]+", spec.name) else "DNS and service identities of ACL tokens"
        yield note(
            "name-without-identity",
            f"{what} cannot carry the name {spec.name}: {spec.name}.service.consul does not resolve, and tokens need a policy that "
            "names it.",
            hint="Nothing to do for mesh clients, which go by the name as it is.",
            spec_path="name",
        )


def too_long(spec: ServiceSpec, datacenter: str, length: int) -> Finding:
    """The error for a name that Envoy does not take in *datacenter*."""
    return note(
        "name-too-long",
        f"Nothing is written, because the name that the mesh uses for this service in {datacenter} would have {length} characters: "
        f"above {SNI_LENGTH} its clients lose all of their upstreams.",
        hint="Shorten the name, the longest subset" + (" or the host." if spec.exposure.mode == "tgw_static" else "."),
        service=spec.key,
        spec_path="name",
    )


def _capitals(spec: ServiceSpec) -> Iterator[Finding]:
    for path, name in sorted(_named(spec)):
        if name != name.lower():
            yield note(
                "reference-with-capital",
                f"Clients get 503 if the service is registered as {name.lower()}, because the catalog tells {name} from it.",
                hint=f"Write {name.lower()}, unless the service really is registered with capitals.",
                spec_path=path,
            )


def _named(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    """Every service that the spec names, the gateway included, with the path at which it does."""
    if spec.exposure.terminating_gateway:
        yield "exposure.terminating_gateway.service", spec.exposure.terminating_gateway.service
    connect = spec.connect
    for at, route in enumerate(connect.router.routes if connect.router else ()):
        if route.destination and route.destination.service:
            yield f"connect.router.routes[{at}].destination.service", route.destination.service
    for at, split in enumerate(connect.splitter):
        if split.service:
            yield f"connect.splitter[{at}].service", split.service
    for at, intention in enumerate(connect.intentions or ()):
        yield f"connect.intentions[{at}].source", intention.source
    if connect.resolver is None:
        return
    if connect.resolver.redirect and connect.resolver.redirect.service:
        yield "connect.resolver.redirect.service", connect.resolver.redirect.service
    for subset, failover in connect.resolver.failover.items():
        path = f"connect.resolver.failover.{subset}"
        if failover.service:
            yield f"{path}.service", failover.service
        for at, target in enumerate(failover.targets):
            if target.service:
                yield f"{path}.targets[{at}].service", target.service
