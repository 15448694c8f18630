"""service-defaults: the anchor of a service. Its protocol, its labels, and where it is."""

from __future__ import annotations

from gitsync.core.entries.entry import entry
from gitsync.core.entries.gateway_row import tls_files
from gitsync.model.component import Component
from gitsync.model.context import RenderContext
from gitsync.model.key import Kind
from gitsync.model.spec import ServiceSpec


def defaults(spec: ServiceSpec, context: RenderContext, *, destination: bool) -> Component:
    """The service-defaults. *destination*: with the address in it, where transparent proxies look for it."""
    fields: dict[str, object] = {"Protocol": spec.connect.mesh_policy.protocol}
    if destination:
        fields["Destination"] = {"Addresses": [spec.routing.host], "Port": spec.routing.port}
    return entry(Kind.DEFAULTS, spec, context, fields, meta={**spec.metadata, **_whereabouts(spec, context)})


def _whereabouts(spec: ServiceSpec, context: RenderContext) -> dict[str, str]:
    """Host, port and TLS for people and other tools; of several endpoints the first. No other entry could hold them all."""
    first = spec.routing.endpoints[0] if spec.routing.endpoints else spec.routing
    meta = {"routing-host": str(first.host), "routing-port": str(first.port)}
    if spec.routing.tls:
        files = tls_files(spec, context)
        meta |= {
            "tls-sni": spec.routing.tls.sni or "",
            "tls-ca-file": files.ca_file,
            "tls-cert-file": files.cert_file,
            "tls-key-file": files.key_file,
        }
    return {key: value for key, value in meta.items() if value}
