"""The tokens of a host's API: a fixed one, one in a file, or those of a GitHub App's installation.

Whatever they are made of, `secrets()` has them in each form in which they can turn up: as they are, as a URL writes them, and as
basic authentication does.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt

from gitsync.hosts import payload
from gitsync.hosts.api import Answer, Api, segments
from gitsync.log import hide
from gitsync.model.errors import Forbidden, Rejected, Unavailable
from gitsync.model.host import RepoRef

TOKEN_LENGTH = 16 * 1024

USERS = ("git", "x-access-token", "oauth2", "x-token-auth", "")
"""The user names with which tokens are sent as a password, by git and by APIs."""

LIFETIME = 3000.0
"""Seconds after which an installation's token is replaced. It lasts an hour."""

_JWT_SECONDS = 300
"""GitHub takes ten minutes at most by its own clock: this leaves five for ours to be ahead."""

PERMISSIONS: Mapping[str, str] = {"contents": "read", "statuses": "write", "pull_requests": "write"}
"""What gitsync asks an installation for, and no more."""


class StaticToken:
    """A token that does not change, from the environment. "" asks without one."""

    def __init__(self, token: str, *, users: Iterable[str] = ()) -> None:
        """users: the names it is sent with, besides the usual ones. Raises Rejected for what cannot be in a header."""
        self._token = token.strip()
        if self._token:
            _must_be_a_token(self._token, "the host's token")
        self._secrets = forms(self._token, (*USERS, *users))

    async def token(self) -> str:
        """The token."""
        return self._token

    async def invalidate(self) -> None:
        """Nothing: there is no other one."""

    def secrets(self) -> Sequence[str]:
        """The token in each form."""
        return self._secrets


class FileToken:
    """A token in a file, which is read for every request, so that a new one counts at once."""

    def __init__(self, path: Path, *, users: Iterable[str] = ()) -> None:
        """users: the names it is sent with, besides the usual ones."""
        self._path = path
        self._users = (*USERS, *users)
        self._known: dict[str, tuple[str, ...]] = {}

    async def token(self) -> str:
        """Raises Unavailable if the file cannot be read, Rejected if it holds no token."""
        raw = _read(self._path, "host.token_file", TOKEN_LENGTH)
        token = raw.decode("ascii", errors="replace").strip()
        _must_be_a_token(token, f"host.token_file {self._path}")
        if token not in self._known:
            hide(token)
            # the one before may still be in a log line that is being written
            self._known = {**dict(list(self._known.items())[-1:]), token: forms(token, self._users)}
        return token

    async def invalidate(self) -> None:
        """Nothing: the file is read again anyway."""

    def secrets(self) -> Sequence[str]:
        """The token that was read last and the one before, in each form."""
        return tuple(form for known in self._known.values() for form in known)


@dataclass(frozen=True, slots=True)
class Grant:
    """A token of an installation. until: by our clock, when it is replaced. expires: as GitHub wrote it."""

    token: str
    until: float
    expires: str
    permissions: Mapping[str, str]


