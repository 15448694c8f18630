"""Where a repository's API is and how the host calls it, from the address that git fetches and what the configuration adds. Pure.

| host                   | API, if `host.api_url` does not say           | full name                                      |
|------------------------|-----------------------------------------------|------------------------------------------------|
| github                 | `api.github.com`, else `https://HOST/api/v3`  | `owner/name`                                   |
| gitlab                 | `https://HOST/api/v4`                         | `group/subgroup/name`                          |
| gitea, forgejo         | `https://HOST/api/v1`                         | `owner/name`                                   |
| bitbucket-cloud        | `https://api.bitbucket.org/2.0`               | `workspace/name`                               |
| bitbucket-datacenter   | `https://HOST`                                | `PROJECT/name`, `~user/name`                   |
| azure-devops           | `https://dev.azure.com`, a Server's collection | `organisation/project/name`, `project/name`   |
| generic                | none                                          | the path                                       |

HOST is git's: where that is ssh, the API is taken to be https on the same host.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from gitsync.model.errors import Invalid
from gitsync.model.host import RepoRef
from gitsync.model.revision import Address, parse_address

_SAME = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
    "vs-ssh.visualstudio.com": "dev.azure.com",
}
"""Hosts that take ssh under another name than https."""

_PATHS = {"gitlab": "/api/v4", "gitea": "/api/v1", "forgejo": "/api/v1", "bitbucket-cloud": "/2.0"}


def repo_ref(kind: str, git_url: str, *, api_url: str | None = None, repo: str | None = None) -> RepoRef:
    """The repository of *git_url* at its host. kind: of the host. api_url, repo: what the configuration says of them.

    api_url may be the host's own address, or the API's with its path. Raises Invalid for what does not lead to a repository.
    """
    address = parse_address(git_url)
    if address.scheme == "file" and kind != "generic" and not (api_url and repo):
        raise Invalid(f"host: git.url {address.text} is a folder of this machine. Write host.api_url and host.repo.")
    web = _web_origin(address)
    path = [unquote(part) for part in address.path.removesuffix("/").removesuffix(".git").split("/") if part]
    if kind == "azure-devops":
        return _azure(web, path, api_url, repo)
    if kind == "generic":
        return RepoRef(api_url or "", repo or "/".join(path))
    above = urlsplit(_without_api(kind, api_url)).path.strip("/") if api_url else ""
    found = repo or _full_name(kind, path, above)
    parts = found.split("/")
    if (len(parts) < 2 if kind == "gitlab" else len(parts) != 2) or not all(parts) or {".", ".."} & set(parts):
        raise Invalid(f"host: {found!r} is no repository at this host. Write host.repo as owner/name.")
    if not api_url and kind in ("gitea", "forgejo") and len(path) > 2 and not repo:
        web = f"{web}/{'/'.join(path[:-2])}"  # an installation below a path
    site = _without_api(kind, api_url) if api_url else web
    return RepoRef(_api(kind, api_url or web), found, _page(kind, site, found))


def _web_origin(address: Address) -> str:
    host = _SAME.get(address.host, address.host)
    if address.scheme in ("https", "http"):
        return f"{address.scheme}://{host}{f':{address.port}' if address.port else ''}"
    return f"https://{host}" if host else ""


def _full_name(kind: str, path: list[str], above: str) -> str:
    if above and path[: above.count("/") + 1] == above.split("/"):
        path = path[above.count("/") + 1 :]
    if kind == "bitbucket-datacenter" and len(path) > 2 and path[-3] == "scm":
        path = path[-2:]
    if kind == "gitlab":
        return "/".join(path)
    return "/".join(path[-2:])


def _api(kind: str, url: str) -> str:
    url = url.rstrip("/")
    host = urlsplit(url).hostname or ""
    if kind == "github":
        if host in ("github.com", "www.github.com"):
            return "https://api.github.com"
        return url if host.startswith("api.") or url.endswith("/api/v3") else f"{url}/api/v3"
    if kind == "bitbucket-cloud":
        return "https://api.bitbucket.org/2.0" if host == "bitbucket.org" or url.endswith("api.bitbucket.org") else url
    ending = _PATHS.get(kind, "")
    return url if url.endswith(ending) else url + ending


def _without_api(kind: str, url: str | None) -> str:
    """The host's own address, of its API's."""
    url = (url or "").rstrip("/")
    if kind == "github":
        url = url.removesuffix("/api/v3")
        return url.replace("://api.", "://", 1)
    if kind == "bitbucket-cloud":
        return "https://bitbucket.org" if "://api.bitbucket.org" in url else url.removesuffix("/2.0")
    if kind == "bitbucket-datacenter":
        return url.partition("/rest/")[0].removesuffix("/rest")
    return url.removesuffix(_PATHS.get(kind, ""))


def _page(kind: str, site: str, name: str) -> str:
    if kind == "bitbucket-datacenter":
        project, _, slug = name.partition("/")
        where = f"users/{project[1:]}" if project.startswith("~") else f"projects/{project}"
        return f"{site}/{quote(where)}/repos/{quote(slug)}"
    return f"{site}/{quote(name)}"


def _azure(web: str, path: list[str], api_url: str | None, repo: str | None) -> RepoRef:
    """`/org/project/_git/name`, `/project/_git/name` below a collection, `v3/org/project/name` over ssh."""
    host = urlsplit(web).hostname or ""
    if host.endswith(".visualstudio.com"):
        web, path = "https://dev.azure.com", [host.partition(".")[0], *path]
    if path[:1] == ["v3"]:
        path = path[1:]
    base = (api_url or web).rstrip("/")
    above = urlsplit(base).path.strip("/")
    if above and path[: above.count("/") + 1] == above.split("/"):
        path = path[above.count("/") + 1 :]
    if "_git" in path:
        before, after = path[: path.index("_git")], path[path.index("_git") + 1 :]
        # a project's first repository has its name, and is written without it
        is_whole = len(before) >= (1 if above else 2)
        path = [*before, *after] if is_whole else [*before, *after, *after]
    found = repo or "/".join(path)
    if found.count("/") not in (1, 2) or not all(found.split("/")):
        raise Invalid(
            f"host: {found!r} is no repository of Azure DevOps. Write host.repo as organisation/project/name, or for a Server "
            "host.api_url as the URL of the collection and host.repo as project/name."
        )
    *before, name = found.split("/")
    return RepoRef(base, found, f"{base}/{quote('/'.join(before))}/_git/{quote(name)}")
