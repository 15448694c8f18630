"""What a Git repository holds at one commit, and the words by which it is named: address, ref, lineage."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from gitsync.model.errors import Invalid

SUBJECT_LENGTH = 1024
"""How much of a commit's first line is kept, in characters."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit. committed: ISO 8601 in UTC (`2024-05-01T12:00:00Z`). author, subject: escaped, safe to show."""

    sha: str
    author: str
    committed: str
    subject: str


NO_REVISION = Revision("", "", "", "")
"""What a directory that is no commit has for a revision."""


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A spec file of a commit. path: below the sync's path. full_path: in the repository. size: in bytes."""

    path: str
    full_path: str
    oid: str
    size: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A path that was passed over, and why.

    path: below the sync's path, escaped where it cannot be shown; it ends with `/` where a whole folder is meant.
    unreadable: the globs take it, so it may hold specs that nobody read: what is recorded at this path must be kept.
    """

    path: str
    reason: str
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """What is below the sync's path at one commit. files and passed_over are sorted by path."""

    revision: Revision
    files: tuple[TreeFile, ...]
    passed_over: tuple[Refusal, ...]
    path_exists: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A tree and the contents, by blob oid, that the caller's cache lacked."""

    tree: Tree
    contents: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs between two commits. status: A (added), D (deleted), M (modified), T (another type).

    path: below the sync's path, escaped where it cannot be shown. oid: after the change, "" if it is gone.
    """

    status: str
    path: str
    oid: str


class History(StrEnum):
    """How a commit stands to the one that was applied."""

    SAME = "same"
    FORWARD = "forward"
    BEHIND = "behind"
    """It is an ancestor of the applied one: the mirror, the server or the branch went back."""
    DIVERGED = "diverged"
    """Neither leads to the other: the history was rewritten."""
    UNKNOWN = "unknown"
    """The applied commit is nowhere to be found any more."""


# -- addresses ------------------------------------------------------------------------------------------------------------

_SCHEMES = {"https": 443, "http": 80, "ssh": 22, "file": 0}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<netloc>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)")
_SCP = re.compile(r"(?:(?P<user>[^@/:]*)@)?(?P<host>\[[^\]]*\]|[^/:@]+):(?P<path>.*)")
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository is. text: as Git gets it, free of credentials. port: None if it is the scheme's own."""

    text: str
    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def origin(self) -> str:
        """`scheme://host[:port]/`, the part to which credentials are bound."""
        return f"{self.scheme}://{self.host}{f':{self.port}' if self.port else ''}/"

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        return self.host in ("localhost", "[::1]") or bool(re.fullmatch(r"127(\.[0-9]{1,3}){3}", self.host))


def parse_address(url: str) -> Address:
    """Read the URL of a repository: https, http, ssh, file, or `user@host:path`.

    Raises Invalid for anything else: credentials in it, option-like hosts, other transports, queries, control characters.
    """
    shown = _USERINFO.sub("***@", url)[:200].encode("unicode_escape").decode()
    if not url or len(url) > 2048 or url.startswith("-") or any(c.isspace() or not c.isprintable() for c in url):
        raise Invalid(
            f"git url {shown!r} is not a repository's address. Write https://host/path or ssh://git@host/path."
        )
    whole = _URL.fullmatch(url)
    if whole is None:
        return _parse_scp(url, shown)
    scheme, netloc, path = whole["scheme"].lower(), whole["netloc"], whole["path"]
    if scheme not in _SCHEMES:
        raise Invalid(
            f"git url {shown!r}: {scheme}:// is not supported. Use https:// or ssh:// (they know whom they talk to)."
        )
    if whole["rest"]:
        raise Invalid(f"git url {shown!r} has a query or a fragment. Leave out what follows the path.")
    user, at, place = netloc.rpartition("@")
    if at and (scheme != "ssh" or not _USER.fullmatch(user)):
        raise Invalid(
            f"git url {shown!r} carries credentials. Take them out and name a token_file (https) or ssh_key_file (ssh)."
        )
    host, port = _split_port(place, shown)
    if scheme == "file":
        if place not in ("", "localhost") or not path.startswith("/"):
            raise Invalid(f"git url {shown!r}: a local repository is written file:///absolute/path.")
        return Address(f"file://{path}", "file", "", None, path)
    if not _HOST.fullmatch(host) or not path.strip("/"):
        raise Invalid(f"git url {shown!r} names no host, or no repository on it. Write {scheme}://host/path.")
    text = f"{scheme}://{user}{at}{host.lower()}{f':{port}' if port else ''}{path}"
    return Address(text, scheme, host.lower(), None if port == _SCHEMES[scheme] else port, path)


