"""docs/hosts, docs/notifications.md and the metrics in docs/operations.md against the code: hosts, statuses, answers, names."""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import pkgutil
import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gitsync import hosts
from gitsync.core.lines import PLANNED
from gitsync.core.review_markdown import review_words
from gitsync.core.shown import counted
from gitsync.core.status_words import abandoned, overtaken, queued, running, words
from gitsync.daemon import inbox, notify, poster, recipient, reviews
from gitsync.hosts import PROVIDERS, azure_devops, bitbucket_cloud, bitbucket_datacenter, gitlab, repos
from gitsync.hosts.credentials import PERMISSIONS
from gitsync.model import review as review_model
from gitsync.model.host import CommitState, Verdict
from gitsync.model.key import Kind
from gitsync.model.run import Outcome, RunOutcome
from gitsync.model.view import SyncView
from gitsync.settings import grammar, load_settings
from gitsync.settings.outside import HostKind, NotifyEvent
from gitsync.web import Metrics, app, hooks
from gitsync.web.hooks import BODY_BYTES
from gitsync.web.metrics import Waiting
from tests.gitea.site import EVENTS, GIT_SCOPES, HOST_SCOPES
from tests.unit.core.test_review_markdown import review
from tests.unit.core.test_status_words import ENDS, SHA, error, report, service

