"""Every delivery that others recorded is understood as the table says, and none is ever an exception."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitsync.hosts.gitea import Forgejo, Gitea
from gitsync.hosts.github import GitHub
from gitsync.hosts.payload import text
from gitsync.hosts.repos import _listed as listed
from gitsync.hosts.repos import change_request
from gitsync.model.errors import Invalid
from gitsync.model.host import WebhookEvent
from tests.unit.hosts.told import request, told

PAYLOADS = Path(__file__).parents[2] / "contract/hosts/payloads"
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("expected_github_gitea.yaml").read_text())
OCTOKIT = EXPECTED.pop("octokit")
CAPTURES = EXPECTED.pop("gitea-captures")
FILES = [(folder, name, event, says) for folder, files in EXPECTED.items() for name, (event, says) in files.items()]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SHA = "0123456789abcdef0123456789abcdef01234567"


def webhooks(folder: str) -> tuple[Any, str]:
    """Whose deliveries a folder's are, and what the header with the event's name is."""
    if "gitea" in folder or "gogs" in folder:
        return Gitea.webhooks, "x-gitea-event"
    return GitHub.webhooks, "x-github-event"


@cache
def octokit() -> list[dict[str, Any]]:
    with gzip.open(PAYLOADS / "octokit/api.github.com.index.json.gz") as file:
        return json.loads(file.read())


@cache
def examples() -> list[tuple[Any, dict[str, str], dict[str, Any]]]:
    """Whose, headers and body of everything that means anything."""
    found = []
    for folder, name, event, says in FILES:
        if not says.startswith("ignored"):
            whose, header = webhooks(folder)
            found.append((whose, {header: event}, json.loads((PAYLOADS / folder / name).read_text())))
    for name, says in CAPTURES.items():
        if says != "(a form)":
            capture = json.loads((PAYLOADS / "gitea-captures" / name).read_text())
            headers = {key.lower(): value for key, value in capture["headers"]}
            found.append((Gitea.webhooks, headers, json.loads(capture["body"])))
    for entry in octokit():
        if entry["name"] in OCTOKIT:
            found += [(GitHub.webhooks, {"x-github-event": entry["name"]}, example) for example in entry["examples"]]
    return found


def test_the_table_names_every_file_that_is_there():
    hosts = ("github", "gitea", "gogs")
    there = {
        str(path.relative_to(PAYLOADS))
        for path in PAYLOADS.rglob("*.json")
        if any(host in str(path.relative_to(PAYLOADS)).lower() for host in hosts)
    }
    named = {f"{folder}/{name}" for folder, name, _, _ in FILES} | {f"gitea-captures/{name}" for name in CAPTURES}

    assert there == named


@pytest.mark.parametrize(("folder", "name", "event", "says"), FILES, ids=[f"{row[0]}/{row[1]}" for row in FILES])
def test_a_recorded_delivery_says_what_the_table_says(folder, name, event, says):
    whose, header = webhooks(folder)

    assert told(whose.parse({header: event}, (PAYLOADS / folder / name).read_bytes())) == says


@pytest.mark.parametrize(("name", "says"), CAPTURES.items(), ids=CAPTURES)
def test_what_a_real_gitea_delivered_says_what_the_table_says(name, says):
    capture = json.loads((PAYLOADS / "gitea-captures" / name).read_text())
    headers = {key.lower(): value for key, value in capture["headers"]}
    raw = capture["body"].encode()

    if says == "(a form)":
        with pytest.raises(Invalid):
            Gitea.webhooks.parse(headers, raw)
        return
    event = Gitea.webhooks.parse(headers, raw)
    assert told(event) == says
    assert event.delivery_id == headers["x-gitea-delivery"]


@pytest.mark.parametrize("number", range(58))
def test_githubs_own_samples_say_what_the_table_says_and_all_other_events_nothing(number):
    entry = octokit()[number]
    headers = {"x-github-event": entry["name"], "x-github-delivery": "a-guid"}
    events = [GitHub.webhooks.parse(headers, json.dumps(example).encode()) for example in entry["examples"]]

    if entry["name"] in OCTOKIT:
        assert [told(event) for event in events] == OCTOKIT[entry["name"]]
    else:
        assert {event.kind for event in events} == {"ignored"}
    assert {event.delivery_id for event in events} == {"a-guid"}


def test_the_table_knows_every_event_of_github():
    assert len(octokit()) == 58


def test_what_the_api_answers_of_a_pull_request_is_read_like_a_delivery():
    body = json.loads((PAYLOADS / "atlantis/server/events/vcs/github/testdata/pull-request.json").read_text())

    assert request(change_request(body)) == "#1347 open new-topic@6dcb09b5 -> main"


@pytest.mark.parametrize(
    "file",
    sorted(
        str(path.relative_to(PAYLOADS)) for host in ("github", "forgejo") for path in PAYLOADS.glob(f"*/{host}/*.yaml")
    ),
)
def test_what_a_host_once_answered_about_requests_comments_and_statuses_is_understood(file):
    understood = 0
    for url, content in recorded(yaml.load((PAYLOADS / file).read_text(), Loader=LOADER)):
        for entry in content if isinstance(content, list) else [content]:
            if "/comments" in url:
                ((id_, author, body),) = listed([entry])
                assert (id_.isdigit(), author, body) == (True, entry["user"]["login"], entry["body"])
            elif "/statuses/" in url and "context" in entry:
                assert text(entry, "creator", "login")
            elif "/pulls/" in url:
                change = change_request(entry)
                assert change
                assert (change.number, change.head_sha) == (entry["number"], entry["head"]["sha"])
            else:
                continue
            understood += 1
    assert understood


def recorded(value: Any, url: str = "") -> Iterator[tuple[str, Any]]:
    """The answers in a cassette, and to what URL each was."""
    if isinstance(value, dict) and "status_code" in value:
        yield url, value.get("content", value.get("_content"))
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from recorded(below, key if str(key).startswith("https://") else url)
    elif isinstance(value, list):
        for below in value:
            yield from recorded(below, url)


def changed(value: Any, data: st.DataObject) -> None:
    """Delete a few keys somewhere inside *value*, or put something strange there."""
    for _ in range(data.draw(st.integers(1, 4))):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and data.draw(st.integers(0, 2)):
                place = place[key]
                continue
            strange = data.draw(
                st.sampled_from((KeyError, None, 0, -1, True, "", "\ud800\0", [], {}, [[]], {"id": {}}))
            )
            if strange is KeyError:
                del place[key]
            else:
                place[key] = copy.deepcopy(strange)
            break


@given(st.data())
def test_a_delivery_that_lacks_anything_is_never_an_exception_and_never_half_understood(data):
    whose, headers, body = data.draw(st.sampled_from(examples()))
    body = copy.deepcopy(body)
    changed(body, data)
    if data.draw(st.booleans()):
        headers = {key: value for key, value in headers.items() if data.draw(st.booleans())}

    event = whose.parse(headers, json.dumps(body).encode())

    assert isinstance(event, WebhookEvent)
    if event.kind == "push":
        assert all(ref.ref.startswith("refs/") for ref in event.refs)
        assert event.refs
    if event.kind == "change":
        assert event.change
        assert len(event.change.head_sha) in (40, 64)
    json.dumps([event.repo, event.action, str(event.refs), str(event.change)], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b'"x"', b"payload=%7B%7D", b"\xff\xfe", b"[" * 100_000, b"{", b"1" * 5000]
)
@pytest.mark.parametrize("host", [GitHub, Gitea, Forgejo])
def test_what_is_no_json_object_is_invalid(host, raw):
    with pytest.raises(Invalid):
        host.webhooks.parse({"x-github-event": "push", "x-gitea-event": "push"}, raw)


@pytest.mark.parametrize("host", [GitHub, Gitea, Forgejo])
def test_these_hosts_have_no_unsigned_pings(host):
    assert not host.webhooks.harmless({"x-github-event": "ping"}, b'{"zen": "x"}')


def pull(**more: Any) -> dict[str, Any]:
    repo = {"id": 1, "full_name": "acme/specs"}
    return {
        "number": 7,
        "state": "open",
        "head": {"sha": SHA, "ref": "feature", "repo": {**repo, "fork": True}},
        "base": {"sha": SHA, "ref": "main", "repo": repo},
        **more,
    }


def test_a_fork_is_told_by_the_repositories_and_not_by_what_they_once_were_forked_from():
    assert not change_request(pull()).is_fork
    assert change_request(pull(head={"sha": SHA, "ref": "feature", "repo": None})).is_fork
    assert change_request(
        pull(head={"sha": SHA, "ref": "feature", "repo": {"id": 2, "full_name": "acme/specs"}})
    ).is_fork
    assert change_request(pull(head={"sha": SHA, "ref": "feature", "repo": {}})).is_fork


@pytest.mark.parametrize(
    ("host", "header", "changes", "kind"),
    [
        (GitHub, "x-github-event", {"base": {"ref": {"from": "old"}}}, "change"),
        (GitHub, "x-github-event", {"title": {"from": "old"}}, "ignored"),
        (GitHub, "x-github-event", {}, "ignored"),
        (Gitea, "x-gitea-event", {"ref": {"from": "old"}}, "change"),
        (Gitea, "x-gitea-event", {"title": {"from": "old"}}, "ignored"),
        (Gitea, "x-gitea-event", {}, "change"),
        (Forgejo, "x-forgejo-event", {"ref": {"from": "old"}}, "change"),
    ],
)
def test_of_all_edits_of_a_request_only_a_new_base_is_a_reason_to_look(host, header, changes, kind):
    body = {"action": "edited", "pull_request": pull(), "changes": changes, "repository": {"full_name": "acme/specs"}}

    assert host.webhooks.parse({header: "pull_request"}, json.dumps(body).encode()).kind == kind


def test_a_repository_with_sha_256_is_understood_too():
    body = {"ref": "refs/heads/main", "before": "0" * 64, "after": "ab" * 32, "repository": {"full_name": "a/b"}}
    gone = {**body, "before": "ab" * 32, "after": "0" * 64}

    (made,) = GitHub.webhooks.parse({"x-github-event": "push"}, json.dumps(body).encode()).refs
    (deleted,) = GitHub.webhooks.parse({"x-github-event": "push"}, json.dumps(gone).encode()).refs

    assert (made.before, made.after, made.deleted) == (None, "ab" * 32, False)
    assert (deleted.after, deleted.deleted) == (None, True)