def _parse_scp(url: str, shown: str) -> Address:
    found = _SCP.fullmatch(url)
    if found is None or "::" in url.partition("]")[2 if url.startswith("[") else 0]:
        raise Invalid(
            f"git url {shown!r} is not a repository's address. Write https://host/path, ssh://… or file:///path."
        )
    user, host, path = found["user"], found["host"], found["path"]
    if (user is not None and not _USER.fullmatch(user)) or not _HOST.fullmatch(host) or not path.strip("/"):
        raise Invalid(f"git url {shown!r} names no host, or no repository on it. Write ssh://git@host/path.")
    if path.startswith("-"):
        raise Invalid(f"git url {shown!r}: a path may not begin with '-'. Write ssh://git@host/path.")
    return Address(
        f"{user}@{host.lower()}:{path}" if user else f"{host.lower()}:{path}", "ssh", host.lower(), None, path
    )


def _split_port(place: str, shown: str) -> tuple[str, int | None]:
    host, colon, digits = place.rpartition(":")
    if not colon or place.endswith("]"):
        return place, None
    if not re.fullmatch(r"[0-9]{1,5}", digits) or not 0 < int(digits) < 65536:
        raise Invalid(f"git url {shown!r}: {digits[:20]!r} is not a port.")
    return host, int(digits)


# -- refs and paths -------------------------------------------------------------------------------------------------------

_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_SHA = re.compile(r"[0-9a-fA-F]{40}")


class RefKind(StrEnum):
    """What a ref may be."""

    ANY = "branch or tag"
    BRANCH = "branch"
    TAG = "tag"
    SHA = "commit"


@dataclass(frozen=True, slots=True)
class Ref:
    """What a sync follows. name: without refs/heads/ or refs/tags/, or 40 hex digits."""

    kind: RefKind
    name: str


def parse_ref(text: str) -> Ref:
    """Read a ref: a branch, a tag, `refs/heads/…`, `refs/tags/…`, or a full SHA. A branch goes before a tag of its name.

    Raises Invalid for what could be an option, a revision expression or no ref at all.
    Source: git check-ref-format, narrowed to A-Z a-z 0-9 . _ / -.
    """
    if _SHA.fullmatch(text):
        return Ref(RefKind.SHA, text.lower())
    kind, name = RefKind.ANY, text
    for prefix, meant in (("refs/heads/", RefKind.BRANCH), ("refs/tags/", RefKind.TAG)):
        if text.startswith(prefix):
            kind, name = meant, text.removeprefix(prefix)
    parts = name.split("/")
    bad = any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in parts)
    if not _REF.fullmatch(name) or bad or ".." in name or parts[0] == "refs" or name == "HEAD":
        shown = text[:100].encode("unicode_escape").decode()
        raise Invalid(
            f"git ref {shown!r} is not usable. Name a branch, a tag or a full commit SHA; letters, digits, '.', '_', '/' and '-'."
        )
    return Ref(kind, name)


def parse_path(text: str) -> str:
    """A folder of the repository, without slashes at its ends; "" is all of it. Raises Invalid."""
    path = "" if text.strip("/") == "." else text.strip("/")
    if any(part in ("", ".", "..") for part in path.split("/") if path) or not (
        path.isprintable() and len(path) <= 1024
    ):
        raise Invalid(f"git path {escaped(text, 100)!r} is not a folder of a repository. Write it like services/prod.")
    return path


def lineage(url: str, ref: str, path: str) -> str:
    """Which repository, ref and path a sync follows, the same for every way to write the address.

    `git@Host:org/repo.git`, `ssh://git@host:22/org/repo` and `https://host/org/repo/` with main and services are all
    `host/org/repo@main:services`. A port that is not the scheme's own stays: behind it may be another server.
    """
    address = parse_address(url)
    parts = [part for part in unquote(address.path).split("/") if part]
    parts[-1:] = [parts[-1].removesuffix(".git") or parts[-1]] if parts else []
    host = address.host + (f":{address.port}" if address.port else "")
    return f"{host}/{'/'.join(parts)}@{parse_ref(ref).name}:{parse_path(path)}"


# -- text from outside ----------------------------------------------------------------------------------------------------

_UNSEEN = (
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
)  # controls, bidi and zero-width marks, halves of pairs, line and paragraph breaks


def has_unseen(text: str) -> bool:
    """Whether *text* has characters that are not seen, or that change how others are seen."""
    if text.isascii():
        return not text.isprintable() and bool(text)
    return any(unicodedata.category(character) in _UNSEEN for character in text)


def escaped(text: str, length: int = SUBJECT_LENGTH) -> str:
    """*text* with what is not seen written out (`\\x1b`, `\\u202e`), cut to *length* characters."""
    cut = text[: length + 1]
    if has_unseen(cut):
        cut = "".join(c.encode("unicode_escape").decode() if has_unseen(c) else c for c in cut)
    return cut if len(cut) <= length else cut[: length - 1] + "…"


def pointer_reason(content: bytes) -> str | None:
    """Why *content* is not the file that its name promises, None if nothing is wrong. Source: the Git LFS specification."""
    if len(content) < 1024 and content.startswith(b"version https://git-lfs.github.com/spec/"):
        return "Git LFS pointer, not a spec: commit the file itself"
    return None
