"""What an answer, or the lack of one, means: done, refused, or not known. By the text first, since the status says little.

    Consul answers         it means
    500 "discovery chain"  its content is refused, for good            Refused (Rejected)
    500 "No cluster leader", "failed to get conn"   nothing happened   Unavailable
    500 "EOF", "leadership lost", a timeout, a cut  a write may have been applied: half of them were    Unknown
    500 anything else      the same
    200 "false"            somebody was first; the caller knows what to make of it

A read changes nothing, so for reads Unknown is Unavailable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import aiohttp

from gitsync.consul.answer import Answer
from gitsync.model.errors import Fenced, Forbidden, GitsyncError, Rejected, Unavailable, Unknown


class Refused(Rejected):
    """Consul refuses the content of a write.

    dependency: what stands in the way is another entry (a protocol, a subset, a route), so the same write may pass once
    that one changed. Else it will not pass before its own content changes.
    """

    def __init__(self, message: str, *, dependency: bool = False) -> None:
        super().__init__(message)
        self.dependency = dependency


class TokenGone(Forbidden):
    """Consul does not know the token: expired, revoked, or not yet replicated. A run stops: somebody may have fenced it."""


class NoConnection(Unavailable):
    """No connection was made: nobody listens there, or not with the TLS that was expected."""


class Throttled(Unavailable):
    """Consul asks for fewer requests. `retry_after`: seconds that it asks to wait, None if it does not say."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# Consul's texts, in lower case, as they stand in its source of 1.8 to 1.21. They are matched anywhere, because client agents and
# newer servers put a prefix before them ("rpc error making call: ", "apply failed: ").

FENCED = ("invalid session", "failed session check", "failed to check session")

THROTTLED = (
    "rate limit exceeded",
    "can only be performed by the leader",
    "your ip is issuing too many concurrent connections",
)

NOT_APPLIED = (
    "no cluster leader",
    "failed to get conn",
    "rpc error getting client",
    "lead thread didn't get connection",
    "node is not the leader",
    "not ready to serve consistent reads",
    "raft leader not found in server lookup mapping",
    "no known consul servers",
)

DEPENDENCY = (
    "discovery chain",
    "does not have a subset named",
    "does not permit advanced routing",
    "inconsistent protocols",
    "circular resolver redirect",
    "circular reference",
    "infinite loop",
    "no path to datacenter",
)

REFUSED = (
    "route[",
    "split[",
    "sum of all split",
    "split destination occurs more than once",
    "invalid ",
    " is required",
    " must ",
    "must be ",
    "must provide",
    "must contain",
    "must specify",
    "cannot ",
    "exceeds",
    "too long",
    "too many",
    "too large",
    "is too big",
    "unsupported",
    "not supported",
    "requires consul enterprise",
    "bad ",
    "duplicate",
    "more than once",
    "was specified",
    "is already",
    "already exists",
    "does not exist",
    "doesn't exist",
    "no such acl",
    "unknown service",
    "unknown check",
    "missing node registration",
    "missing check",
    "unknown field",
    "failed to parse",
    "error parsing",
    "strconv.",
    "wildcard",
    "not permitted",
    "expirationtime",
    "not a valid",
    "failed to load",
    "both are set",
    "meta ",
)

LOST = re.compile(
    r"\beof\b|stream (closed|reset)|session shutdown|connection re(set|fused)|broken pipe|use of closed network connection"
    r"|timeout|timed out|deadline (exceeded|reached)|context canceled|leadership (lost|transfer)|shutdown|snapshot restored"
)
"""An error on the way to the leader or in it, after the request had left: a write may have been applied."""

QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
"""Names in Consul's texts. They are taken out before matching: a service may be called `eof`."""


def classify(outcome: Answer | BaseException, *, write: bool, what: str = "") -> Answer:
    """Return the answer if it is one that counts: 200, or 404 to a read.

    what: the request in a few words, for the message. Raises Refused, Forbidden (TokenGone), Fenced, Throttled, Unavailable
    (nothing was changed) or Unknown (a write that may have been applied). 409, which /v1/txn answers, is for its caller.
    """
    if isinstance(outcome, BaseException):
        raise lost(outcome, write=write, what=what) from outcome
    if outcome.status in {200, 409} or (outcome.status == 404 and not write):
        return outcome
    raise refusal(outcome, write=write, what=what)


