"""The one way to a Git host's API: a request with a deadline, a token in `Authorization` alone, and an answer that is classified.

    Api(base, credentials, client, name="github", authorization=bearer, headers={…}, verdict=hook)
        .request("POST", segments("repos", owner, name), json={…})  ->  Answer        never raises for what the host does
        .result(answer, what="…")                                   ->  PostResult    the Verdict, and a sentence without secrets
        .failure(answer, what="…")                                  ->  GitsyncError  for the methods that raise

Nothing is retried here but one request after a 401 with a new token. No redirect is followed unless it leads to the same origin.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from gitsync import __version__
from gitsync.hosts.answer import Answer, VerdictHook, classify, retry_after
from gitsync.hosts.limits import capped, cut_comment, not_a_commit, one_line, own_comment
from gitsync.hosts.provider import Credentials
from gitsync.model.errors import Forbidden, GitsyncError, Rejected, Unavailable
from gitsync.model.host import PostResult, Problem, Verdict

__all__ = [
    "Answer",
    "Api",
    "VerdictHook",
    "bearer",
    "capped",
    "cut_comment",
    "http_client",
    "not_a_commit",
    "own_comment",
    "segments",
]
"""What a provider is made of, in one place."""

SECONDS = 10.0
"""The longest wait for one answer, from the first byte sent to the last one read."""

ANSWER_BYTES = 8 * 1024 * 1024
"""The longest answer that is read. A page of 100 pull requests of GitHub is about 2 MB."""

PAGES = 20
"""Most pages of a list that are asked for."""

_REDIRECTS = 3
_DETAIL = 300

_JSON = "application/json"
_ENCODINGS = ("identity", "gzip")
"""Of an answer. Of some others, and of one inside another, a thousand bytes unpack to more than the memory."""


def bearer(token: str) -> str:
    """The value of `Authorization` that most hosts want."""
    return f"Bearer {token}"


class Api:
    """One host's API with one set of credentials."""

    def __init__(
        self,
        base: str,
        credentials: Credentials,
        client: httpx.AsyncClient,
        *,
        name: str,
        authorization: Callable[[str], str] = bearer,
        headers: Mapping[str, str] | None = None,
        verdict: VerdictHook | None = None,
    ) -> None:
        """base: the API's URL, to which paths are appended. name: the host, in messages. authorization: the header, of a token."""
        self.base = base.rstrip("/")
        self.name = name
        self.credentials = credentials
        self._client = client
        self._authorization = authorization
        asked = {"Accept": _JSON, "Accept-Encoding": "gzip", "User-Agent": f"gitsync/{__version__}"}
        self._headers = {**asked, **(headers or {})}
        self._hook = verdict

    async def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None
    ) -> Answer:
        """Send one request and return whatever came of it. Never raises, but for a cancelled task.

        path: made by `segments`, or a whole URL of the same origin (the next page of a list). json: the body, None for none.
        After a 401 the credentials are invalidated, and if that gives another token the request is sent once more.
        """
        url = path if path.startswith(("http://", "https://")) else self.base + path
        if origin(url) != origin(self.base):
            return Answer(
                0, trouble=f"{self.name} names a page of another origin, which is not asked", verdict=Verdict.INVALID
            )
        try:
            token = await self.credentials.token()
            answer = await self._follow(method, url, params, json, token)
            if answer.status == 401:
                if await self.credentials.token() == token:
                    await self.credentials.invalidate()
                renewed = await self.credentials.token()
                if renewed != token:
                    answer = await self._follow(method, url, params, json, renewed)
            return answer
        except GitsyncError as error:
            # The credentials' own trouble: an Unavailable passes, anything else needs a person.
            wait = Verdict.TRANSIENT if error.retryable else Verdict.AUTH
            return Answer(0, trouble=str(error), verdict=wait)

    async def found(
        self, path: str, *, around: str, what: str, params: Mapping[str, Any] | None = None
    ) -> Answer | None:
        """What is at *path*, None if it certainly is not there.

        404 is also what hosts say to who may not see it: it counts only while what it belongs to, *around*, can be seen.
        Raises as `failure` says.
        """
        answer = await self.request("GET", path, params=params)
        if answer.status == 404:
            seen = await self.request("GET", around, params=params)
            if seen.ok:
                return None
            answer = seen
        if not answer.ok:
            raise self.failure(answer, what=what)
        return answer

    async def pages(
        self,
        path: str,
        params: Mapping[str, Any],
        *,
        most: int = PAGES,
        next_page: Callable[[Answer], str] | None = None,
    ) -> AsyncIterator[Answer]:
        """The answers of a list, page after page, at most *most*. The last one may be a failure: look at `ok`.

        next_page: the URL of the next page, "" for none. Default: what the `Link` header calls `next`.
        """
        follow = next_page or _linked
        target, query = path, dict(params) or None
        for _ in range(most):
            answer = await self.request("GET", target, params=query)
            yield answer
            target, query = (follow(answer) if answer.ok else ""), None
            if not target:
                return

    def verdict(self, answer: Answer) -> Verdict:
        """What *answer* means: the host's own reading of it first, then the one that holds everywhere."""
        if answer.verdict is not None:
            return answer.verdict
        return (self._hook(answer) if self._hook else None) or classify(answer)

    def result(self, answer: Answer, *, what: str, id: str | None = None) -> PostResult:  # noqa: A002  the field's name
        """*answer* as the result of *what* ("the status gitsync/… on 1234567"). id: of the comment it was about."""
        verdict = self.verdict(answer)
        if verdict is Verdict.DONE:
            return PostResult(verdict, id=id)
        return PostResult(verdict, retry_after(answer), self.sentence(answer, what), id)

    def failure(self, answer: Answer, *, what: str) -> GitsyncError:
        """*answer* as the error it is: Unavailable for what passes by itself, Forbidden for missing rights, else Rejected."""
        verdict, sentence = self.verdict(answer), self.sentence(answer, what)
        if verdict in (Verdict.TRANSIENT, Verdict.LIMIT, Verdict.CONFLICT):
            return Unavailable(sentence)
        if verdict in (Verdict.AUTH, Verdict.FORBIDDEN):
            return Forbidden(sentence)
        return Rejected(sentence)

    def sentence(self, answer: Answer, what: str) -> str:
        """What became of *what*, and what to do. Without secrets and control characters, however the host put them there."""
        return f"{what}: {self._said(answer)}. {self._advice(answer)}".rstrip()

    def scrubbed(self, text: str) -> str:
        """*text* without the credentials, in whatever form they are in it."""
        for secret in sorted(filter(None, self.credentials.secrets()), key=len, reverse=True):
            text = text.replace(secret, "[secret]")
        return text

    def problem(self, answer: Answer, *, what: str, hint: str = "", fatal: bool = True) -> Problem:
        """*answer* as a finding of the preflight. hint: what to do, where it is better known than by the verdict."""
        return Problem(f"{what}: {self._said(answer)}", hint or self._advice(answer), fatal)

    def _said(self, answer: Answer) -> str:
        said = f"{self.name} answers {answer.status}" + (f": {answer.message}" if answer.message else "")
        return one_line(self.scrubbed(answer.trouble or said), _DETAIL).rstrip(".")

    def _advice(self, answer: Answer) -> str:
        """What to do, unless it was said with the trouble."""
        return "" if answer.verdict else _ADVICE[self.verdict(answer)]

    async def _follow(self, method: str, url: str, params: Mapping[str, Any] | None, json: Any, token: str) -> Answer:
        """Send, and again to where a moved repository is, as long as that is the same origin (git-hosts: renamed repositories)."""
        for _ in range(_REDIRECTS + 1):
            answer = await self._send(method, url, params, json, token)
            if answer.status not in (301, 307, 308):
                return answer
            target = _target(url, answer.headers.get("location", ""))
            if origin(target) != origin(url):
                where = origin(target)[1] or "nowhere"
                return replace(
                    answer,
                    trouble=f"{self.name} answers {answer.status}, a redirect to {where}, which is not followed: "
                    "the token is for one origin. Write the API's own address as host.api_url",
                    verdict=Verdict.INVALID,
                )
            url, params = target, None
        return replace(answer, trouble=f"{self.name} redirects in a circle", verdict=Verdict.INVALID)

    async def _send(self, method: str, url: str, params: Mapping[str, Any] | None, json: Any, token: str) -> Answer:
        headers = dict(self._headers)
        if token:
            headers["Authorization"] = self._authorization(token)
        content: bytes | None = None
        if json is not None:
            content, headers["Content-Type"] = jsonlib.dumps(json).encode(), _JSON
        seconds = self._client.timeout.read or SECONDS
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(
                    method,
                    url,
                    params=params,
                    content=content,
                    headers=headers,
                    follow_redirects=False,
                    timeout=SECONDS,
                ) as response,
            ):
                return await self._read(response)
        except (TimeoutError, httpx.TimeoutException):
            return Answer(0, trouble=f"{self.name} gave no answer within {seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError) as error:
            words = str(error) or type(error).__name__
            return Answer(0, trouble=f"{self.name} at {_place(self.base)} cannot be reached: {words}")

    async def _read(self, response: httpx.Response) -> Answer:
        """The answer, no longer than it may be. What is no JSON counts as no body, and after a 2xx as no answer."""
        if (response.headers.get("content-encoding") or "identity").strip().lower() not in _ENCODINGS:
            trouble = f"{self.name} answers in an encoding that was not asked for"
            return Answer(response.status_code, response.headers, trouble=trouble)
        raw = bytearray()
        async for chunk in response.aiter_bytes():
            raw += chunk
            if len(raw) > ANSWER_BYTES:
                trouble = f"{self.name} answers with more than {ANSWER_BYTES // 1024**2} MiB"
                return Answer(response.status_code, response.headers, trouble=trouble)
        answer = Answer(response.status_code, response.headers)
        if not raw.strip():
            return answer
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if media != _JSON and not (media.startswith("application/") and media.endswith("+json")):
                raise ValueError(media)
            return replace(answer, body=jsonlib.loads(bytes(raw)))
        except (ValueError, RecursionError):
            if not response.is_success:
                return answer
            trouble = (
                f"{self.name} answers {response.status_code} with {media or 'something'} that is no JSON. Is "
                f"{self.base} its API, and the token a good one?"
            )
            return replace(answer, trouble=trouble)


def http_client(ca_file: Path | None = None) -> httpx.AsyncClient:
    """A client for one host. ca_file: certificates (PEM) instead of the system's. No proxy of the environment is used, no redirect
    followed, no cookie taken. Raises OSError if *ca_file* cannot be read."""
    verify = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=2, keepalive_expiry=30)
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        verify=verify, limits=limits, timeout=SECONDS, cookies=cookies, follow_redirects=False, trust_env=False
    )


