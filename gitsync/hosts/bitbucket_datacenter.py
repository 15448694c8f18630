"""Bitbucket Data Center: a status is a build, found again by its key. Personal projects are called `~user`."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Literal
from urllib.parse import unquote, urlencode

import httpx

from gitsync.hosts import signature, sticky
from gitsync.hosts.api import Answer, Api, capped, cut_comment, not_a_commit, own_comment, segments
from gitsync.hosts.payload import at, flag, is_branch, items, json_object, number, sha, short_branch, text
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

_STATES: Mapping[str, Literal["open", "closed", "merged"]] = {"OPEN": "open", "DECLINED": "closed", "MERGED": "merged"}
_CHANGED = {"pr:opened", "pr:reopened", "pr:from_ref_updated", "pr:merged", "pr:declined", "pr:deleted"}
_PING = "diagnostics:ping"


class BitbucketDataCenterWebhooks:
    """Signed where the webhook has a secret, except for its ping."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002
        signature.signed_body(headers.get("x-hub-signature"), raw, secrets)

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:  # noqa: ARG002  the Protocol's
        return headers.get("x-event-key") == _PING

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:
        body = json_object(raw)
        action = headers.get("x-event-key") or text(body, "eventKey")
        # of a request only its sides say where it is
        where = at(body, "repository") or at(body, "pullRequest", "toRef", "repository")
        event = WebhookEvent("ignored", headers.get("x-request-id"), _full_name(where), action=action)
        if action == _PING:
            return replace(event, kind="ping")
        if action == "repo:refs_changed":
            refs = tuple(filter(None, map(_ref, items(body, "changes"))))
            return replace(event, kind="push", refs=refs) if refs else event
        change = _request(at(body, "pullRequest"))
        if change is None:
            return event
        if action == "pr:deleted":  # its state is still what it was before
            change = replace(change, state="closed")
        retargeted = text(body, "previousTarget", "id") not in ("", text(body, "pullRequest", "toRef", "id"))
        if action in _CHANGED or (action == "pr:modified" and retargeted):
            return replace(event, kind="change", change=change)
        return replace(event, kind="comment", change=change) if action == "pr:comment:added" else event


def _full_name(repository: Any) -> str:
    key, slug = text(repository, "project", "key"), text(repository, "slug")
    return f"{key}/{slug}" if key and slug else ""


def _ref(change: Any) -> RefChange | None:
    ref, before, after = text(change, "refId"), sha(change, "fromHash"), sha(change, "toHash")
    if not ref.startswith("refs/") or not (before or after):
        return None
    return RefChange(ref, before, after, deleted=after is None)


def _request(request: Any) -> ChangeRequest | None:
    number_, state = number(request, "id"), _STATES.get(text(request, "state"))
    head = sha(request, "fromRef", "latestCommit")
    source, target = (short_branch(text(request, side, "id")) for side in ("fromRef", "toRef"))
    if number_ is None or number_ < 1 or state is None or not (head and source and target):
        return None
    from_repo, to_repo = (_full_name(at(request, side, "repository")) for side in ("fromRef", "toRef"))
    is_fork = not from_repo or from_repo != to_repo
    return ChangeRequest(number_, head, source, target, is_fork, from_repo or None, state)


_WORDS = {
    CommitState.PENDING: "INPROGRESS",
    CommitState.RUNNING: "INPROGRESS",
    CommitState.SUCCESS: "SUCCESSFUL",
    CommitState.FAILURE: "FAILED",
    CommitState.ERROR: "FAILED",
    CommitState.CANCELED: "CANCELLED",
}
_PAGE = 100
_API, _BUILDS = "/rest/api/latest", "/rest/build-status/1.0"


