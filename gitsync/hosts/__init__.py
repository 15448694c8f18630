"""The Git hosts. One file each behind `gitsync.hosts.provider.Provider`; adding one is a file, a line here and a page in docs/."""

from __future__ import annotations

from collections.abc import Mapping

from gitsync.hosts.azure_devops import AzureDevOps
from gitsync.hosts.bitbucket_cloud import BitbucketCloud
from gitsync.hosts.bitbucket_datacenter import BitbucketDataCenter
from gitsync.hosts.generic import Generic
from gitsync.hosts.gitea import Forgejo, Gitea
from gitsync.hosts.github import GitHub
from gitsync.hosts.gitlab import GitLab
from gitsync.hosts.provider import Provider

PROVIDERS: Mapping[str, type[Provider]] = {
    "github": GitHub,
    "gitlab": GitLab,
    "gitea": Gitea,
    "forgejo": Forgejo,
    "bitbucket-cloud": BitbucketCloud,
    "bitbucket-datacenter": BitbucketDataCenter,
    "azure-devops": AzureDevOps,
    "generic": Generic,
}
"""By the value of `host.kind`."""
