"""The examples in specs-example/: what their gateway has, and what each of them says on which Consul."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gitsync.core.load import parse_file
from gitsync.model.component import Origin
from gitsync.model.context import GatewayFiles, RenderContext, TlsFiles
from gitsync.model.desired import ParsedFile, Wanted
from gitsync.model.features import Features, Version
from gitsync.model.finding import Severity
from gitsync.model.key import ServiceKey
from gitsync.model.spec import SpecDefaults

FOLDER = Path(__file__).resolve().parents[1] / "specs-example"

GATEWAY = "tgw-west-1"
EXAMPLE_GATEWAYS: Mapping[str, GatewayFiles] = {
    GATEWAY: GatewayFiles(
        default_ca_file="/etc/ssl/certs/ca-certificates.crt",
        tls=(
            TlsFiles(
                ca_file="/etc/consul.d/tls/partner-ca.pem",
                cert_file="/etc/consul.d/tls/partner-client.pem",
                key_file="/etc/consul.d/tls/partner-client-key.pem",
            ),
        ),
    )
}
"""What the configuration has to say of the examples' gateway (`gateways` in config/demo.yaml)."""

V1_8, V1_12, V1_21 = (1, 8, 7), (1, 12, 9), (1, 21, 4)
VERSIONS: tuple[Version, ...] = (V1_8, V1_12, V1_21)

Said = frozenset[tuple[Severity, str]]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one file says on one Consul: severities with codes, and the exit code of a plan of it alone into an empty Consul."""

    findings: Said
    exit_code: int

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(code for _, code in self.findings)


def _expect(text: str) -> Expectation:
    """From words such as `w:unknown-datacenter` (n, w, e: note, warning, error)."""
    severities = {"n": Severity.NOTE, "w": Severity.WARNING, "e": Severity.ERROR}
    findings = frozenset((severities[word[0]], word[2:]) for word in text.split())
    return Expectation(findings, 3 if any(severity is Severity.ERROR for severity, _ in findings) else 2)


EXPECTED: Mapping[str, Mapping[Version, Expectation]] = {
    file: {version: _expect(text) for version, text in zip(VERSIONS, texts, strict=True)}
    for file, texts in {
        "card-network.yaml": (
            (
                "e:intentions-unsupported n:preserve-host-needless w:idle-timeout-unsupported w:retry-on-unsupported "
                "w:tls-san-unchecked"
            ),
            "w:idle-timeout-unsupported w:preserve-host-unsupported w:request-timeout-capped w:retry-on-unsupported",
            "",
        ),
        "credit-open-build.yaml": (
            "w:idle-timeout-unsupported w:retry-on-unsupported w:tls-san-unchecked",
            "w:idle-timeout-unsupported w:retry-on-unsupported",
            "",
        ),
        "dev.credit.open-build.yaml": (
            "w:destination-unsupported w:per-try-timeout w:tls-san-unchecked w:unknown-datacenter n:name-without-identity",
            "w:destination-unsupported w:per-try-timeout w:unknown-datacenter n:name-without-identity",
            "w:destination-host-port w:destination-ignores-l7 w:per-try-timeout w:unknown-datacenter n:name-without-identity",
        ),
        "ledger-db.yaml": ("w:intentions-unsupported w:load-balancer-unsupported", "", ""),
        "mainframe.yaml": (
            "w:destination-unsupported w:unknown-datacenter",
            "w:destination-unsupported w:unknown-datacenter",
            "w:unknown-datacenter",
        ),
        "notify.yaml": ("n:protocol-http2",) * 3,
        "orders-archive.yaml": ("w:redirect-takes-all w:unknown-datacenter",) * 3,
        "orders.yaml": (
            "w:failover-sees-gateway w:subset-sees-gateway w:unknown-datacenter w:request-timeout-unsupported",
            "w:failover-sees-gateway w:subset-sees-gateway w:unknown-datacenter w:request-timeout-unsupported",
            "w:failover-sees-gateway w:subset-sees-gateway w:unknown-datacenter",
        ),
        "rates.yaml": ("w:tls-name-unchecked",) * 3,
        "search.yaml": (
            (
                "e:failover-targets-unsupported w:failover-sees-gateway w:load-balancer-unsupported w:request-timeout-unsupported "
                "w:subset-sees-gateway w:unknown-datacenter"
            ),
            (
                "e:failover-targets-unsupported w:failover-sees-gateway w:request-timeout-unsupported w:subset-sees-gateway "
                "w:unknown-datacenter"
            ),
            "w:failover-sees-gateway w:subset-sees-gateway w:unknown-datacenter",
        ),
    }.items()
}
"""By file and Consul, for the findings that have a service, in a Consul whose only datacenter is the agent's own, `dc1`."""

EXPECTED_ONCE: Mapping[Version, Said] = {
    version: frozenset((Severity.WARNING, code) for code in text.split())
    for version, text in {
        V1_8: "gateway-has-no-instance check-unprobed",
        V1_12: "gateway-has-no-instance check-unprobed",
        V1_21: "gateway-has-no-instance check-unprobed destination-needs-tproxy",
    }.items()
}
"""What all of them together say once, in a Consul with neither gateways nor consul-esm."""


def example_context(
    version: Version, *, default_deny: bool | None = False, owner: str = "demo/examples"
) -> RenderContext:
    """The context in which the examples are rendered."""
    return RenderContext(owner, Features(version, "dc1", "dc1", default_deny=default_deny), EXAMPLE_GATEWAYS, "dc1")


def example_files() -> list[ParsedFile]:
    """Every example, parsed."""
    return [parse_file(path.name, path.read_bytes(), SpecDefaults()) for path in sorted(FOLDER.iterdir())]


def example_wanted(files: list[ParsedFile] | None = None) -> dict[ServiceKey, Wanted]:
    """The services of the examples."""
    return {
        parsed.key: Wanted(parsed.spec, parsed.hash, Origin(file.path), parsed.place)
        for file in (example_files() if files is None else files)
        for parsed in file.specs
    }
