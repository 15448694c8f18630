"""GitHub: github.com and Enterprise Server, which differ by the API's address alone (`https://HOST/api/v3`).

Sources: GitHub's REST documentation (2022-11-28) and its published OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

import httpx

from gitsync.hosts import payload, signature
from gitsync.hosts.api import Answer, Api
from gitsync.hosts.credentials import PERMISSIONS, GitHubApp
from gitsync.hosts.provider import Credentials, Webhooks
from gitsync.hosts.repos import Repository, change_request, ref_change, repository
from gitsync.model.host import Capabilities, ChangeRequest, PostResult, Problem, RepoRef, Status, Verdict, WebhookEvent

API_VERSION = "2022-11-28"

_CHANGES = frozenset(("opened", "reopened", "synchronize", "ready_for_review", "edited", "closed"))
_EXPIRES = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) (UTC|[+-]\d{4})")


class GitHubWebhooks:
    """Deliveries of GitHub. A ping is signed like everything else."""

    def verify(self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime) -> None:  # noqa: ARG002  no time in it
        """Raises SignatureError unless `X-Hub-Signature-256` fits. The SHA-1 beside it is not looked at."""
        signature.signed_body(headers.get("x-hub-signature-256"), raw, secrets)

    def parse(self, headers: Mapping[str, str], raw: bytes) -> WebhookEvent:
        """What a delivery says. Raises Invalid for what is no JSON object."""
        body = payload.json_object(raw)
        event, delivery = headers.get("x-github-event", ""), headers.get("x-github-delivery") or None
        repo, action = repository(body), payload.text(body, "action")
        ignored = WebhookEvent("ignored", delivery, repo, action=action)
        if event == "ping":
            return WebhookEvent("ping", delivery, repo)
        if event == "push" and (ref := ref_change(body)):
            return WebhookEvent("push", delivery, repo, (ref,))
        if event == "pull_request" and action in _CHANGES:
            # of all edits only that of the base changes a plan
            if action == "edited" and not payload.at(body, "changes", "base"):
                return ignored
            change = change_request(payload.at(body, "pull_request"))
            return WebhookEvent("change", delivery, repo, change=change, action=action) if change else ignored
        if event == "issue_comment" and action == "created" and payload.at(body, "issue", "pull_request"):
            return WebhookEvent("comment", delivery, repo, action=action)
        return ignored

    def harmless(self, headers: Mapping[str, str], raw: bytes) -> bool:  # noqa: ARG002  no unsigned pings
        """Never: GitHub signs its pings."""
        return False


class GitHub:
    """A repository at GitHub."""

    capabilities: ClassVar[Capabilities] = Capabilities(comment=60_000, lists_changes=True, fork_status="yes")
    webhooks: ClassVar[Webhooks] = GitHubWebhooks()

    def __init__(self, repo: RepoRef, credentials: Credentials, client: httpx.AsyncClient) -> None:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION}
        api = Api(repo.api_url, credentials, client, name="GitHub", headers=headers, verdict=_verdict)
        self._api, self._repo, self._credentials = api, repo, credentials
        self._repository = Repository(api, repo, self.capabilities, comments={"per_page": 100}, says_unknown=True)

    async def set_status(self, status: Status) -> PostResult:
        """Post *status*; for a pull request of a fork too, on this repository."""
        return await self._repository.set_status(status)

    async def get_change(self, number: int) -> ChangeRequest | None:
        """The pull request, None if there is none. Raises Unavailable, Rejected."""
        return await self._repository.get_change(number)

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        """The open pull requests onto *base_ref*, those of the last push first. Raises Unavailable, Rejected."""
        params = {"state": "open", "base": base_ref, "sort": "updated", "direction": "desc", "per_page": 100}
        async for change in self._repository.list_open_changes(base_ref, params):
            yield change

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        """Edit the comment, or make it."""
        return await self._repository.upsert_comment(number, marker, body, known_id, self._login)

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        """The request's own ref, then its branch."""
        return self._repository.change_refs(change)

    async def preflight(self) -> list[Problem]:
        """What the token may do on the repository, and until when."""
        answer = await self._api.request("GET", self._repository.path())
        name = self._repo.full_name
        if not answer.ok:
            hint = "Is host.repo right, and does the token reach this repository?" if answer.status == 404 else ""
            return [self._api.problem(answer, what=f"GitHub does not show {name}", hint=hint)]
        problems = self._about_repository(answer)
        expires = _expiry(answer)
        if isinstance(self._credentials, GitHubApp):
            problems += self._about_app(self._credentials)
        else:
            problems += await self._about_token(answer)
            if expires:
                problems.append(
                    Problem(
                        f"the token for {name} ends at {expires}",
                        "Make a new one before.",
                        fatal=False,
                        expires=expires,
                    )
                )
        if not any(problem.fatal for problem in problems):
            problems.append(Problem(f"GitHub: {name} can be read, and told of statuses", fatal=False))
        return problems

    def _about_repository(self, answer: Answer) -> list[Problem]:
        name, found = self._repo.full_name, payload.text(answer.body, "full_name")
        problems = []
        if payload.flag(answer.body, "archived"):
            problems.append(Problem(f"{name} is archived: it takes no statuses", "Unarchive it, or remove host."))
        if found and found.lower() != name.lower():
            problems.append(Problem(f"{name} is now called {found}", "Write the new name as host.repo.", fatal=False))
        return problems

    def _about_app(self, app: GitHubApp) -> list[Problem]:
        granted = app.grant.permissions if app.grant else {}
        missing = [
            f"{name}: {level}" for name, level in PERMISSIONS.items() if granted.get(name) not in (level, "write")
        ]
        if not granted or not missing:
            return []
        return [
            Problem(
                f"the GitHub App lacks {', '.join(missing)} on {self._repo.full_name}",
                "Give it these permissions in the app's settings, and accept them where it is installed.",
            )
        ]

    async def _about_token(self, answer: Answer) -> list[Problem]:
        """A classic token says its scopes; a fine-grained one shows its rights only by trying, on what does not exist."""
        name = self._repo.full_name
        if answer.headers.get("x-oauth-scopes", "").strip():
            scopes = {scope.strip() for scope in answer.headers["x-oauth-scopes"].split(",")}
            push = payload.flag(answer.body, "permissions", "push")
            problems = []
            if not scopes & {"repo", "repo:status"} and not (
                "public_repo" in scopes and payload.flag(answer.body, "private") is False
            ):
                problems.append(
                    Problem(f"the token has no right to set statuses on {name}", "Give it the scope repo:status.")
                )
            if push is False:
                problems.append(
                    Problem(f"the token's user may not push to {name}, so it may not set statuses", "Give it Write.")
                )
            return problems
        return await self._repository.may_not(
            statuses="Give it the permission Commit statuses: Read and write.",
            comments="Give it the permission Pull requests: Read and write, or say host.plan: status.",
        )

    async def _login(self) -> str:
        """The name under which we write. Raises GitsyncError, "" if it cannot be known."""
        if isinstance(self._credentials, GitHubApp):
            return await self._credentials.login()
        return payload.text((await self._api.request("GET", "/user")).body, "login")


def _verdict(answer: Answer) -> Verdict | None:
    """GitHub's own meanings: two kinds of 422, and limits that only the message names."""
    said = answer.message.lower()
    if answer.status == 422:
        if "no commit found" in said:
            return Verdict.UNKNOWN_SHA
        if "maximum number of statuses" in said:
            return Verdict.FULL
    if answer.status == 403 and ("rate limit" in said or "abuse detection" in said):
        return Verdict.LIMIT
    return None


def _expiry(answer: Answer) -> str:
    """When the token ends, as ISO 8601, "" where GitHub does not say. It writes `2026-12-01 10:00:00 UTC`, or with an offset."""
    found = _EXPIRES.fullmatch(answer.headers.get("github-authentication-token-expiration", "").strip())
    if not found:
        return ""
    zone = "+00:00" if found[3] == "UTC" else f"{found[3][:3]}:{found[3][3:]}"
    return f"{found[1]}T{found[2]}{zone}"
