"""The error tree, by what the caller does about it.

GitsyncError
├─ Invalid       what a person wrote is wrong           422, exit 3
├─ Conflict      somebody else has it, or had it first  409, exit 4
│  ├─ StaleIndex   it changed between our read and our write: read again
│  ├─ Busy         its lock is held
│  ├─ Fenced       our own lock is gone: stop writing
│  └─ Suspended    a person stopped the sync: leave it alone until it is resumed
├─ Rejected      Consul (or Git) refuses it             502, exit 5
│  ├─ Forbidden    the token may not
│  └─ Untrusted    a commit is not signed as it must be
└─ Unavailable   no answer, or none that counts         503, exit 6; the only one that is retried
   └─ Unknown      it may or may not have taken effect: read it back
"""

from __future__ import annotations


class GitsyncError(Exception):
    """What went wrong, where, and what to do next: the message says all three.

    revision: the commit that was not taken, where it is about one.
    """

    exit_code = 1
    retryable = False
    revision = ""


class Invalid(GitsyncError):
    """What a person wrote cannot be used."""

    exit_code = 3


class Conflict(GitsyncError):
    """Somebody else has it, or was first."""

    exit_code = 4


class StaleIndex(Conflict):
    """A component changed between our read and our write."""

    def __init__(self, what: str, index: int) -> None:
        super().__init__(f"{what} is no longer at index {index}")
        self.what, self.index = what, index


class Busy(Conflict):
    """A lock is held by somebody else."""

    def __init__(self, what: str, holder: str) -> None:
        super().__init__(f"{what} is locked by {holder}")
        self.what, self.holder = what, holder


class Fenced(Conflict):
    """Our own session is gone, so nothing more may be written."""


class Suspended(Conflict):
    """The sync is suspended."""


class Rejected(GitsyncError):
    """The other side understood, and refuses.

    dependency: what stands in the way is another entry, so the same write may pass once that one changed.
    """

    exit_code = 5
    dependency = False


class Forbidden(Rejected):
    """The token may not do this."""


class Untrusted(Rejected):
    """The revision, or a commit on the way to it, is not signed by anybody who counts. Nothing of it was read."""

    def __init__(self, message: str, revision: str) -> None:
        super().__init__(message)
        self.revision = revision


class Unavailable(GitsyncError):
    """The other side gave no answer that counts. Nothing was changed."""

    exit_code = 6
    retryable = True


class Unknown(Unavailable):
    """No answer that counts, and the change may have taken effect: read it back."""
