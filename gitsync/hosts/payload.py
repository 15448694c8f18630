"""Reading what a host sent: every field may be missing or of another type, and then it is as if it were not there."""

from __future__ import annotations

import json
import re
from typing import Any

from gitsync.model.errors import Invalid

_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(r"(?!/)[^\x00-\x20\x7f~^:?*\[\\]{1,255}")
_SHORT_SHA = re.compile(r"[0-9a-f]{7,64}")
_LARGEST = 2**63 - 1


def json_object(raw: bytes) -> dict[str, Any]:
    """*raw* as a JSON object. Raises Invalid if it is none."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Invalid("the delivery is no JSON. Choose the content type application/json for the webhook.") from error
    if not isinstance(body, dict):
        raise Invalid("the delivery is JSON, but no object. Is this the webhook of a Git host?")
    return body


def at(value: Any, *path: str | int) -> Any:
    """What is at *path* inside *value*, None where there is nothing."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def text(value: Any, *path: str | int) -> str:
    """The text at *path*, "" where there is none. What no database or terminal takes (NUL, half a character) is replaced."""
    found = at(value, *path)
    return found.encode(errors="replace").decode().replace("\0", "?") if isinstance(found, str) else ""


def number(value: Any, *path: str | int) -> int | None:
    """The whole number at *path*, None where there is none, or one that no database takes."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _LARGEST else None


def flag(value: Any, *path: str | int) -> bool | None:
    """The boolean at *path*, None where there is none."""
    found = at(value, *path)
    return found if isinstance(found, bool) else None


def items(value: Any, *path: str | int) -> list[Any]:
    """The list at *path*, empty where there is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def sha(value: Any, *path: str | int) -> str | None:
    """The full SHA at *path* in lower case, None where there is none or it is all zeros (which is how hosts write "none")."""
    found = text(value, *path).lower()
    return found if is_full_sha(found) else None


def is_full_sha(found: str) -> bool:
    """Whether *found* names a commit in full: 40 or 64 hex digits, not all zero."""
    return bool(_FULL_SHA.fullmatch(found)) and found.strip("0") != ""


def is_short_sha(found: str) -> bool:
    """Whether *found* could be the beginning of a commit's name: 7 to 64 hex digits, not all zero."""
    return bool(_SHORT_SHA.fullmatch(found)) and found.strip("0") != ""


def is_nothing(found: str) -> bool:
    """Whether *found* is how hosts write that there is no commit: all zeros."""
    return len(found) in (40, 64) and found.strip("0") == ""


def short_branch(ref: str) -> str:
    """`refs/heads/main` as `main`."""
    return ref.removeprefix("refs/heads/")


def is_branch(name: str) -> bool:
    """Whether *name* can be part of a refspec without meaning anything else; git has more rules, and says so itself."""
    return bool(_BRANCH.fullmatch(name)) and ".." not in name and "@{" not in name
