"""What GitHub and Gitea have in common: the `/repos/{owner}/{name}` half of their APIs, and the shape of a pull request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal

from gitsync.hosts import payload, sticky
from gitsync.hosts.api import Answer, Api, capped, cut_comment, not_a_commit, own_comment, segments
from gitsync.model.errors import GitsyncError
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
)

NOWHERE = "0" * 40
"""A commit that no repository has."""

STATES: Mapping[CommitState, str] = {
    CommitState.PENDING: "pending",
    CommitState.RUNNING: "pending",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failure",
    CommitState.ERROR: "error",
    CommitState.CANCELED: "error",  # neither has a word for it
}


class Repository:
    """One repository behind such an API."""

    def __init__(
        self, api: Api, repo: RepoRef, capabilities: Capabilities, *, comments: Mapping[str, Any], says_unknown: bool
    ) -> None:
        """comments: the parameters with which a list of comments has the longest pages.

        says_unknown: whether the host says of a status that its commit is unknown; else it is asked for, after a failure.
        """
        self.api, self.repo = api, repo
        self._capabilities, self._comments, self._says_unknown = capabilities, comments, says_unknown
        self.author = ""
        """The name under which we write, "" as long as it is not known: an answer to what we write tells it."""

    def path(self, *rest: str) -> str:
        """A path below the repository."""
        return segments("repos", *self.repo.full_name.split("/", 1), *rest)

    async def set_status(self, status: Status) -> PostResult:
        """Post *status* on its commit."""
        if refusal := not_a_commit(status):
            return refusal
        status = capped(status, self.repo)
        body = {
            "state": STATES[status.state],
            "target_url": status.target_url,
            "description": status.description,
            "context": status.context,
        }
        answer = await self.api.request("POST", self.path("statuses", status.sha), json=body)
        if answer.ok:
            self.author = payload.text(answer.body, "creator", "login") or self.author
        elif not self._says_unknown and answer.status in (404, 500) and await self._unknown(status.sha):
            # a repository that is there, and a commit that is not
            return PostResult(
                Verdict.UNKNOWN_SHA, detail=f"the status {status.context}: {self.api.name} does not know {status.sha}"
            )
        return self.api.result(
            answer, what=f"the status {status.context} on {status.sha[:12]} of {self.repo.full_name}"
        )

    async def _unknown(self, sha: str) -> bool:
        commit = await self.api.request("GET", self.path("git", "commits", sha))
        return commit.status == 404 and (await self.api.request("GET", self.path())).ok

    async def get_change(self, number: int) -> ChangeRequest | None:
        """The pull request, None if there is none. Raises Unavailable, Rejected."""
        what = f"pull request {number} of {self.repo.full_name}"
        answer = await self.api.found(self.path("pulls", str(number)), around=self.path(), what=what)
        return change_request(answer.body) if answer else None

    async def list_open_changes(self, base_ref: str, params: Mapping[str, Any]) -> AsyncIterator[ChangeRequest]:
        """The open pull requests onto *base_ref*. params: of the list. Raises Unavailable, Rejected."""
        async for page in self.api.pages(self.path("pulls"), params):
            if not page.ok:
                raise self.api.failure(page, what=f"the open pull requests of {self.repo.full_name}")
            for entry in page.body if isinstance(page.body, list) else ():
                change = change_request(entry)
                if change and change.state == "open" and change.base_ref == base_ref:
                    yield change

    async def upsert_comment(
        self, number: int, marker: str, body: str, known_id: str | None, author: Callable[[], Awaitable[str]]
    ) -> PostResult:
        """Edit our comment on *number*, or make one. author: asked for our name, where a comment has to be looked for."""
        content = {"body": cut_comment(body, self._capabilities.comment)}
        comments = self.path("issues", str(number), "comments")

        async def find() -> str | Answer | None:
            return await self._find(comments, marker, author)

        async def edit(comment: str) -> Answer:
            path = self.path("issues", "comments", comment)
            return self._written(await self.api.request("PATCH", path, json=content))

        async def create() -> Answer:
            return self._written(await self.api.request("POST", comments, json=content))

        what = f"the comment on {self.repo.full_name}#{number}"
        return await sticky.upsert(self.api, known_id, what=what, find=find, edit=edit, create=create, made=_id)

    async def _find(self, comments: str, marker: str, author: Callable[[], Awaitable[str]]) -> str | Answer | None:
        """The id of our comment with *marker*, None for none, the answer that kept us from knowing."""
        if not self.author:
            try:
                self.author = await author()
            except GitsyncError:
                self.author = ""  # who cannot say who it is makes a comment, and remembers it by its id
        if not self.author:
            return None
        async for page in self.api.pages(comments, self._comments):
            if page.status == 200 and page.trouble:
                return None  # a list that is too long to be read
            if not page.ok:
                return page
            if found := own_comment(_listed(page.body), marker, self.author):
                return found
        return None

    def _written(self, answer: Answer) -> Answer:
        """*answer* to a comment of ours, which says who we are."""
        self.author = payload.text(answer.body, "user", "login") or self.author
        return answer

    async def may_not(self, *, statuses: str, comments: str) -> list[Problem]:
        """What the token may not do, tried on a commit and a request that no repository has, so that nothing is written.

        statuses, comments: what to do about each.
        """
        nowhere = {"state": "pending", "context": "gitsync/preflight", "description": "never seen"}
        tries: tuple[tuple[str, str, Any, str, bool], ...] = (
            ("set statuses", self.path("statuses", NOWHERE), nowhere, statuses, True),
            ("comment", self.path("issues", "0", "comments"), {"body": "never seen"}, comments, False),
        )
        problems = []
        for what, path, body, hint, fatal in tries:
            answer = await self.api.request("POST", path, json=body)
            if self.api.verdict(answer) is not Verdict.LIMIT and answer.status in (401, 403):
                said = f"the token may not {what} on {self.repo.full_name}"
                problems.append(self.api.problem(answer, what=said, hint=hint, fatal=fatal))
        return problems

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        """The request's own ref, and its branch where that is in this repository."""
        pull = f"refs/pull/{change.number}/head"
        if change.is_fork or not payload.is_branch(change.head_ref):
            return (pull,)
        return (pull, f"refs/heads/{change.head_ref}")


