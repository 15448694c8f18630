"""What is told a host as every host takes it: one line, no longer than it may be, about a commit that is named in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gitsync.hosts import payload
from gitsync.model.host import CONTEXT, DESCRIPTION, TARGET_URL, PostResult, RepoRef, Status, Verdict


def capped(status: Status, repo: RepoRef) -> Status:
    """*status* as every host takes it: words of one line, cut where they are too long, and always a link.

    A link that is too long is no use cut: then it is the repository's own, or its API's where that is all we know.
    """
    target = status.target_url.strip()
    if not target.startswith(("http://", "https://")) or len(target) > TARGET_URL:
        target = repo.web_url or repo.api_url
    return replace(
        status,
        context=one_line(status.context, CONTEXT),
        description=one_line(status.description, DESCRIPTION),
        target_url=target[:TARGET_URL],
    )


def not_a_commit(status: Status) -> PostResult | None:
    """The refusal of a status for what is no full SHA: hosts take branch names and short ones, and show it under that text."""
    if payload.is_full_sha(status.sha):
        return None
    return PostResult(
        Verdict.INVALID, detail=f"the status {status.context} is for {status.sha[:80]!r}, which is no full SHA"
    )


def one_line(text: str, most: int) -> str:
    """*text* on one line of printable characters, at most *most* of them; where it is cut it ends in an ellipsis."""
    printable = "".join(char if char.isprintable() else " " for char in text[: most * 4])
    words = " ".join(printable.split())
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def cut_comment(body: str, most: int) -> str:
    """*body* with at most *most* characters, whole lines, without what no host stores (NUL, half a character).

    Who wrote it knows better where to cut: this is the last resort.
    """
    body = body.encode(errors="replace").decode().replace("\0", "?")
    if len(body) <= most:
        return body
    kept = body[: most - 2]
    return kept[: kept.rfind("\n") + 1 or len(kept)] + "…"


def own_comment(comments: Sequence[tuple[str, str, str]], marker: str, author: str) -> str | None:
    """The id of the first of *comments* (id, author, body) that *author* wrote with *marker* in it: anyone can paste a marker."""
    if not author:
        return None
    return next((id for id, by, body in comments if by.lower() == author.lower() and marker in body), None)  # noqa: A001
