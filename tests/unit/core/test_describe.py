"""A plan and a run in words: readable without colour, complete for programs, and deaf to what hostile specs say."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gitsync.core.codes import note
from gitsync.core.describe import (
    Line,
    LineKind,
    lines_as_text,
    plan_as_json,
    plan_as_markdown,
    plan_as_text,
    plan_lines,
    report_as_json,
    report_lines,
    summary,
)
from gitsync.core.markdown import code, fenced, inert
from gitsync.core.plan import Policy
from gitsync.core.shown import REDACTED, redacted
from gitsync.model.finding import Place
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Action, FieldDiff, Verdict
from gitsync.model.revision import has_unseen
from gitsync.model.run import ComponentDiff, Outcome, RunOutcome, RunReport, ServiceOutcome, StepTiming
from tests.unit.worlds import Wish, World, plan, settled

NONE = frozenset()
A = ServiceKey("a")
HOSTILE = "\x1b[2J\u202ebad @team #12 !3 <img src=x> </details> ``` ````` | [x](javascript:1) www.evil.example\n/close"


def example():
    """One of each: a create, an update, a refusal, a conflict, a hold and something unchanged."""
    names = [f"s{number}" for number in range(10)]
    world = settled([Wish(name, gateways=()) for name in names] + [Wish("up", labels=(("cost", "42"),))])
    world.put(Kind.DEFAULTS, "theirs", Protocol="http")
    error = note(
        "unknown-datacenter",
        "dc9 is not known.",
        hint="Write dc1.",
        service=ServiceKey("s0"),
        place=Place("s0.yaml", 4, 2),
        spec_path="exposure.dc",
    )
    wishes = [Wish(name, gateways=()) for name in names[:4]] + [
        Wish("up", protocol="grpc", labels=(("cost", "43"),)),
        Wish("new"),
        Wish("theirs"),
    ]
    return plan(
        world,
        wishes,
        judged={ServiceKey("s0"): (error,), None: (note("destination-needs-tproxy", "only tproxy."),)},
        policy=Policy(),
    )


def test_a_plan_is_readable_without_colour():
    text = plan_as_text(example(), redact=NONE, color=False, width=0)
    lines = text.splitlines()

    assert lines[0].startswith("Plan ")
    assert lines[0].endswith(": 1 to create, 1 to update, 6 held, 1 refused, 1 in conflict, 3 unchanged")
    for line in (
        "warning destination-needs-tproxy: only tproxy.",
        "! s0 (refused)",
        "  error unknown-datacenter [s0.yaml:4:2 exposure.dc]: dc9 is not known.",
        "    → Write dc1.",
        "! theirs (conflict)",
        "‖ s4 (held)",
        "  - service-defaults/s4 (s4.yaml no longer has it)",
        "+ new",
        "  + service-defaults/new (wanted by new.yaml:1)",
        '    + Protocol: "http"',
        "~ up",
        "  ~ service-defaults/up (the spec changed (up.yaml:1))",
        '    ~ Protocol: "http" → "grpc"',
        '    ~ Meta.cost: "42" → "43"',
    ):
        assert line in lines
    assert lines[-1].startswith("  → let them go with `gitsync approve ")
    assert not any("s1" in line for line in lines)


def test_what_stopped_stands_first_and_what_is_unchanged_only_if_something_is_to_be_said():
    made = example()
    kinds = [line.kind for line in plan_lines(made, NONE) if line.indent == 0]

    assert kinds[2:4] == [LineKind.REFUSED, LineKind.CONFLICT]
    assert LineKind.UNCHANGED not in kinds


def test_colours_add_nothing_to_the_text():
    made = example()
    coloured = plan_as_text(made, redact=NONE, color=True, width=0)

    assert "\x1b[32m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plan_as_text(made, redact=NONE, color=False, width=0)


def test_long_lines_are_wrapped_under_their_own_beginning():
    text = lines_as_text([Line(LineKind.WARNING, 1, "word " * 40)], width=60)

    assert len(text.splitlines()) > 1
    assert all(len(line) <= 60 for line in text.splitlines())
    assert all(line.startswith(" " * 10) for line in text.splitlines()[1:])


def test_a_plan_for_programs_says_everything():
    made = example()
    document = plan_as_json(made, redact=NONE)
    by_name = {service["service"]: service for service in document["services"]}

    assert json.loads(json.dumps(document)) == document
    assert document["digest"] == made.digest
    assert document["summary"]["services"] == 13
    assert document["summary"]["held"] == 6
    assert document["summary"]["unchanged"] == 3
    assert document["summary"]["changes"]["delete"] == 0
    assert set(by_name) == {"s0", "s4", "s5", "s6", "s7", "s8", "s9", "new", "up", "theirs"}
    assert by_name["s0"]["findings"] == [
        {
            "code": "unknown-datacenter", "severity": "error", "message": "dc9 is not known.", "hint": "Write dc1.", "service": "s0",
            "path": "s0.yaml", "line": 4, "column": 2, "spec_path": "exposure.dc",
        }
    ]  # fmt: skip
    assert by_name["s4"]["changes"][-1]["action"] == "delete"
    [defaults] = by_name["up"]["changes"]
    assert (defaults["component"], defaults["phase"], defaults["bridge"]) == ("service-defaults/up", "defaults", False)
    assert {"path": "Protocol", "before": "http", "after": "grpc"} in defaults["diff"]
    [hold] = document["holds"]
    assert hold["approve"] == f"gitsync approve {hold['digest']}"
    assert hold["services"] == ["s4", "s5", "s6", "s7", "s8", "s9"]


def test_a_plan_without_anything_to_do_says_so():
    world = settled([Wish("a")])
    made = plan(world, [Wish("a")])

    assert plan_as_text(made, redact=NONE, color=False, width=80) == "Plan for prod/payments at r1: 1 unchanged\n"
    assert plan_as_json(made, redact=NONE)["empty"]
    assert plan_as_json(made, redact=NONE)["services"] == []
    assert plan_lines(plan(World(), []), NONE)[0].text.endswith("no services")


def test_redacted_labels_are_nowhere_but_that_they_changed_is():
    made = example()
    hidden = frozenset({"COST"})
    for text in (
        plan_as_text(made, redact=hidden, color=False, width=0),
        json.dumps(plan_as_json(made, redact=hidden)),
        plan_as_markdown(made, hidden, 60_000),
    ):
        assert not re.search(r'"4[23]"', text.replace("\\", ""))
        assert "(redacted)" in text


@pytest.mark.parametrize(
    ("diff", "expected"),
    [
        (FieldDiff("Meta.cost", None, "1"), FieldDiff("Meta.cost", None, REDACTED)),
        (FieldDiff("Meta.Cost", "1", None), FieldDiff("Meta.Cost", REDACTED, None)),
        (FieldDiff("Service.Meta.cost", "1", "2"), FieldDiff("Service.Meta.cost", REDACTED, REDACTED)),
        (FieldDiff("Meta", None, {"cost": "1", "b": "2"}), FieldDiff("Meta", None, {"cost": REDACTED, "b": "2"})),
        (
            FieldDiff("Things[0]", None, {"Meta": {"cost": "1"}}),
            FieldDiff("Things[0]", None, {"Meta": {"cost": REDACTED}}),
        ),
        (FieldDiff("Meta.other", "1", "2"), FieldDiff("Meta.other", "1", "2")),
        (FieldDiff("Subsets.cost.Filter", "1", "2"), FieldDiff("Subsets.cost.Filter", "1", "2")),
    ],
)
def test_redaction_finds_labels_wherever_they_stand(diff, expected):
    assert redacted([diff], frozenset({"cost"})) == (expected,)


def hostile():
    """Everything that comes from outside says the worst it can."""
    made = plan(World(), [Wish("a")])
    finding = note("unmanaged-field", HOSTILE, hint=HOSTILE, service=A, place=Place(HOSTILE, 1), spec_path=HOSTILE)
    first, *others = made.services[A].changes
    worst = replace(first, reason=HOSTILE, diff=(FieldDiff(f"Meta.{HOSTILE}", None, HOSTILE),))
    service = replace(made.services[A], changes=(worst, *others), findings=(finding,))
    return replace(made, services={A: service}, revision="\x1b]0;x\x07", findings=(replace(finding, service=None),))


def test_nothing_from_outside_moves_the_cursor_or_turns_the_text_around():
    text = plan_as_text(hostile(), redact=NONE, color=False, width=0)

    assert not has_unseen(text.replace("\n", ""))
    assert "\\x1b" in text
    assert "\\u202e" in text


def pieces(text: str) -> tuple[set[str], list[str], list[str]]:
    """What a renderer of CommonMark makes of *text*: kinds of tokens, HTML, and the prose that is seen outside code."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    every = [each for token in tokens for each in (token, *(token.children or ()))]
    html = [
        tag
        for each in every
        if each.type in ("html_block", "html_inline")
        for tag in re.findall("<[^>]*>?", each.content)
    ]
    prose = [each.content for each in every if each.type == "text"]
    return {each.type for each in every}, html, prose


