"""GitLab, on gitlab.com and self-managed: a status is a job of a pipeline, a pull request a merge request, a comment a note."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Literal

import httpx

from gitsync.hosts import signature, sticky
from gitsync.hosts.api import Answer, Api, capped, cut_comment, not_a_commit, segments
from gitsync.hosts.payload import at, flag, is_branch, items, json_object, number, sha, text
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
    "opened": "open",
    "locked": "open",  # while it is being merged
    "closed": "closed",
    "merged": "merged",
}
_ACTIONS = {"open", "reopen", "close", "merge"}
_MOVED = {"target_branch", "merge_status"}  # of a new target some versions say only that the merge was not yet checked


class GitLabWebhooks:
    """Secrets that begin with `whsec_` are signing tokens; where there is one, the plain secret token is not enough."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:
        signing = [secret for secret in secrets if secret.startswith(signature.STANDARD_PREFIX)]
        if signing:
            signature.signed_message(headers, raw, signing, now)
        else:
            signature.secret_token(headers.get("x-gitlab-token"), secrets)

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:  # noqa: ARG002  the Protocol's
        return False

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:
        body = json_object(raw)
        kind = text(body, "object_kind") or text(body, "event_name")
        event = WebhookEvent(
            "ignored",
            # the first two stay the same when GitLab sends again, the third is new for each attempt
            headers.get("idempotency-key") or headers.get("webhook-id") or headers.get("x-gitlab-webhook-uuid"),
            text(body, "project", "path_with_namespace"),
            action=kind,
        )
        match kind:
            case "push" | "tag_push":
                return _pushed(event, [body])
            case "repository_update":  # the system hook that is sent once for a push of many refs
                return _pushed(event, items(body, "changes"))
            case "merge_request":
                return _changed(event, body)
            case "note" if text(body, "object_attributes", "noteable_type") == "MergeRequest":
                change = _in_delivery(at(body, "merge_request"))
                return replace(event, kind="comment", change=change) if change else event
        return event


def _pushed(event: WebhookEvent, changes: Iterable[Any]) -> WebhookEvent:
    refs = []
    for change in changes:
        ref, before, after = text(change, "ref"), sha(change, "before"), sha(change, "after")
        if ref.startswith("refs/") and (before or after):  # GitLab has no word for "created" or "deleted": zeros say it
            refs.append(RefChange(ref, before, after, deleted=after is None))
    return replace(event, kind="push", refs=tuple(refs)) if refs else event


def _changed(event: WebhookEvent, body: Mapping[str, Any]) -> WebhookEvent:
    """`update` is also a new label or title: `oldrev` says that there are new commits."""
    action = text(body, "object_attributes", "action")
    changes = at(body, "changes")
    moved = text(body, "object_attributes", "oldrev") or (isinstance(changes, dict) and _MOVED & changes.keys())
    change = _in_delivery(at(body, "object_attributes"))
    if change and (action in _ACTIONS or (action == "update" and moved)):
        return replace(event, kind="change", change=change, action=action)
    return replace(event, action=f"merge_request {action}".strip())


def _in_delivery(request: Any) -> ChangeRequest | None:
    return _request(request, sha(request, "last_commit", "id"), text(request, "source", "path_with_namespace") or None)


def _request(request: Any, head: str | None, head_repo: str | None) -> ChangeRequest | None:
    iid, state = number(request, "iid"), _STATES.get(text(request, "state"))
    source, target = text(request, "source_branch"), text(request, "target_branch")
    if iid is None or iid < 1 or state is None or not (head and source and target):
        return None
    from_project, to_project = number(request, "source_project_id"), number(request, "target_project_id")
    is_fork = from_project is None or from_project != to_project
    return ChangeRequest(iid, head, source, target, is_fork, head_repo, state)


_WORDS = {
    CommitState.PENDING: "pending",
    CommitState.RUNNING: "running",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failed",
    CommitState.ERROR: "failed",
    CommitState.CANCELED: "canceled",
}
_DEVELOPER = 30
_PAGE = 100