def change_request(pull: Any) -> ChangeRequest | None:
    """A pull request as a delivery and the API have it, None if it lacks what makes it one."""
    number, head = payload.number(pull, "number"), payload.sha(pull, "head", "sha")
    head_ref, base_ref = payload.text(pull, "head", "ref"), payload.text(pull, "base", "ref")
    state = _state(pull)
    if number is None or number < 1 or not head or not head_ref or not base_ref or state is None:
        return None
    return ChangeRequest(
        number=number,
        head_sha=head,
        head_ref=payload.short_branch(head_ref),
        base_ref=payload.short_branch(base_ref),
        is_fork=_is_fork(pull),
        head_repo=payload.text(pull, "head", "repo", "full_name") or None,
        state=state,
    )


def ref_change(body: Any) -> RefChange | None:
    """A push as a delivery has it, None if it lacks what makes it one."""
    ref = payload.text(body, "ref")
    before, after = payload.sha(body, "before"), payload.sha(body, "after")
    deleted = payload.flag(body, "deleted") or payload.is_nothing(payload.text(body, "after"))
    if not ref.startswith("refs/") or (after is None and not deleted):
        return None
    return RefChange(ref, before, None if deleted else after, deleted, payload.flag(body, "forced"))


def repository(body: Any) -> str:
    """The full name of the repository that a delivery is about."""
    return payload.text(body, "repository", "full_name")


def _is_fork(pull: Any) -> bool:
    """By whose repository the head is in, never by its `fork`, which says that the repository was forked from somewhere."""
    head, base = payload.at(pull, "head", "repo"), payload.at(pull, "base", "repo")
    if not isinstance(head, dict):
        return True
    for key in ("id", "full_name"):
        ours, theirs = payload.at(base, key), payload.at(head, key)
        if ours is not None and theirs is not None:
            return bool(ours != theirs)
    return True


def _state(pull: Any) -> Literal["open", "closed", "merged"] | None:
    """A list has no `merged`, and GitHub's own samples a `merged_at` on what is open."""
    state, merged = payload.text(pull, "state"), payload.flag(pull, "merged")
    if state == "open":
        return "open"
    if merged or (merged is None and payload.text(pull, "merged_at")):
        return "merged"
    return "closed" if state == "closed" else None


def _id(answer: Answer) -> str | None:
    made = payload.number(answer.body, "id")
    return None if made is None else str(made)


def _listed(body: Any) -> list[tuple[str, str, str]]:
    return [
        (str(id_), payload.text(entry, "user", "login"), payload.text(entry, "body"))
        for entry in (body if isinstance(body, list) else ())
        if (id_ := payload.number(entry, "id")) is not None
    ]
