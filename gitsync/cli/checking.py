"""Specs judged without Consul: on one that is only imagined, by what the configuration says of gateways."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from gitsync import wire
from gitsync.cli.call import settings_of
from gitsync.cli.screen import Screen
from gitsync.consul.features import parse_version
from gitsync.core.accept import accept
from gitsync.core.render import render
from gitsync.model.context import GatewayFiles, RenderContext
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Invalid
from gitsync.model.features import Features
from gitsync.model.finding import Finding
from gitsync.model.spec import SpecDefaults
from gitsync.settings import Settings
from gitsync.settings.reading import DEFAULT_FILE

NEWEST = "1.21.4"
OWNER = "nobody/validate"


@dataclass(frozen=True, slots=True)
class Ground:
    """What specs are judged on: a Consul that is only imagined, and what the configuration says of gateways."""

    features: Features
    gateways: dict[str, GatewayFiles]
    defaults: SpecDefaults


def settings_if_any(config: Path | None, screen: Screen) -> Settings | None:
    """The configuration, None where there is none and nobody named one."""
    if config is None and not os.environ.get("GITSYNC_CONFIG") and not DEFAULT_FILE.exists():
        return None
    return settings_of(config, screen.warn)


def ground_of(settings: Settings | None, version: str) -> Ground:
    """The ground for a version of Consul. Raises a usage error for what is none."""
    text = version or (settings.consul.version if settings else None) or NEWEST
    try:
        number = parse_version(text)
    except Invalid as error:
        raise typer.BadParameter(str(error), param_hint="--consul-version") from None
    datacenter = (settings.consul.primary_datacenter if settings else None) or "dc1"
    features = Features(number, datacenter, datacenter, enterprise="+ent" in text)
    if settings:
        return Ground(features, wire.gateways_of(settings), wire.spec_defaults(settings))
    defaults = SpecDefaults(
        partition=os.environ.get("CONSUL_PARTITION") or "default",
        namespace=os.environ.get("CONSUL_NAMESPACE") or "default",
        gateway=os.environ.get("TGW_SERVICE_NAME") or None,
    )
    return Ground(features, {}, defaults)


def judge(files: Sequence[ParsedFile], revision: str, ground: Ground) -> tuple[list[Finding], int]:
    """Every finding, by place, and how many services are wanted."""
    desired = accept(files, {}, owner=OWNER, revision=revision, enterprise=ground.features.enterprise)
    findings = list(desired.findings)
    context = RenderContext(OWNER, ground.features, ground.gateways, ground.features.datacenter)
    for wanted in desired.services.values():
        findings += render(wanted.spec, wanted.place, context).findings
    findings.sort(key=lambda each: (str(each.place.path) if each.place else "", _line(each), each.code, each.message))
    return list(dict.fromkeys(findings)), len(desired.services) + len(desired.refused)


def below(root: str, finding: Finding) -> Finding:
    """The finding with a path that can be opened from here."""
    if not finding.place or root in ("", "."):
        return finding
    return replace(finding, place=replace(finding.place, path=str(Path(root) / finding.place.path)))


def _line(finding: Finding) -> tuple[int, int]:
    return (finding.place.line, finding.place.column) if finding.place else (0, 0)
