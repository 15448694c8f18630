"""The closed environment in which every git runs: built from nothing, so that no setting of a machine or a user reaches it.

Credentials travel here as an HTTP header bound to the repository's origin: not in argv, which every user of the machine can
read, not in a URL, which git writes into files, and not by a prompt, which answers whoever a redirect leads to.
"""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gitsync.log import hide
from gitsync.model.errors import Invalid, Rejected, Unavailable
from gitsync.model.revision import Address
from gitsync.repository.source import GitSource

NOWHERE = "/nonexistent"
"""A home without .gitconfig, .netrc and .ssh, because it is not there."""

TOKEN_LENGTH = 16 * 1024

_CLOSED = {
    "HOME": NOWHERE,
    "XDG_CONFIG_HOME": NOWHERE,
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}

_CONFIG = {
    "protocol.allow": "never",
    "protocol.version": "2",
    "safe.bareRepository": "explicit",
    "transfer.fsckObjects": "true",
    "fetch.fsckObjects": "true",
    "fetch.unpackLimit": "1",  # a pack a fetch: a killed one leaves one file to remove, not thousands
    "fetch.recurseSubmodules": "false",
    "fetch.parallel": "1",
    "fetch.showForcedUpdates": "false",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.logAllRefUpdates": "false",
    "credential.helper": "",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "pack.threads": "2",
    "gc.auto": "0",
    "maintenance.auto": "false",
}

_SSH = (
    "ssh -F /dev/null {identity}-o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=yes "
    "-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no -o PasswordAuthentication=no "
    "-o KbdInteractiveAuthentication=no -o GSSAPIAuthentication=no -o ForwardAgent=no -o ClearAllForwardings=yes "
    "-o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
)


@dataclass(frozen=True, slots=True)
class Access:
    """The environment of one git that talks to the repository's host. secrets: what must not be shown of it, in any form."""

    env: Mapping[str, str]
    secrets: tuple[str, ...] = ()


def local() -> dict[str, str]:
    """The environment of a git that reads the mirror: it can talk to nobody."""
    return _environment({}, "none")


def verifying(config: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of a git that checks a signature with the keys in *home*, a GNUPGHOME, and with no others."""
    return {**_environment(config, "none"), "GNUPGHOME": str(home)}


def keys_only(home: Path) -> dict[str, str]:
    """The environment of a gpg that knows the keys in *home*."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": NOWHERE, "LC_ALL": "C", "GNUPGHOME": str(home)}


async def entered(source: GitSource, address: Address) -> Access:
    """The environment of a git that fetches from *address*, with the credentials as they are now. Raises as `remote`, and what
    asking for a token raises."""
    asked = source.login is not None and address.scheme in ("https", "http")
    return remote(source, address, token=await source.login.token() if asked and source.login else "")


def remote(source: GitSource, address: Address, *, token: str = "") -> Access:
    """The environment of a git that fetches from *address*, with *token* or the credentials as they stand in their files now.

    Raises Invalid if *source* lacks what its scheme needs, Unavailable if a file cannot be read, Rejected if it holds no token.
    """
    config = {f"protocol.{address.scheme}.allow": "always"}
    config["http.lowSpeedTime"] = str(max(1, min(20, int(source.timeout))))
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    if (token or source.token_file is not None) and address.scheme in ("https", "http"):
        if address.scheme == "http" and not address.loopback:
            raise Invalid(f"{address.text} would send the token over plain http, for all to read. Use https://.")
        if source.token_file is not None:
            token = _token(source.token_file)
        basic = base64.b64encode(f"{source.username or 'git'}:{token}".encode()).decode()
        config[f"http.{address.origin}.extraHeader"] = f"Authorization: Basic {basic}"
        secrets = (basic, token)
    if source.ca_file is not None and address.scheme == "https":
        _must_be_readable(source.ca_file, "ca_file")
        config["http.sslCAInfo"] = str(source.ca_file)
    if address.scheme == "ssh":
        env["GIT_SSH_VARIANT"] = "ssh"
        env["GIT_SSH_COMMAND"] = _ssh(source, address)
    return Access({**_environment(config, address.scheme), **env}, secrets)


def _environment(config: Mapping[str, str], scheme: str) -> dict[str, str]:
    env = {"PATH": os.environ.get("PATH", os.defpath), **_CLOSED, "GIT_ALLOW_PROTOCOL": scheme}
    settings = [*_CONFIG.items(), *config.items()]
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings):
        env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = key, value
    return env


def _ssh(source: GitSource, address: Address) -> str:
    if source.known_hosts_file is None:
        raise Invalid(
            f"{address.text} needs known_hosts_file: gitsync trusts no host at first sight. "
            f"Put the host's key there, as `ssh-keyscan {address.host}` prints it, after comparing it with what the host publishes."
        )
    _must_be_readable(source.known_hosts_file, "known_hosts_file")
    identity = ""
    if source.ssh_key_file is not None:
        _must_be_readable(source.ssh_key_file, "ssh_key_file")
        identity = f"-i {shlex.quote(str(source.ssh_key_file))} "
    # ssh splits the value of UserKnownHostsFile at spaces, unless it is quoted once more for ssh itself
    return _SSH.format(identity=identity, known=shlex.quote(f'"{source.known_hosts_file}"'))


def _token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(TOKEN_LENGTH + 1)
    except OSError as error:
        raise Unavailable(
            f"git token_file {path} cannot be read: {error.strerror}. Put the token there, readable by gitsync's user."
        ) from error
    token = raw.decode("ascii", errors="replace").strip()
    if not token or len(raw) > TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise Rejected(
            f"git token_file {path} holds no token: one line of printable ASCII is expected. Write the token there."
        )
    hide(token)  # the host may say it anywhere, also in what its API answers
    return token


def _must_be_readable(path: Path, name: str) -> None:
    if not os.access(path, os.R_OK):
        raise Unavailable(
            f"git {name} {path} is not there or cannot be read. Put it there, readable by gitsync's user."
        )
