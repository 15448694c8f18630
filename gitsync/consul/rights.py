"""What a token may do, as far as Consul says it: asked, never tried out. Nothing is written.

`/v1/internal/acl/authorize` is what Consul's own UI asks; it is there, and answers alike, in 1.8.7, 1.12.9 and 1.21.4 (tried).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitsync.consul.client import Client
from gitsync.model.errors import Forbidden, Rejected, Unavailable

DISABLED = "ACL support disabled"


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that a token may or may not do. access: read or write. name: of what; "" where a resource has no names."""

    resource: str
    access: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.resource} {self.access}" + (f" on {self.name}" if self.name else "")


@dataclass(frozen=True, slots=True)
class TokenSeen:
    """acls: whether this Consul has any. name: how an operator finds the token, never the token. expires: ISO 8601, "" for never.

    policies: by name, also of roles. allowed: what was asked for, None where Consul does not say.
    """

    acls: bool
    name: str = ""
    expires: str = ""
    policies: tuple[str, ...] = ()
    allowed: Mapping[Right, bool] | None = None


async def look_at_token(client: Client, asked: Sequence[Right]) -> TokenSeen:
    """What Consul says of our token. Raises Forbidden where it does not know it, Unavailable where it does not answer.

    Source: Consul HTTP API, GET /v1/acl/token/self.
    """
    answer = await client.call("GET", "/v1/acl/token/self", what="the token itself")
    if DISABLED in answer.text:
        return TokenSeen(acls=False)
    if answer.status == 403 and "not found" in answer.text.lower():
        raise Forbidden("Consul does not know this token: it has expired or was deleted. Make a new one.")
    if answer.status >= 500:
        raise Unavailable(f"the token itself: Consul answered {answer.status} {answer.text[:100]!r}. Try again.")
    said: Any = answer.json() if answer.status == 200 else {}
    said = said if isinstance(said, dict) else {}
    linked = [each.get("Name", "") for kind in ("Policies", "Roles") for each in said.get(kind) or ()]
    return TokenSeen(
        acls=True,
        name=str(said.get("Description") or said.get("AccessorID") or ""),
        expires=str(said.get("ExpirationTime") or ""),
        policies=tuple(filter(None, linked)),
        allowed=await _allowed(client, asked),
    )


async def _allowed(client: Client, asked: Sequence[Right]) -> Mapping[Right, bool] | None:
    body = [{"Resource": each.resource, "Access": each.access, "Segment": each.name} for each in asked]
    try:
        answer = await client.ask(
            "POST", "/v1/internal/acl/authorize", body=body, write=False, what="the token's rights"
        )
    except Rejected:  # an older or a later Consul: it is only good to know
        return None
    said = answer.json() if answer.status == 200 else None
    if not isinstance(said, list) or len(said) != len(asked):
        return None
    return {right: bool(each.get("Allow")) for right, each in zip(asked, said, strict=True)}
