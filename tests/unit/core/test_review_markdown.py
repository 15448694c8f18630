"""A review as a comment, as words and as JSON: complete within its limit, and deaf to what hostile requests say."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gitsync.core.blast import links_to
from gitsync.core.codes import note
from gitsync.core.contract import reviewed_of
from gitsync.core.plan import Policy
from gitsync.core.review_markdown import review_as_json, review_as_markdown, review_words
from gitsync.core.sight import Sight
from gitsync.model.component import Entry
from gitsync.model.finding import Place
from gitsync.model.host import ChangeRequest
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import FieldDiff
from gitsync.model.review import Link, Review, ReviewVerdict
from gitsync.model.revision import Revision, has_unseen
from tests.unit.worlds import ME, Wish, World, plan, settled

NONE = frozenset()
MARKER = "<!-- gitsync:plan source=test/payments -->"
CHANGE = ChangeRequest(12, "a" * 40, "work", "main", False, "org/specs", "open")
BASE = Revision("b" * 40, "", "", "")
LINK = "https://gitsync.example/plans/payments/12"
HOSTILE = (
    "\x1b[2J\u202ebad @team #12 !3 <img src=x> </details> ``` ````` | [x](javascript:1) www.evil.example\n/close "
    + MARKER
)


def review(made=None, *, affected=None, verdict=ReviewVerdict.PLANNED, **more) -> Review:
    """A review of *made*, all of it brought by the request unless told otherwise."""
    keys = frozenset(map(ServiceKey, affected)) if affected is not None else frozenset(made.services if made else ())
    digests = reviewed_of(made, keys) if made else {}
    values = {"base": BASE, "tree": "c" * 40, "plan": made, "affected": keys, "digests": digests, **more}
    return Review("payments", ME, CHANGE, verdict, **values)


def comment(of: Review, *, redact=NONE, limit=60_000, link=LINK) -> str:
    return review_as_markdown(of, marker=MARKER, redact=redact, limit=limit, link=link)


def example(label="43"):
    world = settled([Wish("up", labels=(("cost", "42-secret"),)), Wish("gone"), Wish("stays"), Wish("drifted")])
    world.put(Kind.DEFAULTS, "drifted", Protocol="tcp")
    return plan(
        world,
        [Wish("up", protocol="grpc", labels=(("cost", label),)), Wish("new"), Wish("stays"), Wish("drifted")],
        policy=Policy(),
    )


def pieces(text: str) -> tuple[set[str], list[str], list[str]]:
    """Kinds of tokens, tags of raw HTML, and prose, as a Markdown parser finds them."""
    kinds, html, prose = set(), [], []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        for each in (token, *(token.children or ())):
            kinds.add(each.type)
            if each.type.startswith("html"):
                html += re.findall(r"<!--.*?-->|</?[a-z]+>", each.content)
            if each.type == "text":
                prose.append(each.content)
    return kinds, html, prose


def test_the_first_line_is_the_marker_and_the_rest_says_what_merging_would_do():
    text = comment(review(example(), affected=["up", "new", "gone"]))

    assert text.startswith(f"{MARKER}\n### gitsync plan for `payments`\n")
    assert "**1 to create, 1 to update, 1 to delete** by merging `aaaaaaaaaaaa` into `main` at `bbbbbbbbbbbb`." in text
    assert '!   Protocol: "http" → "grpc"' in text
    assert f"[The whole plan](<{LINK}>)" in text
    assert "1 service would change with the next run anyway" in text
    assert "`drifted`" in text
    assert "stays" not in text


def test_what_the_guard_would_hold_is_said_with_the_way_out():
    wishes = [Wish(f"s{number}") for number in range(5)]
    made = plan(settled(wishes), wishes[:2], policy=Policy())
    of = review(made, affected=["s2", "s3", "s4"], verdict=ReviewVerdict.HELD)

    assert "3 deletes wait for an approval" in comment(of)
    assert "gitsync approve" in comment(of)
    assert review_words(of) == "3 held · 3 warnings"


def test_holds_that_the_request_has_nothing_to_do_with_are_not_its_own():
    wishes = [Wish(f"s{number}") for number in range(5)]
    made = plan(settled(wishes), [*wishes[:2], Wish("new")], policy=Policy())

    assert "wait for an approval" not in comment(review(made, affected=["new"]))


def test_who_else_leads_to_the_services_is_named():
    world = settled([Wish("books"), Wish("shop", route=("books", "")), Wish("cart", failover=("books", ""))])
    world.put(Kind.DEFAULTS, "theirs", Protocol="http")
    world.put(Kind.SPLITTER, "theirs", Splits=[{"Weight": 100, "Service": "books"}])
    world.put(Kind.DEFAULTS, "old", Protocol="http")
    world.put(Kind.RESOLVER, "old", Redirect={"Service": "books"})
    links = links_to(Sight(world.found()), [ServiceKey("books")])

    assert [(str(each.kind), each.name, each.how, each.owner) for each in links] == [
        ("service-resolver", "cart", "fails over to it", ME),
        ("service-resolver", "old", "redirects to it", ""),
        ("service-router", "shop", "routes to it", ME),
        ("service-splitter", "theirs", "splits traffic to it", ""),
        ("terminating-gateway", "tgw", "carries it", ""),
    ]
    text = comment(review(example(), affected=["up"], links=links))
    assert "**Who else leads to it in live Consul (5)**" in text
    assert "`service-router/shop` routes to it, of `prod/payments`" in text


def test_a_row_for_everything_carries_it_too():
    world = settled([Wish("books")])
    gateway = world.gateways["tgw"]
    body = {**gateway.body, "Services": [*gateway.body["Services"], {"Name": "*"}]}
    world.gateways["tgw"] = Entry(gateway.kind, gateway.name, body, 1, 2)

    assert [each.how for each in links_to(Sight(world.found()), [ServiceKey("books")])] == [
        "carries every service",
        "carries it",
    ]


def test_many_links_are_folded_and_cut():
    links = tuple(
        Link(ServiceKey(f"s{n}"), Kind.ROUTER, f"r{n}-{m}", "routes to it") for n in range(80) for m in range(70)
    )
    text = comment(review(example(), links=links), limit=10_000_000)

    assert "<details><summary>Who else leads to them in live Consul (5600)</summary>" in text
    assert "and 10 more" in text
    assert "and 20 services more" in text


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (review(verdict=ReviewVerdict.UNAFFECTED), "no service affected"),
        (review(verdict=ReviewVerdict.VALID, specs=1, unsaid=True), "1 spec changed, all of them valid"),
        (review(verdict=ReviewVerdict.CONFLICTED, message="it conflicts with its base in one file"),
         "it conflicts with its base in one file"),
        (review(verdict=ReviewVerdict.FAILED, message="Consul does not answer @all"), "Consul does not answer (at)all"),
        (review(verdict=ReviewVerdict.REFUSED, message="strict: the commit would be refused."),
         "strict: the commit would be refused."),
        (review(verdict=ReviewVerdict.REFUSED, unsaid=True, findings=(note("yaml-syntax", "secret"),)), "1 error in the files"),
        (review(verdict=ReviewVerdict.REFUSED), "it would be refused"),
    ],
)  # fmt: skip
def test_the_words_on_the_commit(of, words):
    assert review_words(of) == words
    assert comment(of).startswith(MARKER)


def test_a_service_that_would_be_refused_is_named_with_its_reason():
    error = note("unknown-datacenter", "dc9 is not known.", service=ServiceKey("new"))
    made = plan(World(), [Wish("new"), Wish("other")], judged={ServiceKey("new"): (error,)})
    of = review(made, verdict=ReviewVerdict.REFUSED)

    assert review_words(of) == "new would be refused: dc9 is not known."
    assert "**error** `unknown-datacenter`" in comment(of)


def test_a_bad_file_is_named_with_its_reason():
    error = note("yaml-syntax", "no YAML.", place=Place("a.yaml", 3))
    of = review(plan(World(), []), verdict=ReviewVerdict.REFUSED, findings=(error,))

    assert review_words(of) == "a.yaml would be refused: no YAML."


def test_conflicts_name_their_files():
    of = review(verdict=ReviewVerdict.CONFLICTED, message="it conflicts", conflicts=("services/a.yaml", "b`@x`"))

    assert "- `services/a.yaml`\n- `` b`@x` ``" in comment(of)


# -- what may be said


@pytest.mark.parametrize("redact", [{"cost"}, {"Cost"}])
def test_what_is_redacted_is_shown_nowhere(redact):
    said = note("invalid-value", "'43-secret' is no number.", hint="Not 43-secret.", service=ServiceKey("up"))
    about = note("invalid-value", "odd.", spec_path="metadata.cost", place=Place("x.yaml"))
    made = example("43-secret")
    up = made.services[ServiceKey("up")]
    made = replace(made, services={**made.services, up.key: replace(up, findings=(said,))}, findings=(said,))
    of = review(made, findings=(said, about), verdict=ReviewVerdict.REFUSED)
    shown = frozenset(redact)

    for text in (comment(of, redact=shown), json.dumps(review_as_json(of, redact=shown)), review_words(of, shown)):
        assert "secret" not in text
        assert "odd" not in text
    assert "(redacted)" in comment(of, redact=shown)
    assert "43-secret" in comment(of)


def test_of_a_fork_no_value_is_shown():
    said = note(
        "invalid-value",
        "'hunter2' is no port.",
        hint="Write 80, not hunter2.",
        place=Place("a.yaml", 4),
        spec_path="routing.port",
    )
    of = review(verdict=ReviewVerdict.REFUSED, unsaid=True, findings=(said,))

    for text in (comment(of), json.dumps(review_as_json(of, redact=NONE)), review_words(of)):
        assert "hunter2" not in text
    assert "- **error** `invalid-value` `a.yaml:4` `routing.port`: A value that is not possible" in comment(of)


def test_the_json_is_json_and_says_what_the_comment_says():
    of = review(
        example(), affected=["up", "new", "gone"], links=(Link(ServiceKey("up"), Kind.ROUTER, "r", "routes to it"),)
    )
    document = review_as_json(of, redact=NONE)

    assert json.loads(json.dumps(document)) == document
    assert {each["service"] for each in document["plan"]["services"]} == {"up", "new", "gone"}
    assert document["anyway"] == ["default/default/drifted"]
    assert document["links"][0]["name"] == "r"
    assert (document["verdict"], document["number"], document["fork"]) == ("planned", 12, False)


# -- what a request cannot do


def hostile() -> Review:
    finding = note(
        "unmanaged-field", HOSTILE, hint=HOSTILE, service=ServiceKey("a"), place=Place(HOSTILE, 1), spec_path=HOSTILE
    )
    made = plan(World(), [Wish("a")])
    diff = (FieldDiff(HOSTILE, None, HOSTILE),)
    services = {
        key: replace(
            each,
            findings=(finding,),
            changes=tuple(replace(change, diff=diff, reason=HOSTILE) for change in each.changes),
        )
        for key, each in made.services.items()
    }
    made = replace(made, services=services)
    return review(
        made,
        findings=(finding,),
        links=(Link(ServiceKey("a"), Kind.ROUTER, HOSTILE, "routes to it", HOSTILE),),
        message=HOSTILE,
        conflicts=(HOSTILE,),
    )


def test_a_hostile_request_is_taken_at_its_letters():
    of = hostile()
    of = replace(of, change=replace(of.change, base_ref=HOSTILE, head_sha=HOSTILE, head_ref=HOSTILE))
    text = comment(of)
    kinds, html, prose = pieces(text)

    assert not has_unseen(text.replace("\n", "").replace("\u200b", ""))
    assert kinds.isdisjoint({"image", "em_open", "table_open", "s_open", "code_block"})
    assert MarkdownIt("gfm-like", {"linkify": False}).render(text).count("<a ") == 1  # the link that is ours
    assert html[0] == MARKER
    assert set(html[1:]) <= {"<details>", "<summary>", "<code>", "</code>", "</summary>", "</details>"}
    assert html.count("<details>") == html.count("</details>")
    assert not any(re.search(r"[@#!]\w", each) for each in prose)
    assert not re.search(r"(?m)^\s*/close", text)
    assert text.count(MARKER) == 1
    assert len(review_words(of)) <= 140


ANY = st.text(alphabet=st.sampled_from("ab1`@#<>&_*~[]()!|\\/-+.:\n \u202e\x1bgitsync:"), max_size=60)


@given(ANY)
def test_whatever_a_request_says_is_prose(text):
    finding = note("unmanaged-field", text, hint=text, place=Place(text or "x"))
    of = review(
        plan(World(), []), findings=(finding,), message=text, conflicts=(text,),
        links=(Link(ServiceKey(text or "x"), Kind.ROUTER, text, "routes to it", text),),
    )  # fmt: skip
    shown = comment(of)
    kinds, html, prose = pieces(shown)

    assert html[0] == MARKER
    assert html.count("<details>") == html.count("</details>")
    assert kinds.isdisjoint({"image", "em_open", "strong_open_2", "table_open", "fence", "html_inline_2"})
    assert not any(re.search(r"[@#]\w", each) for each in prose)
    assert "gitsync:" not in shown.removeprefix(MARKER)
    assert len(review_words(of)) <= 140


@pytest.mark.parametrize("limit", [60, 200, 1000, 2500, 30_000, 60_000])
def test_the_comment_keeps_within_its_limit_and_links_to_the_rest(limit):
    world = settled([Wish(f"s{number}", labels=(("a", "1"),)) for number in range(60)])
    made = plan(world, [Wish(f"s{number}", labels=(("a", "2" * 300),)) for number in range(60)])
    text = comment(review(made), limit=limit)

    assert len(text) <= limit
    assert text.startswith(MARKER)
    assert text.count("<details>") == text.count("</details>")
    if limit in (1000, 2500):
        assert f"do not fit here: see [the whole plan](<{LINK}>)" in text
    if limit == 60_000:
        assert "do not fit" not in text


def test_without_a_page_the_command_is_named():
    world = settled([Wish(f"s{number}", labels=(("a", "1"),)) for number in range(60)])
    made = plan(world, [Wish(f"s{number}", labels=(("a", "2" * 300),)) for number in range(60)])

    assert "see `gitsync plan`" in comment(review(made), limit=3000, link="")
