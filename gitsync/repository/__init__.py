"""The repository: a bare mirror read by object id, or a plain folder. The only room that knows Git, and GitPython."""

from __future__ import annotations

from gitsync.repository.directory import read_directory
from gitsync.repository.mirror import Mirror
from gitsync.repository.source import Accepts, GitSource, TreeLimits
from gitsync.repository.specs import DirectorySpecs, MirrorSpecs

__all__ = ["Accepts", "DirectorySpecs", "GitSource", "Mirror", "MirrorSpecs", "TreeLimits", "read_directory"]
