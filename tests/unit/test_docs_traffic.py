"""docs/traffic.md against the model and the traffic tests: every field has a test there, or a reason why traffic cannot show it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gitsync.core.codes import CODES
from gitsync.core.spec_fields import SPEC_FIELDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "traffic.md").read_text()
SETTINGS = (ROOT / "docs" / "configuration.md").read_text()
NAMED = re.compile(r"`(tests/mesh/test_\w+\.py::test_\w+)`")


def section(title: str) -> list[tuple[str, str]]:
    """The rows of the table below a heading: what stands in the first cell's backticks, and the last cell."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (found,) = [part for part in text if part.startswith(title + "\n")]
    rows = re.findall(r"^\| `([^`]+)` \|(?:.*\|)? (.+?) \|$", found, re.MULTILINE)
    return list(rows)


def written_tests() -> set[str]:
    """Every test of tests/mesh, as it is named to pytest, read without running anything."""
    found = set()
    for path in (ROOT / "tests" / "mesh").glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"tests/mesh/{path.name}::{node.name}")
    return found


FIELDS = section("Every field")


@pytest.mark.parametrize("field", SPEC_FIELDS)
def test_a_field_has_a_traffic_test_or_a_reason_why_there_is_none(field: str):
    proofs = [proof for name, proof in FIELDS if name == field]

    assert len(proofs) == 1, (
        f"docs/traffic.md needs one row for {field}: the test in tests/mesh that shows it in traffic"
    )
    assert NAMED.search(proofs[0]) or len(proofs[0]) > 40, f"neither a test nor a reason: {proofs[0]}"


def test_no_row_is_about_what_is_no_field_any_more():
    assert [name for name, _ in FIELDS if name not in SPEC_FIELDS] == []


def test_every_traffic_test_that_the_page_names_exists():
    assert set(NAMED.findall(PAGE)) - written_tests() == set()


def test_what_looks_like_a_traffic_test_is_spelled_as_one():
    assert [each for each in re.findall(r"`([^`]*::[^`]*)`", PAGE) if not NAMED.fullmatch(f"`{each}`")] == []


def test_every_setting_that_the_page_names_exists():
    rows = section("Settings that traffic shows")

    assert rows
    assert [name for name, _ in rows if f"`{name}`" not in SETTINGS] == []
    assert [proof for _, proof in rows if not NAMED.search(proof)] == []


def test_every_poison_is_refused_with_a_code_that_exists():
    rows = section("Poison")

    assert rows
    assert [code for code, _ in rows if code not in CODES] == []
