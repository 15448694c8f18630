"""What a host answered, and what that means at any host (git-hosts: error classes). Pure, but for a clock where the host has none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from gitsync.hosts import payload
from gitsync.model.host import Verdict

LONGEST_WAIT = 3600.0
"""No host is believed to want a longer pause than this, in seconds."""

_WORDS = 300

_BY_STATUS = {
    401: Verdict.AUTH,
    404: Verdict.FORBIDDEN,  # how hosts say "no rights" without saying that there is something
    408: Verdict.TRANSIENT,
    409: Verdict.CONFLICT,
    410: Verdict.FORBIDDEN,
    425: Verdict.TRANSIENT,
    429: Verdict.LIMIT,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    status: 0 if nothing did. body: the JSON, None where there is none. trouble: why this is no answer that counts, "" if it is one.
    verdict: what the trouble means, if it is known without asking the host (the token's file cannot be read).
    """

    status: int
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: Any = None
    trouble: str = ""
    verdict: Verdict | None = None

    @property
    def ok(self) -> bool:
        """Whether the host did what was asked."""
        return 200 <= self.status < 300 and not self.trouble

    @property
    def message(self) -> str:
        """The host's own words, as it sent them, "" for none."""
        body = self.body
        for path in (("message",), ("error", "message"), ("error",), ("errors", 0, "message"), ("error_description",)):
            if found := payload.text(body, *path):
                more = payload.text(body, "errors", 0, "message") or payload.text(body, "errors", 0)
                return f"{found}: {more}" if more and more != found else found
        found = payload.at(body, "message")
        return json.dumps(found)[:_WORDS] if found else ""


VerdictHook = Callable[[Answer], Verdict | None]
"""What an answer means at one host, None where it means what it means everywhere. It sees every answer first."""


def classify(answer: Answer) -> Verdict:
    """What an answer means at any host (git-hosts 2.8)."""
    status = answer.status
    if answer.ok:
        return Verdict.DONE
    if status == 403:
        return Verdict.LIMIT if limited(answer) else Verdict.FORBIDDEN
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 500:
        return Verdict.INVALID
    return Verdict.TRANSIENT


def limited(answer: Answer) -> bool:
    """Whether the headers say that it was too much at once: Retry-After, or a limit with nothing remaining."""
    headers = answer.headers
    return bool(headers.get("retry-after")) or any(
        headers.get(name, "").strip() == "0" for name in ("x-ratelimit-remaining", "ratelimit-remaining")
    )


def retry_after(answer: Answer, clock: Callable[[], float] = time.time) -> float | None:
    """Seconds that the host asks to wait, None if it does not say. Its own `Date` is the clock, so that ours may be wrong.

    `Retry-After` in seconds or as a date; else, where nothing remains or it was a 429, the reset of the limit (Unix time).
    """
    headers = answer.headers
    now = _date(headers.get("date", ""))
    now = clock() if now is None else now
    given = headers.get("retry-after", "").strip()
    if given:
        seconds = _number(given)
        at = _date(given)
        wait = seconds if seconds is not None else (at - now if at is not None else None)
        if wait is not None:
            return min(max(wait, 0.0), LONGEST_WAIT)
    if answer.status == 429 or (answer.status == 403 and limited(answer)):
        for name in ("x-ratelimit-reset", "ratelimit-reset"):
            reset = _number(headers.get(name, ""))
            if reset is not None:
                return min(max(reset - now, 0.0), LONGEST_WAIT)
    return None


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 16 else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
