"""Web: what gitsync answers over HTTP, and the server that keeps no slow client."""

from gitsync.web.access import Access
from gitsync.web.app import application, hooks_application, limits_of
from gitsync.web.health import health_app
from gitsync.web.hooks import BODY_BYTES, Hook, Inbox, Receiver
from gitsync.web.limits import SWITCH_SECONDS, USUAL, Limits
from gitsync.web.metrics import Metrics
from gitsync.web.pages import Sources
from gitsync.web.server import Certificate, serve

__all__ = [
    "BODY_BYTES", "SWITCH_SECONDS", "USUAL", "Access", "Certificate", "Hook", "Inbox", "Limits", "Metrics", "Receiver", "Sources", "application",
    "health_app", "hooks_application", "limits_of", "serve",
]  # fmt: skip
