"""The configuration that `gitsync init` writes: what was asked for, what was seen, and the text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from gitsync.cli.example import EXAMPLE
from gitsync.model.errors import GitsyncError
from gitsync.model.revision import Revision, escaped


@dataclass(slots=True)
class Seen:
    """What was found. troubles: what could not be read, and why; the configuration is written all the same."""

    revision: Revision | None = None
    files: int = 0
    services: int = 0
    errors: int = 0
    version: str = ""
    datacenter: str = ""
    gateways: list[str] = field(default_factory=list)
    troubles: dict[str, GitsyncError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the command line says, completed."""

    url: str
    ref: str
    path: str
    consul: str
    instance: str
    sync: str
    state_dir: str
    credentials: dict[str, str]


def written(answers: Answers, seen: Seen) -> str:
    """The configuration, with comments that say what else there is."""
    lines = [
        "# gitsync's configuration. Every key is in docs/configuration.md, and can be set by a variable as well.",
        "",
        f"instance: {_quoted(answers.instance)}    # part of every owner mark: another gitsync on the same Consul needs another name",
        f"state_dir: {_quoted(answers.state_dir)}    # mirrors and history; it can be lost, but not be shared",
        "",
        "consul:",
        f"  address: {_quoted(answers.consul)}"
        + (f"    # {seen.version}, datacenter {escaped(seen.datacenter)}" if seen.version else ""),
        "  # token_file: /etc/gitsync/consul-token    # or CONSUL_HTTP_TOKEN in the environment",
        *([] if answers.consul.startswith("http:") else ["  # ca_file: /etc/ssl/certs/consul-ca.pem"]),
        "",
        *_gateway(seen),
        "",
        "syncs:",
        f"  {answers.sync}:",
        "    git:",
        *(f"      {name}: {_quoted(value)}" for name, value in git_keys(answers).items()),
        *([] if answers.path else ["      # path: services    # the folder that holds the specs; default: all of it"]),
        *(
            ["      # token_file: /etc/gitsync/git-token"]
            if answers.url.startswith("https:") and not answers.credentials
            else []
        ),
        "    interval: 60s    # how often the repository is looked at",
        "    prune:    # more deletes in one run than this wait for `gitsync approve`",
        "      max_count: 10",
        "      max_fraction: 0.2",
        "    # adopt: true        # take over what stands in Consul under a spec's name and has no owner mark",
        "    # drift: detect      # show what somebody changed in Consul, instead of putting it back",
        "",
        *("# " + line if line else "#" for line in EXAMPLE.strip().splitlines()),
    ]
    return "\n".join(lines) + "\n"


def _gateway(seen: Seen) -> list[str]:
    if len(seen.gateways) == 1:
        return [f"gateway: {_quoted(seen.gateways[0])}    # the terminating gateway of specs that name none"]
    there = f"; there is: {', '.join(map(escaped, seen.gateways))}" if seen.gateways else ""
    return [f"# gateway: tgw-1    # the terminating gateway of specs that name none{there}"]


def git_keys(answers: Answers) -> dict[str, Any]:
    path = {"path": answers.path} if answers.path else {}
    return {"url": answers.url, "ref": answers.ref, **path, **answers.credentials}


def _quoted(text: str) -> str:
    """*text* as a YAML scalar."""
    if re.fullmatch(r"[A-Za-z./][A-Za-z0-9._/@:-]*[A-Za-z0-9/]", text) and text.lower() not in (
        "true",
        "false",
        "null",
    ):
        return text
    return json.dumps(text)
