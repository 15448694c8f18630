"""GitHub, Gitea and Forgejo as a server on loopback that checks what it is asked, and the provider that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from gitsync.hosts import PROVIDERS
from gitsync.hosts.api import http_client
from gitsync.hosts.credentials import StaticToken
from gitsync.hosts.provider import Credentials, Provider
from gitsync.model.host import RepoRef
from tests.servers.host_api import Check, HostApi, openapi3, swagger2

TOKEN = "ghp_CanaryToken/0123456789+="


@dataclass(frozen=True, slots=True)
class Place:
    """A host of one kind, and a way to talk to it."""

    kind: str
    api: HostApi
    client: httpx.AsyncClient

    @property
    def repo(self) -> RepoRef:
        """The repository."""
        return RepoRef(self.api.url, "acme/specs", "https://git.example/acme/specs")

    def provider(
        self,
        credentials: Credentials | None = None,
        client: httpx.AsyncClient | None = None,
        repo: RepoRef | None = None,
    ) -> Provider:
        """Who asks."""
        return PROVIDERS[self.kind](repo or self.repo, credentials or StaticToken(TOKEN), client or self.client)

    @property
    def is_github(self) -> bool:
        """Whether this is GitHub."""
        return self.kind == "github"


def document(kind: str) -> tuple[Check, str]:
    """What the requests to a host are held against, and the path of its API."""
    if kind == "github":
        return openapi3("github-min-openapi3.json", "https://api.github.com"), "/api/v3"
    return swagger2("gitea-1.25.4-swagger2.json"), "/api/v1"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture(params=["github", "gitea", "forgejo"])
def place(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Iterator[Place]:
    check, base = document(request.param)
    with HostApi(check, base=base) as api:
        yield Place(request.param, api, client)


@pytest.fixture
def github(client: httpx.AsyncClient) -> Iterator[Place]:
    check, base = document("github")
    with HostApi(check, base=base) as api:
        yield Place("github", api, client)


@pytest.fixture
def gitea(client: httpx.AsyncClient) -> Iterator[Place]:
    check, base = document("gitea")
    with HostApi(check, base=base) as api:
        yield Place("gitea", api, client)