class GitHubApp:
    """The tokens of a GitHub App for one repository: each lasts an hour and is replaced after 50 minutes.

    Source: GitHub's "Authenticating as a GitHub App installation".
    """

    def __init__(
        self,
        app_id: str,
        key_file: Path,
        repo: RepoRef,
        client: httpx.AsyncClient,
        *,
        permissions: Mapping[str, str] = PERMISSIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """app_id: its number or its client id. key_file: PEM, read again for every token. clock: seconds since 1970."""
        self._repo, self._clock = repo, clock
        self._permissions = permissions
        self._jwt = AppKey(app_id, key_file, clock)
        self._api = Api(repo.api_url, self._jwt, client, name="GitHub")
        self._lock = asyncio.Lock()
        self._installation: int | None = None
        self._login = ""
        self._refused = ""
        self.grant: Grant | None = None

    async def token(self) -> str:
        """Raises Unavailable, Forbidden or Rejected if there is no token to be had."""
        async with self._lock:
            if self.grant is None or self._clock() >= self.grant.until:
                fresh = await self._fresh()
                self._refused, self.grant = (self.grant.token if self.grant else self._refused), fresh
            return self.grant.token

    async def invalidate(self) -> None:
        """The next token is a new one."""
        async with self._lock:
            if self.grant:
                self._refused, self.grant = self.grant.token, None

    def secrets(self) -> Sequence[str]:
        """The token, the one before, and what they were asked for with, in each form."""
        tokens = (self.grant.token if self.grant else "", self._refused)
        return tuple(form for token in tokens for form in forms(token, USERS)) + tuple(self._jwt.secrets())

    async def login(self) -> str:
        """The name under which the app writes comments. Raises as `token` does."""
        if not self._login:
            answer = await self._api.request("GET", "/app")
            slug = payload.text(answer.body, "slug")
            if not answer.ok or not slug:
                raise self._api.failure(answer, what="the name of the GitHub App")
            self._login = f"{slug}[bot]"
        return self._login

    async def _fresh(self) -> Grant:
        asked = {"repositories": [self._repo.full_name.rpartition("/")[2]], "permissions": dict(self._permissions)}
        known = self._installation
        if known is None:
            known = self._installation = await self._find()
        answer = await self._ask(known, asked)
        if answer.status == 404:  # installed anew since we looked
            self._installation = None
            known = self._installation = await self._find()
            answer = await self._ask(known, asked)
        token = payload.text(answer.body, "token")
        if answer.status == 422:
            wanted = ", ".join(f"{name}: {level}" for name, level in self._permissions.items())
            raise Forbidden(
                f"the GitHub App may not do on {self._repo.full_name} what gitsync needs ({wanted}). Give it these permissions "
                "in the app's settings, and accept them where it is installed."
            )
        if not answer.ok or not token:
            raise self._api.failure(answer, what=f"a token of the GitHub App for {self._repo.full_name}")
        _must_be_a_token(token, "GitHub's token of the installation")
        hide(token)
        expires = payload.text(answer.body, "expires_at")
        granted = payload.at(answer.body, "permissions")
        permissions = {str(name): str(level) for name, level in granted.items()} if isinstance(granted, dict) else {}
        return Grant(token, self._clock() + min(LIFETIME, _lifetime(answer, expires)), expires, permissions)

    async def _ask(self, installation: int, asked: Mapping[str, object]) -> Answer:
        return await self._api.request("POST", f"/app/installations/{installation}/access_tokens", json=asked)

    async def _find(self) -> int:
        owner, _, name = self._repo.full_name.partition("/")
        answer = await self._api.request("GET", segments("repos", owner, name, "installation"))
        found = payload.number(answer.body, "id")
        if answer.status == 404:
            raise Forbidden(
                f"the GitHub App is not installed on {self._repo.full_name}. Install it there, and choose this repository."
            )
        if not answer.ok or found is None:
            raise self._api.failure(answer, what=f"the GitHub App's installation on {self._repo.full_name}")
        return found


class AppKey:
    """What an app proves itself with: a JWT that its private key signed, good for a few minutes."""

    def __init__(self, app_id: str, key_file: Path, clock: Callable[[], float]) -> None:
        self._app_id, self._key_file, self._clock = app_id, key_file, clock
        self._last = ""

    async def token(self) -> str:
        """Raises Unavailable if the key cannot be read, Rejected if it is none."""
        key = _read(self._key_file, "host.app.key_file", TOKEN_LENGTH)
        now = int(self._clock())
        claims = {"iat": now - 60, "exp": now + _JWT_SECONDS, "iss": self._app_id}
        try:
            self._last = jwt.encode(claims, key, algorithm="RS256")
        except Exception:  # noqa: BLE001  of a public key, for one, the library asks what it does not have (AttributeError)
            # from None: the library's message may quote the key
            raise Rejected(
                f"host.app.key_file {self._key_file} holds no RSA private key. Make one in the app's settings and put it there."
            ) from None
        return self._last

    async def invalidate(self) -> None:
        """Nothing: each one is new."""

    def secrets(self) -> Sequence[str]:
        """The last JWT."""
        return (self._last,) if self._last else ()


def forms(token: str, users: Iterable[str]) -> tuple[str, ...]:
    """*token* as it is, as URLs write it, and as basic authentication does with each of *users*. () for none."""
    if not token:
        return ()
    # one that is itself `user:password` is sent as it is
    pairs = [base64.b64encode(pair.encode()).decode() for pair in (*(f"{user}:{token}" for user in users), token)]
    return tuple(dict.fromkeys((token, quote(token, safe=""), quote(token), *pairs)))


def _lifetime(answer: Answer, expires: str) -> float:
    """Seconds until ten minutes before the token ends, by GitHub's own clock; LIFETIME where it does not say."""
    try:
        left = datetime.fromisoformat(expires) - parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return LIFETIME
    return max(left.total_seconds() - 600, 60.0)


def _read(path: Path, name: str, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise Unavailable(
            f"{name} {path} cannot be read: {error.strerror}. Put it there, readable by gitsync's user."
        ) from error
    if len(raw) > most:
        raise Rejected(f"{name} {path} is longer than {most // 1024} KiB: that is no secret of a Git host.")
    return raw


def _must_be_a_token(token: str, where: str) -> None:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Rejected(f"{where} is no token: one word of printable ASCII is expected. Put the token there.")
