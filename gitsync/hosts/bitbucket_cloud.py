"""Bitbucket Cloud: a status is a build, found again by its key, and a pull request tells only the beginning of its head's SHA."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Literal

import httpx

from gitsync.hosts import signature, sticky
from gitsync.hosts.api import Answer, Api, bearer, capped, cut_comment, not_a_commit, segments
from gitsync.hosts.payload import at, flag, is_branch, is_full_sha, is_short_sha, items, json_object, number, sha, text
from gitsync.hosts.provider import Credentials, Webhooks
from gitsync.model.errors import Unavailable
from gitsync.model.host import (
    Capabilities,
    ChangeRequest,
    CommitState,
    PostResult,
    Problem,
    RefChange,
    RepoRef,
    Status,
    Verdict,
    WebhookEvent,
)

_STATES: Mapping[str, Literal["open", "closed", "merged"]] = {
    "OPEN": "open",
    "DECLINED": "closed",
    "SUPERSEDED": "closed",
    "MERGED": "merged",
}
_CHANGED = {
    f"pullrequest:{action}" for action in ("created", "updated", "fulfilled", "rejected")
}  # `updated` is also a title: nothing in it tells
_PREFIX = {"branch": "refs/heads/", "tag": "refs/tags/"}


class BitbucketCloudWebhooks:
    """Signed where the webhook has a secret; there is no ping."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002
        signature.signed_body(headers.get("x-hub-signature"), raw, secrets)

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:  # noqa: ARG002  the Protocol's
        return False

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:
        body = json_object(raw)
        action = headers.get("x-event-key", "")
        event = WebhookEvent(
            "ignored", headers.get("x-request-uuid"), text(body, "repository", "full_name"), action=action
        )
        if action == "repo:push":
            refs = tuple(filter(None, map(_ref, items(body, "push", "changes"))))
            return replace(event, kind="push", refs=refs) if refs else event
        change = _request(at(body, "pullrequest"))
        if change and action in _CHANGED:
            return replace(event, kind="change", change=change)
        if change and action == "pullrequest:comment_created":
            return replace(event, kind="comment", change=change)
        return event


def _ref(change: Any) -> RefChange | None:
    """One of the refs of a push: `new` is null for a deleted one, `old` for a created one."""
    side = "new" if at(change, "new") else "old"
    prefix, name = _PREFIX.get(text(change, side, "type")), text(change, side, "name")
    before, after = sha(change, "old", "target", "hash"), sha(change, "new", "target", "hash")
    if prefix is None or not name or not (before or after):
        return None
    return RefChange(prefix + name, before, after, deleted=after is None, forced=flag(change, "forced"))


def _request(request: Any) -> ChangeRequest | None:
    number_, state = number(request, "id"), _STATES.get(text(request, "state"))
    head = text(request, "source", "commit", "hash")
    source, target = text(request, "source", "branch", "name"), text(request, "destination", "branch", "name")
    if number_ is None or number_ < 1 or state is None or not is_short_sha(head) or not (source and target):
        return None
    from_repo = text(request, "source", "repository", "full_name") or None  # null where a fork was deleted
    is_fork = from_repo is None or from_repo != text(request, "destination", "repository", "full_name")
    return ChangeRequest(
        number_, head, source, target, is_fork, from_repo, state, head_sha_is_short=not is_full_sha(head)
    )


_WORDS = {
    CommitState.PENDING: "INPROGRESS",
    CommitState.RUNNING: "INPROGRESS",
    CommitState.SUCCESS: "SUCCESSFUL",
    CommitState.FAILURE: "FAILED",
    CommitState.ERROR: "FAILED",
    CommitState.CANCELED: "STOPPED",
}
_PAGE = 50
# What it is for, and the scope's word: `repository`, `repository:write`, `read:repository:bitbucket`. The vendor's description asks
# no more for a status than reading, and none but the old kinds of token say what they may.
_SCOPES = {"a status": ("repository", "pullrequest"), "a comment": ("pullrequest",)}


