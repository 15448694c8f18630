"""The API, the name and the page of a repository follow from the address that git fetches; the configuration can say otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsync.hosts import PROVIDERS
from gitsync.hosts.address import repo_ref
from gitsync.model.errors import Invalid

GHES, GL, BB, AZ = (
    "https://ghes.example",
    "https://gitlab.com",
    "https://api.bitbucket.org/2.0",
    "https://dev.azure.com",
)

TABLE = [
    ("github", "https://github.com/acme/specs.git", None, "https://api.github.com", "acme/specs", "https://github.com/acme/specs"),
    ("github", "git@github.com:acme/specs.git", None, "https://api.github.com", "acme/specs", "https://github.com/acme/specs"),
    ("github", "ssh://git@ssh.github.com:443/acme/specs", None, "https://api.github.com", "acme/specs", "https://github.com/acme/specs"),
    ("github", "https://ghes.example/acme/specs", None, f"{GHES}/api/v3", "acme/specs", f"{GHES}/acme/specs"),
    ("github", "git@ghes.example:acme/specs", GHES, f"{GHES}/api/v3", "acme/specs", f"{GHES}/acme/specs"),
    ("github", "git@ghes.example:acme/specs", f"{GHES}/api/v3/", f"{GHES}/api/v3", "acme/specs", f"{GHES}/acme/specs"),
    ("github", "git@x.ghe.com:acme/specs", "https://api.x.ghe.com", "https://api.x.ghe.com", "acme/specs", "https://x.ghe.com/acme/specs"),
    ("gitlab", "https://gitlab.com/a/b/c.git", None, f"{GL}/api/v4", "a/b/c", f"{GL}/a/b/c"),
    ("gitlab", "ssh://git@altssh.gitlab.com:443/a/b.git", None, f"{GL}/api/v4", "a/b", f"{GL}/a/b"),
    ("gitlab", "https://x/git/a/b", "https://x/git", "https://x/git/api/v4", "a/b", "https://x/git/a/b"),
    ("gitea", "https://git.example:3000/acme/specs.git", None, "https://git.example:3000/api/v1", "acme/specs", "https://git.example:3000/acme/specs"),
    ("gitea", "http://127.0.0.1:3000/acme/specs", None, "http://127.0.0.1:3000/api/v1", "acme/specs", "http://127.0.0.1:3000/acme/specs"),
    ("gitea", "https://x/gitea/acme/specs", None, "https://x/gitea/api/v1", "acme/specs", "https://x/gitea/acme/specs"),
    ("forgejo", "ssh://git@git.example:2222/acme/specs.git", None, "https://git.example/api/v1", "acme/specs", "https://git.example/acme/specs"),
    ("forgejo", "git@git.example:acme/specs", "https://web.example/api/v1", "https://web.example/api/v1", "acme/specs", "https://web.example/acme/specs"),
    ("bitbucket-cloud", "https://bitbucket.org/acme/specs.git", None, BB, "acme/specs", "https://bitbucket.org/acme/specs"),
    ("bitbucket-cloud", "git@bitbucket.org:acme/specs.git", "https://api.bitbucket.org", BB, "acme/specs", "https://bitbucket.org/acme/specs"),
    ("bitbucket-datacenter", "https://bb.example/scm/OPS/specs.git", None, "https://bb.example", "OPS/specs", "https://bb.example/projects/OPS/repos/specs"),
    ("bitbucket-datacenter", "ssh://git@bb.example:7999/~ada/specs.git", None, "https://bb.example", "~ada/specs", "https://bb.example/users/ada/repos/specs"),
    ("bitbucket-datacenter", "https://x/bb/scm/OPS/specs.git", "https://x/bb", "https://x/bb", "OPS/specs", "https://x/bb/projects/OPS/repos/specs"),
    ("azure-devops", "https://dev.azure.com/acme/My%20Ops/_git/specs", None, AZ, "acme/My Ops/specs", f"{AZ}/acme/My%20Ops/_git/specs"),
    ("azure-devops", "https://dev.azure.com/acme/_git/specs", None, AZ, "acme/specs/specs", f"{AZ}/acme/specs/_git/specs"),
    ("azure-devops", "git@ssh.dev.azure.com:v3/acme/ops/specs", None, AZ, "acme/ops/specs", f"{AZ}/acme/ops/_git/specs"),
    ("azure-devops", "https://acme.visualstudio.com/ops/_git/specs", None, AZ, "acme/ops/specs", f"{AZ}/acme/ops/_git/specs"),
    ("azure-devops", "https://tfs.example/tfs/Main/ops/_git/specs", "https://tfs.example/tfs/Main", "https://tfs.example/tfs/Main", "ops/specs", "https://tfs.example/tfs/Main/ops/_git/specs"),
    ("azure-devops", "https://tfs.example/tfs/Main/_git/specs", "https://tfs.example/tfs/Main", "https://tfs.example/tfs/Main", "specs/specs", "https://tfs.example/tfs/Main/specs/_git/specs"),
    ("generic", "https://git.example/a/specs.git", None, "", "a/specs", ""),
    ("generic", "file:///srv/specs.git", None, "", "srv/specs", ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "git_url", "api_url", "api", "name", "page"), TABLE)
def test_what_git_fetches_says_where_the_api_is(kind, git_url, api_url, api, name, page):
    found = repo_ref(kind, git_url, api_url=api_url)

    assert (found.api_url, found.full_name, found.web_url) == (api, name, page)


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea", "forgejo", "bitbucket-cloud", "bitbucket-datacenter"])
def test_the_configuration_can_name_the_repository(kind):
    found = repo_ref(kind, "ssh://git@proxy.example/mirror", api_url="https://host.example", repo="acme/specs")

    assert found.full_name == "acme/specs"
    assert found.api_url.startswith("https://host.example")
    assert found.web_url.startswith("https://host.example/")


@pytest.mark.parametrize(
    ("kind", "git_url", "repo"),
    [
        ("github", "https://github.com/acme", None),
        ("github", "https://github.com/acme/specs", "specs"),
        ("github", "https://github.com/acme/specs", "a/b/c"),
        ("github", "https://github.com/acme/specs", "../specs"),
        ("gitea", "file:///srv/specs.git", None),
        ("gitlab", "https://gitlab.com/specs", None),
        ("azure-devops", "https://dev.azure.com/specs", None),
    ],
)
def test_what_leads_to_no_repository_is_said(kind, git_url, repo):
    with pytest.raises(Invalid, match=r"host\.repo"):
        repo_ref(kind, git_url, repo=repo)


@given(
    st.sampled_from(sorted(PROVIDERS)),
    st.text(max_size=60),
    st.none() | st.text(max_size=30),
    st.none() | st.text(max_size=30),
)
def test_whatever_is_written_is_a_repository_or_invalid(kind, path, api_url, repo):
    try:
        found = repo_ref(kind, f"https://git.example/{path}", api_url=api_url and f"https://x/{api_url}", repo=repo)
    except Invalid:
        return
    assert found.full_name
