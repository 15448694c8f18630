"""Reviews in the store: the last one of each pull request, also of those that are closed, until what they promised is old."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, or_, select, update

from gitsync.model.key import ServiceKey
from gitsync.model.review import Reviewed, ReviewRecord
from gitsync.store.database import Database
from gitsync.store.tables import REVIEWS

R = REVIEWS.c


class Reviews:
    """Every method is one transaction, and raises Unavailable if the database does not take it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, record: ReviewRecord) -> None:
        """Keep *record* instead of what was said of that request before."""
        row = {
            "sync": record.sync,
            "number": record.number,
            "head": record.head,
            "base": record.base,
            "tree": record.tree,
            "verdict": record.verdict,
            "digests": None if record.digests is None else _digests(record.digests),
            "plan": dict(record.plan),
            "updated": record.updated,
            "closed": record.closed or None,
        }
        async with self._database.transaction() as connection:
            await connection.execute(delete(REVIEWS).where(R.sync == record.sync, R.number == record.number))
            await connection.execute(insert(REVIEWS).values(**row))

    async def get(self, sync: str, number: int) -> ReviewRecord | None:
        """What was said of a request last."""
        found = await self._read(R.sync == sync, R.number == number)
        return found[0] if found else None

    async def open(self, sync: str) -> list[ReviewRecord]:
        """The requests of *sync* that are not closed, by number."""
        return await self._read(R.sync == sync, R.closed.is_(None))

    async def close(self, sync: str, number: int, at: str) -> None:
        """The request is closed. What was reviewed stays for a while: it may have been merged."""
        async with self._database.transaction() as connection:
            which = update(REVIEWS).where(R.sync == sync, R.number == number, R.closed.is_(None))
            await connection.execute(which.values(closed=at))

    async def landed(self, sync: str, trees: Collection[str], heads: Collection[str]) -> list[ReviewRecord]:
        """The requests whose merge has one of *trees*, or whose head is one of *heads*; the one that was judged last first."""
        found = await self._read(
            R.sync == sync, or_(R.tree.in_(sorted({*trees} - {""})), R.head.in_(sorted({*heads} - {""})))
        )
        return sorted(found, key=lambda record: (record.updated, record.number), reverse=True)

    async def forget(self, before: str) -> int:
        """Forget what was closed before *before*; how many."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(delete(REVIEWS).where(R.closed < before))
            return gone.rowcount

    async def _read(self, *which: Any) -> list[ReviewRecord]:
        async with self._database.transaction() as connection:
            found = await connection.execute(select(REVIEWS).where(*which).order_by(R.number))
            return [_record(dict(row)) for row in found.mappings()]


def _digests(digests: Mapping[ServiceKey, Reviewed]) -> dict[str, Any]:
    return {
        key.path: {
            "digest": each.digest,
            "verdict": each.verdict,
            "steps": list(each.steps),
            "brought": each.brought,
        }
        for key, each in digests.items()
    }


def _record(row: Mapping[str, Any]) -> ReviewRecord:
    digests: Mapping[str, Mapping[str, Any]] | None = row["digests"]
    return ReviewRecord(
        sync=row["sync"],
        number=row["number"],
        head=row["head"],
        base=row["base"],
        tree=row["tree"],
        verdict=row["verdict"],
        digests=None
        if digests is None
        else {ServiceKey.from_path(path): _reviewed(each) for path, each in digests.items()},
        plan=row["plan"],
        updated=row["updated"],
        closed=row["closed"] or "",
    )


def _reviewed(each: Mapping[str, Any]) -> Reviewed:
    steps: Sequence[str] = each["steps"]
    return Reviewed(each["digest"], each["verdict"], tuple(steps), each["brought"])
