"""What `gitsync doctor` looks at: each thing that a run needs, asked for by itself, so that one that is wrong hides no other.

Nothing is written, to nobody: no session, no status, no mirror. Root, who often asks, would leave files behind that the daemon's
user cannot write.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509

from gitsync import wire
from gitsync.cli.checks import Check, State, ending, failed
from gitsync.cli.checkup_consul import examine_consul
from gitsync.model.errors import GitsyncError, Invalid, Rejected, Unavailable
from gitsync.repository import reach
from gitsync.settings import Settings
from gitsync.store import Store


async def examine(
    settings: Settings,
    names: Sequence[str],
    hosts: Mapping[str, wire.Hosted],
    warnings: Iterable[str],
    *,
    now: datetime,
) -> AsyncIterator[Check]:
    """Every check, in the order in which a person mends things. hosts: by sync, where one is configured."""
    for check in (*_configuration(settings, names, warnings), *_state(settings), *_certificates(settings, now)):
        yield check
    for each in await asyncio.gather(*(_git(settings, name, hosts.get(name)) for name in names)):
        yield each
    for name in names:
        async for check in _signatures(settings, name):
            yield check
        async for check in of_host(name, hosted.provider if (hosted := hosts.get(name)) else None, now):
            yield check
    async for check in examine_consul(settings, names, now):
        yield check
    yield await _store(settings)


# -- this machine ---------------------------------------------------------------------------------------------------------


def _configuration(settings: Settings, names: Sequence[str], warnings: Iterable[str]) -> list[Check]:
    found = [Check("configuration", "", State.OK, f"instance {settings.instance}, syncs: {', '.join(names)}")]
    return found + [Check("configuration", "", State.WARNING, each) for each in warnings]


def _state(settings: Settings) -> list[Check]:
    """Whether mirrors can be kept: the folder, or else the one in which it would be made, takes files of ours."""
    folder = settings.state_dir
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        message = f"state_dir {folder} cannot be written by {_user()}"
        return [Check("state", "", State.WRONG, message, "Give it to gitsync's user.", exit_code=Unavailable.exit_code)]
    if folder.exists() and folder.stat().st_uid != os.geteuid():
        message = f"state_dir {folder} belongs to another user than {_user()}"
        return [Check("state", "", State.WARNING, message, "Ask as the user that the daemon runs as.")]
    return [
        Check("state", "", State.OK, f"{folder} can be written" + ("" if folder.exists() else ", and will be made"))
    ]


def _user() -> str:
    return f"uid {os.geteuid()}"


def _certificates(settings: Settings, now: datetime) -> list[Check]:
    """When the certificates end that gitsync shows to others."""
    checks = []
    for area, key, file in (
        ("consul", "consul.cert_file", settings.consul.cert_file),
        ("configuration", "web.tls.cert_file", settings.web.tls.cert_file if settings.web.tls else None),
    ):
        if file is None:
            continue
        try:
            ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no certificate in PEM"
            message = f"{key} {file} cannot be read: {reason}"
            checks.append(Check(area, "", State.WRONG, message, exit_code=Invalid.exit_code))
            continue
        checks.append(ending(Check(area, "", State.OK, f"{key} {file}", expires=ends.isoformat()), now))
    return checks


# -- the repository -------------------------------------------------------------------------------------------------------


async def _git(settings: Settings, name: str, hosted: wire.Hosted | None) -> Check:
    try:
        source = wire.source_of(settings.syncs[name], hosted)
        reached = await reach(source)
    except GitsyncError as error:
        return failed("git", name, error)
    where = f"{source.url} {source.ref}" + (f" at {reached.sha[:12]}" if reached.sha else "")
    return Check("git", name, State.OK, f"{where} can be read (git {'.'.join(map(str, reached.git))})")


async def _signatures(settings: Settings, name: str) -> AsyncIterator[Check]:
    """The keys as they would count now. They are read into a folder that is forgotten."""
    given = settings.syncs[name].signatures
    with tempfile.TemporaryDirectory(prefix="gitsync-doctor-") as folder:
        apart = settings.model_copy(update={"state_dir": Path(folder)})
        signatures = wire.signatures_of(apart, name)
        if signatures is None:
            return
        try:
            ring = await signatures.ring()
            signers = _lines(ring.allowed_signers)
        except GitsyncError as error:
            yield failed("signatures", name, error)
            return
    kinds = [f"{len(ring.fingerprints)} GPG keys"] if given.gpg_keys_file else []
    kinds += [f"{signers} SSH signers"] if given.allowed_signers_file else []
    state = State.OK if ring.fingerprints or signers else State.WRONG
    code = 0 if state is State.OK else Invalid.exit_code
    hint = "" if state is State.OK else "No commit can be trusted: list whose signatures count."
    yield Check("signatures", name, state, f"{given.mode}: {' and '.join(kinds)} count", hint, exit_code=code)
    if ring.expired:
        message = f"{ring.expired} lines of {given.allowed_signers_file} are out of their time and count no more"
        yield Check("signatures", name, State.WARNING, message, "Remove them, or prolong them.")
    if unknown := sorted(set(given.gpg_fingerprints) - ring.fingerprints):
        message = f"no key in {given.gpg_keys_file} has the fingerprint {', '.join(unknown)}"
        yield Check(
            "signatures", name, State.WARNING, message, "Export that key into the file, or remove the fingerprint."
        )
    for key, file in (("gpg_keys_file", given.gpg_keys_file), ("allowed_signers_file", given.allowed_signers_file)):
        if file and stat.S_IMODE(file.stat().st_mode) & 0o022:
            message = f"signatures.{key} {file} can be written by others, who could let themselves be trusted"
            yield Check("signatures", name, State.WARNING, message, f"chmod go-w {file}")


def _lines(file: Path | None) -> int:
    """The lines of a file that say something."""
    lines = file.read_bytes().splitlines() if file else []
    return sum(1 for line in lines if line.strip() and not line.lstrip().startswith(b"#"))


# -- the Git host ---------------------------------------------------------------------------------------------------------


async def of_host(name: str, host: wire.Preflight | None, now: datetime) -> AsyncIterator[Check]:
    """What the host of a sync says of our credentials; nothing, where none is configured."""
    if host is None:
        return
    try:
        problems = await host.preflight()
    except GitsyncError as error:
        yield failed("host", name, error)
        return
    for each in problems:
        # what only ends some day is made worse below, when that is soon
        state = State.WRONG if each.fatal else State.OK if each.expires or not each.hint else State.WARNING
        code = Rejected.exit_code if each.fatal else 0
        yield ending(Check("host", name, state, each.message, each.hint, each.expires, code), now)
    if not problems:
        yield Check("host", name, State.OK, "its API takes the credentials, and they may do what is needed")


# -- the store ------------------------------------------------------------------------------------------------------------


async def _store(settings: Settings) -> Check:
    """Open the history; SQLite's file only where it is, since opening makes it."""
    if settings.store.startswith("sqlite:") and (check := _sqlite(Path(settings.store.removeprefix("sqlite:///")))):
        return check
    shown = settings.store.rpartition("@")[2]
    try:
        async with Store.open(settings.store) as store:
            last = await store.runs(limit=1)
    except GitsyncError as error:
        return failed("store", "", error)
    told = f", last run {last[0]['started']}" if last else ", no run yet"
    return Check("store", "", State.OK, f"{shown} can be read and written{told}")


def _sqlite(file: Path) -> Check | None:
    """What there is to say of SQLite's file without opening it; None if it can be opened."""
    hint = "Give gitsync's user the folder."
    if file.exists():
        if os.access(file, os.W_OK):
            return None
        message = f"{file} cannot be written by {_user()}"
        return Check("store", "", State.WRONG, message, hint, exit_code=Unavailable.exit_code)
    there = next((each for each in file.parents if each.exists()), file.parent)
    if os.access(there, os.W_OK | os.X_OK):
        return Check("store", "", State.OK, f"{file} will be made by the first run")
    message = f"{file} is not there and cannot be made by {_user()}: history will be neither kept nor shown"
    return Check("store", "", State.WRONG, message, hint, exit_code=Unavailable.exit_code)
