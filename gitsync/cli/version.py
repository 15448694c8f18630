"""`gitsync version`: which gitsync this is."""

from __future__ import annotations

import platform

from gitsync import __version__
from gitsync.cli.call import FINE, carry_out
from gitsync.cli.options import Debug, Json
from gitsync.cli.screen import Screen


def version(as_json: Json = False, debug: Debug = False) -> None:
    """Print the version.

    And that of Python, for whoever reports something.

    Example:

      gitsync version --json
    """

    async def work(screen: Screen) -> int:
        screen.document({"version": __version__, "python": platform.python_version()})
        screen.line(f"gitsync {__version__} (Python {platform.python_version()})")
        return FINE

    carry_out(work, as_json=as_json, debug=debug)
