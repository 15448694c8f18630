"""Pull requests at GitHub, Gitea and Forgejo: one comment that is edited, what is open, and what the token may do there."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gitsync.hosts.credentials import StaticToken
from gitsync.model.errors import Forbidden, Invalid, Rejected, Unavailable
from gitsync.model.host import ChangeRequest, CommitState, Problem, Status, Verdict
from tests.integration.hosts.conftest import TOKEN, Place
from tests.integration.hosts.test_github_gitea_api import recorded
from tests.servers.host_api import Reply, Seen

SHA = "0123456789abcdef0123456789abcdef01234567"
MARKER = "<!-- gitsync:plan source=eu -->"
LIST = r"/repos/acme/specs/issues/7/comments"
ONE = r"/repos/acme/specs/issues/comments/\d+"


class Comments:
    """The comments of request 7, as a host keeps them. me: whose token it is, None where the token may not ask."""

    def __init__(self, place: Place, *, me: str | None = "gitsync-bot", page: int = 100) -> None:
        self.kept: dict[int, tuple[str, str]] = {}
        self.me, self._place = me, place
        self._page = page if place.is_github else 10_000  # Gitea lists all of them at once
        place.api.on("GET", "/user", Reply(200, {"login": me}) if me else Reply(403, {"message": "no scope"}))
        place.api.on("GET", LIST, self._list)
        place.api.on("POST", LIST, self._make)
        place.api.on("PATCH", ONE, self._edit)

    def write(self, author: str, body: str) -> str:
        number = 100 + len(self.kept)
        self.kept[number] = author, body
        return str(number)

    def bodies(self, author: str = "gitsync-bot") -> list[str]:
        return [body for by, body in self.kept.values() if by == author]

    def _shown(self, number: int) -> dict[str, Any]:
        author, body = self.kept[number]
        return {"id": number, "user": {"login": author}, "body": body}

    def _list(self, seen: Seen) -> Reply:
        page = int(seen.query.get("page", "1"))
        shown = [self._shown(number) for number in sorted(self.kept)]
        part, more = shown[(page - 1) * self._page : page * self._page], len(shown) > page * self._page
        link = f'<{self._place.api.url}{seen.path}?page={page + 1}>; rel="next"' if more else ""
        return Reply(200, part, {"Link": link} if link else {})

    def _make(self, seen: Seen) -> Reply:
        return Reply(201, self._shown(int(self.write(self.me or "gitsync-bot", seen.json["body"]))))

    def _edit(self, seen: Seen) -> Reply:
        number = int(seen.path.rpartition("/")[2])
        if number not in self.kept:
            return Reply(404, {"message": "Not Found"})
        if self.kept[number][0] != (self.me or "gitsync-bot"):
            return Reply(403, {"message": "Must have admin rights"})
        self.kept[number] = self.kept[number][0], seen.json["body"]
        return Reply(200, self._shown(number))


# -- the comment --


async def test_the_first_plan_makes_a_comment_and_the_second_edits_it(place):
    comments = Comments(place)
    provider = place.provider()

    first = await provider.upsert_comment(7, MARKER, f"{MARKER}\none", None)
    second = await provider.upsert_comment(7, MARKER, f"{MARKER}\ntwo", first.id)

    assert (first.verdict, second.verdict, second.id) == (Verdict.DONE, Verdict.DONE, first.id)
    assert comments.bodies() == [f"{MARKER}\ntwo"]
    assert len(place.api.sent("PATCH")) == 1
    assert len(place.api.sent("GET", LIST)) == 1  # the second knew where to write


async def test_a_comment_whose_id_was_lost_is_found_again(place):
    comments = Comments(place, page=2)
    for number in range(5):
        comments.write("ada", f"comment {number}")
    ours = comments.write("Gitsync-Bot", f"{MARKER}\none")
    comments.me = "Gitsync-Bot"

    result = await place.provider().upsert_comment(7, MARKER, f"{MARKER}\ntwo", None)

    assert (result.verdict, result.id) == (Verdict.DONE, ours)
    assert comments.bodies("Gitsync-Bot") == [f"{MARKER}\ntwo"]


async def test_a_comment_with_our_marker_that_somebody_else_wrote_is_not_touched(place):
    comments = Comments(place)
    comments.write("mallory", f"{MARKER}\nlooks like ours")
    comments.write("gitsync-bot", "ours, and another one")

    result = await place.provider().upsert_comment(7, MARKER, f"{MARKER}\nplan", None)

    assert result.verdict is Verdict.DONE
    assert place.api.sent("PATCH") == []
    assert comments.bodies("mallory") == [f"{MARKER}\nlooks like ours"]
    assert comments.bodies() == ["ours, and another one", f"{MARKER}\nplan"]


async def test_a_comment_that_somebody_deleted_is_made_again(place):
    comments = Comments(place)
    provider = place.provider()
    first = await provider.upsert_comment(7, MARKER, f"{MARKER}\none", None)
    comments.kept.clear()
    comments.write("ada", "gone")

    second = await provider.upsert_comment(7, MARKER, f"{MARKER}\ntwo", first.id)

    assert second.verdict is Verdict.DONE
    assert second.id != first.id
    assert comments.bodies() == [f"{MARKER}\ntwo"]


async def test_a_comment_of_another_identity_is_left_and_one_of_ours_made(place):
    comments = Comments(place)
    former = comments.write("former-bot", f"{MARKER}\none")

    result = await place.provider().upsert_comment(7, MARKER, f"{MARKER}\ntwo", former)

    assert result.verdict is Verdict.DONE
    assert comments.bodies() == [f"{MARKER}\ntwo"]


async def test_a_token_that_may_not_ask_who_it_is_learns_it_from_what_it_writes(place):
    comments = Comments(place, me=None)
    ours = comments.write("gitsync-bot", f"{MARKER}\none")
    provider = place.provider()
    place.api.on("POST", "/repos/acme/specs/statuses/.*", Reply(201, {"creator": {"login": "gitsync-bot"}}))
    await provider.set_status(Status(SHA, "gitsync/plan/prod/eu", CommitState.PENDING, "planning", ""))

    result = await provider.upsert_comment(7, MARKER, f"{MARKER}\ntwo", None)

    assert result.id == ours
    assert place.api.sent("GET", "/user") == []


async def test_a_token_that_does_not_know_who_it_is_edits_nothing_it_was_not_told_of(place):
    comments = Comments(place, me=None)
    comments.write("ada", f"{MARKER}\none")

    result = await place.provider().upsert_comment(7, MARKER, f"{MARKER}\ntwo", None)

    assert result.verdict is Verdict.DONE
    assert place.api.sent("PATCH") == []
    assert place.api.sent("GET", LIST) == []


async def test_a_comment_that_is_too_long_is_cut_at_a_line(place):
    comments = Comments(place)
    limit = type(place.provider()).capabilities.comment

    await place.provider().upsert_comment(7, MARKER, MARKER + "\n" + "é" * 99 * 10 + ("\n" + "x" * 99) * 1000, None)

    (body,) = comments.bodies()
    assert body.startswith(MARKER)
    assert body.endswith("x\n…")
    assert limit - 100 < len(body) <= limit


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(401, {}), Verdict.AUTH),
        (Reply(403, {}), Verdict.FORBIDDEN),
        (Reply(404, {}), Verdict.FORBIDDEN),
        (Reply(422, {}), Verdict.INVALID),
        (Reply(429, {}, {"Retry-After": "9"}), Verdict.LIMIT),
        (Reply(500, {}), Verdict.TRANSIENT),
    ],
)
async def test_a_comment_that_cannot_be_made_is_a_verdict(place, reply, verdict):
    Comments(place)
    place.api.on("POST", LIST, reply)
    place.api.on("PATCH", ONE, reply)

    made = await place.provider().upsert_comment(7, MARKER, MARKER, None)
    edited = await place.provider().upsert_comment(7, MARKER, MARKER, "123")

    assert (made.verdict, edited.verdict) == (verdict, verdict)
    assert made.detail.startswith("the comment on acme/specs#7: ")
    assert made.retry_after == edited.retry_after == (9 if verdict is Verdict.LIMIT else None)


async def test_a_host_that_wants_a_pause_is_not_told_more(place):
    Comments(place)
    place.api.on("PATCH", ONE, Reply(403, {"message": "slow down"}, {"Retry-After": "9"}))

    result = await place.provider().upsert_comment(7, MARKER, MARKER, "123")

    assert (result.verdict, result.retry_after) == (Verdict.LIMIT, 9)
    assert len(place.api.seen) == 1


async def test_what_no_host_stores_is_not_sent(place):
    comments = Comments(place)

    await place.provider().upsert_comment(7, MARKER, MARKER + "\0\ud800é", None)

    assert comments.bodies() == [MARKER + "??é"]


@pytest.mark.parametrize("reply", [Reply(500, {}), Reply(429, {}), Reply(401, {})])
async def test_where_comments_cannot_be_looked_at_none_is_made(place, reply):
    Comments(place)
    place.api.on("GET", LIST, reply)

    result = await place.provider().upsert_comment(7, MARKER, MARKER, None)

    assert result.verdict is not Verdict.DONE
    assert place.api.sent("POST") == []


@pytest.mark.parametrize(
    "file", ["github/Comments.test_pr_comments_updates.yaml", "forgejo/Comments.test_pr_comments_updates.yaml"]
)
async def test_comments_that_a_real_host_once_listed_and_edited_are_understood(github, file):
    ((_, listed), *_) = [answer for answer in recorded(file, "GET") if isinstance(answer[1], list)]
    (_, edited), *_ = recorded(file, "PATCH")
    (ours,) = [entry for entry in listed if entry["id"] == edited["id"]]
    github.api.on("GET", "/user", Reply(200, {"login": ours["user"]["login"]}))
    github.api.on("GET", LIST, Reply(200, listed))
    github.api.on("PATCH", f"/repos/acme/specs/issues/comments/{ours['id']}", Reply(200, edited))

    result = await github.provider().upsert_comment(7, ours["body"], "new", None)

    assert (result.verdict, result.id) == (Verdict.DONE, str(ours["id"]))


# -- the requests --


def pull(number: int, base: str = "main", head: int = 1, **more: Any) -> dict[str, Any]:
    name = "acme/specs" if head == 1 else "mallory/specs"
    return {
        "number": number,
        "state": "open",
        "head": {"sha": SHA, "ref": f"feature-{number}", "repo": {"id": head, "full_name": name}},
        "base": {"sha": SHA, "ref": base, "repo": {"id": 1, "full_name": "acme/specs"}},
        **more,
    }


async def test_a_request_is_asked_for_by_its_number(place):
    place.api.on("GET", "/repos/acme/specs/pulls/7", Reply(200, pull(7, head=2)))

    change = await place.provider().get_change(7)

    assert change == ChangeRequest(7, SHA, "feature-7", "main", True, "mallory/specs", "open")


async def test_a_request_that_is_not_there_is_none(place):
    place.api.on("GET", "/repos/acme/specs/pulls/7", Reply(404, {"message": "Not Found"}))
    place.api.on("GET", "/repos/acme/specs", Reply(200, {"id": 1}))

    assert await place.provider().get_change(7) is None


async def test_a_request_that_may_not_be_seen_is_not_taken_for_none(place):
    place.api.on("GET", "/repos/acme/specs(/pulls/7)?", Reply(404, {"message": "Not Found"}))

    with pytest.raises(Forbidden, match="pull request 7 of acme/specs"):
        await place.provider().get_change(7)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(401, {}), Forbidden),
        (Reply(403, {}), Forbidden),
        (Reply(403, {}, {"Retry-After": "1"}), Unavailable),
        (Reply(429, {}), Unavailable),
        (Reply(500, {}), Unavailable),
        (Reply(400, {}), Rejected),
        (Reply(200, b"<html>", content_type="text/html"), Unavailable),
    ],
)
async def test_what_keeps_requests_from_being_seen_is_an_error_by_what_to_do(place, reply, error):
    place.api.on("GET", "/repos/acme/specs/pulls(/7)?", reply)
    provider = place.provider()

    with pytest.raises(error, match="pull request 7 of acme/specs"):
        await provider.get_change(7)
    with pytest.raises(error, match="the open pull requests of acme/specs"):
        [change async for change in provider.list_open_changes("main")]


async def test_open_requests_are_listed_page_after_page_and_only_those_onto_the_branch(place):
    def listed(seen: Seen) -> Reply:
        page = int(seen.query.get("page", "1"))
        entries = [
            pull(page * 10),
            pull(page * 10 + 1, base="other"),
            {"number": "strange"},
            pull(page * 10 + 2, state="closed"),
        ]
        link = f'<{place.api.url}{seen.path}?state=open&page={page + 1}>; rel="next", <x>; rel="last"'
        return Reply(200, entries, {"Link": link} if page < 3 else {})

    place.api.on("GET", "/repos/acme/specs/pulls", listed)

    found = [change.number async for change in place.provider().list_open_changes("main")]

    assert found == [10, 20, 30]
    assert place.api.seen[0].query["state"] == "open"
    assert place.api.seen[0].query["base" if place.is_github else "base_branch"] == "main"
    assert {seen.headers["authorization"].split()[1] for seen in place.api.seen} == {TOKEN}


async def test_a_list_without_end_ends(place):
    def listed(seen: Seen) -> Reply:
        return Reply(200, [pull(7)], {"Link": f'<{place.api.url}{seen.path}?page=2>; rel="next"'})

    place.api.on("GET", "/repos/acme/specs/pulls", listed)

    assert len([change async for change in place.provider().list_open_changes("main")]) == 20


async def test_a_next_page_at_another_origin_is_not_asked_for(place):
    link = {"Link": '<https://evil.example/repos/acme/specs/pulls?page=2>; rel="next"'}
    place.api.on("GET", "/repos/acme/specs/pulls", Reply(200, [pull(7)], link))
    changes = place.provider().list_open_changes("main")

    assert (await anext(changes)).number == 7
    with pytest.raises(Rejected, match="another origin"):
        await anext(changes)
    assert len(place.api.seen) == 1


async def test_the_head_of_a_request_may_be_fetched_under_its_own_ref_and_its_branch(place):
    ours = ChangeRequest(7, SHA, "feature", "main", False, "acme/specs", "open")
    fork = ChangeRequest(7, SHA, "feature", "main", True, "mallory/specs", "open")
    strange = ChangeRequest(7, SHA, "a:refs/heads/main", "main", False, "acme/specs", "open")
    provider = place.provider()

    refs = ("refs/pull/7/head", "refs/heads/feature")
    assert provider.change_refs(ours) == (refs if place.is_github else refs[::-1])
    assert provider.change_refs(fork) == provider.change_refs(strange) == ("refs/pull/7/head",)


# -- what the token may do --

SHOWN = {
    "id": 1,
    "full_name": "acme/specs",
    "archived": False,
    "private": True,
    "permissions": {"push": True, "pull": True},
}


async def preflight(
    place: Place, *, status: Reply, comment: Reply | None = None, shown: Reply | None = None
) -> list[Problem]:
    place.api.on("GET", "/repos/acme/specs", shown or Reply(200, SHOWN))
    place.api.on("POST", "/repos/acme/specs/statuses/0{40}", status)
    place.api.on("POST", "/repos/acme/specs/issues/0/comments", comment or Reply(404, {"message": "Not Found"}))
    return await place.provider().preflight()


async def test_a_token_that_may_do_what_is_needed_is_said_to(place):
    (problem,) = await preflight(place, status=Reply(422 if place.is_github else 500, {"message": "No commit found"}))

    assert not problem.fatal
    assert "acme/specs can be read" in problem.message


@pytest.mark.parametrize("code", [401, 403, 404, 500])
async def test_a_repository_that_the_token_does_not_see_is_fatal(place, code):
    (problem,) = await preflight(place, status=Reply(500), shown=Reply(code, {"message": "Not Found"}))

    assert problem.fatal
    assert "does not show acme/specs" in problem.message
    assert problem.hint
    assert len(place.api.seen) == 1


async def test_a_token_that_may_not_set_statuses_is_told_what_it_lacks(place):
    problems = await preflight(
        place, status=Reply(403, {"message": "Resource not accessible by personal access token"})
    )

    (fatal,) = [problem for problem in problems if problem.fatal]
    assert "set statuses on acme/specs" in fatal.message
    assert "write:repository" in fatal.hint or "Commit statuses" in fatal.hint


async def test_a_token_that_may_not_comment_can_still_set_statuses(place):
    problems = await preflight(
        place, status=Reply(500, {}), comment=Reply(403, {"message": "token does not have scope"})
    )

    assert not [problem for problem in problems if problem.fatal]
    (hint,) = [problem.hint for problem in problems if "may not comment" in problem.message]
    assert hint.startswith(
        "Give it the permission Pull requests" if place.is_github else "Give the token the scope write:issue"
    )
    assert hint.endswith(", or say host.plan: status.")


async def test_a_repository_that_takes_nothing_is_fatal(place):
    archived = Reply(200, {**SHOWN, "archived": True})

    assert [p.message for p in await preflight(place, status=Reply(422), shown=archived) if p.fatal] == [
        "acme/specs is archived: it takes no statuses"
    ]


@pytest.mark.parametrize(
    ("scopes", "private", "fatal"),
    [
        ("repo", True, False),
        ("repo:status, user", True, False),
        ("user", True, True),
        ("public_repo", True, True),
        ("public_repo", False, False),
    ],
)
async def test_a_classic_token_says_its_scopes(github, scopes, private, fatal):
    shown = Reply(200, {**SHOWN, "private": private}, {"X-OAuth-Scopes": scopes})

    problems = await preflight(github, status=Reply(500), shown=shown)

    assert any(problem.fatal for problem in problems) == fatal
    assert github.api.sent("POST") == []  # nothing had to be tried


@pytest.mark.parametrize(
    ("header", "expires"),
    [
        ("2026-12-01 10:00:00 UTC", "2026-12-01T10:00:00+00:00"),
        ("2026-12-01 10:00:00 +0200", "2026-12-01T10:00:00+02:00"),
    ],
)
async def test_a_token_of_github_says_until_when_it_lasts(github, header, expires):
    shown = Reply(200, SHOWN, {"github-authentication-token-expiration": header})

    problems = await preflight(github, status=Reply(422, {"message": "No commit found"}), shown=shown)

    assert [(problem.expires, problem.fatal) for problem in problems if problem.expires] == [(expires, False)]


async def test_a_repository_that_was_renamed_is_said(github):
    problems = await preflight(github, status=Reply(422), shown=Reply(200, {**SHOWN, "full_name": "acme/services"}))

    assert "acme/specs is now called acme/services" in [problem.message for problem in problems]


async def test_the_preflight_shows_no_token(place):
    def echo(seen: Seen) -> Reply:
        return Reply(403, {"message": f"{seen.headers['authorization']} is no good"})

    problems = await preflight(place, status=Reply(500), shown=echo)

    assert TOKEN not in str(problems)


# -- tokens that are none --


@pytest.mark.parametrize("token", ["two words", "ünï", "a\nb", "x\0"])
def test_what_is_no_token_is_refused_without_showing_it(token):
    with pytest.raises((Rejected, Invalid)) as caught:
        StaticToken(token)

    assert token not in str(caught.value)


def test_a_token_is_hidden_in_each_form_in_which_it_is_sent():
    secrets = StaticToken("gl/pat+=", users=("bot",)).secrets()

    assert {"gl/pat+=", "gl%2Fpat%2B%3D"} <= set(secrets)
    for user in ("git", "x-access-token", "oauth2", "", "bot"):
        assert base64.b64encode(f"{user}:gl/pat+=".encode()).decode() in secrets
    assert json.dumps(list(StaticToken("").secrets())) == "[]"
