"""Every recorded delivery of GitLab, Bitbucket and Azure DevOps is understood as the table beside this file says."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsync.hosts import PROVIDERS
from gitsync.hosts.credentials import StaticToken
from gitsync.model.errors import Invalid, Unavailable
from gitsync.model.host import ChangeRequest, RefChange, RepoRef, WebhookEvent
from tests.unit.hosts.told import request, told

PAYLOADS = Path(__file__).parents[2] / "contract/hosts/payloads"
TABLE: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(
    (Path(__file__).parent / "expected_others.yaml").read_text()
)
DELIVERIES = [
    (kind, f"{folder}/{name}", expected)
    for kind, folders in TABLE.items()
    for folder, files in folders.items()
    for name, expected in files.items()
]
HOSTS = ("gitlab", "bitbucket-cloud", "bitbucket-datacenter", "azure-devops", "generic")
SHA = "5c64a07cd6c0f21b753bf261ef059c7e7633c50a"
OTHER = "823b2230a56056231c9425d63758fa87078a66b4"
NONE = "0" * 40


def delivery(path: str) -> bytes:
    return (PAYLOADS / path).read_bytes().removeprefix(b"\xef\xbb\xbf")  # some were saved with a byte order mark


def parse(kind: str, body: Any, **headers: str) -> WebhookEvent:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PROVIDERS[kind].webhooks.parse({name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(("kind", "path", "expected"), DELIVERIES)
def test_a_recorded_delivery_says_what_the_table_says(kind, path, expected):
    headers = {"x_event_key": expected.split()[-1]} if kind == "bitbucket-cloud" else {}

    assert told(parse(kind, delivery(path), **headers)) == expected


def test_no_recorded_delivery_is_without_a_line_in_the_table():
    ours = ("azure", "bitbucket", "gitlab", "stash")
    there = {path for driver in ours for path in (PAYLOADS / "go-scm/scm/driver" / driver).rglob("*.json")}
    there |= {path for path in (PAYLOADS / "atlantis").rglob("*.json") if "github" not in str(path).lower()}

    expected = {path for _, path, _ in DELIVERIES} | {path for _, path, _ in ANSWERS} | set(OTHER_ANSWERS)

    assert {str(path.relative_to(PAYLOADS)) for path in there} == expected


# -- answers of an API ----------------------------------------------------------------------------------------------------

EVENTS = "atlantis/server/events/testdata"
VCS = "atlantis/server/events/vcs"
ANSWERS = [
    ("gitlab", f"{EVENTS}/gitlab-get-merge-request.json", "#8 open abc@0b4ac85e -> main"),
    ("gitlab", f"{EVENTS}/gitlab-get-merge-request-subgroup.json", "#2 open patch@901d9770 -> main"),
    *(
        ("gitlab", f"{VCS}/gitlab/testdata/{name}.json", "#13 open patch-1-merger@cb86d70f -> patch-1")
        for name in (
            "detailed-merge-status-ci-must-pass",
            "detailed-merge-status-need-rebase",
            "head-pipeline-not-available",
            "pipeline-blocking-discussions-unresolved",
            "pipeline-remaining-approvals",
            "pipeline-success",
            "pipeline-with-pipeline-skipped",
            "pipeline-work-in-progress",
        )
    ),
    *(
        ("gitlab", f"{VCS}/gitlab/testdata/{name}.json", "#13 merged patch-1-merger@cb86d70f -> patch-1")
        for name in ("merge-success", "merge-success-with-label")
    ),
    (
        "gitlab",
        f"{VCS}/gitlab/testdata/pull-request.json",
        "#8 closed bump_input_3_1759885788@a7e1c0cc -> main",
    ),
    *(
        (
            "bitbucket-cloud",
            f"{VCS}/bitbucketcloud/testdata/{name}.json",
            "#12 open lkysow/maintf-edited-online-with-bitbucket-1549990080103@75d1e7c5 (short) -> main",
        )
        for name in ("pull-approved", "pull-approved-by-author", "pull-approved-multiple", "pull-unapproved")
    ),
    (
        "bitbucket-datacenter",
        f"{EVENTS}/bitbucket-server-get-pull.json",
        "#3 open lkysow/maintf-1532350335286@43b60c66 -> main",
    ),
    ("bitbucket-datacenter", f"{VCS}/bitbucketserver/testdata/pull-request.json", "#2 merged hi@bdcaa224 -> main"),
    ("azure-devops", f"{VCS}/azuredevops/testdata/pr.json", "no head"),  # it was cut by who saved it
]
OTHER_ANSWERS = (  # no request in them: they are read as requests below, and are none
    f"{EVENTS}/bitbucket-server-get-pull-changes.json",
    f"{VCS}/azuredevops/testdata/policyevaluations.json",
    f"{VCS}/bitbucketcloud/testdata/comments.json",
    f"{VCS}/bitbucketcloud/testdata/user.json",
    f"{VCS}/gitlab/testdata/group-membership-success.json",
    f"{VCS}/gitlab/testdata/project-success.json",
    f"{VCS}/gitlab/testdata/user-multiple.json",
    f"{VCS}/gitlab/testdata/user-none.json",
    f"{VCS}/gitlab/testdata/user-success.json",
)


async def asked(kind: str, answer: bytes) -> ChangeRequest | None:
    """The request that the provider makes of *answer*."""

    def answered(asked: httpx.Request) -> httpx.Response:
        known = "/commit/" not in asked.url.path  # as for the head of a fork
        body = answer if known else b'{"type": "error", "error": {"message": "Commit not found"}}'
        return httpx.Response(200 if known else 404, content=body, headers={"content-type": "application/json"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answered)) as client:
        repo = RepoRef("https://host.example", "group/repo", "https://host.example/group/repo")
        return await PROVIDERS[kind](repo, StaticToken("token"), client).get_change(1)


@pytest.mark.parametrize(("kind", "path", "expected"), ANSWERS)
async def test_a_recorded_answer_is_the_request_that_the_table_says(kind, path, expected):
    if expected == "no head":
        with pytest.raises(Unavailable, match="does not tell its head yet"):
            await asked(kind, delivery(path))
    else:
        change = await asked(kind, delivery(path))
        assert change is not None
        assert request(change) == expected


@pytest.mark.parametrize("path", OTHER_ANSWERS)
@pytest.mark.parametrize("kind", HOSTS[:-1])
async def test_an_answer_of_another_kind_is_no_request(kind, path):
    with pytest.raises(Unavailable, match="does not tell its head yet"):
        await asked(kind, delivery(path))


# -- what no recorded delivery shows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize("raw", [b"[]", b'"push"', b"7", b"null", b"payload=%7B%7D", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_refused_with_words(kind, raw):
    with pytest.raises(Invalid):
        parse(kind, raw)


@pytest.mark.parametrize("kind", [kind for kind in HOSTS if kind != "generic"])
def test_an_empty_object_is_passed_over(kind):
    assert parse(kind, {}).kind == "ignored"


def test_gitlab_tells_a_retry_by_the_key_that_stays():
    body = {"object_kind": "push"}

    assert parse("gitlab", body, idempotency_key="k", x_gitlab_webhook_uuid="u").delivery_id == "k"
    assert parse("gitlab", body, webhook_id="w", x_gitlab_webhook_uuid="u").delivery_id == "w"
    assert parse("gitlab", body, x_gitlab_webhook_uuid="u", x_gitlab_event_uuid="e").delivery_id == "u"
    assert parse("gitlab", body).delivery_id is None


def test_gitlab_system_hooks_say_what_project_hooks_say():
    project = {"path_with_namespace": "group/repo"}
    push = {"event_name": "push", "ref": "refs/heads/main", "before": SHA, "after": OTHER, "project": project}
    many = {
        "event_name": "repository_update",
        "project": project,
        "changes": [{"ref": f"refs/heads/{branch}", "before": NONE, "after": OTHER} for branch in ("a", "b", "c", "d")],
    }

    assert parse("gitlab", push).refs == (RefChange("refs/heads/main", SHA, OTHER),)
    assert [ref.ref for ref in parse("gitlab", many).refs] == [f"refs/heads/{branch}" for branch in "abcd"]


@pytest.mark.parametrize(
    ("source", "fork"), [({"source_project_id": 2}, True), ({"source_project_id": None}, True), ({}, False)]
)
def test_a_merge_request_from_another_project_is_a_fork(source, fork):
    path = "go-scm/scm/driver/gitlab/testdata/webhooks/pull_request_create.json"
    body = json.loads(delivery(path))
    body["object_attributes"] |= source

    change = parse("gitlab", body).change

    assert change is not None
    assert change.is_fork is fork


def test_a_push_of_many_refs_to_bitbucket_names_each():
    change = {
        "new": {"type": "branch", "name": "main", "target": {"hash": OTHER}},
        "old": {"type": "branch", "name": "main", "target": {"hash": SHA}},
        "forced": True,
    }
    tag = {"new": {"type": "tag", "name": "v1", "target": {"hash": OTHER}}, "old": None, "forced": False}
    body = {"push": {"changes": [change, tag, {"new": {"type": "bookmark", "name": "x"}}, None]}}

    assert parse("bitbucket-cloud", body, x_event_key="repo:push").refs == (
        RefChange("refs/heads/main", SHA, OTHER, forced=True),
        RefChange("refs/tags/v1", None, OTHER, forced=False),
    )


def test_a_request_whose_fork_was_deleted_is_still_a_fork():
    body = json.loads(delivery("go-scm/scm/driver/bitbucket/testdata/webhooks/pr_created.json"))
    body["pullrequest"]["source"]["repository"] = None

    change = parse("bitbucket-cloud", body, x_event_key="pullrequest:updated").change

    assert change is not None
    assert (change.is_fork, change.head_repo) == (True, None)


def test_a_personal_project_of_bitbucket_keeps_its_tilde():
    body = json.loads(delivery("go-scm/scm/driver/stash/testdata/webhooks/push.json"))
    body["repository"]["project"] = {"key": "~mona", "type": "PERSONAL"}

    assert parse("bitbucket-datacenter", body).repo == "~mona/my-repo"


def test_the_ping_of_bitbucket_has_no_effect_and_no_other_delivery_passes_for_one():
    webhooks = PROVIDERS["bitbucket-datacenter"].webhooks
    ping = {"x-event-key": "diagnostics:ping"}
    push = delivery("go-scm/scm/driver/stash/testdata/webhooks/push.json")

    assert webhooks.harmless(ping, b'{"test": true}')
    assert webhooks.parse(ping, b'{"test": true}').kind == "ping"
    assert webhooks.parse(ping, push).kind == "ping"  # whatever is in it
    assert not webhooks.harmless({"x-event-key": "repo:refs_changed"}, push)
    assert not webhooks.harmless({}, b'{"eventKey": "diagnostics:ping"}')


@pytest.mark.parametrize("kind", [kind for kind in HOSTS if kind != "bitbucket-datacenter"])
def test_no_other_host_has_an_unsigned_ping(kind):
    for name in ("x-event-key", "x-github-event", "x-gitlab-event"):
        assert not PROVIDERS[kind].webhooks.harmless({name: "diagnostics:ping"}, b"{}")


@pytest.mark.parametrize(
    ("url", "repo"),
    [
        ("https://dev.azure.com/fabrikam/Web/_git/site", "fabrikam/Web/site"),
        ("https://fabrikam@dev.azure.com/my%20org/Web/_git/site", "my org/Web/site"),
        ("https://fabrikam.visualstudio.com/DefaultCollection/Web/_git/site", "fabrikam/Web/site"),
        ("https://tfs.example/tfs/DefaultCollection/Web/_git/site", "Web/site"),
        ("https://dev.azure.com", "Web/site"),
        ("https://[", "Web/site"),
        ("", "Web/site"),
    ],
)
def test_an_azure_repository_is_named_with_its_organisation(url, repo):
    body = json.loads(delivery("go-scm/scm/driver/azure/testdata/webhooks/push.json"))
    body["resource"]["repository"] |= {"name": "site", "project": {"name": "Web"}, "remoteUrl": url}

    assert parse("azure-devops", body).repo == repo


def test_an_azure_request_from_a_fork_says_whose_it_is():
    body = json.loads(delivery("go-scm/scm/driver/azure/testdata/webhooks/pr_created.json"))
    theirs = {
        "name": "site-fork",
        "project": {"name": "Mona"},
        "remoteUrl": "https://dev.azure.com/fabrikam/Mona/_git/s",
    }
    body["resource"]["forkSource"] = {"name": "refs/heads/mytopic", "repository": theirs}

    change = parse("azure-devops", body).change

    assert change is not None
    assert (change.is_fork, change.head_repo) == (True, "fabrikam/Mona/site-fork")


def test_one_azure_event_is_another_delivery_for_each_subscription():
    body = {"id": "e", "eventType": "git.push"}

    ids = {parse("azure-devops", body | {"subscriptionId": each}).delivery_id for each in ("a", "b")}

    assert len(ids) == 2
    assert parse("azure-devops", body).delivery_id == "e"


@pytest.mark.parametrize(
    ("raw", "repo", "refs"),
    [
        (b"", "", ()),
        (b"{}", "", ()),
        (b'{"repository": "a/b"}', "a/b", ()),
        (b'{"ref": "main", "after": "%s"}' % SHA.encode(), "", ()),  # branch or tag? so it wakes all
        (b'{"ref": "refs/heads/main"}', "", (RefChange("refs/heads/main", None, None),)),
        (
            b'{"repository": "a/b", "ref": "refs/heads/main", "after": "%s"}' % SHA.encode(),
            "a/b",
            (RefChange("refs/heads/main", None, SHA),),
        ),
    ],
)
def test_a_generic_delivery_wakes_what_it_names_and_all_if_it_names_nothing(raw, repo, refs):
    event = parse("generic", raw, webhook_id="w")

    assert (event.kind, event.delivery_id, event.repo, event.refs) == ("push", "w", repo, refs)


# -- damaged deliveries ---------------------------------------------------------------------------------------------------


def places(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield (*above, key)
        yield from places(below, *above, key)


PUT_INSTEAD = [None, [], {}, 0, -1, True, "", "x", "0" * 40, "\ud800", "\0", [None], 10**400]


@given(st.sampled_from(DELIVERIES), st.randoms(use_true_random=False), st.integers(1, 6))
@settings(max_examples=400, deadline=None)
def test_a_delivery_with_missing_or_strange_fields_never_raises(chosen: Any, chance: random.Random, times: int):
    kind, path, expected = chosen
    body = copy.deepcopy(json.loads(delivery(path)))
    for _ in range(times):
        there = list(places(body))
        if not there:
            break
        *above, last = chance.choice(there)
        holder = body
        for key in above:
            holder = holder[key]
        if chance.random() < 0.5:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(chance.choice(PUT_INSTEAD))

    event = parse(kind, body, x_event_key=expected.split()[-1])

    for ref in event.refs:
        assert ref.ref.startswith("refs/")
        assert all(sha is None or len(sha) == 40 for sha in (ref.before, ref.after))
    assert (event.kind == "push") == bool(event.refs)
    if event.kind in ("change", "comment"):
        assert event.change is not None
        assert event.change.head_ref
        assert event.change.base_ref
        assert event.change.number > 0


@given(st.sampled_from(DELIVERIES))
@settings(max_examples=len(DELIVERIES), deadline=None)
def test_each_single_field_may_be_missing(chosen: Any):
    kind, path, expected = chosen
    body = json.loads(delivery(path))
    for *above, last in [place for place in places(body) if isinstance(place[-1], str)]:
        damaged = copy.deepcopy(body)
        holder = damaged
        for key in above:
            holder = holder[key]
        del holder[last]
        parse(kind, damaged, x_event_key=expected.split()[-1])


def test_a_number_that_no_database_takes_is_none():
    body = {"object_kind": "merge_request", "object_attributes": {"action": "open", "iid": 2**63, "state": "opened",
            "source_branch": "a", "target_branch": "main", "last_commit": {"id": SHA}}}  # fmt: skip

    assert parse("gitlab", body).change is None
    body["object_attributes"]["iid"] = 7
    assert parse("gitlab", body).change
