"""Requests at GitLab, Bitbucket and Azure DevOps: one comment that is edited, what is open, and what the token may do there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gitsync.hosts import PROVIDERS
from gitsync.hosts.sticky import as_link_reference
from gitsync.model.errors import Forbidden, Rejected, Unavailable
from gitsync.model.host import ChangeRequest, PostResult, Verdict
from tests.integration.hosts.kept_comments import ANOTHER, ME, Comments
from tests.integration.hosts.other_hosts import BASES, KINDS, Host, check
from tests.servers.host_api import HostApi, Reply

SHA = "0123456789abcdef0123456789abcdef01234567"
MARKER = "<!-- gitsync:plan source=eu (1) -->"
PLAN = f"{MARKER}\n## Plan\n\n1 to write"


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Iterator[Host]:
    with HostApi(check(request.param), base=BASES[request.param]) as api:
        yield Host(request.param, api, client)


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("host", kinds, indirect=True)


def marked(host: Host, text: str = "1 to write") -> str:
    """A comment of ours as the host has it."""
    hidden = MARKER if host.kind in ("gitlab", "azure-devops") else as_link_reference(MARKER) + "\n"
    return f"{hidden}\n## Plan\n\n{text}"


# -- one comment ----------------------------------------------------------------------------------------------------------


async def test_a_plan_is_one_comment_that_is_edited_in_place(host):
    comments = Comments(host)
    provider = host.provider()

    first = await provider.upsert_comment(7, MARKER, PLAN, None)
    second = await provider.upsert_comment(7, MARKER, PLAN.replace("1 to", "2 to"), first.id)

    assert first == second == PostResult(Verdict.DONE, id=comments.id(100))
    assert comments.of() == [marked(host, "2 to write")]


async def test_a_comment_whose_id_was_lost_is_found_on_any_page_by_its_author_and_its_marker(host):
    comments = Comments(host)
    for _ in range(3):
        comments.write(ANOTHER, marked(host))  # anyone can paste a marker
        comments.write(ME, "lgtm")
    ours = comments.write(ME, marked(host))

    result = await host.provider().upsert_comment(7, MARKER, PLAN.replace("1 to", "2 to"), None)

    assert result == PostResult(Verdict.DONE, id=ours)
    assert comments.of() == ["lgtm", "lgtm", "lgtm", marked(host, "2 to write")]
    assert comments.of(ANOTHER) == [marked(host)] * 3


async def test_a_comment_that_somebody_deleted_is_made_again(host):
    comments = Comments(host)
    provider = host.provider()
    first = await provider.upsert_comment(7, MARKER, PLAN, None)
    comments.kept[100].is_deleted = True

    again = await provider.upsert_comment(7, MARKER, PLAN, first.id)

    assert (again.verdict, again.id) == (Verdict.DONE, comments.id(101))
    assert comments.of() == [marked(host)]


async def test_a_comment_that_another_identity_wrote_is_left_to_it(host):
    comments = Comments(host)
    theirs = comments.write(ANOTHER, marked(host))

    result = await host.provider().upsert_comment(7, MARKER, PLAN, theirs)

    assert (result.verdict, result.id) == (Verdict.DONE, comments.id(101))
    assert (comments.of(), comments.of(ANOTHER)) == ([marked(host)], [marked(host)])


@only("bitbucket-cloud", "bitbucket-datacenter")
async def test_who_cannot_know_its_own_name_makes_a_comment_and_remembers_it(host):
    comments = Comments(host, me="")
    comments.write(ANOTHER, marked(host))
    provider = host.provider()

    first = await provider.upsert_comment(7, MARKER, PLAN, None)
    second = await provider.upsert_comment(7, MARKER, PLAN, first.id)

    assert first.id == second.id == comments.id(101)


@only("bitbucket-cloud", "bitbucket-datacenter")
async def test_the_marker_is_hidden_where_comments_of_html_show(host):
    comments = Comments(host)

    await host.provider().upsert_comment(7, MARKER, PLAN, None)

    (body,) = comments.of()
    assert "<!--" not in body
    assert body.splitlines()[0] == "[//]: # (gitsync:plan source=eu [1])"
    assert not host.provider().capabilities.folds


async def test_a_comment_that_is_too_long_for_the_host_is_cut(host):
    comments = Comments(host)

    await host.provider().upsert_comment(7, MARKER, PLAN + "\n| ü🔑 | x |" * 20_000, None)

    (body,) = comments.of()
    assert len(body) <= host.provider().capabilities.comment
    assert body.startswith(marked(host))


@only("bitbucket-datacenter")
async def test_a_comment_that_was_changed_between_our_read_and_our_write_is_a_conflict(host):
    comments = Comments(host)
    ours = comments.write(ME, marked(host))
    host.api.on("GET", r".*/comments/\d+", Reply(200, {"id": 100, "version": 5}))

    result = await host.provider().upsert_comment(7, MARKER, PLAN, ours)

    assert (result.verdict, result.id) == (Verdict.CONFLICT, ours)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(401, {"message": "no"}), Verdict.AUTH),
        (Reply(403, {"message": "no"}), Verdict.FORBIDDEN),
        (Reply(429, {}, {"Retry-After": "30"}), Verdict.LIMIT),
        (Reply(500), Verdict.TRANSIENT),
    ],
)
async def test_what_is_answered_to_a_comment_becomes_a_verdict(host, reply, verdict):
    comments = Comments(host)
    host.api.on("POST", ".*/(notes|comments|threads)", reply)

    result = await host.provider().upsert_comment(7, MARKER, PLAN, None)

    assert (result.verdict, result.id) == (verdict, None)
    assert comments.of() == []


@pytest.mark.parametrize("reply", [Reply(429, {}, {"Retry-After": "30"}), Reply(503)])
async def test_where_it_is_not_known_whether_there_is_a_comment_none_is_made(host, reply):
    comments = Comments(host)
    comments.write(ME, marked(host))
    host.api.on("GET", ".*/(notes|comments|threads|activities)", reply)

    result = await host.provider().upsert_comment(7, MARKER, PLAN, None)

    assert result.verdict in (Verdict.LIMIT, Verdict.TRANSIENT)
    assert comments.of() == [marked(host)]


# -- requests -------------------------------------------------------------------------------------------------------------


def shown(kind: str, number: int, head: str = SHA, *, base: str = "main") -> dict[str, Any]:
    """A request as the host's API shows it."""
    match kind:
        case "gitlab":
            return {
                "iid": number,
                "sha": head,
                "state": "opened",
                "source_branch": "feature",
                "target_branch": base,
                "source_project_id": 5,
                "target_project_id": 5,
            }
        case "bitbucket-cloud":
            side = {"repository": {"full_name": "acme/specs"}}
            return {
                "id": number,
                "state": "OPEN",
                "source": side | {"branch": {"name": "feature"}, "commit": {"hash": head[:12]}},
                "destination": side | {"branch": {"name": base}, "commit": {"hash": "f" * 12}},
            }
        case "bitbucket-datacenter":
            where = {"repository": {"slug": "specs", "project": {"key": "ACME"}}}
            return {
                "id": number,
                "state": "OPEN",
                "fromRef": where | {"id": "refs/heads/feature", "latestCommit": head},
                "toRef": where | {"id": f"refs/heads/{base}", "latestCommit": "f" * 40},
            }
        case _:
            where = {"name": "specs", "project": {"name": "Mesh Team"}, "remoteUrl": "https://dev.azure.com/acme/x"}
            return {
                "pullRequestId": number,
                "status": "active",
                "repository": where,
                "sourceRefName": "refs/heads/feature",
                "targetRefName": f"refs/heads/{base}",
                "lastMergeSourceCommit": {"commitId": head},
            }


