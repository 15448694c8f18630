"""Whose commits count: the head, or every commit since the applied one, is signed by a listed key, or nothing of it is read.

Git and gpg say who signed; what is made of that is decided here, and whatever is not plainly right is refused. Of an OpenPGP
signature gpg's status lines count (a good signature of an expired key is "valid" there, too), of an SSH signature only git's
exit status: with a key that nobody lists, git prints `Good "git" signature` all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from gitsync.model.errors import GitsyncError, Unavailable, Untrusted
from gitsync.model.revision import Revision, escaped
from gitsync.repository.keyring import Keyring, Ring
from gitsync.repository.mirror import Mirror
from gitsync.repository.process import Ended, Ending

MOST = 5000
"""Commits that are looked at for one revision. Each costs a git and a gpg or an ssh-keygen: some 20 ms."""

REMEMBERED = 20_000
"""Good commits that are kept in memory, so that a run which found nothing new asks nobody."""

_BAD = {
    "BADSIG": "its signature does not fit it: it was changed after it was signed",
    "EXPSIG": "its signature has expired",
    "EXPKEYSIG": "the key that signed it has expired. Prolong the key and export it again",
    "REVKEYSIG": "the key that signed it was revoked",
}
"""What gpg says of a signature that does not count, from the plainest to the mildest. Source: GnuPG, doc/DETAILS."""

_SSH = {
    "incorrect signature": "its signature does not fit it: it was changed after it was signed",
    "not permitted for use in signature namespace": "the SSH key that signed it may not sign for the namespace git",
    "No principal matched": "the SSH key that signed it is not in signatures.allowed_signers_file",
    "Could not verify signature": "its signature was not made for git, or its key is in signatures.revoked_signers_file",
}
"""What ssh-keygen says where git's status is not 0, from the plainest to the vaguest. It explains, and decides nothing."""

_WAY_OUT = "Rewrite the branch so that each commit is signed, or set signatures.mode to head until this one is applied"

_FORMATS = {b"-----BEGIN PGP SIGNATURE-----": "gpg", b"-----BEGIN SSH SIGNATURE-----": "ssh"}
_STATUS = "[GNUPG:] "
_HEADER = re.compile(rb"^gpgsig (.*(?:\n .*)*)", re.MULTILINE)


class Mode(StrEnum):
    """Which commits must be signed: the one that is applied, or also each that leads from the applied one to it."""

    HEAD = "head"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """Who may sign what.

    gpg_fingerprints: of primary keys, in capitals; empty: every primary key of gpg_keys_file. allowed_signers_file and
    revoked_signers_file: as ssh-keygen reads them. At least one of the first two files is given.
    """

    mode: Mode
    gpg_keys_file: Path | None = None
    gpg_fingerprints: tuple[str, ...] = ()
    allowed_signers_file: Path | None = None
    revoked_signers_file: Path | None = None


def _now() -> datetime:
    return datetime.now(UTC)


class Signatures:
    """The signatures of one sync. home: a folder of its own below the state directory, for the keys that count."""

    def __init__(self, policy: SignaturePolicy, home: Path, *, now: Callable[[], datetime] = _now) -> None:
        self.policy = policy
        self._keyring = Keyring(home)
        self._now = now
        self._ring = ""
        self._good: dict[str, None] = {}

    async def check(self, mirror: Mirror, revision: Revision, applied: str) -> None:
        """Raise Untrusted unless *revision* may be applied after *applied* ("" for nothing).

        Where nothing was applied the head alone counts: it vouches for the history that led to it. Raises Unavailable where keys
        cannot be read, or git does not end. Either carries the revision.
        """
        try:
            ring = await self.ring()
            if ring.digest != self._ring:
                self._ring, self._good = ring.digest, {}
            for sha in await self._commits(mirror, revision.sha, applied):
                if sha not in self._good:
                    await self._check_one(mirror, sha, revision.sha, ring)
                    while len(self._good) >= REMEMBERED:
                        self._good.pop(next(iter(self._good)))
                    self._good[sha] = None
        except GitsyncError as error:
            error.revision = revision.sha
            raise

    async def ring(self) -> Ring:
        """The keys that count now. Raises Unavailable or Invalid where a file is not as it must be."""
        policy = self.policy
        return await self._keyring.ring(
            policy.gpg_keys_file, policy.allowed_signers_file, policy.revoked_signers_file, now=self._now()
        )

    async def _commits(self, mirror: Mirror, head: str, applied: str) -> list[str]:
        """The commits that must be good, the oldest first."""
        if self.policy.mode is Mode.HEAD or not applied:
            return [head]
        found = await mirror.since(applied, head, most=MOST + 1)
        if len(found) > MOST:
            raise Untrusted(
                f"more than {MOST} commits lead to {head[:12]} that were not applied yet, and each needs its signature. Go there in "
                "steps with `gitsync sync --rev SHA`, then `gitsync resume`.",
                head,
            )
        return [sha for sha in reversed(found) if sha != head] + [head]

    async def _check_one(self, mirror: Mirror, sha: str, head: str, ring: Ring) -> None:
        content = await mirror.commit_object(sha)
        kind = form(content)
        known = {"gpg": ring.fingerprints, "ssh": ring.allowed_signers}
        if kind in known and not known[kind]:
            setting = {"gpg": "gpg_keys_file", "ssh": "allowed_signers_file"}[kind]
            reason = f"it is signed with {kind.upper()}, and signatures.{setting} names no key"
        elif kind in known:
            ended = await mirror.verify(sha, _config(kind, ring), ring.home)
            if ended.ending is Ending.TIMED_OUT:
                raise Unavailable(f"the signature of commit {sha[:12]} was not checked in time. This is tried again.")
            reason = _gpg_reason(ended, self._fingerprints(ring)) if kind == "gpg" else _ssh_reason(ended)
        else:
            reason = kind
        if reason:
            on_the_way = "" if sha == head else f", on the way to {head[:12]},"
            way_out = "Push a commit that is signed by somebody who counts" if sha == head else _WAY_OUT
            raise Untrusted(
                f"commit {sha[:12]}{on_the_way} is not trusted: {reason}. Nothing of {head[:12]} is applied, and what was applied stays. "
                f"{way_out}.",
                head,
            )

    def _fingerprints(self, ring: Ring) -> frozenset[str]:
        return frozenset(self.policy.gpg_fingerprints) or ring.fingerprints


