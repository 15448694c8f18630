"""The keys that count for one sync, as git, gpg and ssh-keygen read them: private copies, made anew when a file changes.

<state_dir>/signers/<sync>/<digest of the files>/     pubring.kbx …   GNUPGHOME with the configured keys and no others
                                                      allowed         the lines of the allowed signers that are in force
                                                      revoked         the revocation list, if there is one
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gitsync.model.errors import Invalid, Unavailable
from gitsync.model.revision import escaped
from gitsync.repository.environment import keys_only
from gitsync.repository.lock import exclusive, remove_tree
from gitsync.repository.process import MIB, Ending, Limits, run

LONGEST = 4 * MIB
"""Bytes of a file with keys."""

GPG = Limits(30.0)
_CONF = "no-autostart\nno-greeting\nno-auto-key-retrieve\nno-auto-key-import\ntrust-model always\n"
# Nothing is looked up anywhere, no agent is started, and whom to trust is what our own list says.

_KEY = re.compile(rb"\s(?:ssh-|ecdsa-|sk-)")  # a principal comes first, and may begin like a key
_TIME = re.compile(rb'valid-(before|after)="?(\d{8}(?:\d{4}(?:\d{2})?)?)(Z|UTC)?(?![0-9])', re.IGNORECASE)
_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True)
class Ring:
    """digest: of everything that counts. fingerprints: of the primary GPG keys. The paths are None where no file was given.

    expired: lines of the allowed signers that are out of their time.
    """

    digest: str
    home: Path
    fingerprints: frozenset[str]
    allowed_signers: Path | None
    revoked_signers: Path | None
    expired: int = 0


class Keyring:
    """Makes rings below *folder*, which is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._last: Ring | None = None

    async def ring(self, gpg: Path | None, allowed: Path | None, revoked: Path | None, *, now: datetime) -> Ring:
        """The keys in these files as they are now.

        Raises Unavailable where a file cannot be read, or the folder not be written, Invalid where a file holds no keys.
        """
        keys = _content(gpg, "gpg_keys_file")
        signers, expired = in_force(_content(allowed, "allowed_signers_file"), now)
        gone = _content(revoked, "revoked_signers_file")
        given = tuple(path is not None for path in (gpg, allowed, revoked))
        digest = hashlib.sha256(repr((given, keys, signers, gone)).encode()).hexdigest()
        if self._last is None or self._last.digest != digest or not self._last.home.is_dir():
            home = self._folder / digest[:16]
            try:
                if not (home / "done").exists():
                    await self._make(home, keys, signers, gone if revoked else None)
            except OSError as error:
                raise Unavailable(
                    f"{self._folder} cannot be written: {error.strerror}. Give gitsync's user a state_dir that it may write."
                ) from error
            fingerprints = await _fingerprints(home) if keys else frozenset()
            if keys and not fingerprints:
                raise Invalid(
                    f"signatures.gpg_keys_file: {gpg} holds no GPG key. Write there what `gpg --export --armor` prints."
                )
            self._last = Ring(
                digest,
                home,
                fingerprints,
                home / "allowed" if signers.strip() else None,
                home / "revoked" if revoked else None,
                expired,
            )
        return self._last

    async def _make(self, home: Path, keys: bytes, signers: bytes, revoked: bytes | None) -> None:
        """Make *home* at one stroke, and remove what the files held before."""
        async with exclusive(self._folder / "lock", seconds=30.0):
            new = _begun(self._folder, home, signers, revoked)
            if new is None:
                return
            if keys:
                await _import(new, keys)
            _finished(new, home)


def _begun(folder: Path, home: Path, signers: bytes, revoked: bytes | None) -> Path | None:
    """A new folder with what needs no gpg; None if another process has made *home* meanwhile."""
    if (home / "done").exists():
        return None
    for old in folder.iterdir():
        if old.is_dir():
            remove_tree(old)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=folder))
    (new / "gpg.conf").write_text(_CONF)
    (new / "allowed").write_bytes(signers)
    if revoked is not None:
        (new / "revoked").write_bytes(revoked)
    return new


def _finished(new: Path, home: Path) -> None:
    (new / "done").touch()
    new.rename(home)


def in_force(signers: bytes, now: datetime) -> tuple[bytes, int]:
    """The lines of an allowed signers file that are within their time now, and how many are not.

    ssh-keygen compares that time with the date that the commit gives itself, so whoever has an old key writes an old date.
    """
    lines = signers.splitlines(keepends=True)
    kept = [line for line in lines if line.lstrip().startswith(b"#") or not _out_of_time(line, now)]
    return b"".join(kept), len(lines) - len(kept)


def _out_of_time(line: bytes, now: datetime) -> bool:
    options = _KEY.split(line.lstrip(), maxsplit=1)[0]
    for which, digits, zulu in _TIME.findall(options):
        try:
            time = datetime.strptime(digits.decode(), _FORMATS[len(digits)])  # noqa: DTZ007  its zone comes next
        except ValueError:
            return True
        time = time.replace(tzinfo=UTC) if zulu else time.astimezone()
        if (now >= time) if which.lower() == b"before" else (now < time):
            return True
    return False


def _content(file: Path | None, setting: str) -> bytes:
    if file is None:
        return b""
    try:
        with file.open("rb") as opened:
            content = opened.read(LONGEST + 1)
    except OSError as error:
        raise Unavailable(
            f"signatures.{setting}: {file} cannot be read: {error.strerror}. Put it there, readable by gitsync's user; until then no "
            "commit is trusted."
        ) from error
    if len(content) > LONGEST:
        raise Invalid(
            f"signatures.{setting}: {file} has more than {LONGEST:,} bytes. Name the keys that count, and no more."
        )
    return content


async def _import(home: Path, keys: bytes) -> None:
    ended = await run(["gpg", "--batch", "--no-tty", "--import"], env=keys_only(home), limits=GPG, stdin=keys)
    if ended.ending is Ending.EXITED and ended.status == 127:
        raise Unavailable("gpg is not installed, so GPG signatures cannot be checked. Install it.")
    if ended.ending is not Ending.EXITED:
        raise Unavailable("gpg did not read the keys in time. This is tried again.")


async def _fingerprints(home: Path) -> frozenset[str]:
    """The fingerprints of the primary keys. Source: GnuPG, doc/DETAILS, format of the colon listings."""
    ended = await run(["gpg", "--batch", "--no-tty", "--with-colons", "--list-keys"], env=keys_only(home), limits=GPG)
    if not ended.fine:
        raise Unavailable(f"gpg cannot list the keys that count: {escaped(ended.stderr.strip(), 200)}")
    found = set()
    primary = False
    for line in ended.stdout.decode(errors="replace").splitlines():
        fields = line.split(":")
        if fields[0] == "fpr" and primary:
            found.add(fields[9].upper())
        primary = fields[0] == "pub"
    return frozenset(found)
