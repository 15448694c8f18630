"""docs/findings.md and docs/adding-a-strategy.md against the code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from gitsync.core import codes, render, schema
from gitsync.core.codes import CODES
from gitsync.core.entries import catalog_node, entry
from gitsync.core.entries.patterns import pattern_fault
from gitsync.core.exposure import mesh, registry, strategy
from gitsync.core.load import parse_file
from gitsync.core.neighbours import judge
from gitsync.core.render import render as render_spec
from gitsync.model.context import RenderContext
from gitsync.model.features import Features
from gitsync.model.finding import Place, Severity
from gitsync.model.key import Kind
from gitsync.model.spec import SpecDefaults

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = (ROOT / "docs" / "findings.md").read_text()
STRATEGY = (ROOT / "docs" / "adding-a-strategy.md").read_text()
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in FINDINGS.splitlines()
    if line.startswith("| `") and (cells := [cell.strip() for cell in line.strip("|").split(" | ")])
}
NAMES = {
    "mesh_components": mesh, "catalog_nodes": catalog_node, "note": codes, "marks": entry, "entry": entry, "SCHEMA": schema,
    "STRATEGIES": registry, "Strategy": strategy, "Exposed": strategy,
}  # fmt: skip


def test_there_is_a_row_for_every_code_and_for_nothing_else():
    assert set(ROWS) == set(CODES)
    assert sum(line.startswith("| `") for line in FINDINGS.splitlines()) == len(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_row_says_what_the_code_says(code: str):
    severity, since, seen, way_out = (cell.strip(" |") for cell in ROWS[code])

    assert severity == CODES[code].severity.value
    assert since == (CODES[code].since or "–")
    assert seen.endswith(".")
    assert way_out.endswith(".")


def test_every_severity_is_explained():
    assert all(f"| {severity.value} |" in FINDINGS for severity in Severity)


def test_the_allow_only_form_of_the_page_is_a_spec_without_a_finding():
    block = re.findall(r"```yaml\n(.*?)```", FINDINGS, re.DOTALL)[0]
    text = "name: pay\nrouting: {host: a.example.com, port: 80}\nexposure: {mode: catalog_external, terminating_gateway: {service: t}}\n"
    text += "connect:\n  mesh_policy: {protocol: http}\n" + "".join(f"  {line}\n" for line in block.splitlines())
    file = parse_file("pay.yaml", text.encode(), SpecDefaults())

    assert file.findings == ()
    context = RenderContext("a/b", Features((1, 21, 4), "dc1", "dc1"))
    assert render_spec(file.specs[0].spec, Place("pay.yaml"), context).findings == ()


def test_the_expression_that_the_page_calls_too_large_is():
    assert pattern_fault("[0-9a-f-]{36}")
    assert "[0-9a-f-]{36}" in FINDINGS


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_names_on_the_page_about_strategies_exist(name: str):
    assert name in STRATEGY
    assert hasattr(NAMES[name], name)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:gitsync|tests)/[\w/]+\.py)`", STRATEGY))))
def test_the_files_on_the_page_about_strategies_exist(path: str):
    assert (ROOT / path).is_file()


def test_the_strategy_on_the_page_works():
    source = re.findall(r"```python\n(.*?)```", STRATEGY, re.DOTALL)[0]
    module = ModuleType("direct")
    exec(compile(ast.parse(source), "direct", "exec"), module.__dict__)
    file = parse_file("pay.yaml", b"name: pay\nrouting: {host: a.example.com, port: 80}\n", SpecDefaults(gateway="tgw"))
    exposed = module.components(file.specs[0].spec, RenderContext("a/b", Features((1, 21, 4), "dc1", "dc1")))

    assert {each.key.kind for each in exposed.components} == {Kind.DEFAULTS, Kind.RESOLVER}


def test_the_registry_on_the_page_is_the_one_in_the_code_with_one_line_more():
    block = re.findall(r"```python\n(STRATEGIES.*?)```", STRATEGY, re.DOTALL)[0]
    names = re.findall(r'"(\w+)": (\w+),', block)

    assert [name for name, _ in names] == [*registry.STRATEGIES, "direct"]
    for name, module in names[:-1]:
        assert registry.STRATEGIES[name] is importlib.import_module(f"gitsync.core.exposure.{module}")


def test_the_functions_that_the_page_speaks_of_are_those_that_plans_use():
    assert callable(render.render)
    assert callable(judge)
    assert "`judge`" in STRATEGY
