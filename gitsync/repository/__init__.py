"""The repository: a bare mirror read by object id, or a plain folder. The only room that knows Git, and GitPython."""

from __future__ import annotations

from gitsync.repository.change import Changes
from gitsync.repository.checkout import Checkout, CommitSpecs
from gitsync.repository.directory import read_directory
from gitsync.repository.mirror import Mirror
from gitsync.repository.reach import Reached, reach
from gitsync.repository.signatures import Mode, SignaturePolicy, Signatures
from gitsync.repository.source import Accepts, GitSource, Login, TreeLimits
from gitsync.repository.specs import DirectorySpecs, MirrorSpecs

__all__ = [
    "Accepts", "Changes", "Checkout", "CommitSpecs", "DirectorySpecs", "GitSource", "Login", "Mirror", "MirrorSpecs", "Mode", "Reached",
    "SignaturePolicy", "Signatures", "TreeLimits", "reach", "read_directory",
]  # fmt: skip
