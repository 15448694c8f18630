"""docs/spec.md against the model: every field is there, every example is a spec."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gitsync.core.load import parse_file
from gitsync.core.spec_fields import SPEC_FIELDS
from gitsync.core.spelling import OLDER
from gitsync.model.grammar import RETRY_CONDITIONS
from gitsync.model.spec import LABELS, RESERVED_LABELS, SpecDefaults

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "spec.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("path", SPEC_FIELDS)
def test_the_page_has_a_row_for_every_field(path):
    assert [row for row in ROWS if f"`{path}`" in row.split(" | ")[0]]


def test_the_page_has_no_row_for_what_is_no_field():
    named = {path for row in ROWS for path in re.findall(r"`([^`]+)`", row.split(" | ")[0])}

    assert named - set(SPEC_FIELDS) == {".".join(older) for older, _ in OLDER}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_on_the_page_is_a_valid_spec(block):
    file = parse_file("docs/spec.md", block.encode(), SpecDefaults())

    assert file.specs
    assert [str(finding) for finding in file.findings] == []


def test_the_page_has_the_numbers_and_words_of_the_model():
    assert f"At most {LABELS} labels" in PAGE
    assert [label for label in RESERVED_LABELS if f"`{label}`" not in PAGE] == []
    assert [condition for condition in RETRY_CONDITIONS if f"`{condition}`" not in PAGE] == []


def test_every_link_inside_the_page_leads_somewhere():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