ONE = {
    "gitlab": "{}/merge_requests/7",
    "bitbucket-cloud": "{}/pullrequests/7",
    "bitbucket-datacenter": "{}/pull-requests/7",
    "azure-devops": "{}/pullRequests/7",
}
LIST = {
    "gitlab": "{}/merge_requests",
    "bitbucket-cloud": "{}/pullrequests",
    "bitbucket-datacenter": "{}/pull-requests",
    "azure-devops": "{}/pullrequests",
}


def expected(host: Host, number: int = 7) -> ChangeRequest:
    return ChangeRequest(number, SHA, "feature", "main", False, host.repo.full_name, "open")


async def test_a_request_is_read_with_its_whole_head(host):
    host.api.on("GET", ONE[host.kind].format(host.path), Reply(200, shown(host.kind, 7)))
    host.api.on("GET", f"{host.path}/commit/{SHA[:12]}", Reply(200, {"hash": SHA}))

    assert await host.provider().get_change(7) == expected(host)


async def test_a_request_that_is_not_there_is_none_and_a_repository_that_is_not_is_an_error(host):
    host.api.on("GET", ONE[host.kind].format(host.path), Reply(404, {"message": "404 Not found"}))
    host.api.on("GET", host.path, Reply(200, {"id": 1}), Reply(404, {"message": "404 Project Not Found"}))

    assert await host.provider().get_change(7) is None
    with pytest.raises(Forbidden, match="request"):
        await host.provider().get_change(7)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(401, {}), Forbidden),
        (Reply(403, {}), Forbidden),
        (Reply(429, {}), Unavailable),
        (Reply(503), Unavailable),
        (Reply(400, {}), Rejected),
    ],
)
async def test_what_hinders_a_read_is_raised_as_what_it_is(host, reply, error):
    host.api.on("GET", ".*", reply)

    with pytest.raises(error):
        await host.provider().get_change(7)
    with pytest.raises(error):
        _ = [change async for change in host.provider().list_open_changes("main")]