ROOT = Path(__file__).resolve().parents[2]
INDEX = (ROOT / "docs" / "hosts" / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
NOTIFICATIONS = (ROOT / "docs" / "notifications.md").read_text()
PAGES = {
    page.stem: page.read_text() for page in sorted((ROOT / "docs" / "hosts").glob("*.md")) if page.stem != "README"
}
BLOCKS = [
    (name, block)
    for name, text in PAGES.items()
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
]
OF = {"forgejo": "gitea"}
"""Kinds that share a page with another."""

every_page = pytest.mark.parametrize("name", PAGES)


def section(text: str, title: str) -> str:
    """What stands below a heading."""
    (found,) = [part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(title + "\n")]
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of the tables, without heads and lines."""
    found: list[list[str]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if cells and set(line) <= set("|- "):
            found.pop()
        elif cells:
            found.append(cells)
    return found


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def says(*modules: ModuleType) -> str:
    """The sources, with … for what is filled in, and strings that are broken over lines put together."""
    source = "\n".join(inspect.getsource(module) for module in modules)
    return re.sub(r"\{[^{}\n]*\}", "…", re.sub(r'"\n\s*f?"', "", source))


EVERY_HOST = [importlib.import_module(f"gitsync.hosts.{each.name}") for each in pkgutil.iter_modules(hosts.__path__)]
SOURCE = says(*EVERY_HOST, hooks, app, poster, recipient, grammar, notify)
RAW = "".join(map(inspect.getsource, EVERY_HOST))
FILLED = ("set statuses", "a comment", "a status", "comment")
"""What messages say in the place of …, so that their words stand whole on the pages."""


# -- a page a host --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HostKind)
def test_every_kind_of_host_has_a_page_with_a_configuration(kind: HostKind):
    page = OF.get(kind, str(kind))

    assert re.search(rf"^ *kind: {kind}$|\{{ kind: {kind},", PAGES[page], re.MULTILINE)
    assert any(f"`{kind}`" in cells[-1] and f"({page}.md)" in cells[1] for cells in rows(INDEX) if len(cells) == 3)


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_the_configuration_on_a_page_works_and_is_that_of_its_host(name: str, block: str, tmp_path: Path):
    (tmp_path / "gitsync.yaml").write_text(block)
    settings = load_settings(tmp_path / "gitsync.yaml", {})
    host = settings.syncs["payments"].host

    assert host is not None
    assert OF.get(host.kind, str(host.kind)) == name


@every_page
def test_a_page_names_the_check_and_the_address_of_its_configuration(name: str):
    assert "`gitsync/plan/prod-eu/payments`" in PAGES[name]
    assert "`https://gitsync.example:8443/hooks/payments`" in PAGES[name]


@every_page
def test_a_page_has_what_every_page_has(name: str):
    titles = re.findall(r"^## (.+)$", PAGES[name], re.MULTILINE)

    assert {"The webhook", "When something is wrong"} <= set(titles)
    assert name == "generic" or {"The token", "The required check"} <= set(titles)
    assert rows(section(PAGES[name], "When something is wrong"))


@every_page
def test_the_messages_in_the_troubles_of_a_page_exist(name: str):
    """A cell that is nothing but one message in backticks, … standing for what differs."""
    named = [cells[0].strip("`") for cells in rows(section(PAGES[name], "When something is wrong"))
             if re.fullmatch(r"`[^`]+`", cells[0])]  # fmt: skip

    assert name == "generic" or named
    assert [each for each in named if not message_exists(each)] == []


def message_exists(message: str) -> bool:
    """Whether each part of it is said somewhere; an answer of the host is its name, its status, and its own words."""
    if message in app.TITLES.values():
        return True
    message = re.sub(r"(GitHub|GitLab|Bitbucket|Azure DevOps|…) answers \d+(: .*)?$", "…", message)
    for word in FILLED:
        if word in message:
            message = message.replace(word, "…" if f'"{word}"' in RAW else word)
    return all(part.strip() in SOURCE for part in re.split(r"…", message) if len(part.strip()) > 2)


def test_the_page_of_github_names_the_permissions_that_an_app_is_asked_for():
    named = set(re.findall(r"`(\w+: \w+)` \|", section(PAGES["github"], "The token")))

    assert named == {f"{name}: {level}" for name, level in PERMISSIONS.items()}


def test_the_page_of_gitea_names_the_scopes_and_events_that_its_tests_run_with():
    tables = rows(section(PAGES["gitea"], "The token"))
    hook = dict(rows(section(PAGES["gitea"], "The webhook")))

    assert tuple(quoted(cells[2])[0] for cells in tables) == (*HOST_SCOPES, *GIT_SCOPES)
    assert set(quoted(hook["Trigger On"])) == set(EVENTS)


# -- what all have in common ----------------------------------------------------------------------------------------------


WHY = "Because of something."
SHOWN: list[dict[str, Any]] = [
    {
        "outcome": RunOutcome.PARTIAL,
        "counts": {Outcome.APPLIED: 3, Outcome.FAILED: 2},
        "services": tuple(
            service(name, Outcome.FAILED, str(kind), WHY)
            for name, kind in (("books", Kind.ROUTER), ("pay", Kind.DEFAULTS))
        ),
    },
    {
        "outcome": RunOutcome.PARTIAL,
        "counts": {Outcome.APPLIED: 3, Outcome.FAILED: 1},
        "services": (service("pay", Outcome.FAILED, str(Kind.DEFAULTS), WHY, retryable=True),),
    },
    {
        "outcome": RunOutcome.FAILED,
        "counts": {Outcome.CONFLICT: 1},
        "services": (service("pay", Outcome.CONFLICT, findings=(error(WHY),)),),
    },
    {"outcome": RunOutcome.FAILED, "error": "fetch: the history was rewritten: " + WHY, "error_exit": 4},
]
"""Ends of runs as the page shows them, with the names that steps really have."""


def fits(shown: str, said: str) -> bool:
    """Whether *said* is what the page shows, … standing for a reason."""
    return re.fullmatch(".+".join(map(re.escape, shown.split("…"))), said) is not None


def test_what_is_said_of_a_commit_is_what_the_code_says():
    said = {(str(state), text) for _, _, state, text in ENDS}
    said |= {("pending", queued().description), ("pending", running().description)}
    good, bad = words(report(counts={Outcome.APPLIED: 2})), words(report(counts={Outcome.REFUSED: 2}))
    said |= {("as the other's", overtaken(each, SHA).description) for each in (good, bad)}
    said.add(("never applied", abandoned(SHA).description))
    for changes in SHOWN:
        found = words(report(**changes))
        said.add((str(found.state), found.description))
    table = [cells for cells in rows(section(INDEX, "What is seen on a commit")) if len(cells) == 3]

    assert len(table) > 12
    told = [(cells[0], text) for cells in table for text in quoted(cells[1])]
    assert [each for each in told if not any(each[0] == state and fits(each[1], text) for state, text in said)] == []


def test_every_host_calls_the_states_as_its_page_says():
    provider_words = {
        "GitHub": repos.STATES, "GitLab": gitlab._WORDS, "Gitea, Forgejo": repos.STATES,
        "Bitbucket Cloud": bitbucket_cloud._WORDS, "Bitbucket Data Center": bitbucket_datacenter._WORDS,
        "Azure DevOps": azure_devops._WORDS,
    }  # fmt: skip
    table = {cells[0]: cells[1:] for cells in rows(section(INDEX, "What is seen on a commit")) if len(cells) == 6}

    assert table.keys() == provider_words.keys()
    for host, cells in table.items():
        named = provider_words[host]
        pending = list(dict.fromkeys([named[CommitState.PENDING], named[CommitState.RUNNING]]))
        others = (CommitState.SUCCESS, CommitState.FAILURE, CommitState.ERROR, CommitState.CANCELED)
        assert [quoted(cell) for cell in cells] == [pending, *([named[state]] for state in others)]


def test_what_is_said_of_a_request_is_what_the_code_says():
    table = rows(section(INDEX, "What is seen on a pull request"))
    tested = inspect.getsource(importlib.import_module("tests.unit.core.test_review_markdown"))
    states = set(map(str, review_model.STATES.values())) | {"pending"}

    assert review_words(review(verdict=review_model.ReviewVerdict.UNAFFECTED)) == "no service affected"
    for cells in (cells for cells in table if len(cells) == 3):
        assert cells[0] in states
        assert [text for text in quoted(cells[1]) if f'"{text}"' not in tested + inspect.getsource(reviews)] == []


def test_what_a_host_takes_is_what_its_provider_says():
    table = {cells[0]: cells[1:] for cells in rows(section(INDEX, "What is seen on a pull request")) if len(cells) == 5}
    kinds = {
        "GitHub": "github", "GitLab": "gitlab", "Gitea, Forgejo": "gitea", "Bitbucket Cloud": "bitbucket-cloud",
        "Bitbucket Data Center": "bitbucket-datacenter", "Azure DevOps": "azure-devops", "generic": "generic",
    }  # fmt: skip

    assert table.keys() == kinds.keys()
    for host, kind in kinds.items():
        takes = PROVIDERS[kind].capabilities
        folds = ("yes" if takes.folds else "no") if takes.comment else "–"
        lists = "yes" if takes.lists_changes else "no"
        assert table[host] == [f"{takes.comment:,}" if takes.comment else "none", folds, takes.fork_status, lists]


def test_what_the_endpoint_answers_is_on_the_page():
    table = rows(section(INDEX, "What /hooks answers"))
    source = inspect.getsource(hooks)
    named = {text for cells in table for text in quoted(cells[1])}
    assert f"more than {BODY_BYTES} bytes" in named
    written = {re.sub(r"more than \d+ bytes", "more than {hook.body_bytes} bytes", text) for text in named}

    assert [text for text in written if f'{text}"' not in source and text not in set(inbox.Accepted)] == []
    assert {each for each in inbox.Accepted if each is not inbox.Accepted.PING} <= named
    answers = {int(cells[0]) for cells in table}
    assert answers >= set(map(int, re.findall(r"(?:_Turned\([\w.]+, |_said\()(\d{3})", source)))


def test_the_troubles_of_all_hosts_are_those_that_are_told():
    named = [
        text for cells in rows(section(INDEX, "When something is wrong")) for text in quoted(cells[0]) if " " in text
    ]

    assert named
    assert [each for each in named if not message_exists(each) and "plan: off" not in each] == []


# -- what is measured and delivered ---------------------------------------------------------------------------------------


def test_every_metric_has_its_row_with_its_labels():
    metrics = Metrics("1")
    metrics.run_ended(report(counts={Outcome.APPLIED: 1}, steps=()))
    metrics.webhook("payments", "woken", 0.1)
    view = SyncView("payments", 60.0, last_success="2026-01-01T12:00:00Z")
    waiting = Waiting(holds={"payments": 1}, deliveries={("payments", "status"): 1})
    metrics._step_seconds.labels("fetch").observe(0.1)
    text, _ = metrics.exposed({"payments": view}, waiting, datetime(2026, 1, 1, 13, tzinfo=UTC))
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        labels = [name for name in family.samples[0].labels if name != "le"]
        found[family.name + ("_total" if family.type == "counter" else "")] = set(labels)
    table = [text for cells in rows(section(OPERATIONS, "Metrics")) for text in quoted(cells[0])]
    named = {name.partition("{")[0]: set(re.findall(r"\w+", name.partition("{")[2])) for name in table}

    assert named == found


def test_every_verdict_about_a_delivery_is_named():
    verdicts = {value for name, value in vars(hooks.Verdict).items() if name.isupper()} | set(map(str, inbox.Accepted))
    text = section(OPERATIONS, "Metrics").partition("A `verdict` of")[2].partition("Worth an alarm")[0]

    assert set(re.findall(r"`([a-z-]+)`", text)) == verdicts


def test_every_verdict_of_a_host_is_explained():
    table = {quoted(cells[0])[0] for cells in rows(section(OPERATIONS, "Deliveries"))}

    assert table == set(map(str, Verdict))


def test_every_path_that_is_served_is_named():
    receiver = hooks.Receiver({}, inbox.Inbox({}, None, wake=None, review=None), Metrics())  # type: ignore[arg-type]
    made = {route.path for route in pages_of(receiver)}
    named = {text for cells in rows(section(OPERATIONS, "What is served, and to whom")) for text in quoted(cells[0])}

    assert {re.sub(r"\{(\w+)\}", r"<\1>", path) for path in made} - {"/style.css", "/icon.svg"} == named


def pages_of(receiver: hooks.Receiver) -> list:  # type: ignore[type-arg]
    sources = app.Sources(None, None, {}, lambda: datetime.now(UTC))  # type: ignore[arg-type]
    made = app.application(sources, Metrics(), app.Access("127.0.0.1"), receiver)
    return [route for route in flat(made.routes) if hasattr(route, "path")]


def flat(routes: list) -> list:  # type: ignore[type-arg]
    """The routes, also of routers that are kept as they were included."""
    found = []
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        found += flat(inner) if inner else [route]
    return found


# -- notifications --------------------------------------------------------------------------------------------------------


def test_every_type_of_notification_has_its_row():
    table = {(quoted(cells[0])[0], quoted(cells[1])[0]) for cells in rows(section(NOTIFICATIONS, "What is told"))}

    assert table == set(notify.TYPES.items())
    assert {event for event, _ in table} == set(map(str, NotifyEvent))


def test_the_configuration_on_the_page_about_notifications_works(tmp_path: Path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", NOTIFICATIONS, re.MULTILINE | re.DOTALL)
    (tmp_path / "gitsync.yaml").write_text(block)

    assert load_settings(tmp_path / "gitsync.yaml", {}).notify[0].on == (NotifyEvent.FAILED, NotifyEvent.HELD)


def test_the_receiver_on_the_page_takes_what_is_sent_and_nothing_else():
    (block,) = re.findall(r"^```python\n(.*?)^```", NOTIFICATIONS, re.MULTILINE | re.DOTALL)
    names: dict = {}  # type: ignore[type-arg]
    exec(compile(block, "receiver", "exec"), names)
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    body, now = b'{"type":"run.failed"}', int(datetime.now(UTC).timestamp())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": notify.signature(notify.signing_key(secret), "msg_1", now, body),
    }

    assert names["received"](headers, body, secret) == json.loads(body)
    with pytest.raises(Exception, match="signature"):
        names["received"](headers, body + b" ", secret)


def test_the_troubles_of_notifications_are_those_that_are_told():
    named = [
        cells[0].strip("`") for cells in rows(section(NOTIFICATIONS, "When something is wrong")) if cells[0][0] == "`"
    ]

    assert named
    assert [each for each in named if not message_exists(each)] == []


# -- what the readme shows ------------------------------------------------------------------------------------------------


def test_the_statuses_in_the_readme_are_those_of_the_code():
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"^    [✓✗] (gitsync/\w+)/prod-eu/payments {3,}(.+?)(?: {3,}.*)?$", readme, re.MULTILINE)
    said = {text for _, _, _, text in ENDS}

    assert len(shown) == 3
    said.add(counted({"update": 2, "delete": 1}, PLANNED))
    assert [text for _, text in shown if text not in said] == []
