"""The configuration: one YAML file and the environment over it, read into `Settings`."""

from gitsync.settings.described import Setting, as_markdown, describe
from gitsync.settings.grammar import address_and_port, git_scheme, is_loopback
from gitsync.settings.keys import (
    ConsulSettings,
    Drift,
    GatewaySettings,
    GitSettings,
    History,
    LogFormat,
    LogLevel,
    LogSettings,
    PruneSettings,
    Settings,
    SyncSettings,
)
from gitsync.settings.outside import WebSettings
from gitsync.settings.reading import load_settings, read_secret, secret_files, warnings

__all__ = [
    "ConsulSettings",
    "Drift",
    "GatewaySettings",
    "GitSettings",
    "History",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "PruneSettings",
    "Setting",
    "Settings",
    "SyncSettings",
    "WebSettings",
    "address_and_port",
    "as_markdown",
    "describe",
    "git_scheme",
    "is_loopback",
    "load_settings",
    "read_secret",
    "secret_files",
    "warnings",
]
