"""What a git that ended badly means: a table from its words to the error tree. Credentials never get into a message."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from gitsync.model.errors import Forbidden, GitsyncError, Invalid, Rejected, Unavailable
from gitsync.model.revision import escaped
from gitsync.repository.process import Ended, Ending

SHOWN = 300
"""How many characters of git's own words a message repeats."""


class Corrupt(Unavailable):
    """Objects of the mirror are broken or missing: it has to be made again."""


class MissingRef(Rejected):
    """The repository has no such ref."""


class NotOffered(Rejected):
    """The host does not hand out this object."""


Verdict = Callable[[str], GitsyncError]

_TABLE: tuple[tuple[str, Verdict, str], ...] = (
    # the mirror itself
    (r"couldn't find remote ref|[Rr]emote branch .* not found", MissingRef, "the repository has no such ref. Check git.ref"),
    (r"not our ref|unadvertised object|upload-pack: .*not our", NotOffered, "the host does not hand out this commit"),
    (r"No space left on device|Disk quota exceeded", Unavailable, "the disk that holds the mirror is full. Free some space"),
    (r"Read-only file system", Unavailable, "the mirror's folder is on a read-only file system. Give state_dir another place"),
    # who we are, and who they are
    ((r"server certificate|certificate problem|SSL certificate|SSL: no alternative|certificate verification failed|"
     r"gnutls_handshake|SSL_connect|SSL routines"), Unavailable,
     "the host's certificate is not trusted, or no TLS is spoken there. Name its CA in git.ca_file, or check the address"),
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|host key is known", Rejected,
     "the host's key is not the one in git.known_hosts_file. Find out why it changed before you replace it there"),
    (r"UNPROTECTED PRIVATE KEY FILE|bad permissions", Rejected, "others can read git.ssh_key_file. Give it mode 0600"),
    (r"Permission denied \((publickey|.*keyboard|password)|Load key .*:", Forbidden,
     "the host refuses the ssh key. Register the public half of git.ssh_key_file there, for reading"),
    (r"error: 401|Authentication failed|could not read (Username|Password)|HTTP Basic: Access denied", Forbidden,
     "the host wants other credentials. Check git.token_file, its expiry and git.username"),
    (r"error: 403|access denied|Write access to repository not granted|not authorized|insufficient", Forbidden,
     "the host refuses this user. Let the token read the repository"),
    # where it is
    (r"unable to update url base from redirection|error: 30[1278]", Rejected,
     "the host redirects to another address, and credentials go to no other address. Write the new one into git.url"),
    ((r"error: 404|[Rr]epository .*not found|does not appear to be a git repository|does not exist|No such file or directory|"
     r"not valid: is this a git repository|dumb http transport|error: 410"), Rejected,
     "there is no repository that these credentials may see. Check git.url, and what the token may read"),
    (r"dubious ownership", Rejected,
     "the repository belongs to another user, and git reads none of others'. Give it to gitsync's user, or serve it by https or ssh"),
    # what is in it
    ((r"fsck error|hasDot|hasDotdot|fullPathname|duplicateEntries|gitmodules\w+:|error: object [0-9a-f]+: \w+:|"
     r"error in (commit|tree|tag|blob|object)|error: (tree|commit|tag) [0-9a-f]+ .*:"), Rejected,
     "it holds objects that git's own checks refuse. Mend the history (`git fsck` names them)"),
    (r"signal 25|File too large|file size limit", Rejected, "what the host sends is larger than what gitsync stores"),
    (r"Out of memory|malloc failed|mmap failed|cannot allocate|unable to create thread", Rejected,
     "git needs more memory for what the host sends than gitsync gives it"),
    (r"transport '.*' not allowed", Rejected, "git may not use this transport. Use https:// or ssh://"),
    # nobody there, or not long enough
    (r"[Cc]ould not resolve|Name or service not known", Unavailable, "the host's name is not known. Check git.url and the DNS"),
    ((r"[Ff]ailed to connect|Connection refused|[Cc]onnection timed out|No route to host|Network is unreachable|"
     r"[Cc]ouldn't connect"), Unavailable, "the host cannot be reached"),
    (r"too slow|Operation timed out", Unavailable, "the host answers too slowly"),
    (r"error: (429|5[0-9][0-9])", Unavailable, "the host has trouble of its own"),
    ((r"early EOF|hung up|unexpected disconnect|RPC failed|[Cc]onnection (was )?(reset|closed)|Empty reply|kex_exchange|"
     r"invalid index-pack|index-pack (died|failed|abnormal)|protocol error|bad line length|expected flush|invalid server response|"
     r"expected 'packfile'|not a git|Broken pipe|pack has|pack is corrupted|pack signature"), Unavailable,
     "the host ended the talk, or what it said was not git's protocol"),
)  # fmt: skip
_RULES = tuple((re.compile(pattern), error, advice) for pattern, error, advice in _TABLE)

