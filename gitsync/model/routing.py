"""Where a service is, and how the mesh reaches it."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gitsync.model.duration import UNITS, Duration
from gitsync.model.grammar import (
    Datacenter,
    FilePath,
    Host,
    Items,
    Period,
    Port,
    Reference,
    host_fault,
    is_address,
    one_of,
    shown,
    wrong,
)
from gitsync.model.part import LIST_LENGTH, Part, at_most, exactly_one, first_twice

Mode = Annotated[Literal["tgw_static", "catalog_external"], one_of("tgw_static", "catalog_external")]


class Endpoint(Part):
    """One of several servers."""

    host: Host = Field(description="DNS name, IPv4 or IPv6 address of the server.")
    port: Port = Field(description="Port of the server.")


class Tls(Part):
    """TLS from the terminating gateway to the server. Files are paths on the gateway's own host."""

    sni: Host | None = Field(None, description="Name that the gateway asks for and that the certificate must carry.")
    verify_peer: bool = Field(
        True, description="Verify the server's certificate. Consul has no switch for it: false is a finding."
    )
    ca_file: FilePath | None = Field(
        None,
        description="CA file on the gateway's host. Without one, and without a default in the configuration, there is no TLS.",
    )
    cert_file: FilePath | None = Field(None, description="Client certificate on the gateway's host, with key_file.")
    key_file: FilePath | None = Field(None, description="Key of the client certificate on the gateway's host.")

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            missing = "key_file" if self.cert_file else "cert_file"
            raise wrong(
                f"{missing} is missing", f"cert_file and key_file go together: add {missing}", code="missing-field"
            )
        return self


class Routing(Part):
    """Where the service is."""

    host: Host | None = Field(None, description="DNS name, IPv4 or IPv6 address of the server.")
    port: Port | None = Field(None, description="Port of the server.")
    endpoints: Annotated[Items[Endpoint], at_most(LIST_LENGTH)] = Field(
        (), description="Several servers, by address, instead of host and port. Only with mode catalog_external."
    )
    preserve_host: bool = Field(
        False, description="The Host header that the client sent reaches the server (Consul 1.18.2)."
    )
    tls: Tls | None = Field(
        None, description="TLS to the server. An empty mapping takes the gateway's default CA file."
    )

    @model_validator(mode="after")
    def _host_or_endpoints(self) -> Self:
        if self.endpoints:
            if self.host is not None or self.port is not None:
                raise wrong(
                    "has endpoints beside host or port",
                    "keep either endpoints or host and port",
                    code="invalid-combination",
                    at=("endpoints",),
                )
            self._addresses()
            return self
        if "endpoints" in self.model_fields_set and self.host is None:
            raise wrong("endpoints is empty", "list at least one {host, port}", at=("endpoints",))
        for name in ("host", "port"):
            if getattr(self, name) is None:
                raise wrong(f"{name} is missing", f"add {name}", code="missing-field")
        return self

    def _addresses(self) -> None:
        twice = first_twice(f"{endpoint.host}:{endpoint.port}" for endpoint in self.endpoints)
        if twice:
            raise wrong(f"endpoints has {shown(twice)} twice", "keep it once", at=("endpoints",))
        names = [endpoint.host for endpoint in self.endpoints if not is_address(endpoint.host)]
        if names and len(self.endpoints) > 1:
            raise wrong(
                f"endpoints has the DNS name {shown(names[0])} among several, and a gateway uses only the first of several names",
                "list IP addresses, or one DNS name that resolves to all of them",
                at=("endpoints",),
            )


class GatewayRef(Part):
    """A terminating gateway."""

    service: Reference = Field(description="Service name of the terminating gateway.")
    dc: Datacenter | None = Field(None, description="Datacenter in which the gateway runs.")


def _address(text: str) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    valid = host_fault(bare) is None and (":" not in bare or bare != host)
    if not valid or not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        raise wrong(f"{shown(text)} is not host:port", "write it like db.example.com:5432 or [2001:db8::1]:5432")
    return text


def _web_address(text: str) -> str:
    fault = f"{shown(text)} is not an http or https URL", "write it like http://db.example.com:8080/health"
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text) or len(text) > 1024:
        raise wrong(*fault)
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise wrong(*fault) from None
    if url.scheme not in ("http", "https") or not host or host_fault(host) is not None or port == 0:
        raise wrong(*fault)
    if url.username is not None or url.password is not None:
        raise wrong("a URL with a user name or a password", "leave the credentials out", code="secret-value")
    return text


class Check(Part):
    """A health check that consul-esm probes."""

    tcp: Annotated[str, AfterValidator(_address)] | None = Field(
        None, description="host:port that has to accept a connection."
    )
    http: Annotated[str, AfterValidator(_web_address)] | None = Field(
        None, description="URL that has to answer with 2xx."
    )
    interval: Period = Field(Duration(10 * UNITS["s"]), description="Time between two probes.")
    timeout: Period = Field(Duration(2 * UNITS["s"]), description="Time that one probe may take.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        exactly_one(self, "tcp", "http")
        return self


class Exposure(Part):
    """How the mesh reaches the service."""

    mode: Mode = Field(
        "tgw_static",
        description="tgw_static: a Destination, for transparent-proxy clients. catalog_external: a node in the catalog.",
    )
    terminating_gateway: GatewayRef | None = Field(
        None, description="The gateway through which the mesh leaves. Absent: the configuration's. null: none."
    )
    dc: Datacenter | None = Field(
        None, description="Datacenter of the gateway, and with catalog_external of the node. Absent: the agent's own."
    )
    check: Check | None = Field(
        None, description="Health check, only with mode catalog_external. Of several endpoints each is asked itself."
    )

    @model_validator(mode="after")
    def _check_needs_a_node(self) -> Self:
        if self.check and self.mode != "catalog_external":
            raise wrong(
                "check needs mode catalog_external: a check stands on a catalog node, and tgw_static has none",
                "write 'mode: catalog_external', or remove check",
                code="invalid-combination",
                at=("check",),
            )
        return self
