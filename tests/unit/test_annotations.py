"""Findings in the pipelines of Git hosts: nothing that a spec says becomes a command, and nothing of it is lost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsync.cli.pipeline import Pipeline
from gitsync.cli.screen import Screen
from gitsync.core.annotations import code_quality, github, github_error
from gitsync.model.errors import Invalid
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.key import ServiceKey

COMMAND = re.compile(r"::(error|warning|notice) ([^:]*)::(.*)")
texts = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    ["a\n::set-output name=x::y", "100%", "%0A::error::x", "a,line=99::", "::add-mask::x\r\n", "##[error]x"]
)
findings = st.builds(
    Finding,
    code=st.sampled_from(("bad-name", "host-gap")),
    severity=st.sampled_from(Severity),
    message=texts,
    hint=texts,
    service=st.none() | st.builds(ServiceKey, texts.filter(bool)),
    place=st.none() | st.builds(Place, texts.filter(bool), st.integers(0, 9), st.integers(0, 9)),
    spec_path=texts,
)


def unescaped(text: str) -> str:
    """What GitHub's runner makes of it. Source: actions/runner, ActionCommand.cs."""
    for escaped, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escaped, character)
    return text


@given(findings)
def test_a_finding_is_one_command_whatever_it_says(finding: Finding):
    line = github(finding)

    assert "\n" not in line
    assert "\r" not in line
    found = COMMAND.fullmatch(line)
    assert found
    given_properties = dict(each.split("=", 1) for each in found[2].split(","))
    assert set(given_properties) <= {"file", "line", "col", "title"}
    if finding.place and not re.search(r"[^ -~]", finding.place.path):
        assert unescaped(given_properties["file"]) == finding.place.path
        assert given_properties.get("line", "0") == str(finding.place.line)
    if not re.search(r"[^ -~]", finding.message + finding.hint):
        assert unescaped(found[3]) == f"{finding.message} {finding.hint}".strip()


def test_percent_signs_line_ends_colons_and_commas_are_written_as_github_reads_them():
    finding = Finding("bad-name", Severity.WARNING, "50% of a: b, c", place=Place("a,b:c%.yaml", 3, 7))

    assert github(finding) == ("::warning file=a%2Cb%3Ac%25.yaml,line=3,col=7,title=bad-name::50%25 of a: b, c")
    assert github_error("a\n::error::b").count("\n") == 0


def test_a_finding_of_a_whole_file_has_no_line():
    finding = Finding("no-yaml", Severity.ERROR, "It is no YAML.", "Mend it.", place=Place("a.yaml"))

    assert github(finding) == "::error file=a.yaml,title=no-yaml::It is no YAML. Mend it."


def test_the_report_for_gitlab_has_what_its_schema_asks_for():
    place = Place("services/pay.yaml", 4, 2)
    report = code_quality(
        [
            Finding("bad-host", Severity.ERROR, "No host.", place=place),
            Finding("bad-host", Severity.ERROR, "No host.", place=Place("services/pay.yaml", 9, 2)),
            Finding("host-gap", Severity.WARNING, "A gap.", place=Place("services/pay.yaml")),
            Finding("a-note", Severity.NOTE, "By the way.", place=place),
            Finding("nowhere", Severity.ERROR, "About everything."),
        ]
    )

    assert [each["severity"] for each in report] == ["critical", "critical", "minor", "info"]
    assert [each["location"]["lines"]["begin"] for each in report] == [4, 9, 1, 4]
    assert len({each["fingerprint"] for each in report}) == 4
    assert report[0] == {
        "description": "No host.",
        "check_name": "bad-host",
        "fingerprint": report[0]["fingerprint"],
        "severity": "critical",
        "location": {"path": "services/pay.yaml", "lines": {"begin": 4}},
    }


def test_a_finding_that_only_moved_is_the_same_to_gitlab():
    before, after = (Finding("bad-host", Severity.ERROR, "No host.", place=Place("a.yaml", at)) for at in (4, 40))

    assert code_quality([before])[0]["fingerprint"] == code_quality([after])[0]["fingerprint"]


@given(st.lists(findings, max_size=6))
def test_fingerprints_are_never_given_twice(found: list[Finding]):
    report = code_quality(found)

    assert len({each["fingerprint"] for each in report}) == len(report)
    json.dumps(report)


# -- the runner -----------------------------------------------------------------------------------------------------------


def test_nothing_is_a_command_while_it_works_and_the_word_that_ends_that_cannot_be_guessed(
    capsys: pytest.CaptureFixture[str],
):
    tokens = set()
    for _ in range(2):
        screen = Screen()
        with Pipeline({"GITHUB_ACTIONS": "true"}, screen).unheard():
            screen.line("::add-mask::everything")
        first, hostile, last = capsys.readouterr().out.splitlines()
        token = first.removeprefix("::stop-commands::")
        assert (hostile, last) == ("::add-mask::everything", f"::{token}::")
        assert re.fullmatch(r"[0-9a-f]{32}", token)
        tokens.add(token)
    assert len(tokens) == 2


def test_an_error_that_ends_it_is_an_annotation_and_commands_are_heard_again(capsys: pytest.CaptureFixture[str]):
    pipeline = Pipeline({"GITHUB_ACTIONS": "true"}, Screen())
    with pipeline.unheard():
        pipeline.failed(Invalid("no\nsuch thing"))

    begin, end, error = capsys.readouterr().out.splitlines()
    assert end == f"::{begin.removeprefix('::stop-commands::')}::"
    assert error == r"::error title=gitsync::no\nsuch thing"


def test_elsewhere_nothing_is_said_to_a_runner(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    summary = tmp_path / "summary"
    pipeline = Pipeline({"GITHUB_STEP_SUMMARY": str(summary)}, Screen())
    with pipeline.unheard():
        pipeline.annotate([Finding("bad-name", Severity.ERROR, "No.")])
        pipeline.summarize("# plan")

    assert capsys.readouterr().out == ""
    assert not summary.exists()


def test_errors_come_first_and_the_summary_is_added_to(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    summary = tmp_path / "summary"
    summary.write_text("of another step\n")
    pipeline = Pipeline({"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}, Screen(as_json=True))
    pipeline.annotate([Finding("a", Severity.NOTE, "a."), Finding("b", Severity.ERROR, "b.")])
    pipeline.summarize("# plan")

    printed = capsys.readouterr()
    assert [line.split(" ")[0] for line in printed.err.splitlines()] == ["::error", "::notice"]
    assert printed.out == "", "a document of JSON has standard output for itself"
    assert summary.read_text() == "of another step\n# plan\n"
