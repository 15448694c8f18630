"""What every strategy has in the mesh: the service's own entries and its row in the gateway."""

from __future__ import annotations

from gitsync.core.codes import note
from gitsync.core.entries.catalog_node import servers
from gitsync.core.entries.defaults import defaults
from gitsync.core.entries.gateway_row import gateway_row
from gitsync.core.entries.intentions import intentions
from gitsync.core.entries.resolver import resolver
from gitsync.core.entries.router import router
from gitsync.core.entries.splitter import splitter
from gitsync.core.exposure.strategy import Exposed
from gitsync.model.component import Component
from gitsync.model.context import RenderContext
from gitsync.model.finding import Finding
from gitsync.model.grammar import HTTP_LIKE, is_address
from gitsync.model.spec import ServiceSpec

TLS_PORTS = (443, 8443)


def mesh_components(spec: ServiceSpec, context: RenderContext, *, destination: bool) -> Exposed:
    """The entries and the row. *destination*: with the address in the service-defaults, for transparent proxies."""
    components: list[Component] = [defaults(spec, context, destination=destination)]
    findings: list[Finding] = []
    for make in (resolver, splitter, router, intentions, gateway_row):
        component, said = make(spec, context)
        components += [component] if component else []
        findings += said
    return Exposed(tuple(components), (*findings, *_gateway(spec), *_protocol(spec)))


def has_names(spec: ServiceSpec) -> bool:
    """Whether a server is given by a DNS name."""
    return any(not is_address(server.host) for server in servers(spec))


def _gateway(spec: ServiceSpec) -> list[Finding]:
    gateway = spec.exposure.terminating_gateway
    if gateway is None:
        return [
            note(
                "no-gateway",
                "Mesh clients get 503, because no terminating gateway carries this service.",
                hint="Write exposure.terminating_gateway: {service: NAME}, or set gateway in the configuration.",
                spec_path="exposure.terminating_gateway",
            )
        ]
    if gateway.service.lower() == spec.name:
        return [
            note(
                "named-like-gateway",
                f"Nothing is written, because the gateway is called {gateway.service} too: its own instances would answer "
                "for the service.",
                hint="Give the service another name.",
                spec_path="name",
            )
        ]
    return []


def _protocol(spec: ServiceSpec) -> list[Finding]:
    protocol = spec.connect.mesh_policy.protocol
    if protocol not in HTTP_LIKE:
        return []
    findings = []
    if protocol in ("http2", "grpc"):
        findings.append(
            note(
                "protocol-http2",
                f"The gateway speaks HTTP/2 to the server because the protocol is {protocol}: clients get 502 from a server "
                "that speaks HTTP/1 only.",
                hint="If it does, write connect.mesh_policy.protocol: http.",
                spec_path="connect.mesh_policy.protocol",
            )
        )
    port = next((server.port for server in servers(spec) if server.port in TLS_PORTS), None)
    if port and spec.routing.tls is None:
        name = next((server.host for server in servers(spec) if not is_address(server.host)), "NAME")
        findings.append(
            note(
                "http-without-tls",
                f"The gateway speaks plaintext to port {port}: where the server expects TLS there, clients get 400 or 503.",
                hint=f"Write routing.tls: {{sni: {name}, ca_file: /etc/ssl/certs/ca-certificates.crt}}, or use the server's "
                "plaintext port.",
                spec_path="routing.tls",
            )
        )
    return findings
