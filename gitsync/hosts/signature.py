"""Whether a delivery proves that the host sent it. Pure, in constant time, and closed: what is empty proves nothing.

| function          | what the host sends                                        | what it proves            |
|-------------------|------------------------------------------------------------|---------------------------|
| `signed_body`     | HMAC of the raw body in hex, with or without `sha256=`     | body                      |
| `signed_message`  | Standard Webhooks: `webhook-id`, `-timestamp`, `-signature` | body, id and time         |
| `secret_token`    | the secret itself, in a header                             | that the sender knows it  |
| `basic`           | `Authorization: Basic`                                     | that the sender knows it  |

Each takes several secrets, the current one and the previous one, and compares with all of them, whichever fits. Each raises
SignatureError and returns nothing. A secret that is empty or only blanks is as if it were not there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from gitsync.model.host import SignatureError

TOLERANCE = 300
"""Seconds that the clock of a sender may differ from ours, and that a captured delivery can be sent again."""

STANDARD_PREFIX = "whsec_"
"""What a secret of Standard Webhooks begins with; the rest is its key in base64."""

_SIGNATURES = 10
_LONGEST = 4096
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")


def signed_body(
    given: str | None,
    raw: bytes,
    secrets: Sequence[str],
    *,
    prefix: str = "sha256=",
    algorithm: Literal["sha256", "sha512"] = "sha256",
) -> None:
    """Raises SignatureError unless *given* is *prefix* and then the HMAC of *raw* by one of *secrets*, in lower-case hex.

    prefix: "" for a bare one. Source: GitHub's "Validating webhook deliveries"; Gitea signs the same way without a prefix.
    """
    keys = [secret.encode() for secret in _usable(secrets)]
    _one_of(given, [prefix + hmac.new(key, raw, algorithm).hexdigest() for key in keys])


def signed_message(
    headers: Mapping[str, str], raw: bytes, secrets: Sequence[str], now: datetime, *, tolerance: int = TOLERANCE
) -> None:
    """Raises SignatureError unless one signature in *headers* fits a secret, and its time is within *tolerance* seconds of *now*.

    headers: lower-case names. secrets: only those that begin with `whsec_` count. Source: standardwebhooks.com, version 1.
    """
    identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    keys = [key for secret in _usable(secrets) if (key := standard_key(secret))]
    expected = [standard_signature(identity, timestamp, raw, key) for key in keys]
    given = headers.get("webhook-signature", "")[:_LONGEST].split(" ")[:_SIGNATURES]
    fits = [_equals_one(signature, expected) for signature in given if signature]
    if not any(fits) or not identity or not _TIMESTAMP.fullmatch(timestamp):
        raise _refused()
    if abs(int(timestamp) - now.timestamp()) > tolerance:
        raise _refused()


def standard_key(secret: str) -> bytes:
    """The key inside a `whsec_…` secret, b"" if it is none."""
    if not secret.startswith(STANDARD_PREFIX):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(STANDARD_PREFIX).strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def standard_signature(identity: str, timestamp: str, raw: bytes, key: bytes) -> str:
    """The value of `webhook-signature` for one message. timestamp: seconds since 1970, as it is sent."""
    message = b".".join((_encoded(identity), _encoded(timestamp), raw))
    return "v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def secret_token(given: str | None, secrets: Sequence[str]) -> None:
    """Raises SignatureError unless *given* is one of *secrets*. It says nothing of the body."""
    _one_of(given, _usable(secrets))


def basic(given: str | None, secrets: Sequence[str]) -> None:
    """Raises SignatureError unless the `Authorization` header *given* holds one of *secrets*.

    A secret is `user:password`. One without a colon is a password, for any user.
    """
    scheme, _, text = (given or "")[:_LONGEST].partition(" ")
    try:
        pair = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pair = b""
    # base64 has more than one spelling of the same bytes: only the right one counts, so that no changed character passes
    spelled = base64.b64encode(pair).decode() == text and scheme.lower() == "basic"
    password = pair.partition(b":")[2]
    usable = _usable(secrets)
    fits = [
        hmac.compare_digest(secret.encode(), pair if ":" in secret else password) and b":" in pair for secret in usable
    ]
    if not spelled or not any(fits):
        raise _refused()


def _usable(secrets: Iterable[str]) -> list[str]:
    return [secret for secret in secrets if secret.strip()]


def _one_of(given: str | None, expected: Sequence[str]) -> None:
    if not given or not _equals_one(given, expected):
        raise _refused()


def _equals_one(given: str, expected: Sequence[str]) -> bool:
    """Compares with every one, so that the time does not tell which of them it was."""
    fits = [hmac.compare_digest(_encoded(given), _encoded(one)) for one in expected]
    return any(fits)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _refused() -> SignatureError:
    return SignatureError("the delivery does not prove that the host sent it")
