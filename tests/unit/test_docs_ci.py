"""docs/ci.md and docs/signatures.md against the product: the workflows are YAML that runs gitsync, the reasons are those it gives."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import yaml

from gitsync.cli import pipeline
from gitsync.repository import checkout, signatures
from gitsync.settings import load_settings
from tests.e2e.test_ci import READ_ONLY
from tests.unit.test_docs import rules

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
SIGNATURES = (ROOT / "docs" / "signatures.md").read_text()
GITHUB, GITLAB = (
    yaml.load(block, yaml.BaseLoader) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)


def test_the_rules_for_the_token_are_those_that_the_tests_run_with():
    (block,) = re.findall(r"^```hcl\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    assert rules(block) - rules('mesh = "read"') == rules(READ_ONLY)


def test_the_workflow_for_github_asks_for_no_more_than_it_needs():
    steps: list[dict[str, Any]] = GITHUB["jobs"]["plan"]["steps"]

    assert list(GITHUB["on"]) == ["pull_request"], "never pull_request_target"
    assert GITHUB["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert steps[0]["with"] == {"fetch-depth": "2", "persist-credentials": "false"}
    assert "--base HEAD^1" in steps[2]["run"]
    assert "|| [ $? -eq 2 ]" in steps[2]["run"]
    assert "${{" not in steps[2]["run"], "what a request decides is no part of a script"


def test_the_job_for_gitlab_hands_over_the_report_that_it_writes():
    job = GITLAB["gitsync"]
    report = job["artifacts"]["reports"]["codequality"]

    assert f"--codequality {report}" in job["script"][-1]
    assert "|| [ $? -eq 2 ]" in job["script"][-1]


def test_the_reasons_on_the_page_are_those_that_are_given():
    table = SIGNATURES.partition("## When a commit is refused")[2]
    source = re.sub(r"\{[^{}\n]*\}", "…", inspect.getsource(signatures))
    named = [
        each for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for each in re.findall(r"`([^`]+)`", row)
    ]

    assert named
    assert [each for each in named if not all(part.strip() in source for part in each.split("…"))] == []


def test_the_configuration_on_the_page_about_signatures_works(tmp_path: Path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", SIGNATURES, re.MULTILINE | re.DOTALL)
    (tmp_path / "gitsync.yaml").write_text(block)

    assert load_settings(tmp_path / "gitsync.yaml", {}).syncs["payments"].signatures.mode == "range"


def test_the_messages_in_the_table_of_troubles_exist():
    table = PAGE.partition("| what you see |")[2]
    named = re.findall(r"^\| `(?:HEAD\^1 )?([^`…]+?)` \|", table, re.MULTILINE)

    assert len(named) >= 3
    assert [each for each in named if each not in inspect.getsource(checkout) + inspect.getsource(pipeline)] == []
