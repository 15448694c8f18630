"""One comment of ours on a request: edited where it is, made where there is none, never a second one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from gitsync.hosts.api import Answer, Api, own_comment
from gitsync.model.host import PostResult, Verdict

Comment = tuple[str, str, str]
"""Its id, its author, its text."""

_NOT_OURS_ANY_MORE = {403, 404, 410}
_NO_END = str.maketrans("()\\\n", "[]/ ")  # what would end the reference before its end


async def upsert(
    api: Api,
    known_id: str | None,
    *,
    what: str,
    find: Callable[[], Awaitable[str | Answer | None]],
    edit: Callable[[str], Awaitable[Answer]],
    create: Callable[[], Awaitable[Answer]],
    made: Callable[[Answer], str | None],
) -> PostResult:
    """Edit the comment *known_id*, else the one that is found, else make one.

    find: the id of our own, None for none, an Answer for what went wrong. made: the id out of the answer to `create`.
    """
    if known_id:
        answer = await edit(known_id)
        if answer.status not in _NOT_OURS_ANY_MORE or api.verdict(answer) is Verdict.LIMIT:
            return api.result(answer, what=what, id=known_id)
    found = await find()
    if isinstance(found, Answer):
        return api.result(found, what=what)
    if found is not None:
        return api.result(await edit(found), what=what, id=found)
    answer = await create()
    return api.result(answer, what=what, id=made(answer))


async def our_own(
    pages: AsyncIterator[Answer], comments: Callable[[Any], Sequence[Comment]], marker: str, author: str
) -> str | Answer | None:
    """The id of the comment of *author* with *marker* in it, None if there is none, an Answer for what went wrong."""
    async for page in pages:
        if not page.ok:
            return page
        if own := own_comment(comments(page.body), marker, author):
            return own
    return None


def as_link_reference(marker: str) -> str:
    """*marker*, an HTML comment, as what Markdown shows nowhere on hosts that show HTML as text."""
    words = marker.removeprefix("<!--").removesuffix("-->").strip()
    return f"[//]: # ({words.translate(_NO_END)})"