async def test_every_open_request_into_a_branch_is_found_page_after_page(host):
    path = LIST[host.kind].format(host.path)
    size = 100 if host.kind == "azure-devops" else 2
    there = [shown(host.kind, number) for number in range(1, size + 2)]
    first, rest = there[:size], there[size:]
    url = f"{host.api.url}{path}?page=2"
    pages = {
        "gitlab": (Reply(200, first, {"Link": f'<{url}>; rel="next"'}), Reply(200, rest)),
        "bitbucket-cloud": (Reply(200, {"values": first, "next": url}), Reply(200, {"values": rest})),
        "bitbucket-datacenter": (
            Reply(200, {"values": first, "isLastPage": False, "nextPageStart": size}),
            Reply(200, {"values": rest, "isLastPage": True, "nextPageStart": None}),
        ),
        "azure-devops": (Reply(200, {"value": first}), Reply(200, {"value": rest})),
    }
    host.api.on("GET", path, *pages[host.kind])

    found = [change async for change in host.provider().list_open_changes("main")]

    wanted = [expected(host, number) for number in range(1, size + 2)]
    if host.kind == "bitbucket-cloud":
        wanted = [replace(change, head_sha=SHA[:12], head_sha_is_short=True) for change in wanted]
    assert found == wanted
    asked = host.api.seen[0].query
    query = {
        "gitlab": {"state": "opened", "target_branch": "main", "per_page": "100"},
        "bitbucket-cloud": {"q": 'state="OPEN" AND destination.branch.name="main"', "pagelen": "50"},
        "bitbucket-datacenter": {"state": "OPEN", "at": "refs/heads/main", "direction": "INCOMING", "limit": "100"},
        "azure-devops": {
            "searchCriteria.status": "active",
            "searchCriteria.targetRefName": "refs/heads/main",
            "$top": "100",
            "$skip": "0",
            "api-version": "7.1",
        },
    }
    assert asked == query[host.kind]
    if host.kind == "bitbucket-datacenter":
        assert host.api.seen[1].query == query[host.kind] | {"start": "2"}


@only("gitlab", "bitbucket-cloud")
async def test_a_next_page_of_another_origin_is_not_asked(host):
    with HostApi() as elsewhere:
        url = f"{elsewhere.origin}/api/v4/x"
        body: Any = [] if host.kind == "gitlab" else {"values": [], "next": url}
        host.api.on("GET", LIST[host.kind].format(host.path), Reply(200, body, {"Link": f'<{url}>; rel="next"'}))

        with pytest.raises(Rejected, match="another origin"):
            _ = [change async for change in host.provider().list_open_changes("main")]
        assert elsewhere.seen == []


@only("bitbucket-cloud")
async def test_a_branch_cannot_end_the_quotes_of_a_query(host):
    host.api.on("GET", f"{host.path}/pullrequests", Reply(200, {"values": []}))

    assert [change async for change in host.provider().list_open_changes('x" OR state="MERGED')] == []
    assert host.api.seen[0].query["q"] == r'state="OPEN" AND destination.branch.name="x\" OR state=\"MERGED"'


@only("gitlab")
async def test_the_name_of_a_fork_is_asked_for_once(host):
    fork = shown("gitlab", 7) | {"source_project_id": 9}
    host.api.on("GET", f"{host.path}/merge_requests", Reply(200, [fork, fork | {"iid": 8}]))
    host.api.on("GET", "/projects/9", Reply(200, {"id": 9, "path_with_namespace": "mona/specs"}))

    found = [change async for change in host.provider().list_open_changes("main")]

    assert [(change.is_fork, change.head_repo) for change in found] == [(True, "mona/specs")] * 2
    assert len(host.api.sent("GET", "/projects/9")) == 1


