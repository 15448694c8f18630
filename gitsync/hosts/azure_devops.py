"""Azure DevOps, Services and Server: it signs nothing, has statuses of commits and of pull requests, and threads for comments.

A repository's full name is `organisation/project/repository` below `https://dev.azure.com`, and `project/repository` below the
URL of a collection of a Server.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

import httpx

from gitsync.hosts import signature, sticky
from gitsync.hosts.api import Answer, Api, bearer, capped, cut_comment, not_a_commit, own_comment, segments
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

_STATES: Mapping[str, Literal["open", "closed", "merged"]] = {
    "active": "open",
    "abandoned": "closed",
    "completed": "merged",
}
_CHANGED = {f"git.pullrequest.{action}" for action in ("created", "updated", "merged")}  # merged: it was tried
_COMMENTED = "ms.vss-code.git-pullrequest-comment-event"


class AzureWebhooks:
    """Proven by user and password alone: a secret is `user:password`, or a password for any user."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002
        signature.basic(headers.get("authorization"), secrets)

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:  # noqa: ARG002  the Protocol's
        return False

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:  # noqa: ARG002  all is in the body
        body = json_object(raw)
        action = text(body, "eventType")
        inner = ("resource", "pullRequest") if action == _COMMENTED else ("resource",)
        event = WebhookEvent("ignored", _delivery(body), _full_name(at(body, *inner, "repository")), action=action)
        if action == "git.push":
            refs = tuple(filter(None, map(_ref, items(body, "resource", "refUpdates"))))
            return replace(event, kind="push", refs=refs) if refs else event
        change = _request(at(body, *inner))
        if change and action in _CHANGED:
            return replace(event, kind="change", change=change)
        return replace(event, kind="comment", change=change) if change and action == _COMMENTED else event


def _delivery(body: Mapping[str, Any]) -> str | None:
    """The event's id; the same event is delivered once for each subscription."""
    event = text(body, "id")
    return "/".join(filter(None, (event, text(body, "subscriptionId")))) if event else None


def _full_name(repository: Any) -> str:
    project, name = text(repository, "project", "name"), text(repository, "name")
    if not project or not name:
        return ""
    return "/".join(filter(None, (_organisation(text(repository, "remoteUrl")), project, name)))