def form(commit: bytes) -> str:
    """`gpg` or `ssh`, the kind of the one signature of a raw commit, else in words why it has none that counts."""
    headers = commit.partition(b"\n\n")[0]
    found = _HEADER.findall(headers)
    if not found:
        return "it is not signed"
    if len(found) > 1:
        return f"it has {len(found)} signatures, and which one counts nobody can tell"
    first = found[0].partition(b"\n")[0].rstrip()
    return _FORMATS.get(first, "its signature is neither of GPG nor of SSH")


def _config(kind: str, ring: Ring) -> Mapping[str, str]:
    """Git's settings for one kind of signature; the programs of all others are none, whatever the commit says it is."""
    none = dict.fromkeys(("gpg.program", "gpg.openpgp.program", "gpg.x509.program", "gpg.ssh.program"), "/bin/false")
    if kind == "gpg":
        return {**none, "gpg.format": "openpgp", "gpg.program": "gpg", "gpg.openpgp.program": "gpg"}
    revoked = {"gpg.ssh.revocationFile": str(ring.revoked_signers)} if ring.revoked_signers else {}
    return {
        **none,
        "gpg.format": "ssh",
        "gpg.ssh.program": "ssh-keygen",
        "gpg.ssh.allowedSignersFile": str(ring.allowed_signers),
        **revoked,
    }


def _gpg_reason(ended: Ended, fingerprints: frozenset[str]) -> str:
    """Why a GPG signature does not count; "" if it does: git is content, and gpg names exactly one good signature of a listed key."""
    lines = [line.removeprefix(_STATUS).split() for line in ended.stderr.splitlines() if line.startswith(_STATUS)]
    said = [line for line in lines if line]
    words = {line[0] for line in said}
    for word, reason in _BAD.items():
        if word in words:
            return reason
    if "ERRSIG" in words or "NO_PUBKEY" in words:
        keys = ", ".join(line[1] for line in said if line[0] == "ERRSIG" and len(line) > 1) or "unknown"
        return f"the key {escaped(keys, 100)} that signed it is not in signatures.gpg_keys_file"
    valid = [line for line in said if line[0] == "VALIDSIG"]
    if len(valid) > 1:
        return f"it has {len(valid)} signatures, and which one counts nobody can tell"
    if not ended.fine or not valid or len(valid[0]) < 11:
        return _not_checked(ended, "gpg")
    primary = valid[0][10].upper()
    return "" if primary in fingerprints else f"the key {primary} that signed it is not in signatures.gpg_fingerprints"


def _ssh_reason(ended: Ended) -> str:
    """Why an SSH signature does not count; "" if git's exit status says that it does."""
    if ended.fine:
        return ""
    for words, reason in _SSH.items():
        if words in ended.stderr:
            return reason
    return _not_checked(ended, "ssh-keygen")


def _not_checked(ended: Ended, program: str) -> str:
    if f"cannot run {program}" in ended.stderr or ended.status == 127:
        return f"{program} is not installed here, so nobody can say who signed it"
    said = " | ".join(line for line in ended.stderr.splitlines() if line.strip() and not line.startswith(_STATUS))
    shown = f": {escaped(said, 200)}" if said else ""
    return f"its signature could not be checked (git ended with status {ended.status}{shown})"