@only("gitlab")
@pytest.mark.parametrize("source", [None, 9])
async def test_a_fork_that_is_gone_or_hidden_has_no_name(host, source):
    host.api.on("GET", f"{host.path}/merge_requests/7", Reply(200, shown("gitlab", 7) | {"source_project_id": source}))
    host.api.on("GET", "/projects/9", Reply(404, {"message": "404 Project Not Found"}))

    change = await host.provider().get_change(7)

    assert change is not None
    assert (change.is_fork, change.head_repo) == (True, None)


@pytest.mark.parametrize(
    ("kind", "own", "fork"),
    [
        ("gitlab", ("refs/merge-requests/7/head", "refs/heads/feature"), ("refs/merge-requests/7/head",)),
        ("bitbucket-cloud", ("refs/heads/feature",), ()),
        ("bitbucket-datacenter", ("refs/pull-requests/7/from", "refs/heads/feature"), ("refs/pull-requests/7/from",)),
        ("azure-devops", ("refs/heads/feature", "refs/pull/7/merge"), ("refs/pull/7/merge",)),
    ],
)
async def test_a_head_can_be_fetched_under_these_refs(client, kind, own, fork):
    with HostApi() as api:
        provider = Host(kind, api, client).provider()
    change = ChangeRequest(7, SHA, "feature", "main", False, "acme/specs", "open")

    assert provider.change_refs(change) == own
    assert provider.change_refs(replace(change, is_fork=True)) == fork
    for strange in ("x:refs/heads/main", "a..b", "a b", "x*", "-x^"):
        assert not any(strange in ref for ref in provider.change_refs(replace(change, head_ref=strange)))


# -- preflight ------------------------------------------------------------------------------------------------------------


async def test_a_good_token_is_said_to_be_one(host):
    host.api.on("GET", host.path, Reply(200, {"id": 1}))
    host.api.on("GET", "/personal_access_tokens/self", Reply(404, {}))

    (good,) = await host.provider().preflight()

    assert not good.fatal
    assert f"{host.repo.full_name} can be read" in good.message


@pytest.mark.parametrize("reply", [Reply(401, {"message": "no"}), Reply(403, {}), Reply(404, {}), Reply(503)])
async def test_a_repository_that_cannot_be_read_is_said_with_what_to_do(host, reply):
    host.api.on("GET", host.path, reply)

    (problem,) = await host.provider().preflight()

    assert problem.fatal
    assert host.repo.full_name in problem.message
    assert problem.hint


@only("azure-devops")
async def test_a_page_to_sign_in_is_a_wrong_token(host):
    host.api.on("GET", host.path, Reply(203, b"<html>Sign in</html>", content_type="text/html"))

    (problem,) = await host.provider().preflight()

    assert problem.fatal
    assert "another token" in problem.hint


@only("gitlab")
async def test_a_token_of_gitlab_says_its_role_its_scopes_and_its_end(host):
    access = {"project_access": {"access_level": 20}, "group_access": None}
    host.api.on("GET", host.path, Reply(200, {"id": 1, "permissions": access}))
    token = {"scopes": ["read_api"], "expires_at": "2027-01-31", "active": True}
    host.api.on("GET", "/personal_access_tokens/self", Reply(200, token))

    role, scope, end = await host.provider().preflight()

    assert "below Developer" in role.message
    assert "lacks the scope api" in scope.message
    assert (end.expires, end.fatal) == ("2027-01-31", False)


@only("bitbucket-cloud")
@pytest.mark.parametrize(
    ("scopes", "problems"),
    [
        ("repository:write, pullrequest", []),
        ("pullrequest", []),  # it includes the other
        ("read:repository:bitbucket, write:pullrequest:bitbucket", []),
        ("repository:write", ["a comment"]),
        ("account", ["a status", "a comment"]),
        ("", []),  # not every kind of token says what it may
    ],
)
async def test_a_token_of_bitbucket_says_its_scopes(host, scopes, problems):
    host.api.on("GET", host.path, Reply(200, {}, {"X-OAuth-Scopes": scopes}))

    found = [problem.message for problem in await host.provider().preflight() if problem.fatal]

    assert len(found) == len(problems)
    for message, need in zip(found, problems, strict=True):
        assert f"do not allow {need}" in message


def test_every_host_has_a_provider_in_the_registry():
    assert set(KINDS) | {"github", "gitea", "forgejo", "generic"} == set(PROVIDERS)