class BitbucketCloud:
    """The API, version 2.0. The token: an access token of the repository, or `email:token` with an API token of a person."""

    capabilities: ClassVar[Capabilities] = Capabilities(comment=30_000, fork_status="maybe", folds=False)
    webhooks: ClassVar[Webhooks] = BitbucketCloudWebhooks()

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None:
        base = repo.api_url if repo.api_url.endswith("/2.0") else f"{repo.api_url}/2.0"
        self._repo = repo
        self._api = Api(base, credentials, client, name="Bitbucket", authorization=_authorization, verdict=_verdict)
        self._path = segments("repositories", *repo.full_name.split("/"))
        self._author = ""

    async def preflight(self) -> list[Problem]:
        what = f"the repository {self._repo.full_name}"
        answer = await self._api.request("GET", self._path)
        if not answer.ok:
            return [self._api.problem(answer, what=what)]
        granted = {scope.strip() for scope in answer.headers.get("x-oauth-scopes", "").split(",")} - {""}
        problems = [
            Problem(f"{what}: the token's scopes do not allow {need}", f"Give it the scope {words[0]}.")
            for need, words in _SCOPES.items()
            if granted and not any(word in scope for word in words for scope in granted)
        ]
        return problems or [
            Problem(f"Bitbucket: {self._repo.full_name} can be read, and told of statuses and plans", fatal=False)
        ]

    async def set_status(self, status: Status) -> PostResult:
        status = capped(status, self._repo)
        if is_short_sha(status.sha) and not is_full_sha(status.sha):  # as Bitbucket's own deliveries name a head
            answer = await self._api.request("GET", self._path + segments("commit", status.sha))
            if not answer.ok:
                return self._api.result(answer, what=f"the status {status.context} on {status.sha}")
            full = sha(answer.body, "hash")
            if full is None:
                words = f"the status {status.context}: Bitbucket does not tell the commit that begins with {status.sha}"
                return PostResult(Verdict.UNKNOWN_SHA, detail=words)
            status = replace(status, sha=full)
        if refused := not_a_commit(status):
            return refused
        body = {
            "type": "build",
            "key": hashlib.sha1(status.context.encode(), usedforsecurity=False).hexdigest(),  # at most 40 characters
            "name": status.context,
            "state": _WORDS[status.state],
            "description": status.description,
            "url": status.target_url.replace("{", "%7B").replace("}", "%7D"),  # braces would be a template
        }
        if refname := _refname(status):
            body["refname"] = refname
        path = self._path + segments("commit", status.sha, "statuses", "build")
        return self._api.result(
            await self._api.request("POST", path, json=body), what=f"the status {status.context} on {status.sha[:12]}"
        )

    async def get_change(self, number: int) -> ChangeRequest | None:
        what = f"the pull request #{number}"
        answer = await self._api.found(self._request_path(number), around=self._path, what=what)
        if answer is None:
            return None
        change = _request(answer.body)
        if change is None:
            raise Unavailable(f"{what}: Bitbucket does not tell its head yet. Tried again.")
        if change.head_sha_is_short:
            answer = await self._api.request("GET", self._path + segments("commit", change.head_sha))
            if not answer.ok and answer.status != 404:  # the head of a fork need not be known here
                raise self._api.failure(answer, what=f"the commit {change.head_sha}")
            full = sha(answer.body, "hash") if answer.ok else None
            change = replace(change, head_sha=full, head_sha_is_short=False) if full else change
        return change

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        quoted = base_ref.replace("\\", "\\\\").replace('"', '\\"')
        query: dict[str, str | int] = {"q": f'state="OPEN" AND destination.branch.name="{quoted}"', "pagelen": _PAGE}
        async for answer in self._api.pages(self._path + segments("pullrequests"), query, next_page=_next):
            if not answer.ok:
                raise self._api.failure(answer, what=f"the open pull requests into {base_ref}")
            for request in items(answer.body, "values"):
                if change := _request(request):
                    yield change

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        comments = self._request_path(number) + segments("comments")
        reference = sticky.as_link_reference(marker)
        raw = cut_comment(body.replace(marker, reference + "\n"), self.capabilities.comment)
        content = {"type": "pullrequest_comment", "content": {"raw": raw}}

        async def find() -> str | Answer | None:
            author = await self._who()
            if isinstance(author, Answer):
                return author
            pages = self._api.pages(comments, {"pagelen": 100}, next_page=_next)
            return await sticky.our_own(pages, _comments, reference, author)

        return await sticky.upsert(
            self._api,
            known_id,
            what=f"the comment on #{number}",
            find=find,
            edit=lambda comment: self._api.request("PUT", comments + segments(comment), json=content),
            create=lambda: self._api.request("POST", comments, json=content),
            made=_id,
        )

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        """Bitbucket Cloud has no refs for requests: what only a fork has cannot be fetched from here."""
        return () if change.is_fork or not is_branch(change.head_ref) else (f"refs/heads/{change.head_ref}",)

    def _request_path(self, number: int) -> str:
        return self._path + segments("pullrequests", str(number))

    async def _who(self) -> str | Answer:
        """Who we are, "" where the token may not ask: an access token of a repository is nobody's account."""
        if not self._author:
            answer = await self._api.request("GET", "/user")
            if not answer.ok:
                return "" if answer.status in (401, 403, 404) else answer
            self._author = text(answer.body, "uuid")
        return self._author


def _authorization(token: str) -> str:
    return "Basic " + base64.b64encode(token.encode()).decode() if ":" in token else bearer(token)


def _refname(status: Status) -> str | None:
    """The branch that ties a status to its request; of a fork there is none here."""
    if status.change is None:
        return status.ref
    return None if status.change.is_fork else status.change.head_ref


def _next(answer: Answer) -> str:
    return text(answer.body, "next")


def _id(answer: Answer) -> str | None:
    found = number(answer.body, "id")
    return None if found is None else str(found)


def _verdict(answer: Answer) -> Verdict | None:
    said = answer.message.lower()
    if answer.status == 404 and ("commit" in said or "changeset" in said):
        return Verdict.UNKNOWN_SHA
    return None


def _comments(page: Any) -> list[sticky.Comment]:
    return [
        (str(at(comment, "id")), text(comment, "user", "uuid"), text(comment, "content", "raw"))
        for comment in items(page, "values")
        if not flag(comment, "deleted")
    ]