def _organisation(url: str) -> str:
    """Whose it is, "" for a Server. Both the new and the old form of the address are in use."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return ""
    if host == "dev.azure.com":
        return unquote(parts.path.split("/")[1]) if parts.path.count("/") > 1 else ""
    return host.removesuffix(".visualstudio.com") if host.endswith(".visualstudio.com") else ""


def _ref(update: Any) -> RefChange | None:
    ref, before, after = text(update, "name"), sha(update, "oldObjectId"), sha(update, "newObjectId")
    if not ref.startswith("refs/") or not (before or after):
        return None
    return RefChange(ref, before, after, deleted=after is None)


def _request(request: Any) -> ChangeRequest | None:
    number_, state = number(request, "pullRequestId"), _STATES.get(text(request, "status"))
    head = sha(request, "lastMergeSourceCommit", "commitId")
    source, target = (short_branch(text(request, side)) for side in ("sourceRefName", "targetRefName"))
    if number_ is None or number_ < 1 or state is None or not (head and source and target):
        return None
    fork = at(request, "forkSource")
    from_repo = _full_name(at(fork, "repository") if fork else at(request, "repository"))
    return ChangeRequest(number_, head, source, target, fork is not None, from_repo or None, state)


_WORDS = {
    CommitState.PENDING: "pending",
    CommitState.RUNNING: "pending",
    CommitState.SUCCESS: "succeeded",
    CommitState.FAILURE: "failed",
    CommitState.ERROR: "error",
    CommitState.CANCELED: "notApplicable",
}
_PAGE, _PAGES = 100, 20
_VERSION: Mapping[str, str | int] = {"api-version": "7.1"}


class AzureDevOps:
    """The REST API, version 7.1. The token: a personal access token, or one of Entra, which is told by its form."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    webhooks: ClassVar[Webhooks] = AzureWebhooks()

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None:
        self._repo = repo
        self._api = Api(
            repo.api_url, credentials, client, name="Azure DevOps", authorization=_authorization, verdict=_verdict
        )
        *above, project, name = ("", *repo.full_name.split("/"))
        self._collection = segments(*filter(None, above))
        self._path = f"{self._collection}{segments(project)}/_apis/git/repositories{segments(name)}"
        self._author = ""

    async def preflight(self) -> list[Problem]:
        answer = await self._call("GET", "")
        if not answer.ok:
            return [self._api.problem(answer, what=f"the repository {self._repo.full_name}")]
        words = f"Azure DevOps: {self._repo.full_name} can be read; whether statuses may be set shows when one is"
        return [Problem(words, fatal=False)]

    async def set_status(self, status: Status) -> PostResult:
        if refused := not_a_commit(status):
            return refused
        status = capped(status, self._repo)
        what = f"the status {status.context} on {status.sha[:12]}"
        genre, _, name = status.context.partition("/")
        body: dict[str, Any] = {
            "state": _WORDS[status.state],
            "description": status.description,
            "targetUrl": status.target_url,
            "context": {"genre": genre, "name": name},
        }
        path = segments("commits", status.sha, "statuses")
        if status.change is not None:  # a branch's policy looks at the statuses of requests, not of commits
            request = segments("pullRequests", str(status.change.number))
            answer = await self._call("GET", request + segments("iterations"))
            if not answer.ok:
                return self._api.result(answer, what=what)
            iteration = _iteration(answer, status.sha)
            if iteration is None:
                return PostResult(Verdict.UNKNOWN_SHA, detail=f"{what}: no iteration of the pull request has this head")
            body["iterationId"] = iteration
            path = request + segments("statuses")
        return self._api.result(await self._call("POST", path, body), what=what)

    async def get_change(self, number: int) -> ChangeRequest | None:
        what = f"the pull request {number}"
        request = self._path + segments("pullRequests", str(number))
        answer = await self._api.found(request, around=self._path, what=what, params=_VERSION)
        if answer is None:
            return None
        change = _request(answer.body)
        if change is None:
            raise Unavailable(f"{what}: Azure DevOps does not tell its head yet. Tried again.")
        return change

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        query: dict[str, str | int] = {
            "searchCriteria.status": "active",
            "searchCriteria.targetRefName": f"refs/heads/{base_ref}",
            "$top": _PAGE,
        }
        for page in range(_PAGES):
            answer = await self._call("GET", segments("pullrequests"), query=query | {"$skip": page * _PAGE})
            if not answer.ok:
                raise self._api.failure(answer, what=f"the open pull requests into {base_ref}")
            requests = items(answer.body, "value")
            for request in requests:
                if change := _request(request):
                    yield change
            if len(requests) < _PAGE:
                return

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        """A thread of one comment, closed, so that it holds nothing up. Its id: `thread/comment`."""
        threads = segments("pullRequests", str(number), "threads")
        content = cut_comment(body, self.capabilities.comment)
        thread = {"comments": [{"parentCommentId": 0, "content": content, "commentType": "text"}], "status": "closed"}

        async def find() -> str | Answer | None:
            author = await self._who()
            if isinstance(author, Answer):
                return author
            answer = await self._call("GET", threads)
            if not answer.ok:
                return answer
            found = [
                (f"{at(thread, 'id')}/{at(comment, 'id')}", text(comment, "author", "id"), text(comment, "content"))
                for thread in items(answer.body, "value")
                for comment in items(thread, "comments")
                if not flag(thread, "isDeleted") and not flag(comment, "isDeleted")
            ]
            return own_comment(found, marker, author)

        async def edit(identity: str) -> Answer:
            in_thread, _, comment = identity.partition("/")
            path = threads + segments(in_thread, "comments", comment)
            return await self._call("PATCH", path, {"content": content})

        return await sticky.upsert(
            self._api,
            known_id,
            what=f"the comment on pull request {number}",
            find=find,
            edit=edit,
            create=lambda: self._call("POST", threads, thread),
            made=_thread,
        )

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        """There is no ref for the head of a request; the merge that Azure tries has it as its second parent."""
        own = () if change.is_fork or not is_branch(change.head_ref) else (f"refs/heads/{change.head_ref}",)
        return (*own, f"refs/pull/{change.number}/merge")

    async def _call(
        self, method: str, path: str, json: Any = None, *, query: Mapping[str, str | int] | None = None
    ) -> Answer:
        return await self._api.request(method, self._path + path, params={**(query or {}), **_VERSION}, json=json)

    async def _who(self) -> str | Answer:
        if not self._author:
            answer = await self._api.request("GET", f"{self._collection}/_apis/connectionData")
            if not answer.ok:
                return answer
            self._author = text(answer.body, "authenticatedUser", "id")
        return self._author


def _authorization(token: str) -> str:
    if token.count(".") == 2:  # a JWT, as Entra gives them
        return bearer(token)
    return "Basic " + base64.b64encode(f":{token}".encode()).decode()


def _iteration(answer: Answer, head: str) -> int | None:
    """The newest push to the request that ended in *head*."""
    found = [
        iteration
        for push in items(answer.body, "value")
        if sha(push, "sourceRefCommit", "commitId") == head and (iteration := number(push, "id")) is not None
    ]
    return max(found, default=None)


def _thread(answer: Answer) -> str | None:
    thread, comment = number(answer.body, "id"), number(answer.body, "comments", 0, "id")
    return None if thread is None or comment is None else f"{thread}/{comment}"


def _verdict(answer: Answer) -> Verdict | None:
    html = answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html"
    if answer.status in (203, 302) or (html and 200 <= answer.status < 300):
        return Verdict.AUTH  # a page to sign in, where other hosts answer 401
    if answer.status == 404 and "commit" in text(answer.body, "typeKey").lower():
        return Verdict.UNKNOWN_SHA  # GitUnresolvableToCommitException and its like
    return None