class BitbucketDataCenter:
    """The REST API below the product's own address. The token: an HTTP access token of the repository or the project."""

    capabilities: ClassVar[Capabilities] = Capabilities(comment=30_000, folds=False)
    webhooks: ClassVar[Webhooks] = BitbucketDataCenterWebhooks()

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None:
        """repo.api_url: the product's address, with or without `/rest/…`. repo.full_name: `PROJECT/slug` or `~user/slug`."""
        self._repo = repo
        self._api = Api(
            repo.api_url.partition("/rest/")[0].removesuffix("/rest"),
            credentials,
            client,
            name="Bitbucket",
            headers={"X-Atlassian-Token": "no-check"},  # a write without it is taken for a forged one by some versions
            verdict=_verdict,
        )
        project, _, slug = repo.full_name.partition("/")
        self._path = _API + segments("projects", project, "repos", slug)
        self._old_builds = False

    async def preflight(self) -> list[Problem]:
        answer = await self._api.request("GET", self._path)
        if not answer.ok:
            return [self._api.problem(answer, what=f"the repository {self._repo.full_name}")]
        # reading is enough for a build status and a comment
        return [Problem(f"Bitbucket: {self._repo.full_name} can be read, and told of statuses and plans", fatal=False)]

    async def set_status(self, status: Status) -> PostResult:
        if refused := not_a_commit(status):
            return refused
        status = capped(status, self._repo)
        body = {
            "key": hashlib.sha1(status.context.encode(), usedforsecurity=False).hexdigest(),
            "name": status.context,
            "state": _WORDS[status.state],
            "description": status.description,
            "url": status.target_url,
        }
        what = f"the status {status.context} on {status.sha[:12]}"
        if not self._old_builds:
            ref = {"ref": f"refs/heads/{branch}"} if (branch := _branch(status)) else {}
            path = self._path + segments("commits", status.sha, "builds")
            answer = await self._api.request("POST", path, json=body | ref)
            if answer.status not in (404, 405) or _exception(answer):
                return self._api.result(answer, what=what)
        # before 7.14 there is no such path, which is told apart from a missing repository by a 404 that names no exception
        if body["state"] == "CANCELLED":
            body["state"] = "FAILED"  # the word came with the new path
        answer = await self._api.request("POST", _BUILDS + segments("commits", status.sha), json=body)
        self._old_builds = answer.ok
        return self._api.result(answer, what=what)

    async def get_change(self, number: int) -> ChangeRequest | None:
        what = f"the pull request #{number}"
        answer = await self._api.found(self._requests(number), around=self._path, what=what)
        if answer is None:
            return None
        change = _request(answer.body)
        if change is None:
            raise Unavailable(f"{what}: Bitbucket does not tell its head yet. Tried again.")
        return change

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        query: dict[str, str | int] = {"state": "OPEN", "at": f"refs/heads/{base_ref}", "direction": "INCOMING"}
        async for answer in self._pages(self._path + segments("pull-requests"), query):
            if not answer.ok:
                raise self._api.failure(answer, what=f"the open pull requests into {base_ref}")
            for request in items(answer.body, "values"):
                if change := _request(request):
                    yield change

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        comments = self._requests(number) + segments("comments")
        reference = sticky.as_link_reference(marker)
        content = {"text": cut_comment(body.replace(marker, reference + "\n"), self.capabilities.comment)}

        async def find() -> str | Answer | None:
            async for page in self._pages(self._requests(number) + segments("activities"), {}):
                if not page.ok:
                    return page
                found = [
                    (str(at(comment, "id")), text(comment, "author", "name"), text(comment, "text"))
                    for comment in (at(activity, "comment") for activity in items(page.body, "values"))
                ]
                if own := own_comment(found, reference, unquote(page.headers.get("x-ausername", ""))):
                    return own
            return None

        async def edit(comment: str) -> Answer:
            """It is changed only if it is still what we read: its version says so."""
            there = await self._api.request("GET", comments + segments(comment))
            if not there.ok:
                return there
            change = content | {"version": _number(there, "version") or 0}
            return await self._api.request("PUT", comments + segments(comment), json=change)

        return await sticky.upsert(
            self._api,
            known_id,
            what=f"the comment on #{number}",
            find=find,
            edit=edit,
            create=lambda: self._api.request("POST", comments, json=content),
            made=lambda answer: None if (made := _number(answer, "id")) is None else str(made),
        )

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        own = () if change.is_fork or not is_branch(change.head_ref) else (f"refs/heads/{change.head_ref}",)
        return (f"refs/pull-requests/{change.number}/from", *own)

    def _requests(self, number: int) -> str:
        return self._path + segments("pull-requests", str(number))

    def _pages(self, path: str, query: Mapping[str, str | int]) -> AsyncIterator[Answer]:
        def following(answer: Answer) -> str:
            start = _number(answer, "nextPageStart")
            if start is None or flag(answer.body, "isLastPage") is not False:
                return ""
            return f"{self._api.base}{path}?{urlencode({**query, 'limit': _PAGE, 'start': start})}"

        return self._api.pages(path, {**query, "limit": _PAGE}, next_page=following)


def _branch(status: Status) -> str | None:
    if status.change is None:
        return status.ref
    return None if status.change.is_fork else status.change.head_ref


def _number(answer: Answer, name: str) -> int | None:
    return number(answer.body, name)


def _exception(answer: Answer) -> str:
    """The class that Bitbucket names for what went wrong, such as `com.atlassian.bitbucket.commit.NoSuchCommitException`."""
    return text(answer.body, "errors", 0, "exceptionName")


def _verdict(answer: Answer) -> Verdict | None:
    if answer.status == 404 and _exception(answer).endswith("NoSuchCommitException"):
        return Verdict.UNKNOWN_SHA
    return None
