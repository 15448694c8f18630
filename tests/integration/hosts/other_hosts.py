"""GitLab, Bitbucket and Azure DevOps as a server on loopback that checks what it is asked, and the provider that asks it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from gitsync.hosts import PROVIDERS
from gitsync.hosts.credentials import StaticToken
from gitsync.hosts.provider import Credentials, Provider
from gitsync.model.host import RepoRef
from tests.servers.host_api import Check, HostApi, Seen, openapi3, swagger2

TOKEN = "CanaryToken/0123456789+="
KINDS = ("gitlab", "bitbucket-cloud", "bitbucket-datacenter", "azure-devops")
NAMES = {
    "gitlab": "acme/team/specs",
    "bitbucket-cloud": "acme/specs",
    "bitbucket-datacenter": "ACME/specs",
    "azure-devops": "acme/Mesh Team/specs",
}
BASES = {"gitlab": "/api/v4", "bitbucket-cloud": "/2.0", "bitbucket-datacenter": "/bitbucket", "azure-devops": ""}
REPOSITORY = {
    "gitlab": "/projects/acme%2Fteam%2Fspecs",
    "bitbucket-cloud": "/repositories/acme/specs",
    "bitbucket-datacenter": "/rest/api/latest/projects/ACME/repos/specs",
    "azure-devops": "/acme/Mesh%20Team/_apis/git/repositories/specs",
}
_READ = re.compile(
    r"/acme/_apis/connectionData|/acme/[^/]+/_apis/git/repositories/[^/]+"
    r"(|/pullrequests|/pullRequests/\d+|/pullRequests/\d+/iterations)"
)


@dataclass(frozen=True, slots=True)
class Host:
    """A host of one kind, and a way to talk to it."""

    kind: str
    api: HostApi
    client: httpx.AsyncClient

    @property
    def repo(self) -> RepoRef:
        """The repository."""
        return RepoRef(self.api.url, NAMES[self.kind], "https://git.example/acme/specs")

    @property
    def path(self) -> str:
        """The repository's path at the API."""
        return REPOSITORY[self.kind]

    def provider(
        self,
        credentials: Credentials | None = None,
        client: httpx.AsyncClient | None = None,
        repo: RepoRef | None = None,
    ) -> Provider:
        """Who asks."""
        return PROVIDERS[self.kind](repo or self.repo, credentials or StaticToken(TOKEN), client or self.client)


def check(kind: str) -> Check:
    """What the requests to a host are held against."""
    if kind == "azure-devops":
        return _azure
    server = {
        "gitlab": "https://gitlab.example",
        "bitbucket-cloud": "https://api.bitbucket.org",
        "bitbucket-datacenter": "https://bitbucket.example",
    }
    return openapi3(f"{kind}-openapi3.json", server[kind])


def _azure(seen: Seen) -> None:
    """The vendor's document has been cut to what is written: what is only read is held against a list of paths."""
    if seen.method == "GET" and _READ.fullmatch(seen.path):
        assert not seen.body
        assert seen.query.get("api-version") == "7.1" or seen.path.endswith("connectionData")
    else:
        swagger2("azdo-git-min-swagger2.json")(seen)
