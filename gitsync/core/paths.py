"""Which files of a tree are spec files, and why the others are not. Pure.

Globs are read as .gitignore reads them: `*` and `?` stop at `/`, `**` does not, a glob without `/` is meant at any depth, one
that matches a folder takes everything in it, `!` takes back what an earlier one matched.
"""

from __future__ import annotations

import re
from functools import lru_cache

SUFFIXES = (".yaml", ".yml", ".json")


def accepts(path: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> str | None:
    """None if *path* (below the sync's path) is a spec file, else the reason why it is passed over.

    No *include* includes everything.
    """
    if path.startswith(".") or "/." in path:
        return "hidden"
    if not path.endswith(SUFFIXES):
        return "not *.yaml, *.yml or *.json"
    if include and _deciding(path, include) is None:
        return "not included by " + ", ".join(include)
    excluded = _deciding(path, exclude)
    return f"excluded by {excluded}" if excluded is not None else None


def _deciding(path: str, globs: tuple[str, ...]) -> str | None:
    """The last of *globs* that matches, None if none does or if that one takes back."""
    for glob in reversed(globs):
        if _compiled(glob.removeprefix("!")).fullmatch(path):
            return None if glob.startswith("!") else glob
    return None


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> re.Pattern[str]:
    """A glob as an expression for a whole path, which is either what is meant or in a folder that is."""
    folder = glob.endswith("/")
    body = glob.strip("/")
    text = "" if "/" in glob.rstrip("/") else "(?:.*/)?"
    steps = re.sub(r"(\*\*/)+", "**/", body).split("/")
    for position, step in enumerate(steps):
        last = position == len(steps) - 1
        if step == "**":
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += _step(step) + ("" if last else "/")
    return re.compile(text + ("/.+" if folder else "(?:/.*)?"), re.DOTALL)


def _step(step: str) -> str:
    """One part of a glob, between two slashes."""
    text, at = "", 0
    while at < len(step):
        character = step[at]
        at += 1
        if character == "*":
            if not text.endswith("[^/]*"):  # several in a row are one, and cost nothing
                text += "[^/]*"
        elif character == "?":
            text += "[^/]"
        elif character == "\\" and at < len(step):
            text += re.escape(step[at])
            at += 1
        elif character == "[" and (end := step.find("]", at + 1 + (step[at : at + 1] in ("!", "^")))) > 0:
            text += f"(?!/){_class(step[at:end])}"
            at = end + 1
        else:
            text += re.escape(character)
    return text


def _class(inner: str) -> str:
    """What stands between two brackets; literally, if it is no class of characters."""
    negated, members = inner[0] in "!^", inner[1:] if inner[0] in "!^" else inner
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
    try:
        re.compile(f"[{escaped}]")
    except re.error:
        return re.escape(f"[{inner}]")
    return f"[^{escaped}]" if negated else f"[{escaped}]"
