"""What is told to GitHub, Gitea and Forgejo is as their documents say, and whatever they answer becomes a verdict."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gitsync.hosts.api import ANSWER_BYTES, http_client
from gitsync.hosts.credentials import StaticToken
from gitsync.hosts.provider import Credentials
from gitsync.model.host import CONTEXT, DESCRIPTION, TARGET_URL, CommitState, PostResult, RepoRef, Status, Verdict
from tests.integration.hosts.conftest import TOKEN, Place
from tests.servers.host_api import HostApi, Reply, Seen

CASSETTES = Path(__file__).parents[2] / "contract/hosts/payloads/ogr-cassettes"
SHA = "0123456789abcdef0123456789abcdef01234567"
STATUSES = r"/repos/acme/specs/statuses/[^/]*"
STATUS = Status(
    SHA,
    "gitsync/apply/prod/eu",
    CommitState.SUCCESS,
    "12 applied, 1 pruned",
    "https://gitsync.example/runs/01J",
    "main",
)
CREATED = {"id": 1, "state": "success", "creator": {"login": "gitsync-bot"}}
DATE = {"Date": "Sun, 22 Nov 2026 12:00:00 GMT"}
NOON = 1795348800  # the same, as the limits' headers write it


async def told(
    place: Place, *replies: Any, status: Status = STATUS, credentials: Credentials | None = None
) -> PostResult:
    place.api.on("POST", STATUSES, *replies)
    return await place.provider(credentials).set_status(status)


# -- what is sent --


@pytest.mark.parametrize("state", list(CommitState))
async def test_every_state_is_told_in_the_hosts_own_words(place, state):
    result = await told(place, Reply(201, CREATED), status=replace(STATUS, state=state))

    words = {"running": "pending", "canceled": "error"}
    assert result == PostResult(Verdict.DONE)
    (seen,) = place.api.seen
    assert seen.path == f"/repos/acme/specs/statuses/{SHA}"
    assert seen.json == {
        "state": words.get(state, str(state)),
        "context": "gitsync/apply/prod/eu",
        "description": "12 applied, 1 pruned",
        "target_url": "https://gitsync.example/runs/01J",
    }


async def test_the_token_is_in_one_header_and_nowhere_else(place):
    await told(place, Reply(201, CREATED))

    (seen,) = place.api.seen
    assert seen.headers["authorization"] == ("Bearer " if place.is_github else "token ") + TOKEN
    elsewhere = {name: value for name, value in seen.headers.items() if name != "authorization"}
    assert TOKEN not in f"{elsewhere}{seen.path}{seen.query}{seen.body!r}"
    assert seen.headers["user-agent"].startswith("gitsync/")
    assert ("x-github-api-version" in seen.headers) == place.is_github


async def test_a_repository_with_sha_256_is_told_of_its_commits_too(place):
    assert (await told(place, Reply(201, CREATED), status=replace(STATUS, sha=SHA + "a" * 24))).verdict is Verdict.DONE


@pytest.mark.parametrize("sha", ["main", SHA[:10], "", "0" * 40, SHA.upper(), "../../x", SHA + "\n"])
async def test_what_is_no_full_sha_is_never_sent(place, sha):
    result = await place.provider().set_status(replace(STATUS, sha=sha))

    assert result.verdict is Verdict.INVALID
    assert "no full SHA" in result.detail
    assert place.api.seen == []


@pytest.mark.parametrize("char", ["x", "é", "🔑", "\n", "\0", "a "])
async def test_what_is_too_long_for_a_host_is_cut_and_stays_one_line(place, char):
    long = replace(
        STATUS, description=char * 5000, context="gitsync/" + char * 500, target_url="https://x/" + "y" * 300
    )

    assert (await told(place, Reply(201, CREATED), status=long)).verdict is Verdict.DONE

    body = place.api.seen[0].json
    assert len(body["description"]) <= DESCRIPTION
    assert len(body["context"]) <= CONTEXT
    assert body["description"].isprintable()
    assert body["target_url"] == place.repo.web_url
    if char == "x":
        assert body["description"] == "x" * (DESCRIPTION - 1) + "…"


@pytest.mark.parametrize("target", ["", "javascript:alert(1)", "/runs/1", " "])
async def test_a_status_always_has_a_link_that_a_person_can_follow(place, target):
    await told(place, Reply(201, CREATED), status=replace(STATUS, target_url=target))
    unknown = place.provider(repo=RepoRef(place.api.url, "acme/specs"))
    await unknown.set_status(replace(STATUS, target_url=target))

    links = [seen.json["target_url"] for seen in place.api.seen]
    assert links == [place.repo.web_url, place.api.url]
    assert all(len(link) <= TARGET_URL for link in links)


# -- what is answered --

LATER = {**DATE, "Retry-After": "30"}
SPENT = {**DATE, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(NOON + 42)}
TABLE: list[tuple[str, Reply, Verdict, float | None]] = [
    ("401", Reply(401, {"message": "Bad credentials"}), Verdict.AUTH, None),
    ("403", Reply(403, {"message": "Resource not accessible"}), Verdict.FORBIDDEN, None),
    ("403 with Retry-After", Reply(403, {"message": "slow down"}, LATER), Verdict.LIMIT, 30),
    ("403 with nothing remaining", Reply(403, {"message": "slow down"}, SPENT), Verdict.LIMIT, 42),
    ("403 with some remaining", Reply(403, {}, {**SPENT, "X-RateLimit-Remaining": "9"}), Verdict.FORBIDDEN, None),
    ("403 in HTML", Reply(403, b"<html>no</html>", content_type="text/html"), Verdict.FORBIDDEN, None),
    ("409", Reply(409, {"message": "another update"}), Verdict.CONFLICT, None),
    ("400", Reply(400, {"message": "bad"}), Verdict.INVALID, None),
    ("422", Reply(422, {"message": "Validation Failed"}), Verdict.INVALID, None),
    ("429", Reply(429, {"message": "slow down"}), Verdict.LIMIT, None),
    ("429 with seconds", Reply(429, {}, LATER), Verdict.LIMIT, 30),
    ("429 with a date", Reply(429, {}, {**DATE, "Retry-After": "Sun, 22 Nov 2026 12:01:30 GMT"}), Verdict.LIMIT, 90),
    (
        "429 with a date that is past",
        Reply(429, {}, {**DATE, "Retry-After": "Sun, 22 Nov 2026 11:00:00 GMT"}),
        Verdict.LIMIT,
        0,
    ),
    ("429 with a reset", Reply(429, {}, {**DATE, "RateLimit-Reset": str(NOON + 7)}), Verdict.LIMIT, 7),
    ("429 with a year", Reply(429, {}, {"Retry-After": "31536000"}), Verdict.LIMIT, 3600),
    ("429 with nonsense", Reply(429, {}, {"Retry-After": "soon", "X-RateLimit-Reset": "-1"}), Verdict.LIMIT, None),
    ("502 in HTML", Reply(502, b"<html>bad gateway</html>", content_type="text/html"), Verdict.TRANSIENT, None),
    ("503 with Retry-After", Reply(503, None, LATER), Verdict.TRANSIENT, 30),
    ("408", Reply(408), Verdict.TRANSIENT, None),
    ("410", Reply(410, {}), Verdict.FORBIDDEN, None),
    ("302", Reply(302, None, {"Location": "/login"}), Verdict.INVALID, None),
    ("a page instead of the API", Reply(200, b"<html>hello</html>", content_type="text/html"), Verdict.TRANSIENT, None),
    ("JSON that is none", Reply(201, b"{", content_type="application/json"), Verdict.TRANSIENT, None),
    ("another JSON", Reply(201, [[]]), Verdict.DONE, None),
    ("nothing at all", Reply(204), Verdict.DONE, None),
    ("text", Reply(201, b'{"id":1}', content_type="text/plain"), Verdict.TRANSIENT, None),
]


@pytest.mark.parametrize(("reply", "verdict", "wait"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_an_answer_becomes_a_verdict_and_a_time_to_wait(place, reply, verdict, wait):
    result = await told(place, reply)

    assert (result.verdict, result.retry_after) == (verdict, wait)
    assert bool(result.detail) == (verdict is not Verdict.DONE)
    assert len(place.api.seen) == 1


GITHUB: list[tuple[str, Reply, Verdict]] = [
    ("unknown", Reply(422, {"message": f"No commit found for SHA: {SHA}"}), Verdict.UNKNOWN_SHA),
    (
        "full",
        Reply(
            422,
            {
                "message": "Validation Failed",
                "errors": [{"message": "This SHA and context has reached the maximum number of statuses."}],
            },
        ),
        Verdict.FULL,
    ),
    ("secondary", Reply(403, {"message": "You have exceeded a secondary rate limit."}), Verdict.LIMIT),
    ("no rights", Reply(404, {"message": "Not Found"}), Verdict.FORBIDDEN),
    ("trouble", Reply(500, {"message": "Server Error"}), Verdict.TRANSIENT),
]


@pytest.mark.parametrize(("reply", "verdict"), [row[1:] for row in GITHUB], ids=[row[0] for row in GITHUB])
async def test_what_github_means_beyond_the_status_code(github, reply, verdict):
    assert (await told(github, reply)).verdict is verdict
    assert len(github.api.seen) == 1


@pytest.mark.parametrize("code", [404, 500])
@pytest.mark.parametrize(
    ("commit", "repository", "verdict"),
    [
        (Reply(404, {}), Reply(200, {"id": 1}), Verdict.UNKNOWN_SHA),
        (Reply(404, {}), Reply(404, {}), None),
        (Reply(200, {"sha": SHA}), Reply(200, {"id": 1}), None),
        (Reply(500, {}), Reply(500, {}), None),
    ],
)
async def test_a_commit_that_gitea_does_not_know_is_told_from_other_trouble(gitea, code, commit, repository, verdict):
    gitea.api.on("GET", f"/repos/acme/specs/git/commits/{SHA}", commit)
    gitea.api.on("GET", "/repos/acme/specs", repository)

    result = await told(gitea, Reply(code, {"message": "object does not exist"}))

    assert result.verdict is (verdict or {404: Verdict.FORBIDDEN, 500: Verdict.TRANSIENT}[code])


async def test_a_host_that_hangs_is_waited_for_only_so_long(place):
    place.api.on("POST", STATUSES, Reply(hang=True))
    async with httpx.AsyncClient(timeout=0.2, trust_env=False) as hasty:
        result = await asyncio.wait_for(place.provider(client=hasty).set_status(STATUS), 5)

    assert result.verdict is Verdict.TRANSIENT
    assert "no answer within 0.2 s" in result.detail


async def test_an_answer_without_end_is_not_read_to_its_end(place):
    result = await told(place, Reply(201, b'"' + b"x" * (ANSWER_BYTES + 1) + b'"'))

    assert result.verdict is Verdict.TRANSIENT
    assert "more than 8 MiB" in result.detail


async def test_an_answer_that_unpacks_to_more_than_the_memory_is_not_unpacked(place):
    packed = gzip.compress(gzip.compress(b"{}"))

    result = await told(place, Reply(201, packed, {"Content-Encoding": "gzip, gzip"}))
    assert result.verdict is Verdict.TRANSIENT
    assert "an encoding that was not asked for" in result.detail
    assert place.api.seen[0].headers["accept-encoding"] == "gzip"

    assert (await told(place, Reply(201, gzip.compress(b"{}"), {"Content-Encoding": "gzip"}))).verdict is Verdict.DONE


async def test_a_host_that_is_not_there_is_tried_again(place):
    result = await place.provider(repo=RepoRef("http://127.0.0.1:1", "acme/specs")).set_status(STATUS)

    assert result.verdict is Verdict.TRANSIENT
    assert "127.0.0.1:1 cannot be reached" in result.detail


@pytest.mark.parametrize("url", ["http://[", "http://host:port", "http://\x7f/", "ftp://x", "https://x\ny"])
async def test_an_address_that_is_none_is_a_verdict_too(place, url):
    provider = place.provider(repo=RepoRef(url, "acme/specs"))

    assert (await provider.set_status(STATUS)).verdict in (Verdict.TRANSIENT, Verdict.INVALID)


# -- redirects --


@pytest.fixture
def elsewhere() -> Iterator[HostApi]:
    with HostApi() as host:
        host.on("POST", ".*", Reply(201, CREATED))
        host.on("GET", ".*", Reply(200, CREATED))
        yield host


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_origin_gets_no_token_and_no_request(place, elsewhere, code):
    result = await told(place, Reply(code, None, {"Location": f"{elsewhere.origin}/api/v1{STATUS.sha}"}))

    assert result.verdict is Verdict.INVALID
    assert elsewhere.seen == []
    if code in (301, 307, 308):
        assert "a redirect to 127.0.0.1, which is not followed" in result.detail


@pytest.mark.parametrize("code", [301, 307, 308])
async def test_a_repository_that_was_renamed_is_followed_at_the_same_origin(place, code):
    renamed = f"/repos/acme/services/statuses/{SHA}"
    location = f"{place.api.url}{renamed}" if code != 308 else place.api.url.removeprefix(place.api.origin) + renamed
    place.api.on("POST", renamed, Reply(201, CREATED))

    result = await told(place, Reply(code, None, {"Location": location}))

    assert result == PostResult(Verdict.DONE)
    first, second = place.api.seen
    assert (second.path, second.body, second.headers["authorization"]) == (
        renamed,
        first.body,
        first.headers["authorization"],
    )


async def test_a_redirect_in_a_circle_ends(place):
    def again(seen: Seen) -> Reply:
        return Reply(307, None, {"Location": place.api.url + seen.path})

    assert (await told(place, again)).verdict is Verdict.INVALID
    assert len(place.api.seen) == 4


@pytest.mark.parametrize("location", ["", "http://[", "//evil.example/x", "https://127.0.0.1/x"])
async def test_a_redirect_to_nowhere_or_to_another_scheme_is_not_followed(place, location):
    assert (await told(place, Reply(301, None, {"Location": location}))).verdict is Verdict.INVALID
    assert len(place.api.seen) == 1


# -- tokens --


class Renewable:
    """A token that another one follows when it was refused."""

    def __init__(self, *tokens: str) -> None:
        self.tokens, self.refused = list(tokens), 0

    async def token(self) -> str:
        return self.tokens[0]

    async def invalidate(self) -> None:
        self.refused += 1
        if len(self.tokens) > 1:
            self.tokens.pop(0)

    def secrets(self) -> list[str]:
        return self.tokens


async def test_a_token_that_is_refused_is_renewed_once(place):
    credentials = Renewable("old", "new", "newer")

    assert (await told(place, Reply(401, {}), Reply(201, CREATED), credentials=credentials)).verdict is Verdict.DONE
    assert [seen.headers["authorization"].split()[1] for seen in place.api.seen] == ["old", "new"]

    place.api.seen.clear()
    assert (await told(place, Reply(401, {}), credentials=credentials)).verdict is Verdict.AUTH
    assert [seen.headers["authorization"].split()[1] for seen in place.api.seen] == ["new", "newer"]


async def test_a_token_that_nothing_follows_is_not_sent_twice(place):
    credentials = Renewable("only")

    assert (await told(place, Reply(401, {}), credentials=credentials)).verdict is Verdict.AUTH
    assert (len(place.api.seen), credentials.refused) == (1, 1)


@pytest.mark.parametrize("code", [400, 401, 403, 422, 500])
async def test_no_secret_is_in_what_is_said_of_an_answer_even_if_the_host_puts_it_there(place, code):
    def echo(seen: Seen) -> Reply:
        return Reply(code, {"message": "you said\x1b[31m\n " + " ".join([seen.headers["authorization"], *forms])})

    forms = StaticToken(TOKEN).secrets()
    place.api.on("GET", ".*", Reply(500, {}))

    result = await told(place, echo)

    assert result.verdict is not Verdict.DONE
    assert not [form for form in forms if form in result.detail]
    assert "[secret]" in result.detail
    assert result.detail.isprintable()


async def test_no_cookie_is_kept_from_one_request_to_the_next(place):
    cookie = {"Set-Cookie": "session=1; Path=/"}
    await told(place, Reply(201, CREATED, cookie))
    await told(place, Reply(201, CREATED, cookie))

    assert not [seen for seen in place.api.seen if "cookie" in seen.headers]


async def test_the_environments_proxy_is_not_asked(place, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with http_client() as client:
        place.api.on("POST", STATUSES, Reply(201, CREATED))

        assert (await place.provider(client=client).set_status(STATUS)).verdict is Verdict.DONE


# -- what others recorded --


def recorded(file: str, method: str) -> list[tuple[int, Any]]:
    """The answers to *method* in a cassette: status code and content."""
    found: list[tuple[int, Any]] = []

    def walk(value: Any, inside: bool) -> None:
        if isinstance(value, dict) and inside and "status_code" in value:
            found.append((value["status_code"], value.get("content", value.get("_content"))))
        elif isinstance(value, dict):
            for key, below in value.items():
                walk(below, inside or key == method)
        elif isinstance(value, list):
            for below in value:
                walk(below, inside)

    walk(yaml.safe_load((CASSETTES / file).read_text()), inside=False)
    return found


@pytest.mark.parametrize(
    ("file", "verdicts"),
    [
        ("github/GenericCommands.test_set_commit_status.yaml", [Verdict.DONE]),
        ("github/GenericCommands.test_set_commit_status_long_description.yaml", [Verdict.INVALID, Verdict.DONE]),
        ("forgejo/test_set_commit_status.yaml", [Verdict.DONE]),
    ],
)
async def test_what_a_real_host_once_answered_to_a_status_is_understood(github, file, verdicts):
    answers = recorded(file, "POST")
    results = [await told(github, Reply(code, content)) for code, content in answers]

    assert [result.verdict for result in results] == verdicts
    if len(results) > 1:
        assert "description is too long (maximum is 140 characters)" in results[0].detail
