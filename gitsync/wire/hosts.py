"""The Git hosts of the configuration: for each sync that names one its repository there, its API, and its webhook."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gitsync.hosts import PROVIDERS
from gitsync.hosts.address import repo_ref
from gitsync.hosts.api import http_client
from gitsync.hosts.credentials import FileToken, GitHubApp, StaticToken
from gitsync.hosts.provider import Credentials, Provider, Webhooks
from gitsync.log import hide
from gitsync.model.errors import Invalid, Unavailable
from gitsync.model.host import RepoRef
from gitsync.model.revision import RefKind, parse_ref
from gitsync.settings import Settings
from gitsync.settings.outside import HostSettings, PlanReport
from gitsync.web import BODY_BYTES


@dataclass(frozen=True, slots=True)
class Hosted:
    """The Git host of one sync. branch: the short name of the branch that it follows, None where it follows none."""

    sync: str
    settings: HostSettings
    repo: RepoRef
    credentials: Credentials
    provider: Provider
    branch: str | None
    reads_git: bool = False
    """Whether the same credentials are those of git: a GitHub App's, where git has none of its own."""

    @property
    def limits_of(self) -> str:
        """Whose limits count: all repositories of one host, asked with one set of credentials, share them."""
        return urlsplit(self.repo.api_url).netloc or self.sync

    @property
    def reviews(self) -> bool:
        """Whether pull requests get a plan."""
        return (
            self.settings.plan is not PlanReport.OFF and self.provider.capabilities.statuses and self.branch is not None
        )

    @property
    def comment(self) -> int:
        """The longest comment, 0 where there is to be none."""
        return self.provider.capabilities.comment if self.settings.plan is PlanReport.COMMENT else 0

    def marker(self, owner: str) -> str:
        """What the plan's comment begins with, and is found by. Where HTML shows as text the provider spells it otherwise."""
        return f"<!-- gitsync:plan source={owner} -->"


@asynccontextmanager
async def hosts_of(settings: Settings) -> AsyncIterator[Mapping[str, Hosted]]:
    """Every Git host that is configured, by sync. Raises Invalid where an address leads to no repository."""
    async with AsyncExitStack() as stack:
        result: dict[str, Hosted] = {}
        for name, sync in settings.syncs.items():
            host = sync.host
            if host is None:
                continue
            repo = repo_ref(host.kind, sync.git.url, api_url=host.api_url, repo=host.repo)
            try:
                client = await stack.enter_async_context(http_client(sync.git.ca_file))
            except OSError as error:  # ssl's errors are of them
                raise Invalid(f"git.ca_file {sync.git.ca_file} holds no certificates: {error}.") from error
            credentials: Credentials
            if host.app is not None:
                credentials = GitHubApp(host.app.id, host.app.key_file, repo, client)
            elif host.token_file is not None:
                credentials = FileToken(host.token_file)
            else:
                credentials = StaticToken(token_in(host.token_env, "host.token_env") if host.token_env else "")
            ref = parse_ref(sync.git.ref)
            result[name] = Hosted(
                name,
                host,
                repo,
                credentials,
                PROVIDERS[host.kind](repo, credentials, client),
                ref.name if ref.kind in (RefKind.BRANCH, RefKind.ANY) else None,
                reads_git=host.app is not None and sync.git.token_file is None,
            )
            for secret in credentials.secrets():
                hide(secret)
        yield result


class FileHook:
    """What is known of the deliveries for one sync (a Hook of gitsync/web): its secrets are read for each of them."""

    body_bytes = BODY_BYTES

    def __init__(self, webhooks: Webhooks, files: Sequence[Path]) -> None:
        self._webhooks, self._files = webhooks, tuple(files)

    @property
    def webhooks(self) -> Webhooks:
        return self._webhooks

    def secrets(self) -> Sequence[str]:
        """The current one and the previous one. Raises Unavailable where a file cannot be read."""
        return [secret for file in self._files if (secret := _secret(file))]


def hooks_of(hosts: Mapping[str, Hosted]) -> dict[str, FileHook]:
    """The webhooks that there are: of syncs that have a secret for it."""
    return {
        name: FileHook(hosted.provider.webhooks, hosted.settings.webhook_secret_files)
        for name, hosted in hosts.items()
        if hosted.settings.webhook_secret_files
    }


def token_in(variable: str, key: str) -> str:
    """The token in an environment variable, which *key* names. Raises Invalid if it is not set."""
    token = os.environ.get(variable, "").strip()
    if not token:
        raise Invalid(f"{key}: the environment variable {variable} is not set. Put the token there, or name a file.")
    hide(token)
    return token


def _secret(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise Unavailable(f"host.webhook_secret_files: {file} cannot be read: {why}.") from error
    hide(text)
    return text