_BROKEN = re.compile(
    r"not a git repository|bad config|loose object .*corrupt|object file .* is empty|packfile .*(does not match|cannot be|is too|"
    r"not found|truncated|corrupt)|failed to read|unable to read (?!askpass)|could not read [0-9a-f]{40}|missing (blob|tree|commit|object)|"
    r"bad (object|tree|pack)|unable to parse|index file .*(is too|corrupt|mismatch|wrong)|error: inflate|non-monotonic|"
    r"did not send all necessary objects|pack has \d+ unresolved delta|unable to (unpack|open|map|resolve reference)|"
    r"file is (empty|corrupt|broken|truncated)|"
    r"broken (ref|link|name)|unexpected line in|bad (sha1|signature|file)|invalid object|Could not read|revision walk|"
    r"could not parse|improper chunk|commit-graph|multi-pack-index|not a valid object|reference broken|packed-refs|"
    r"remote unpack failed|missing necessary objects|Failed to traverse|(inflate|zlib|delta).*(error|fail)"
)
# The other side can send some of these words only by lying; then the mirror is made again, in vain and once.


def judge(ended: Ended, what: str, *, seconds: float, secrets: Iterable[str] = ()) -> GitsyncError:
    """The error that *ended* means. what: what was done, where (`git fetch of https://… main`)."""
    if ended.ending is Ending.TIMED_OUT:
        return Unavailable(f"{what}: not done within {seconds:g} s. Try again, or raise git.timeout.")
    if ended.ending is Ending.TOO_MUCH:
        return Rejected(
            f"{what}: there is more of it than gitsync reads. Name a narrower git.path, or a smaller repository."
        )
    if ended.status == 127:
        return Invalid(f"{what}: git is not installed, or not in PATH. Install it.")
    return _by_words(ended, what, secrets)


def _by_words(ended: Ended, what: str, secrets: Iterable[str]) -> GitsyncError:
    said = "\n".join(line for line in ended.stderr.splitlines() if not line.startswith(("remote:", "warning: ")))
    shown = _shown(ended.stderr, secrets)
    if _BROKEN.search(said) and not _remote_only(said):
        return Corrupt(f"{what}: the mirror is broken{shown}.")
    if ended.status in (-25, 153):
        return Rejected(f"{what}: what the host sends is larger than what gitsync stores{shown}.")
    for pattern, error, advice in _RULES:
        if pattern.search(said):
            return error(f"{what}: {advice}{shown}.")
    return Unavailable(
        f"{what}: git ended with status {ended.status}{shown}. Try again; if it stays, run the same git by hand."
    )


_REMOTE_ONLY = re.compile(
    r"fatal: unable to access|fsck error|does not appear to be a git repository|Could not read from remote"
)


def _remote_only(said: str) -> bool:
    """Whether the words are about the other side, though they sound like the mirror."""
    return _REMOTE_ONLY.search(said) is not None


_PROGRESS = re.compile(r"remote: (Enumerating|Counting|Compressing|Total) |From ")


def _shown(text: str, secrets: Iterable[str]) -> str:
    """The lines that say most, in quotes and without *secrets*."""
    for secret in secrets:
        text = text.replace(secret, "***")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _PROGRESS.match(line)]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    return f" (git: {escaped(' | '.join(telling[:3]), SHOWN)})" if telling else ""
