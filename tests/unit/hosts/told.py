"""What a delivery says, as one line of a table."""

from __future__ import annotations

from gitsync.model.host import ChangeRequest, RefChange, WebhookEvent


def told(event: WebhookEvent) -> str:
    """*event* in a line: its kind, its repository, its refs or its request, and the action."""
    parts = [event.kind, event.repo or "-"]
    parts += [_ref(ref) for ref in event.refs]
    if event.change:
        parts.append(request(event.change))
    return " ".join([*parts, event.action]).rstrip()


def request(change: ChangeRequest) -> str:
    """`#7 open feature@12345678 -> main`, with the fork it comes from; `?` stands for a fork that is gone."""
    head = change.head_ref if not change.is_fork else f"{change.head_repo or '?'}:{change.head_ref}"
    short = " (short)" if change.head_sha_is_short else ""
    return f"#{change.number} {change.state} {head}@{change.head_sha[:8]}{short} -> {change.base_ref}"


def _ref(ref: RefChange) -> str:
    moved = f"{(ref.before or '0')[:8]}..{(ref.after or '0')[:8]}"
    return " ".join([ref.ref, moved] + ["deleted"] * ref.deleted + ["forced"] * bool(ref.forced))
