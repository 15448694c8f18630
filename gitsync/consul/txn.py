"""/v1/txn: several operations that all happen or none, and what it says of those that stand in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitsync.consul.client import Client
from gitsync.consul.verdict import FENCED, Refused, TokenGone, unclear
from gitsync.model.errors import Fenced, Forbidden, Rejected

MOST_OPERATIONS = 64
"""128 from 1.14, but then a client agent of another version may still say 64."""

MOST_BYTES = 512 * 1024
"""`limits.txn_max_req_len` of Consul, of the whole body with its base64."""

CONFLICTS = (
    "index is stale",
    "failed index check",
    "lock is already held",
    "due to lock delay",
    "lock isn't held",
    " exists",
    "doesn't exist",
)
"""What an operation says when something is not as it was expected to be. A failed session check is not among them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An operation that kept a transaction from happening: its position, and Consul's words."""

    op_index: int
    what: str

    @property
    def absent(self) -> bool:
        """It names something that is not there."""
        return "doesn't exist" in self.what

    @property
    def denied(self) -> bool:
        """The token may not do it."""
        return "permission denied" in self.what.lower()

    @property
    def held(self) -> bool:
        """It is a lock that somebody else has, or had until a moment ago."""
        return "lock is already held" in self.what or "due to lock delay" in self.what


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction answered: the results if it happened, else the failures."""

    results: tuple[Mapping[str, Any], ...] = ()
    failures: tuple[Failure, ...] = ()


async def run(
    client: Client, operations: Sequence[bytes], *, write: bool, what: str, datacenter: str | None = None
) -> Outcome:
    """Send one transaction, its operations as JSON.

    Results of gets that the token may not see are left out by Consul, so they do not match *operations*.

    What conflicts and what the token may not do are failures, each at its position: the rest may be sent again without them.
    Raises Fenced if a session check failed, TokenGone, Refused for what no retry helps, Unknown if it may have happened.
    Source: Consul HTTP API, PUT /v1/txn.
    """
    body = b"[%b]" % b",".join(operations)
    if len(operations) > MOST_OPERATIONS or len(body) > MOST_BYTES:
        size = f"{len(operations)} operations and {len(body)} bytes; Consul takes {MOST_OPERATIONS} and {MOST_BYTES}"
        raise Refused(f"{what}: the transaction is too large, {size}.")
    params = {} if write else {"consistent": ""}
    if datacenter:
        params["dc"] = datacenter
    answer = await client.ask("PUT", "/v1/txn", params, body, write=write, what=what)
    if answer.status not in (200, 409):
        raise unclear(f"{what}: Consul answers {answer.status}: {answer.text}", write=write)
    try:
        said = answer.json()
        results = tuple(said.get("Results") or ())
        failures = tuple(Failure(each["OpIndex"], each["What"]) for each in said.get("Errors") or ())
    except Exception as strange:  # whatever it was, it was not Consul that said it
        raise unclear(
            f"{what}: {answer.status} {answer.text[:80]!r} is no answer to a transaction", write=write
        ) from strange
    if answer.status == 200 and not failures:
        return Outcome(results=results)
    if not failures:
        raise unclear(f"{what}: Consul answers {answer.status}: {answer.text}", write=write)
    for failure in failures:
        error = _final(failure, what)
        if error:
            raise error
    return Outcome(failures=failures)


def denial(failures: Iterable[Failure], what: str) -> Forbidden | None:
    """The error that the first denied operation is, None if nothing was denied."""
    for failure in failures:
        if failure.denied:
            return Forbidden(
                f"{what}: {failure.what}. The token needs more rights; see docs/operations on what gitsync's token must be allowed."
            )
    return None


def _final(failure: Failure, what: str) -> Rejected | Fenced | None:
    """The error that ends the whole transaction for good, None for a conflict."""
    text = failure.what.lower()
    said = f"{what}: {failure.what}"
    if any(part in text for part in FENCED):
        return Fenced(f"{said}. The session is gone: nothing more is written in this run.")
    if "acl not found" in text:
        return TokenGone(f"{said}. The token is expired or revoked.")
    if failure.denied or any(part in text for part in CONFLICTS):
        return None
    return Refused(said)