def test_markdown_takes_a_hostile_spec_at_its_letters():
    text = plan_as_markdown(hostile(), NONE, 60_000)
    kinds, html, prose = pieces(text)

    assert not has_unseen(text.replace("\n", "").replace("\u200b", ""))
    assert kinds.isdisjoint({"link_open", "image", "em_open", "table_open", "s_open", "code_block"})
    assert set(html) == {"<details>", "<summary>", "<code>", "</code>", "</summary>", "</details>"}
    assert html.count("<details>") == html.count("</details>") == 2
    assert any("bad @" in each for each in prose)  # it is seen, and calls nobody
    assert not any(re.search(r"[@#!]\w", each) for each in prose)
    assert not re.search(r"(?m)^\s*/close", text)


@given(st.text(alphabet=st.sampled_from("ab1`@#<>&_*~[]()!|\\/-+.:\n "), max_size=40))
def test_whatever_a_finding_says_is_prose(text):
    world = plan(World(), [])
    said = replace(world, findings=(note("unmanaged-field", text, hint=text, place=Place(text or "x")),))
    kinds, html, prose = pieces(plan_as_markdown(said, NONE, 60_000))

    assert html.count("<details>") == html.count("</details>") == 1
    assert kinds.isdisjoint({"link_open", "image", "em_open", "table_open", "heading_open_2", "fence"})
    assert not any(re.search(r"[@#]\w", each) for each in prose)


