"""A repository for tests: commits from a mapping of paths, branches, tags, rewritten histories and trees that no client makes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ENV = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "1714564800 +0000",
    "GIT_COMMITTER_DATE": "1714564800 +0000",
}


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link in a commit."""

    target: str


@dataclass(frozen=True, slots=True)
class Submodule:
    """A commit of another repository in a commit."""

    sha: str = "1" * 40


Content = str | bytes | Link | Submodule | None
"""What stands at a path; None removes it (a folder, too)."""


class GitRepository:
    """A bare repository at *folder*. Every commit has the same author and date, so that equal histories have equal SHAs."""

    def __init__(self, folder: Path, *, branch: str = "main") -> None:
        self.folder, self.branch = folder, branch
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--bare", "--quiet", "--template=", f"--initial-branch={branch}", str(folder))

    @property
    def url(self) -> str:
        """Its address on this machine."""
        return f"file://{self.folder}"

    def commit(
        self,
        files: Mapping[str | bytes, Content],
        *,
        message: str | bytes = "a commit",
        branch: str = "",
        parent: str | None = None,
        author: bytes = b"Ada <ada@example.org>",
        date: int = 1714564800,
    ) -> str:
        """Change *files* on *branch* and return the commit.

        parent: a commit to go on from instead of the branch's last (the branch then moves there); "" for none.
        """
        ref = f"refs/heads/{branch or self.branch}"
        if parent is None:
            parent = self.sha(ref)
        said = message if isinstance(message, bytes) else message.encode()
        stream = [
            b"commit refs/tests/new",
            b"committer %b %d +0000" % (author, date),
            b"data %d\n%b" % (len(said), said),
        ]
        if parent:
            stream.append(f"from {parent}".encode())
        for path, content in files.items():
            quoted = _quoted(path if isinstance(path, bytes) else path.encode())
            if content is None:
                stream.append(b"D " + quoted)
            elif isinstance(content, Submodule):
                stream.append(b"M 160000 %b %b" % (content.sha.encode(), quoted))
            else:
                mode = b"120000" if isinstance(content, Link) else b"100644"
                text = content.target if isinstance(content, Link) else content
                raw = text if isinstance(text, bytes) else text.encode()
                stream.append(b"M %b inline %b\ndata %d\n%b" % (mode, quoted, len(raw), raw))
        self.git("fast-import", "--quiet", "--force", stdin=b"\n".join(stream) + b"\n\n")
        sha = self.sha("refs/tests/new")
        self.git("update-ref", ref, sha)
        self.git("update-ref", "-d", "refs/tests/new")
        return sha

    def tag(self, name: str, target: str = "", *, annotated: bool = True) -> None:
        """Tag *target* (default: the branch), moving a tag of that name."""
        options = ["-a", "-m", name] if annotated else []
        self.git("tag", "--force", *options, name, target or self.branch)

    def set_branch(self, name: str, sha: str) -> None:
        """Let the branch *name* end at *sha*; "" deletes it."""
        self.git("update-ref", *([f"refs/heads/{name}", sha] if sha else ["-d", f"refs/heads/{name}"]))

    def commit_tree(self, lines: bytes, *, branch: str = "") -> str:
        """A commit of a tree that `git mktree` makes of *lines*: with names that git itself would refuse to add."""
        tree = self.git("mktree", "--missing", "-z", stdin=lines).strip()
        sha = self.git("commit-tree", "-m", "made by hand", tree).strip()
        self.set_branch(branch or self.branch, sha)
        return sha

    def blob(self, content: str | bytes) -> str:
        """Store *content*."""
        return self.git(
            "hash-object", "-w", "--stdin", stdin=content if isinstance(content, bytes) else content.encode()
        ).strip()

    def sha(self, name: str) -> str:
        """The commit that *name* leads to, "" if there is none."""
        ran = self._run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return ran.stdout.decode().strip()

    def config(self, key: str, value: str) -> None:
        """Set something of the repository."""
        self.git("config", key, value)

    def git(self, *command: str, stdin: bytes = b"") -> str:
        """Run git in the repository. A failure fails the test, with git's own words."""
        ran = self._run(*command, stdin=stdin)
        assert ran.returncode == 0, f"git {command[0]}: {ran.stderr.decode(errors='replace')}"
        return ran.stdout.decode(errors="replace")

    def _run(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", f"--git-dir={self.folder}", *command], env=ENV, input=stdin, capture_output=True, check=False
        )


def _quoted(path: bytes) -> bytes:
    return (
        b'"'
        + b"".join(b"\\%03o" % byte if byte < 33 or byte > 126 or byte in b'"\\' else bytes([byte]) for byte in path)
        + b'"'
    )
