"""Web: what gitsync answers over HTTP, and the server that keeps no slow client."""

from gitsync.web.health import health_app
from gitsync.web.server import Limits, serve

__all__ = ["Limits", "health_app", "serve"]
