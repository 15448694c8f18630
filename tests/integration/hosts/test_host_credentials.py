"""Tokens of a host: from a file that changes, and from a GitHub App that gets each of them for an hour."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gitsync.hosts.credentials import FileToken, GitHubApp
from gitsync.model.errors import Forbidden, GitsyncError, Rejected, Unavailable
from gitsync.model.host import CommitState, Status, Verdict
from tests.integration.hosts.conftest import Place
from tests.servers.host_api import Reply, Seen

NOW = 1795348800.0
SHA = "0123456789abcdef0123456789abcdef01234567"
INSTALLATION = "/repos/acme/specs/installation"
TOKENS = r"/app/installations/\d+/access_tokens"
LONG = "ghs_APPID_" + ".".join("x" * 200 for _ in range(3))
"""The new form of these tokens: a JWT inside, of no fixed length."""


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def key_file(key: rsa.RSAPrivateKey, tmp_path: Path) -> Path:
    file = tmp_path / "app.pem"
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(*pem))
    return file


class App:
    """A GitHub that hands out numbered tokens, and a clock."""

    def __init__(self, place: Place, key_file: Path) -> None:
        self.now, self.given = NOW, 0
        place.api.on("GET", INSTALLATION, Reply(200, {"id": 42}))
        place.api.on("POST", TOKENS, self._give)
        self.credentials = GitHubApp("12345", key_file, place.repo, place.client, clock=lambda: self.now)
        self.place = place

    def _give(self, seen: Seen) -> Reply:
        self.given += 1
        permissions = seen.json["permissions"]
        body = {"token": f"{LONG}{self.given}", "expires_at": "2026-11-22T13:00:00Z", "permissions": permissions}
        return Reply(201, body, {"Date": "Sun, 22 Nov 2026 12:00:00 GMT"})


@pytest.fixture
def app(github: Place, key_file: Path) -> App:
    return App(github, key_file)


# -- the app --


async def test_an_app_asks_for_a_token_of_one_repository_with_no_more_rights_than_needed(app, key):
    token = await app.credentials.token()

    assert token == LONG + "1"
    looked, asked = app.place.api.seen
    assert (looked.path, asked.path) == (INSTALLATION, "/app/installations/42/access_tokens")
    assert asked.json == {
        "repositories": ["specs"],
        "permissions": {"contents": "read", "statuses": "write", "pull_requests": "write"},
    }
    proof = asked.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(
        proof, key.public_key(), algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
    )
    assert claims["iss"] == "12345"
    assert claims["iat"] == NOW - 60
    assert NOW < claims["exp"] <= NOW + 540  # ten minutes from iat at most, also for a clock that is ahead


async def test_a_token_of_an_app_is_used_for_fifty_minutes(app):
    first = await app.credentials.token()
    app.now += 49 * 60
    assert await app.credentials.token() == first

    app.now += 2 * 60
    assert await app.credentials.token() == LONG + "2"
    assert len(app.place.api.sent("GET", INSTALLATION)) == 1


async def test_many_who_want_a_token_at_once_cause_one_request(app):
    tokens = await asyncio.gather(*(app.credentials.token() for _ in range(20)))

    assert set(tokens) == {LONG + "1"}
    assert app.given == 1


async def test_a_token_that_was_refused_is_replaced_and_the_status_told(app):
    statuses = r"/repos/acme/specs/statuses/.*"
    app.place.api.on("POST", statuses, Reply(401, {"message": "Bad credentials"}), Reply(201, {}))
    status = Status(SHA, "gitsync/apply/prod/eu", CommitState.SUCCESS, "done", "https://x/")

    result = await app.place.provider(app.credentials).set_status(status)

    assert result.verdict is Verdict.DONE
    assert [seen.headers["authorization"] for seen in app.place.api.sent("POST", statuses)] == [
        f"Bearer {LONG}1",
        f"Bearer {LONG}2",
    ]


async def test_an_app_that_was_installed_anew_is_found_again(app):
    await app.credentials.token()
    await app.credentials.invalidate()
    app.place.api.on("GET", INSTALLATION, Reply(200, {"id": 43}))
    app.place.api.on("POST", "/app/installations/42/access_tokens", Reply(404, {"message": "Not Found"}))

    assert await app.credentials.token() == LONG + "2"
    assert app.place.api.seen[-1].path == "/app/installations/43/access_tokens"


@pytest.mark.parametrize(
    ("where", "reply", "error", "says"),
    [
        ("installation", Reply(404, {}), Forbidden, "is not installed on acme/specs"),
        (
            "installation",
            Reply(401, {"message": "A JSON web token could not be decoded"}),
            Forbidden,
            "could not be decoded",
        ),
        ("installation", Reply(500, {}), Unavailable, "answers 500"),
        ("installation", Reply(200, {}), Rejected, "installation on acme/specs"),
        ("token", Reply(422, {"message": "not granted"}), Forbidden, "statuses: write"),
        ("token", Reply(403, {"message": "suspended"}), Forbidden, "suspended"),
        ("token", Reply(429, {}), Unavailable, "answers 429"),
        ("token", Reply(404, {}), Forbidden, "answers 404"),
        ("token", Reply(201, {"token": "two words"}), Rejected, "is no token"),
        ("token", Reply(201, {}), Rejected, "a token of the GitHub App"),
    ],
)
async def test_an_app_that_gets_no_token_says_why_and_the_status_is_a_verdict(app, where, reply, error, says):
    app.place.api.on(*(("GET", INSTALLATION) if where == "installation" else ("POST", TOKENS)), reply)

    with pytest.raises(error, match=says):
        await app.credentials.token()
    status = Status(SHA, "gitsync/apply/prod/eu", CommitState.SUCCESS, "done", "https://x/")
    result = await app.place.provider(app.credentials).set_status(status)
    assert result.verdict is (Verdict.TRANSIENT if error is Unavailable else Verdict.AUTH)
    assert says.replace("\\", "") in result.detail


@pytest.mark.parametrize(
    "content",
    [b"", b"no key", b"-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n", b"x" * 20_000],
)
async def test_a_key_that_is_none_is_said_without_showing_it(app, key_file, content):
    key_file.write_bytes(content)

    with pytest.raises(Rejected) as caught:
        await app.credentials.token()

    assert str(key_file) in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)
    assert app.place.api.seen == []


async def test_the_public_half_of_a_key_is_no_key(app, key, key_file):
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    key_file.write_bytes(key.public_key().public_bytes(*pem))

    with pytest.raises(Rejected, match="holds no RSA private key"):
        await app.credentials.token()


@pytest.mark.parametrize("date", ["Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "Mon, 01 Jan", "x" * 5000])
async def test_a_date_that_is_none_says_nothing_of_how_long_a_token_lasts(app, date):
    app.place.api.on("POST", TOKENS, Reply(201, {"token": LONG, "expires_at": "2026-11-22T13:00:00Z"}, {"Date": date}))

    assert await app.credentials.token() == LONG
    assert app.credentials.grant.until == NOW + 3000


async def test_a_key_that_is_not_there_is_waited_for(app, key_file):
    key_file.unlink()

    with pytest.raises(Unavailable, match=r"host\.app\.key_file .* cannot be read"):
        await app.credentials.token()


async def test_everything_an_app_sends_is_among_its_secrets(app):
    first = await app.credentials.token()
    await app.credentials.invalidate()
    second = await app.credentials.token()

    proof = app.place.api.seen[-1].headers["authorization"].removeprefix("Bearer ")
    secrets = app.credentials.secrets()
    assert {first, second, proof} <= set(secrets)
    assert base64.b64encode(f"x-access-token:{second}".encode()).decode() in secrets


async def test_an_app_finds_its_own_comment_by_its_name(app):
    marker = "<!-- gitsync:plan source=eu -->"
    comments: list[dict[str, Any]] = [
        {"id": 1, "user": {"login": "gitsync"}, "body": marker},
        {"id": 2, "user": {"login": "gitsync[bot]"}, "body": marker},
    ]
    app.place.api.on("GET", "/app", Reply(200, {"slug": "gitsync"}))
    app.place.api.on("GET", "/repos/acme/specs/issues/7/comments", Reply(200, comments))
    app.place.api.on("PATCH", "/repos/acme/specs/issues/comments/2", Reply(200, comments[1]))

    result = await app.place.provider(app.credentials).upsert_comment(7, marker, marker, None)

    assert (result.verdict, result.id) == (Verdict.DONE, "2")
    (asked,) = app.place.api.sent("GET", "/app")
    assert asked.headers["authorization"].count(".") == 2  # as the app, not as its installation


async def test_the_preflight_says_which_permissions_an_app_lacks(app):
    app.place.api.on("GET", "/repos/acme/specs", Reply(200, {"full_name": "acme/specs"}))
    body = {
        "token": LONG,
        "expires_at": "2026-11-22T13:00:00Z",
        "permissions": {"contents": "read", "statuses": "read"},
    }
    app.place.api.on("POST", TOKENS, Reply(201, body))

    problems = await app.place.provider(app.credentials).preflight()

    assert [problem.message for problem in problems if problem.fatal] == [
        "the GitHub App lacks statuses: write, pull_requests: write on acme/specs"
    ]


# -- the file --


async def test_a_token_in_a_file_counts_as_soon_as_it_is_there(tmp_path):
    file = tmp_path / "token"
    credentials = FileToken(file, users=("bot",))
    with pytest.raises(Unavailable, match=r"host\.token_file .* cannot be read"):
        await credentials.token()

    file.write_text("first\n")
    assert await credentials.token() == "first"
    file.write_text("other")
    assert await credentials.token() == "other"

    shown = credentials.secrets()
    assert {"first", "other", base64.b64encode(b"bot:other").decode()} <= set(shown)
    file.write_text("third")
    await credentials.token()
    assert "first" not in credentials.secrets()


@pytest.mark.parametrize("content", ["", "\n", "two words", "ünï", "a\nb", "x" * 20_000])
async def test_a_file_that_holds_no_token_is_said_without_showing_it(tmp_path, place, content):
    file = tmp_path / "token"
    file.write_text(content)
    status = Status(SHA, "gitsync/apply/prod/eu", CommitState.SUCCESS, "done", "https://x/")

    with pytest.raises(GitsyncError) as caught:
        await FileToken(file).token()
    result = await place.provider(FileToken(file)).set_status(status)

    assert not content.strip() or content not in str(caught.value)
    assert result.verdict is Verdict.AUTH
    assert place.api.seen == []


async def test_a_file_that_was_changed_after_a_refusal_is_used_at_once(tmp_path, place):
    file = tmp_path / "token"
    file.write_text("old")

    def refuse(seen: Seen) -> Reply:
        file.write_text("new")
        return Reply(401, {})

    place.api.on("POST", "/repos/acme/specs/statuses/.*", refuse, Reply(201, {}))
    status = Status(SHA, "gitsync/apply/prod/eu", CommitState.SUCCESS, "done", "https://x/")

    assert (await place.provider(FileToken(file)).set_status(status)).verdict is Verdict.DONE
    assert [seen.headers["authorization"].split()[1] for seen in place.api.seen] == ["old", "new"]