@given(st.text(alphabet=st.sampled_from("ab`@#<>&_*[]()!|\\/\n\x1b \u202e:"), max_size=40))
def test_a_code_span_ends_where_it_is_meant_to_end(text):
    span = code(text)
    fence = re.match("`+", span)[0]

    assert span.endswith(fence)
    assert fence not in re.findall("`+", span[len(fence) : -len(fence)])
    assert "\n" not in span


@given(st.lists(st.text(alphabet="ab`~ ", max_size=12), max_size=6))
def test_a_fence_is_longer_than_any_inside(lines):
    block = fenced(lines, "diff").split("\n")

    assert block[0].startswith("```")
    assert block[-1] == block[0].removesuffix("diff")
    assert all(block[-1] not in line for line in block[1:-1])


@given(st.text(max_size=60))
def test_prose_has_no_markup_left(text):
    assert not re.search(r"[<>`*_\[\]|\\@\n]", inert(text))
    assert not re.search(r"&(?!#\d+;)", inert(text))


@pytest.mark.parametrize("limit", [1, 50, 300, 1000, 2500, 5000, 60_000])
def test_markdown_keeps_within_its_limit_and_says_what_is_missing(limit):
    text = plan_as_markdown(example(), NONE, limit)

    assert len(text) <= limit
    assert text.count("<details>") == text.count("</details>")
    if limit in (1000, 2500):
        assert "do not fit here" in text
    if limit == 60_000:
        assert "do not fit" not in text
        assert "gitsync approve" in text


def test_one_long_service_does_not_hide_the_others():
    labels = tuple((f"label-{number}", "x" * 400) for number in range(50))
    text = plan_as_markdown(plan(World(), [Wish("a", labels=labels), Wish("b")]), NONE, 60_000)

    assert "lines more" in text
    assert "<code>b</code>" in text


def done(name: str, outcome: Outcome, verdict: Verdict, action: Action | None, **more) -> ServiceOutcome:
    return ServiceOutcome(ServiceKey(name), outcome, verdict, action, **more)


REPORT = RunReport(
    id="01RUN",
    sync="payments",
    revision="0123456789abcdef",
    applied_revision="0123456789abcdef",
    trigger="cli",
    started="2026-01-01T00:00:00Z",
    finished="2026-01-01T00:00:01Z",
    outcome=RunOutcome.PARTIAL,
    services=(
        done("gone", Outcome.APPLIED, Verdict.DELETE, Action.DELETE),
        done(
            "up", Outcome.APPLIED, Verdict.UPDATE, Action.UPDATE,
            diffs=(ComponentDiff("service-defaults/up", Action.UPDATE, (FieldDiff("Meta.cost", "42", "43"),)),),
        ),
        done("bad", Outcome.FAILED, Verdict.UPDATE, Action.UPDATE, step="service-router", message="Consul said no\x1b[2J", retryable=True),
    ),
    counts={Outcome.APPLIED: 13, Outcome.REFUSED: 2, Outcome.FAILED: 1, Outcome.UNCHANGED: 40},
    steps=(StepTiming("fetch", 0.5),),
)  # fmt: skip


def test_a_run_is_summed_up_in_one_line():
    assert summary(REPORT) == "12 applied, 1 pruned, 2 refused, 1 failed"
    assert summary(replace(REPORT, services=(), counts={Outcome.UNCHANGED: 40})) == "40 unchanged"
    assert summary(replace(REPORT, services=(), counts={})) == "nothing to do"
    early = replace(REPORT, services=(), counts={}, outcome=RunOutcome.FAILED, error="git does not answer\n")
    assert summary(early) == "failed: git does not answer\\n"
    assert summary(replace(REPORT, error="the last good revision")).endswith("; the last good revision")


def test_a_run_for_programs_says_everything():
    document = report_as_json(REPORT, redact=frozenset({"cost"}))

    assert json.loads(json.dumps(document)) == document
    assert document["exit_code"] == 6
    assert document["counts"] == {"applied": 12, "pruned": 1, "refused": 2, "failed": 1, "unchanged": 40}
    assert document["steps"] == [{"step": "fetch", "seconds": 0.5}]
    assert document["services"][1]["diffs"][0]["fields"] == [
        {"path": "Meta.cost", "before": REDACTED, "after": REDACTED}
    ]
    assert document["services"][2]["retryable"]


def test_a_run_for_a_terminal_says_what_became_of_whom():
    lines = lines_as_text(report_lines(REPORT)).splitlines()

    assert lines == [
        "Run 01RUN of payments at 0123456789ab: partial, 12 applied, 1 pruned, 2 refused, 1 failed",
        "- gone (applied)",
        "~ up (applied)",
        "  ~ service-defaults/up",
        '    ~ Meta.cost: "42" → "43"',
        "! bad (failed at service-router)",
        "  error Consul said no\\x1b[2J",
    ]