class GitLab:
    """The API, version 4. The token: a project or group access token of role Developer with scope `api`."""

    capabilities: ClassVar[Capabilities] = Capabilities(fork_status="maybe")
    webhooks: ClassVar[Webhooks] = GitLabWebhooks()

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None:
        base = repo.api_url if repo.api_url.endswith("/api/v4") else f"{repo.api_url}/api/v4"
        self._repo = repo
        self._api = Api(base, credentials, client, name="GitLab", verdict=_verdict)
        self._project = segments("projects", repo.full_name)
        self._author = ""
        self._names: dict[int, str | None] = {}

    async def preflight(self) -> list[Problem]:
        what = f"the project {self._repo.full_name}"
        answer = await self._api.request("GET", self._project)
        if not answer.ok:
            return [self._api.problem(answer, what=what)]
        problems = []
        levels = [
            number(answer.body, "permissions", access, "access_level") or 0
            for access in ("project_access", "group_access")
        ]
        if 0 < max(levels) < _DEVELOPER:
            problems.append(
                Problem(f"{what}: the token's role is below Developer", "Give it Developer: a status needs that.")
            )
        token = await self._api.request("GET", "/personal_access_tokens/self")
        if token.ok:  # tokens of other kinds, and hosts before 15.5, do not say
            expires, scopes = text(token.body, "expires_at"), items(token.body, "scopes")
            if scopes and "api" not in scopes:
                problems.append(
                    Problem(f"{what}: the token lacks the scope api", "Make one with it: statuses and notes need that.")
                )
            if expires:
                problems.append(
                    Problem(
                        f"the token for {self._repo.full_name} ends on {expires}",
                        "Rotate it before, so that it stays the same user.",
                        fatal=False,
                        expires=expires,
                    )
                )
        if not any(problem.fatal for problem in problems):
            problems.append(
                Problem(f"GitLab: {self._repo.full_name} can be read, and told of statuses and plans", fatal=False)
            )
        return problems

    async def set_status(self, status: Status) -> PostResult:
        if refused := not_a_commit(status):
            return refused
        status = capped(status, self._repo)
        what = f"the status {status.context} on {status.sha[:12]}"
        ref: str | None = status.ref
        body: dict[str, Any] = {
            "state": _WORDS[status.state],
            "name": status.context,
            "target_url": status.target_url,
            "description": status.description,
        }
        if status.change is not None:
            # a request has pipelines of its own: without naming the newest one, a second pipeline appears beside it
            answer = await self._api.request("GET", self._project + segments("repository", "commits", status.sha))
            if not answer.ok:
                return self._api.result(answer, what=what)
            ref = text(answer.body, "last_pipeline", "ref") or status.change.head_ref
            if pipeline := number(answer.body, "last_pipeline", "id"):
                body["pipeline_id"] = pipeline
        if ref:
            body["ref"] = ref
        return self._api.result(
            await self._api.request("POST", self._project + segments("statuses", status.sha), json=body), what=what
        )

    async def get_change(self, number: int) -> ChangeRequest | None:
        what = f"the merge request !{number}"
        answer = await self._api.found(self._requests(number), around=self._project, what=what)
        if answer is None:
            return None
        change = await self._change(answer.body)
        if change is None:
            raise Unavailable(f"{what}: GitLab does not tell its head yet. Tried again.")
        return change

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        query: dict[str, str | int] = {"state": "opened", "target_branch": base_ref, "per_page": _PAGE}
        async for answer in self._api.pages(self._project + segments("merge_requests"), query):
            if not answer.ok:
                raise self._api.failure(answer, what=f"the open merge requests into {base_ref}")
            for request in answer.body if isinstance(answer.body, list) else ():
                if change := await self._change(request):
                    yield change

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        notes = self._requests(number) + segments("notes")
        content = {"body": cut_comment(body, self.capabilities.comment)}

        async def find() -> str | Answer | None:
            author = await self._who()
            if isinstance(author, Answer):
                return author
            pages = self._api.pages(notes, {"per_page": _PAGE, "sort": "asc", "order_by": "created_at"})
            return await sticky.our_own(pages, _notes, marker, author)

        return await sticky.upsert(
            self._api,
            known_id,
            what=f"the note on !{number}",
            find=find,
            edit=lambda note: self._api.request("PUT", notes + segments(note), json=content),
            create=lambda: self._api.request("POST", notes, json=content),
            made=_id,
        )

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        own = () if change.is_fork or not is_branch(change.head_ref) else (f"refs/heads/{change.head_ref}",)
        return (f"refs/merge-requests/{change.number}/head", *own)

    def _requests(self, number: int) -> str:
        return self._project + segments("merge_requests", str(number))

    async def _who(self) -> str | Answer:
        if not self._author:
            answer = await self._api.request("GET", "/user")
            if not answer.ok:
                return answer
            self._author = text(answer.body, "username")
        return self._author

    async def _change(self, request: Any) -> ChangeRequest | None:
        """A merge request of the API. It tells the number of its source project only: the name costs another question."""
        change = _request(request, sha(request, "sha"), self._repo.full_name)
        if change is None or not change.is_fork:
            return change
        source = number(request, "source_project_id")
        if source is not None and source not in self._names:
            answer = await self._api.request("GET", segments("projects", str(source)))
            self._names[source] = text(answer.body, "path_with_namespace") or None if answer.ok else None
        return replace(change, head_repo=self._names.get(source) if source is not None else None)


def _id(answer: Answer) -> str | None:
    found = number(answer.body, "id")
    return None if found is None else str(found)


def _verdict(answer: Answer) -> Verdict | None:
    said = answer.message.lower()
    if answer.status == 400 and "cannot transition status" in said:
        return Verdict.DONE  # it is there already, or further
    if answer.status == 404 and "commit" in said:
        return (
            Verdict.UNKNOWN_SHA
        )  # "Commit Not Found"; "References for commit Not Found": on no branch of this project
    if answer.status == 422 and ("exceeded" in said or "limit" in said):
        return Verdict.FULL  # as many jobs as a pipeline takes
    return None


def _notes(page: Any) -> list[sticky.Comment]:
    return [
        (str(at(note, "id")), text(note, "author", "username"), text(note, "body"))
        for note in (page if isinstance(page, list) else ())
        if not flag(note, "system")
    ]
