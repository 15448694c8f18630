"""The examples: each applies on every Consul, or says why not, and between them they use every part of a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml

from gitsync.core.neighbours import judge
from gitsync.core.render import render
from gitsync.model.component import Found
from gitsync.model.context import GatewayFiles, TlsFiles
from gitsync.model.features import Version
from gitsync.model.finding import Severity
from gitsync.model.key import ENTRY_KINDS, Kind, ServiceKey
from gitsync.model.part import Part
from gitsync.model.spec import ServiceSpec
from tests.examples import (
    EXAMPLE_GATEWAYS,
    EXPECTED,
    EXPECTED_ONCE,
    FOLDER,
    GATEWAY,
    V1_8,
    V1_12,
    V1_21,
    VERSIONS,
    example_context,
    example_files,
    example_wanted,
)

ALONE = Found(services=frozenset({"consul"}), datacenters=("dc1",))
"""A Consul in which nothing is but itself."""


def judged(version: Version) -> tuple[dict[ServiceKey, set[tuple[Severity, str]]], set[tuple[Severity, str]]]:
    context = example_context(version)
    pairs = {key: (wanted, render(wanted.spec, wanted.place, context)) for key, wanted in example_wanted().items()}
    more = judge(pairs, ALONE, context)
    said = {
        key: {(finding.severity, finding.code) for finding in (*rendered.findings, *more.get(key, ()))}
        for key, (_, rendered) in pairs.items()
    }
    return said, {(finding.severity, finding.code) for finding in more.get(None, ())}


def fields_of(part: type[Part], seen: set[type[Part]]) -> Iterator[tuple[str, str]]:
    """Every (model, field) that a spec can have."""
    if part in seen:
        return
    seen.add(part)
    for name, field in part.model_fields.items():
        yield part.__name__, name
        for inner in parts_in(field.annotation):
            yield from fields_of(inner, seen)


def parts_in(annotation: Any) -> Iterator[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for inner in get_args(annotation):
        yield from parts_in(inner)


def set_in(part: Part) -> Iterator[tuple[str, str]]:
    """Every (model, field) that *part* writes down."""
    for name in part.model_fields_set:
        yield type(part).__name__, name
        yield from _set_in_value(getattr(part, name))


def _set_in_value(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Part):
        yield from set_in(value)
    elif isinstance(value, dict | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _set_in_value(inner)


def test_every_example_loads_without_a_finding():
    assert [str(finding) for file in example_files() for finding in file.findings] == []
    assert all(file.specs and not file.unreadable for file in example_files())


def test_every_example_says_which_consul_it_needs():
    for path in FOLDER.iterdir():
        comment = path.read_text().split("\nname:")[0]

        assert "# Needs: Consul 1." in comment, path.name


def test_there_is_an_expectation_for_each_example_and_none_else():
    assert set(EXPECTED) == {path.name for path in FOLDER.iterdir()}
    assert len(EXPECTED) >= 6
    assert all(set(by_version) == set(VERSIONS) for by_version in EXPECTED.values())


def test_between_them_the_examples_use_every_part_of_a_spec():
    used = {field for wanted in example_wanted().values() for field in set_in(wanted.spec)}

    assert set(fields_of(ServiceSpec, set())) - used == set()


def test_the_first_example_is_the_one_that_was_drawn():
    spec = example_wanted()[ServiceKey("dev.credit.open-build")].spec

    assert spec.exposure.mode == "tgw_static"
    assert (spec.routing.host, spec.routing.port) == ("ggdgsswpo350.foodc.emea.bank.com", 49519)
    assert spec.metadata == {"owner": "payments-platform", "pii": "false", "cost_center": "FIN-1234"}


def test_the_examples_share_one_gateway_and_its_listed_files():
    named = {wanted.spec.exposure.terminating_gateway.service for wanted in example_wanted().values()}

    assert named == {GATEWAY} == set(EXAMPLE_GATEWAYS)


def test_the_demo_lists_the_files_that_the_examples_name():
    demo = yaml.safe_load((FOLDER.parent / "config" / "demo.yaml").read_text())["gateways"][GATEWAY]
    files = tuple(TlsFiles(**each) for each in demo["tls"])

    assert GatewayFiles(demo["default_ca_file"], files) == EXAMPLE_GATEWAYS[GATEWAY]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_an_example_says_what_it_should(file: str, version: Version):
    said, _ = judged(version)
    keys = [parsed.key for parsed in next(each for each in example_files() if each.path == file).specs]
    found = {finding for key in keys for finding in said[key]}

    assert found == EXPECTED[file][version].findings
    refused = any(severity is Severity.ERROR for severity, _ in found)
    assert EXPECTED[file][version].exit_code == (3 if refused else 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_concerns_all_of_them_is_said_once(version: Version):
    _, general = judged(version)

    assert general == EXPECTED_ONCE[version]


@pytest.mark.parametrize("version", [V1_8, V1_12, V1_21])
def test_the_drawn_example_applies_with_warnings_everywhere(version: Version):
    said, _ = judged(version)

    assert {severity for severity, _ in said[ServiceKey("dev.credit.open-build")]} == {Severity.WARNING, Severity.NOTE}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_kind_of_component_is_among_the_examples(version: Version):
    context = example_context(version)
    kinds = {
        component.key.kind
        for wanted in example_wanted().values()
        for component in render(wanted.spec, wanted.place, context).components
    }

    assert kinds == set(Kind) - ({Kind.INTENTIONS} if version == V1_8 else set())
    assert set(ENTRY_KINDS) < set(Kind)
