"""Gitea and Forgejo, which are one API and one kind of delivery under two names.

Sources: the swagger document of Gitea 1.25, Gitea's and Forgejo's source, and what Gitea 1.16 and 1.22 did.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import httpx

from gitsync.hosts import payload, signature
from gitsync.hosts.api import Api
from gitsync.hosts.provider import Credentials, Webhooks
from gitsync.hosts.repos import Repository, change_request, ref_change, repository
from gitsync.model.host import (
    Capabilities,
    ChangeRequest,
    PostResult,
    Problem,
    RefChange,
    RepoRef,
    Status,
    WebhookEvent,
)

PAGE = 50
"""The longest page that Gitea gives unless it was told otherwise."""

_CHANGES = frozenset(("opened", "reopened", "synchronized", "edited", "closed"))
_KINDS = {"branch": "refs/heads/", "tag": "refs/tags/"}


class GiteaWebhooks:
    """Deliveries of Gitea and Forgejo. They carry the headers of GitHub and Gogs too, which are not looked at."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002  no time in it
        """Raises SignatureError unless `X-Gitea-Signature` fits (`X-Forgejo-Signature` where there is no such header)."""
        given = headers.get("x-gitea-signature", headers.get("x-forgejo-signature"))
        signature.signed_body(given, raw, secrets, prefix="")

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:
        """What a delivery says. Raises Invalid for what is no JSON object (a form, for one)."""
        body = payload.json_object(raw)
        event = _either(headers, "event")
        delivery = _either(headers, "delivery") or None
        repo, action = repository(body), payload.text(body, "action")
        ignored = WebhookEvent("ignored", delivery, repo, action=action)
        if event == "push" and (ref := ref_change(body)):
            return WebhookEvent("push", delivery, repo, (ref,))
        if event in ("create", "delete") and (ref := _created_or_deleted(body, deleted=event == "delete")):
            # a branch that is deleted is told by this alone, without a push
            return WebhookEvent("push", delivery, repo, (ref,))
        if event in ("pull_request", "pull_request_sync") and action in _CHANGES:
            if action == "edited" and not _moves_the_base(body):
                return ignored
            change = change_request(payload.at(body, "pull_request"))
            return WebhookEvent("change", delivery, repo, change=change, action=action) if change else ignored
        if event in ("issue_comment", "pull_request_comment") and action == "created" and _on_a_pull_request(body):
            return WebhookEvent("comment", delivery, repo, action=action)
        return ignored

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:  # noqa: ARG002  there are no pings
        """Never: Gitea has no ping; its test delivery is a signed push of what is there."""
        return False


class Gitea:
    """A repository at Gitea."""

    name: ClassVar[str] = "Gitea"
    capabilities: ClassVar[Capabilities] = Capabilities(comment=60_000, lists_changes=True, fork_status="yes")
    webhooks: ClassVar[Webhooks] = GiteaWebhooks()

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None:
        self._api = Api(repo.api_url, credentials, client, name=self.name, authorization=lambda token: f"token {token}")
        self._repo = repo
        self._repository = Repository(self._api, repo, self.capabilities, comments={}, says_unknown=False)

    async def set_status(self, status: Status) -> PostResult:
        """Post *status*; for a pull request of a fork too, on this repository."""
        return await self._repository.set_status(status)

    async def get_change(self, number: int) -> ChangeRequest | None:
        """The pull request, None if there is none. Raises Unavailable, Rejected."""
        return await self._repository.get_change(number)

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        """The open pull requests onto *base_ref*, those of the last push first. Raises Unavailable, Rejected."""
        params = {"state": "open", "base_branch": base_ref, "sort": "recentupdate", "limit": PAGE}
        async for change in self._repository.list_open_changes(base_ref, params):
            yield change

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        """Edit the comment, or make it."""
        return await self._repository.upsert_comment(number, marker, body, known_id, self._login)

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        """The branch where it is in this repository, because the request's own ref lags behind it; then that."""
        return tuple(reversed(self._repository.change_refs(change)))

    async def preflight(self) -> list[Problem]:
        """What the token may do on the repository. It is tried on what does not exist: no scope lets a token ask for its own."""
        name = self._repo.full_name
        answer = await self._api.request("GET", self._repository.path())
        if not answer.ok:
            hint = "Is host.repo right, and may the token's user see it?" if answer.status == 404 else ""
            if answer.status == 403:
                hint = "Give the token the scope write:repository."
            return [self._api.problem(answer, what=f"{self.name} does not show {name}", hint=hint)]
        problems = []
        if payload.flag(answer.body, "archived"):
            problems.append(Problem(f"{name} is archived: it takes no statuses", "Unarchive it, or remove host."))
        if payload.flag(answer.body, "permissions", "push") is False:
            problems.append(Problem(f"the token's user may not write to {name}", "Make it a collaborator with Write."))
        problems += await self._repository.may_not(
            statuses="Give the token the scope write:repository.",
            comments="Give the token the scope write:issue, or say host.plan: status.",
        )
        if not any(problem.fatal for problem in problems):
            problems.append(Problem(f"{self.name}: {name} can be read, and told of statuses", fatal=False))
        return problems

    async def _login(self) -> str:
        """The name under which we write, "" if the token may not ask for it."""
        return payload.text((await self._api.request("GET", "/user")).body, "login")


class Forgejo(Gitea):
    """A repository at Forgejo."""

    name: ClassVar[str] = "Forgejo"


def _either(headers: Mapping[str, str], what: str) -> str:
    return headers.get(f"x-gitea-{what}") or headers.get(f"x-forgejo-{what}") or ""


def _created_or_deleted(body: Any, *, deleted: bool) -> RefChange | None:
    """A `create` or `delete`: it names the ref without its first words, and says what kind it is."""
    ref, kind = payload.text(body, "ref"), _KINDS.get(payload.text(body, "ref_type"))
    if not ref or kind is None:
        return None
    full = ref if ref.startswith("refs/") else kind + ref
    return RefChange(full, None, None if deleted else payload.sha(body, "sha"), deleted)


def _moves_the_base(body: Any) -> bool:
    """Whether an edit may have changed the base. Where it does not say what it changed, it may."""
    changes = payload.at(body, "changes")
    if not isinstance(changes, dict) or not changes:
        return True
    return not changes.keys() <= {"title", "body"}


def _on_a_pull_request(body: Any) -> bool:
    return bool(payload.flag(body, "is_pull") or payload.at(body, "issue", "pull_request"))
