"""catalog_external: a node in the catalog for each server. It works on every version, for every client, with all of the chain."""

from __future__ import annotations

from gitsync.core.codes import note
from gitsync.core.entries.catalog_node import catalog_nodes
from gitsync.core.exposure.mesh import has_names, mesh_components
from gitsync.core.exposure.strategy import Exposed
from gitsync.model.context import RenderContext
from gitsync.model.features import Feature
from gitsync.model.finding import Finding
from gitsync.model.grammar import HTTP_LIKE
from gitsync.model.spec import ServiceSpec


def components(spec: ServiceSpec, context: RenderContext) -> Exposed:
    """The nodes first, then what the mesh knows of the service."""
    mesh = mesh_components(spec, context, destination=False)
    return Exposed((*catalog_nodes(spec, context), *mesh.components), (*mesh.findings, *_host(spec, context)))


def _host(spec: ServiceSpec, context: RenderContext) -> list[Finding]:
    """The gateway rewrites the Host only for http, to a DNS name, and only from the version on in which it speaks http."""
    if not spec.routing.preserve_host:
        return []
    if spec.connect.mesh_policy.protocol not in HTTP_LIKE:
        reason = "on tcp nothing is changed"
    elif not has_names(spec):
        reason = "a server with an IP address gets it as it is"
    elif not context.features.has(Feature.AUTO_HOST_REWRITE):
        reason = f"the gateway of Consul {context.features.version_text} does not change it"
    else:
        return []
    return [
        note(
            "preserve-host-needless",
            f"The client's Host reaches the server without preserve_host, because {reason}.",
            hint="Nothing to do; routing.preserve_host may go.",
            spec_path="routing.preserve_host",
        )
    ]
