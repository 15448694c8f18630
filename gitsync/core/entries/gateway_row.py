"""A row in a terminating gateway: what makes the mesh's way out, and the one part that can take the neighbours down."""

from __future__ import annotations

from collections.abc import Iterator

from gitsync.core.codes import note
from gitsync.core.entries.entry import Made, component, filled
from gitsync.model.context import GatewayFiles, RenderContext, TlsFiles
from gitsync.model.features import Feature
from gitsync.model.finding import Finding
from gitsync.model.grammar import HTTP_LIKE, is_address
from gitsync.model.key import DEFAULT, ComponentKey, Kind
from gitsync.model.spec import ServiceSpec

OVERSTRICT = ((1, 16, 5), (1, 17, 2))
"""Versions in which the gateway refuses certificates that are good (consul-facts.md section 9)."""

SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"


def gateway_row(spec: ServiceSpec, context: RenderContext) -> Made:
    """The row of the gateway that the spec names; none where it names none."""
    gateway = spec.exposure.terminating_gateway
    if gateway is None:
        return None, []
    files = tls_files(spec, context)
    keep_host = spec.routing.preserve_host and context.features.has(Feature.DISABLE_AUTO_HOST_REWRITE)
    row = filled(
        Name=spec.name,
        Namespace=spec.namespace if context.features.enterprise and spec.namespace != DEFAULT else None,
        CAFile=files.ca_file,
        CertFile=files.cert_file,
        KeyFile=files.key_file,
        SNI=spec.routing.tls.sni if spec.routing.tls else None,
        DisableAutoHostRewrite=keep_host,
    )
    findings = [*_tls(spec, context, files), *_host(spec, context)]
    return component(ComponentKey(spec.key, Kind.GATEWAY_ROW, gateway.service), row), findings


def tls_files(spec: ServiceSpec, context: RenderContext) -> TlsFiles:
    """The files of the row. The gateway's default CA fills in a `tls` block without a CA; it never adds TLS to a spec."""
    tls = spec.routing.tls
    if tls is None:
        return TlsFiles("")
    return TlsFiles(tls.ca_file or _gateway(spec, context).default_ca_file, tls.cert_file or "", tls.key_file or "")


def _gateway(spec: ServiceSpec, context: RenderContext) -> GatewayFiles:
    gateway = spec.exposure.terminating_gateway
    return context.gateways.get(gateway.service, GatewayFiles()) if gateway else GatewayFiles()


def _tls(spec: ServiceSpec, context: RenderContext, files: TlsFiles) -> Iterator[Finding]:
    tls = spec.routing.tls
    if tls is None:
        return
    if files != TlsFiles("") and not _gateway(spec, context).lists(files):
        yield _not_listed(spec, context, files)
    elif not files.ca_file:
        yield note(
            "tls-not-originated",
            "The gateway speaks plaintext to the server although the spec has tls, because without a CA file it does not "
            "start TLS: from a port that expects TLS, clients get 503.",
            hint=f"Write routing.tls.ca_file: {SYSTEM_CA} (a path on the gateway's host), or set default_ca_file for the gateway "
            "in the configuration.",
            spec_path="routing.tls.ca_file",
        )
    elif not tls.sni:
        yield note(
            "tls-name-unchecked",
            f"The gateway takes any certificate that a CA in {files.ca_file} has signed, for whatever name, because routing.tls "
            "has no sni.",
            hint="Write routing.tls.sni: the name in the server's certificate.",
            spec_path="routing.tls.sni",
        )
    elif not context.features.has(Feature.SAN_MATCH):
        yield note(
            "tls-san-unchecked",
            f"Consul {context.features.version_text} sends the sni but does not compare it with the certificate, so clients "
            f"are connected to any server whose certificate a CA in {files.ca_file} has signed.",
            hint=f"Name a CA file that holds the server's own CA only; Consul compares from {Feature.SAN_MATCH.since} on.",
            spec_path="routing.tls.sni",
        )
    if files.ca_file and context.features.version in OVERSTRICT:
        yield note(
            "tls-san-overstrict",
            f"The gateway of Consul {context.features.version_text} refuses some certificates that are good, and clients get 503.",
            hint="Update Consul to 1.16.6 or 1.17.3.",
            spec_path="routing.tls",
        )
    if not tls.verify_peer:
        yield note(
            "verify-peer-off",
            "A server whose certificate does not verify gives clients 503 all the same, because no Consul can leave it "
            "unverified.",
            hint="Put the server's own CA into routing.tls.ca_file and remove verify_peer: false.",
            spec_path="routing.tls.verify_peer",
        )


def _not_listed(spec: ServiceSpec, context: RenderContext, files: TlsFiles) -> Finding:
    gateway = spec.exposure.terminating_gateway
    assert gateway is not None
    named = [f"{key}: {value}" for key, value in _named(files) if value]
    own = _gateway(spec, context)
    listed = [*own.tls, *([TlsFiles(own.default_ca_file)] if own.default_ca_file else [])]
    known = "; ".join(
        "{" + ", ".join(f"{key}: {value}" for key, value in _named(each) if value) + "}" for each in listed
    )
    return note(
        "gateway-file-not-listed",
        f"Nothing is written, because the configuration does not list {{{', '.join(named)}}} for the gateway {gateway.service}: "
        "were the files not there, every service of that gateway would be down after its next restart.",
        hint="Check that exactly these files are on the gateway's hosts and belong together, then add them to "
        f"gateways.{gateway.service}.tls in the configuration. Listed now: {known or 'nothing'}.",
        spec_path="routing.tls",
    )


def _named(files: TlsFiles) -> tuple[tuple[str, str], ...]:
    return ("ca_file", files.ca_file), ("cert_file", files.cert_file), ("key_file", files.key_file)


def _host(spec: ServiceSpec, context: RenderContext) -> Iterator[Finding]:
    """What becomes of `preserve_host`. The gateway rewrites the Host only for http, for catalog services, to a DNS name."""
    if not spec.routing.preserve_host or context.features.has(Feature.DISABLE_AUTO_HOST_REWRITE):
        return
    hosts = [endpoint.host for endpoint in spec.routing.endpoints] or [spec.routing.host or ""]
    rewritten = [host for host in hosts if not is_address(host)]
    if (
        spec.exposure.mode == "catalog_external"
        and rewritten
        and spec.connect.mesh_policy.protocol in HTTP_LIKE
        and context.features.has(Feature.AUTO_HOST_REWRITE)
    ):
        yield note(
            "preserve-host-unsupported",
            f"The server sees 'Host: {rewritten[0]}' instead of what the client sent, because Consul "
            f"{context.features.version_text} cannot leave it as it is.",
            hint="Let the server answer to that name, write its IP address as host (then the Host is left alone), or update "
            f"Consul to {Feature.DISABLE_AUTO_HOST_REWRITE.since}.",
            spec_path="routing.preserve_host",
        )
