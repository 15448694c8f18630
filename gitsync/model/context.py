"""What rendering needs to know besides the spec, and what it gives back."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from gitsync.model.component import Component
from gitsync.model.features import Features
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import Kind


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """One exact set of files on the gateway's own hosts: a CA, or a CA with a client certificate and its key."""

    ca_file: str
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class GatewayFiles:
    """What the configuration says exists on the hosts of one terminating gateway (design.md section 10, `gateways`)."""

    default_ca_file: str = ""
    tls: tuple[TlsFiles, ...] = ()

    def lists(self, files: TlsFiles) -> bool:
        """Whether *files* is exactly one of the listed sets; the default CA alone counts as listed."""
        return files in self.tls or (bool(self.default_ca_file) and files == TlsFiles(self.default_ca_file))


@dataclass(frozen=True, slots=True)
class RenderContext:
    """Whose the components will be, what this Consul can do, and what its gateways have.

    owner: `<instance>/<sync>`. gateways: by the gateway's name. datacenter: the agent's own.
    """

    owner: str
    features: Features
    gateways: Mapping[str, GatewayFiles] = field(default_factory=dict)
    datacenter: str = "dc1"


@dataclass(frozen=True)
class Rendered:
    """What one spec becomes, and what there is to say about it.

    An `error` among the findings: nothing of the service is written. references: the lower-cased names of the other services
    that its routes, splits, redirect and failover name.
    """

    components: tuple[Component, ...]
    findings: tuple[Finding, ...] = ()
    references: frozenset[str] = frozenset()

    @functools.cached_property
    def refused(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    @functools.cached_property
    def places(self) -> tuple[tuple[str, str, str], ...]:
        """(datacenter, node, service) of the catalog nodes among its components."""
        keys = (each.key for each in self.components if each.key.kind is Kind.CATALOG)
        return tuple((key.datacenter, key.node, key.service.name) for key in keys)
