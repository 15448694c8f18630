"""What is told to GitLab, Bitbucket and Azure DevOps is as their documents say, and whatever they answer becomes a verdict."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gitsync.hosts import PROVIDERS
from gitsync.hosts.credentials import StaticToken
from gitsync.model.host import (
    CONTEXT,
    DESCRIPTION,
    TARGET_URL,
    ChangeRequest,
    CommitState,
    PostResult,
    RepoRef,
    Status,
    Verdict,
)
from tests.integration.hosts.other_hosts import BASES, KINDS, NAMES, TOKEN, Host, check
from tests.servers.host_api import HostApi, Reply, Seen

SHA = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef0123456789abcdef0123456789abcdef"
APPLY = Status(
    SHA, "gitsync/apply/prod/eu", CommitState.SUCCESS, "12 applied", "https://gitsync.example/runs/01J", "main"
)
CHANGE = ChangeRequest(7, SHA, "feature/x", "main", False, "acme/specs", "open")
PLAN = replace(APPLY, context="gitsync/plan/prod/eu", change=CHANGE, ref=None)
KEY = {status: hashlib.sha1(status.context.encode(), usedforsecurity=False).hexdigest() for status in (APPLY, PLAN)}

POSTED = {
    "gitlab": r"{}/statuses/[^/]*",
    "bitbucket-cloud": r"{}/commit/[^/]*/statuses/build",
    "bitbucket-datacenter": r"{}/commits/[^/]*/builds",
    "azure-devops": r"{}/(commits/[^/]*|pullRequests/7)/statuses",
}
TAKEN = {
    "gitlab": Reply(201, {"id": 1, "status": "success"}),
    "bitbucket-cloud": Reply(201, {"state": "SUCCESSFUL"}),
    "bitbucket-datacenter": Reply(204),
    "azure-devops": Reply(200, {"id": 1, "state": "succeeded"}),
}


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Iterator[Host]:
    with HostApi(check(request.param), base=BASES[request.param]) as api:
        yield Host(request.param, api, client)


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("host", kinds, indirect=True)


async def posted(host: Host, *replies: Any, status: Status = APPLY, **how: Any) -> PostResult:
    host.api.on("POST", POSTED[host.kind].format(host.path), *(replies or [TAKEN[host.kind]]))
    return await host.provider(**how).set_status(status)


def with_a_pipeline(host: Host, pipeline: Any = None) -> None:
    """What is asked before the status of a request is posted."""
    host.api.on("GET", f"{host.path}/repository/commits/{SHA}", Reply(200, {"id": SHA, "last_pipeline": pipeline}))
    iterations = [{"id": 1, "sourceRefCommit": {"commitId": OTHER}}, {"id": 2, "sourceRefCommit": {"commitId": SHA}}]
    host.api.on("GET", f"{host.path}/pullRequests/7/iterations", Reply(200, {"value": iterations, "count": 2}))


def sent(host: Host) -> Any:
    (seen,) = host.api.sent("POST")
    return seen.json


# -- what is sent ---------------------------------------------------------------------------------------------------------

WORDS = {
    "gitlab": ("pending", "running", "success", "failed", "failed", "canceled"),
    "bitbucket-cloud": ("INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "STOPPED"),
    "bitbucket-datacenter": ("INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "CANCELLED"),
    "azure-devops": ("pending", "pending", "succeeded", "failed", "error", "notApplicable"),
}


@pytest.mark.parametrize("state", list(CommitState))
@pytest.mark.parametrize("status", [APPLY, PLAN], ids=["apply", "plan"])
async def test_every_state_is_told_in_the_hosts_own_words(host, status, state):
    with_a_pipeline(host)

    assert await posted(host, status=replace(status, state=state)) == PostResult(Verdict.DONE)

    assert sent(host)["state"] == WORDS[host.kind][list(CommitState).index(state)]
    # what is said is said once, and nothing is asked that need not be
    assert len(host.api.seen) == (2 if status is PLAN and host.kind in ("gitlab", "azure-devops") else 1)


APPLIED = {
    "gitlab": {
        "state": "success",
        "name": "gitsync/apply/prod/eu",
        "description": "12 applied",
        "target_url": "https://gitsync.example/runs/01J",
        "ref": "main",
    },
    "bitbucket-cloud": {
        "type": "build",
        "key": KEY[APPLY],
        "name": "gitsync/apply/prod/eu",
        "state": "SUCCESSFUL",
        "description": "12 applied",
        "url": "https://gitsync.example/runs/01J",
        "refname": "main",
    },
    "bitbucket-datacenter": {
        "key": KEY[APPLY],
        "name": "gitsync/apply/prod/eu",
        "state": "SUCCESSFUL",
        "description": "12 applied",
        "url": "https://gitsync.example/runs/01J",
        "ref": "refs/heads/main",
    },
    "azure-devops": {
        "state": "succeeded",
        "description": "12 applied",
        "targetUrl": "https://gitsync.example/runs/01J",
        "context": {"genre": "gitsync", "name": "apply/prod/eu"},
    },
}


async def test_a_status_is_what_the_host_calls_one(host):
    await posted(host)

    (seen,) = host.api.seen
    assert SHA in seen.path
    assert seen.json == APPLIED[host.kind]


PLANNED = {
    "gitlab": {"name": "gitsync/plan/prod/eu", "ref": "feature/x"},
    "bitbucket-cloud": {"key": KEY[PLAN], "refname": "feature/x"},
    "bitbucket-datacenter": {"key": KEY[PLAN], "ref": "refs/heads/feature/x"},
    "azure-devops": {"iterationId": 2, "context": {"genre": "gitsync", "name": "plan/prod/eu"}},
}


async def test_a_plans_status_is_tied_to_its_request(host):
    with_a_pipeline(host)

    await posted(host, status=PLAN)

    assert PLANNED[host.kind].items() <= sent(host).items()
    assert ("/pullRequests/7/statuses" in host.api.sent("POST")[0].path) == (host.kind == "azure-devops")


@only("bitbucket-cloud", "bitbucket-datacenter")
async def test_the_branch_of_a_fork_is_not_named_as_one_of_this_repository(host):
    await posted(host, status=replace(PLAN, change=replace(CHANGE, is_fork=True)))

    assert not {"ref", "refname"} & sent(host).keys()


@only("gitlab")
async def test_the_status_of_a_merge_request_joins_its_newest_pipeline(host):
    with_a_pipeline(host, {"id": 81824705, "ref": "refs/merge-requests/7/head", "sha": SHA})

    await posted(host, status=PLAN)

    assert sent(host)["pipeline_id"] == 81824705
    assert sent(host)["ref"] == "refs/merge-requests/7/head"


@only("azure-devops")
async def test_a_head_that_azure_does_not_know_yet_is_told_later(host):
    with_a_pipeline(host)

    result = await posted(host, status=replace(PLAN, sha="a" * 40))

    assert result.verdict is Verdict.UNKNOWN_SHA
    assert host.api.sent("POST") == []


@only("bitbucket-cloud")
async def test_a_cut_sha_is_made_whole_before_anything_is_said_of_it(host):
    host.api.on("GET", f"{host.path}/commit/{SHA[:12]}", Reply(200, {"hash": SHA}))

    assert (await posted(host, status=replace(APPLY, sha=SHA[:12]))).verdict is Verdict.DONE
    assert SHA in host.api.sent("POST")[0].path


@only("bitbucket-cloud")
@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(404, {"type": "error", "error": {"message": "Commit not found"}}), Verdict.UNKNOWN_SHA),
        (Reply(404, {"type": "error", "error": {"message": "Repository acme/specs not found"}}), Verdict.FORBIDDEN),
        (Reply(503), Verdict.TRANSIENT),
        (Reply(200, {"hash": "main"}), Verdict.UNKNOWN_SHA),
    ],
)
async def test_of_a_cut_sha_that_leads_to_no_commit_nothing_is_said(host, reply, verdict):
    host.api.on("GET", f"{host.path}/commit/{SHA[:12]}", reply)

    assert (await posted(host, status=replace(APPLY, sha=SHA[:12]))).verdict is verdict
    assert host.api.sent("POST") == []


@only("bitbucket-cloud")
async def test_braces_in_a_link_are_no_template(host):
    await posted(host, status=replace(APPLY, target_url="https://x.example/{repository.full_name}"))

    assert sent(host)["url"] == "https://x.example/%7Brepository.full_name%7D"


@only("bitbucket-datacenter")
@pytest.mark.parametrize("missing", [Reply(404, b"<html>", content_type="text/html"), Reply(404, {}), Reply(405)])
async def test_a_data_center_before_7_14_is_told_by_the_older_path(host, missing):
    host.api.on("POST", f"/rest/build-status/1.0/commits/{SHA}", Reply(204))
    host.api.on("POST", f"{host.path}/commits/{SHA}/builds", missing)
    provider = host.provider()

    for state in (CommitState.PENDING, CommitState.CANCELED):
        assert (await provider.set_status(replace(APPLY, state=state))).verdict is Verdict.DONE

    assert [seen.json["state"] for seen in host.api.seen] == ["INPROGRESS", "INPROGRESS", "FAILED"]  # asked once
    assert "ref" not in host.api.seen[-1].json


@only("bitbucket-datacenter")
async def test_a_personal_project_is_asked_by_its_tilde(host):
    host.api.on("POST", f"/rest/api/latest/projects/~mona/repos/specs/commits/{SHA}/builds", Reply(204))
    for url in (host.api.url, f"{host.api.url}/rest/api/1.0"):
        repo = RepoRef(url, "~mona/specs", "https://git.example/users/mona/repos/specs")
        assert (await host.provider(repo=repo).set_status(APPLY)).verdict is Verdict.DONE


@only("gitlab", "bitbucket-cloud")
async def test_the_hosts_own_address_is_as_good_as_its_apis(host):
    host.api.on("POST", ".*", TAKEN[host.kind])
    repo = RepoRef(host.api.origin, NAMES[host.kind], "https://git.example/x")

    assert (await host.provider(repo=repo).set_status(APPLY)).verdict is Verdict.DONE


@pytest.mark.parametrize("sha", ["main", "", "0" * 40, SHA.upper(), "../../x", SHA + "\n"])
async def test_what_is_no_full_sha_is_never_sent(host, sha):
    result = await host.provider().set_status(replace(APPLY, sha=sha))

    assert result.verdict is Verdict.INVALID
    assert "no full SHA" in result.detail
    assert host.api.seen == []


@pytest.mark.parametrize("char", ["x", "é", "🔑", "\n", "\0", "\ud800", "a "])
async def test_what_is_too_long_for_a_host_is_cut_and_stays_one_line(host, char):
    long = replace(APPLY, description=char * 5000, context="gitsync/" + char * 500, target_url="https://x/" + "y" * 300)

    assert (await posted(host, status=long)).verdict is Verdict.DONE

    body = sent(host)
    context = body["context"] if host.kind == "azure-devops" else {"genre": "", "name": body["name"]}
    assert len(context["genre"]) + len(context["name"]) <= CONTEXT
    assert len(body["description"]) <= DESCRIPTION
    assert body["description"].isprintable()
    (link,) = (body[name] for name in ("url", "target_url", "targetUrl") if name in body)
    assert link == host.repo.web_url
    assert len(link) <= TARGET_URL


AUTHORIZATION = {
    "gitlab": f"Bearer {TOKEN}",
    "bitbucket-cloud": f"Bearer {TOKEN}",
    "bitbucket-datacenter": f"Bearer {TOKEN}",
    "azure-devops": "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode(),
}


async def test_the_token_is_in_one_header_and_nowhere_else(host):
    await posted(host)

    (seen,) = host.api.seen
    assert seen.headers["authorization"] == AUTHORIZATION[host.kind]
    elsewhere = {name: value for name, value in seen.headers.items() if name != "authorization"}
    assert TOKEN not in f"{elsewhere}{seen.path}{seen.query}{seen.body!r}"


@only("azure-devops")
async def test_a_token_of_entra_is_told_by_its_form(host):
    await posted(host, credentials=StaticToken("eyJ0.eyJ1.c2ln"))

    assert host.api.seen[0].headers["authorization"] == "Bearer eyJ0.eyJ1.c2ln"


@only("bitbucket-cloud")
async def test_the_token_of_a_person_is_sent_with_the_persons_address(host):
    credentials = StaticToken("mona@example.com:ATATT3x")
    echo = base64.b64encode(b"mona@example.com:ATATT3x").decode()

    result = await posted(host, Reply(400, {"error": {"message": f"bad Basic {echo}"}}), credentials=credentials)

    assert host.api.seen[0].headers["authorization"] == f"Basic {echo}"
    assert echo not in result.detail


# -- what is answered -----------------------------------------------------------------------------------------------------

LATER = {"Retry-After": "30"}
HTML = b"<html>Sign in to your account</html>"
COMMIT_UNKNOWN = {
    "gitlab": Reply(404, {"message": "404 Commit Not Found"}),
    "bitbucket-cloud": Reply(404, {"type": "error", "error": {"message": "Commit not found"}}),
    "bitbucket-datacenter": Reply(
        404,
        {
            "errors": [
                {
                    "context": None,
                    "message": f"Commit '{SHA}' does not exist in repository 'specs'.",
                    "exceptionName": "com.atlassian.bitbucket.commit.NoSuchCommitException",
                }
            ]
        },
    ),
    "azure-devops": Reply(
        404,
        {
            "message": f"TF401175: The version descriptor <Commit: {SHA}> could not be resolved",
            "typeKey": "GitUnresolvableToCommitException",
        },
    ),
}
REPOSITORY_UNKNOWN = {
    "gitlab": Reply(404, {"message": "404 Project Not Found"}),
    "bitbucket-cloud": Reply(404, {"type": "error", "error": {"message": "Repository acme/specs not found"}}),
    "bitbucket-datacenter": Reply(
        404,
        {
            "errors": [
                {
                    "message": "Repository ACME/specs does not exist.",
                    "exceptionName": "com.atlassian.bitbucket.repository.NoSuchRepositoryException",
                }
            ]
        },
    ),
    "azure-devops": Reply(
        404, {"message": "TF401019: The Git repository does not exist", "typeKey": "GitRepositoryNotFoundException"}
    ),
}
TABLE: list[tuple[str, Reply | dict[str, Reply], Verdict, float | None]] = [
    ("401", Reply(401, {"message": "401 Unauthorized"}), Verdict.AUTH, None),
    ("403", Reply(403, {"message": "403 Forbidden"}), Verdict.FORBIDDEN, None),
    ("403 with Retry-After", Reply(403, {"message": "slow down"}, LATER), Verdict.LIMIT, 30),
    ("403 with nothing remaining", Reply(403, {}, {"RateLimit-Remaining": "0"}), Verdict.LIMIT, None),
    ("404 for the repository", REPOSITORY_UNKNOWN, Verdict.FORBIDDEN, None),
    ("404 for the commit", COMMIT_UNKNOWN, Verdict.UNKNOWN_SHA, None),
    ("409", Reply(409, {"message": "Another update to this commit status is in progress"}), Verdict.CONFLICT, None),
    ("400", Reply(400, {"message": {"name": ["is too long (maximum is 255 characters)"]}}), Verdict.INVALID, None),
    ("422", Reply(422, {"message": "no"}), Verdict.INVALID, None),
    ("429 with Retry-After", Reply(429, {}, LATER), Verdict.LIMIT, 30),
    ("500", Reply(500, {"message": "500 Internal Server Error"}), Verdict.TRANSIENT, None),
    ("502 in HTML", Reply(502, HTML, content_type="text/html"), Verdict.TRANSIENT, None),
    ("503 with Retry-After", Reply(503, None, LATER), Verdict.TRANSIENT, 30),
    ("410", Reply(410, {}), Verdict.FORBIDDEN, None),
]


@pytest.mark.parametrize(("reply", "verdict", "wait"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_an_answer_becomes_a_verdict_and_a_time_to_wait(host, reply, verdict, wait):
    result = await posted(host, reply[host.kind] if isinstance(reply, dict) else reply)

    assert (result.verdict, result.retry_after) == (verdict, wait)
    assert "gitsync/apply/prod/eu" in result.detail
    assert len(host.api.seen) == 1


@pytest.mark.parametrize(("reply", "verdict", "wait"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
@only("gitlab", "azure-devops")
async def test_what_is_asked_before_a_plans_status_is_judged_alike(host, reply, verdict, wait):
    """Where the pipeline or the iteration is not known, nothing is posted beside it."""
    reply = reply[host.kind] if isinstance(reply, dict) else reply
    host.api.on("GET", f"{host.path}/(repository/commits/{SHA}|pullRequests/7/iterations)", reply)

    result = await host.provider().set_status(PLAN)

    assert (result.verdict, result.retry_after) == (verdict, wait)
    assert host.api.sent("POST") == []


OWN: list[tuple[str, Reply, Verdict]] = [
    ("gitlab", Reply(400, {"message": "Cannot transition status via :run from :running"}), Verdict.DONE),
    (
        "gitlab",
        Reply(400, {"message": 'Cannot transition status via :enqueue from :pending (Reason(s): Status cannot "x")'}),
        Verdict.DONE,
    ),
    ("gitlab", Reply(404, {"message": "404 References for commit Not Found"}), Verdict.UNKNOWN_SHA),
    ("gitlab", Reply(422, {"message": "The number of jobs has exceeded the limit of 500"}), Verdict.FULL),
    ("gitlab", Reply(302, None, {"Location": "/users/sign_in"}), Verdict.INVALID),
    ("gitlab", Reply(200, HTML, content_type="text/html"), Verdict.TRANSIENT),
    ("bitbucket-cloud", Reply(200, {"state": "SUCCESSFUL"}), Verdict.DONE),  # it was there under this key
    ("bitbucket-cloud", Reply(404, {"error": {"message": "Changeset not found."}}), Verdict.UNKNOWN_SHA),
    ("azure-devops", Reply(203, HTML, content_type="text/html; charset=utf-8"), Verdict.AUTH),
    ("azure-devops", Reply(200, HTML, content_type="text/html"), Verdict.AUTH),
    (
        "azure-devops",
        Reply(302, None, {"Location": "https://spsprodcus1.vssps.visualstudio.com/_signin"}),
        Verdict.AUTH,
    ),
]


@pytest.mark.parametrize(("host", "reply", "verdict"), OWN, indirect=["host"])
async def test_what_a_host_means_beyond_the_status_code(host, reply, verdict):
    assert (await posted(host, reply)).verdict is verdict


async def test_a_host_that_hangs_is_waited_for_only_so_long(host):
    async with httpx.AsyncClient(timeout=0.2, trust_env=False) as hasty:
        result = await asyncio.wait_for(posted(host, Reply(hang=True), client=hasty), 5)

    assert result.verdict is Verdict.TRANSIENT
    assert "no answer within 0.2 s" in result.detail


async def test_a_host_that_is_not_there_is_tried_again(host):
    provider = host.provider(repo=RepoRef("http://127.0.0.1:1", NAMES[host.kind]))

    assert (await provider.set_status(APPLY)).verdict is Verdict.TRANSIENT


@pytest.mark.parametrize("code", [301, 307, 308])
async def test_a_redirect_to_another_origin_gets_no_token_and_no_request(host, code):
    with HostApi() as elsewhere:
        result = await posted(host, Reply(code, None, {"Location": f"{elsewhere.origin}/x"}))

        assert result.verdict is Verdict.INVALID
        assert elsewhere.seen == []


@pytest.mark.parametrize("code", [400, 401, 403, 422, 500])
async def test_no_secret_is_in_what_is_said_of_an_answer_even_if_the_host_puts_it_there(host, code):
    said = AUTHORIZATION[host.kind].split()[1]

    result = await posted(host, Reply(code, {"message": f"no good: {TOKEN} {said}", "error": {"message": TOKEN}}))

    assert result.detail
    assert TOKEN not in result.detail
    assert said not in result.detail


async def test_fifty_answers_of_any_shape_never_raise(host):
    shapes: list[Any] = [None, [], {}, 7, "x", [[]], {"message": []}, {"errors": [None]}, {"error": 5}, {"value": 5}]
    replies = [Reply(code, shape) for code in (200, 201, 400, 404, 500) for shape in shapes]

    def other(seen: Seen) -> Reply:
        return replies[len(host.api.seen) % len(replies)]

    host.api.on("GET", ".*", other)
    host.api.on("POST", ".*", other)
    for _ in replies:
        for status in (APPLY, PLAN):
            assert isinstance((await host.provider().set_status(status)).verdict, Verdict)


# -- the host without an API ----------------------------------------------------------------------------------------------


async def test_a_generic_host_is_told_nothing_and_that_is_done(client):
    provider = PROVIDERS["generic"](RepoRef("", "specs"), StaticToken(""), client)

    assert not provider.capabilities.statuses
    assert not provider.capabilities.lists_changes
    assert provider.capabilities.comment == 0
    assert (await provider.set_status(APPLY)).verdict is Verdict.DONE
    assert (await provider.upsert_comment(7, "<!-- m -->", "<!-- m -->", None)).verdict is Verdict.DONE
    assert await provider.preflight() == []
    assert await provider.get_change(7) is None
    assert [change async for change in provider.list_open_changes("main")] == []
    assert provider.change_refs(CHANGE) == ()
