"""tgw_static: the address in the service-defaults, for transparent proxies. No catalog service: it would silently win."""

from __future__ import annotations

from gitsync.core.codes import note
from gitsync.core.exposure.mesh import has_names, mesh_components
from gitsync.core.exposure.strategy import Exposed
from gitsync.model.context import RenderContext
from gitsync.model.features import Feature
from gitsync.model.finding import Finding
from gitsync.model.grammar import HTTP_LIKE
from gitsync.model.spec import ServiceSpec

MOOT = frozenset((
    "idle-timeout-unsupported", "idle-without-router", "request-timeout-capped", "request-timeout-unsupported", "timeout-on-tcp",
    "subset-sees-gateway", "failover-sees-gateway", "load-balancer-unsupported",
))  # fmt: skip
"""What goes without saying where the router, the resolver and the timeouts have no effect at all."""


def components(spec: ServiceSpec, context: RenderContext) -> Exposed:
    """The entries and the row; `Destination` where this Consul has it, and the address in the Meta in any case."""
    destination = context.features.has(Feature.DESTINATION)
    mesh = mesh_components(spec, context, destination=destination)
    findings = [finding for finding in mesh.findings if finding.code not in MOOT]
    if destination:
        findings += [*_layer_seven(spec), *_elsewhere(spec), *_address(spec, context), *_denied(spec)]
    else:
        findings.append(_unsupported(spec, context))
    return Exposed(mesh.components, (*findings, *_host(spec)))


def way_out(spec: ServiceSpec, context: RenderContext) -> str:
    """The exposure with which the same spec works. Without a datacenter that is not known to exist."""
    gateway = spec.exposure.terminating_gateway
    if gateway is None:
        return "exposure: {mode: catalog_external, terminating_gateway: {service: NAME}}"
    here = f", dc: {gateway.dc}" if gateway.dc == context.datacenter else ""
    return f"exposure: {{mode: catalog_external, terminating_gateway: {{service: {gateway.service}{here}}}}}"


def _unsupported(spec: ServiceSpec, context: RenderContext) -> Finding:
    return note(
        "destination-unsupported",
        f"Clients get 503, because Consul {context.features.version_text} has no Destination: the entries, the row and the records "
        "are written, and nothing leads to the server.",
        hint=f"Write {way_out(spec, context)}, or update Consul to {Feature.DESTINATION.since}.",
        spec_path="exposure.mode",
    )


def _layer_seven(spec: ServiceSpec) -> list[Finding]:
    connect, timeouts = spec.connect, spec.connect.mesh_policy.timeouts
    ignored = [f"timeouts.{name}" for name in ("connect", "request", "idle") if getattr(timeouts, name)]
    ignored += [name for name in ("router", "splitter") if getattr(connect, name)]
    if connect.resolver:
        ignored += ["resolver"]
    if not ignored:
        return []
    return [
        note(
            "destination-ignores-l7",
            f"Clients get the server's answers as they are, and 504 after Envoy's 15 s on http, because on tgw_static "
            f"{', '.join(ignored)} {'has' if len(ignored) == 1 else 'have'} no effect.",
            hint="Write exposure.mode: catalog_external, where they work, or remove them.",
            spec_path="exposure.mode",
        )
    ]


def _denied(spec: ServiceSpec) -> list[Finding]:
    """Who is denied has no way through the mesh, and a transparent proxy lets out what has none."""
    denied = [each.source for each in spec.connect.intentions or () if each.action == "deny"]
    if not denied:
        return []
    return [
        note(
            "destination-deny-passed",
            f"Callers that are denied ({', '.join(denied)}) reach the server directly, past the gateway: to them a transparent proxy "
            "shows no Destination, and what it does not know it lets out.",
            hint="Set TransparentProxy.MeshDestinationsOnly in the mesh config entry, or let only the gateway reach the server.",
            spec_path="connect.intentions",
        )
    ]


def _elsewhere(spec: ServiceSpec) -> list[Finding]:
    """What names another target changes who is reached, and that is an error."""
    connect, name = spec.connect, spec.name
    named = [
        f"connect.router.routes[{at}]"
        for at, route in enumerate(connect.router.routes if connect.router else ())
        if route.destination and (route.destination.subset or (route.destination.service or name).lower() != name)
    ]
    if any(split.subset or (split.service or name).lower() != name for split in connect.splitter):
        named.append("connect.splitter")
    if connect.resolver:
        named += [
            f"connect.resolver.{part}"
            for part in ("redirect", "failover", "default_subset")
            if getattr(connect.resolver, part)
        ]
    if not named:
        return []
    return [
        note(
            "destination-ignores-targets",
            f"Nothing is written, because on tgw_static {', '.join(named)} would have no effect: what is meant for others would go to "
            f"{spec.routing.host}.",
            hint="Write exposure.mode: catalog_external, or remove what names another service or a subset.",
            spec_path=named[0],
        )
    ]


def _address(spec: ServiceSpec, context: RenderContext) -> list[Finding]:
    http = spec.connect.mesh_policy.protocol in HTTP_LIKE
    names = has_names(spec)
    if http and (spec.routing.port != 80 or not names):
        why = (
            f"the port {spec.routing.port} stands in the Host that they send"
            if names
            else "an IP address is no name to go by"
        )
        return [
            note(
                "destination-host-port",
                f"Clients get 404, because on tgw_static http is matched by the bare host name and {why}.",
                hint=f"Write {way_out(spec, context)}.",
                spec_path="routing.port" if names else "routing.host",
            )
        ]
    if not http and names:
        return [
            note(
                "destination-tcp-name",
                f"Clients that speak plain TCP to {spec.routing.host} are reset, because on tgw_static tcp to a DNS name is matched by "
                "the name in their TLS.",
                hint=f"Write the IP address as routing.host, or {way_out(spec, context)}; clients that speak TLS themselves work.",
                spec_path="routing.host",
            )
        ]
    return []


def _host(spec: ServiceSpec) -> list[Finding]:
    if not spec.routing.preserve_host:
        return []
    return [
        note(
            "preserve-host-needless",
            "The client's Host reaches the server without preserve_host, because tgw_static never changes it.",
            hint="Nothing to do; routing.preserve_host may go.",
            spec_path="routing.preserve_host",
        )
    ]
