"""The composition root: from settings to things that work. The only room that knows every class."""

from gitsync.hosts.provider import Provider as Preflight
from gitsync.wire.daemon import chores_of, serve
from gitsync.wire.hosts import Hosted, hosts_of
from gitsync.wire.rooms import (
    HERE,
    House,
    Room,
    Silent,
    connected,
    filter_of,
    gateways_of,
    mirror_of,
    opened,
    parser_of,
    signatures_of,
    source_of,
    spec_defaults,
    specs_in,
    sync_of,
    system_clock,
)

__all__ = [
    "HERE",
    "Hosted",
    "House",
    "Preflight",
    "Room",
    "Silent",
    "chores_of",
    "connected",
    "filter_of",
    "gateways_of",
    "hosts_of",
    "mirror_of",
    "opened",
    "parser_of",
    "serve",
    "signatures_of",
    "source_of",
    "spec_defaults",
    "specs_in",
    "sync_of",
    "system_clock",
]  # fmt: skip
