"""`python -m gitsync` is `gitsync`."""

from __future__ import annotations

from gitsync.cli import main

main()
