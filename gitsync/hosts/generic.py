"""A webhook from anything that can sign: it only says "look". There is no API, so nothing is reported back.

| sent                                              | secret                                     |
|---------------------------------------------------|--------------------------------------------|
| `X-Signature: sha256=<hex>` or `sha512=<hex>`     | any text; the HMAC of the raw body         |
| Standard Webhooks: `webhook-id`, `-timestamp`, `-signature` | `whsec_<base64>`; a delivery gets old and is refused |

The body may say `{"repository": "owner/name", "ref": "refs/heads/main", "after": "<sha>"}`, each of them or none: `{}` wakes all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

import httpx

from gitsync.hosts import signature
from gitsync.hosts.payload import json_object, sha, text
from gitsync.hosts.provider import Credentials, Webhooks
from gitsync.model.host import (
    Capabilities,
    ChangeRequest,
    PostResult,
    Problem,
    RefChange,
    RepoRef,
    Status,
    Verdict,
    WebhookEvent,
)

_STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature")


class GenericWebhooks:
    """Signed by whoever shares the secret."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:
        if any(name in headers for name in _STANDARD):
            signature.signed_message(headers, raw, secrets, now)
            return
        given = headers.get("x-signature", "")
        if given.startswith("sha512="):
            signature.signed_body(given, raw, secrets, prefix="sha512=", algorithm="sha512")
        else:
            signature.signed_body(given, raw, secrets)

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:  # noqa: ARG002  the Protocol's
        return False

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:
        body = json_object(raw if raw.strip() else b"{}")
        ref = text(body, "ref")
        # a short name says neither branch nor tag: it wakes all, as if there were none
        refs = (RefChange(ref, None, sha(body, "after")),) if ref.startswith("refs/") else ()
        return WebhookEvent("push", headers.get("webhook-id"), text(body, "repository"), refs)


class Generic:
    """No API: everything that would be told is done at once, and nothing is known of changes."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        comment=0, lists_changes=False, fork_status="no", statuses=False
    )
    webhooks: ClassVar[Webhooks] = GenericWebhooks()

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None:
        """Nothing of it is of use here: the signature is every host's."""

    async def preflight(self) -> list[Problem]:
        return []

    async def set_status(self, status: Status) -> PostResult:  # noqa: ARG002  the Protocol's, also below
        return PostResult(Verdict.DONE, detail="this host has no API: nothing was sent")

    async def get_change(self, number: int) -> ChangeRequest | None:  # noqa: ARG002
        return None

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:  # noqa: ARG002
        return
        yield

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:  # noqa: ARG002
        return PostResult(Verdict.DONE, detail="this host has no API: nothing was sent")

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:  # noqa: ARG002
        return ()