def refusal(answer: Answer, *, write: bool, what: str = "") -> GitsyncError:
    """The error that an answer with a status other than 200 is."""
    said = f"{what}: Consul answers {answer.status}" if what else f"Consul answers {answer.status}"
    said += f": {answer.text}" if answer.text else ""
    text = QUOTED.sub('""', answer.body[:8192].decode(errors="replace").lower())
    status = answer.status

    if 300 <= status < 400:
        where = answer.headers.get("Location") or "elsewhere"
        return Refused(
            f"{what or 'Consul'}: redirected to {where}, and redirects are never followed. Check the address of Consul."
        )
    if denied := _denied(status, text, said):
        return denied
    if status == 429 or any(part in text for part in THROTTLED):
        return Throttled(
            f"{said}. Fewer requests at once, or a higher limit in Consul.", retry_after=_retry_after(answer)
        )
    if any(part in text for part in FENCED):
        return Fenced(f"{said}. The session is gone: nothing more is written in this run.")
    if 400 <= status < 500 and status != 408:
        return Refused(said, dependency=any(part in text for part in DEPENDENCY))
    return _failure(text, said, write=write, status=status)


def _denied(status: int, text: str, said: str) -> GitsyncError | None:
    """Permission, whatever the status: client agents pass a server's refusal on as 500 or 403."""
    if "acl not found" in text:
        return TokenGone(f"{said}. The token is expired, revoked or not replicated yet.")
    if "acl support disabled" in text:
        return Refused(f"{said}. This Consul has no ACLs, so it has no tokens to manage.")
    if status in (401, 403) or "permission denied" in text:
        return Forbidden(
            f"{said}. The token needs more rights; see docs/operations on what gitsync's token must be allowed."
        )
    return None


def _failure(text: str, said: str, *, write: bool, status: int) -> GitsyncError:
    """5xx: what Consul refuses, what it could not do, and what may or may not have happened."""
    if any(part in text for part in NOT_APPLIED):
        return Unavailable(f"{said}. Nothing was changed.")
    if status == 500 and any(part in text for part in DEPENDENCY):
        return Refused(said, dependency=True)
    if status == 500 and not LOST.search(text) and any(part in text for part in REFUSED):
        return Refused(said)
    return unclear(said, write=write)


def unclear(said: str, *, write: bool) -> GitsyncError:
    """No answer that counts: for a read nothing lost, for a write not known."""
    if write:
        return Unknown(f"{said}. It may or may not have been applied: it is read back.")
    return Unavailable(said)


def lost(error: BaseException, *, write: bool, what: str = "") -> GitsyncError:
    """The error that a request without an answer is.

    Only a connection that was never made is certain not to have changed anything.
    """
    subject = f"{what}: " if what else ""
    causes = tuple(_causes(error))
    if any(
        isinstance(cause, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) for cause in causes
    ):
        return NoConnection(
            f"{subject}no TLS connection to Consul: {_says(error)}. Check consul.ca_file and the name in the address."
        )
    if any(isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for cause in causes):
        return NoConnection(
            f"{subject}no connection to Consul: {_says(error)}. Check that it runs, and consul.address."
        )
    if any(isinstance(cause, aiohttp.InvalidURL) for cause in causes):
        return Refused(f"{subject}no URL that can be asked: {_says(error)}. Check consul.address.")
    if any(isinstance(cause, TimeoutError) for cause in causes) and not any(
        isinstance(cause, aiohttp.ClientConnectionError) and not isinstance(cause, TimeoutError) for cause in causes
    ):
        return unclear(f"{subject}Consul did not answer in time", write=write)
    return unclear(
        f"{subject}the connection to Consul broke before its answer was complete ({_says(error)})", write=write
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _says(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("Retry-After") or ""
    return float(text) if text.isdecimal() else None