_ADVICE = {
    Verdict.DONE: "",
    Verdict.AUTH: "Give it another token: host.token_file is read again when it changes.",
    Verdict.FORBIDDEN: "Give the token the rights that the host's page in the documentation lists, on this repository.",
    Verdict.UNKNOWN_SHA: "Tried again: the host may not know the commit yet.",
    Verdict.LIMIT: "Tried again when the host takes it.",
    Verdict.CONFLICT: "Tried again.",
    Verdict.FULL: "No more statuses fit on this commit; the next commit has its own.",
    Verdict.INVALID: "Not tried again: it would be refused as it is.",
    Verdict.TRANSIENT: "Tried again.",
}


def segments(*names: str) -> str:
    """*names* as a path, each one segment: `/repos/acme/a%20b`."""
    return "".join("/" + quote(name, safe="") for name in names)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a token is for."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0
    return parts.scheme.lower(), (parts.hostname or "").lower(), port


def _linked(answer: Answer) -> str:
    """The URL of the next page by the `Link` header."""
    header = answer.headers.get("link", "")
    if not header or len(header) > 8192:
        return ""
    response = httpx.Response(200, headers={"link": header})
    return response.links.get("next", {}).get("url", "")


def _target(url: str, location: str) -> str:
    try:
        return str(httpx.URL(url).join(location)) if location else ""
    except (httpx.InvalidURL, ValueError):
        return ""


def _place(url: str) -> str:
    _, host, port = origin(url)
    return f"{host}:{port}"
