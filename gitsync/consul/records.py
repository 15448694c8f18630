"""KV: gitsync's own records, read as trees and written in transactions."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from gitsync.consul import txn
from gitsync.consul.answer import Answer
from gitsync.consul.client import Client, key_path
from gitsync.consul.shelf import Shelf
from gitsync.consul.txn import MOST_BYTES, MOST_OPERATIONS, Failure
from gitsync.model import jsontext
from gitsync.model.errors import Forbidden, Unavailable
from gitsync.model.features import Feature, Features

READS = frozenset({"get", "get-tree", "check-index", "check-session", "check-not-exists"})


@dataclass(frozen=True, slots=True)
class Pair:
    """One key as it was read. `session` holds its lock, "" for none. lock_index is no fence: a plain write resets it."""

    key: str
    value: bytes
    create_index: int
    modify_index: int
    session: str = ""
    lock_index: int = 0


class Op(Protocol):
    """One operation of a transaction on a key.

    verb: set, cas, delete, delete-cas, delete-tree, lock, unlock, check-session, check-index, check-not-exists, get, get-tree.
    index: of cas (0: only if it is absent), delete-cas and check-index. session: of lock, unlock and check-session.
    """

    @property
    def verb(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> bytes: ...
    @property
    def index(self) -> int: ...
    @property
    def session(self) -> str: ...


def text_of(op: Op) -> bytes:
    """The operation as /v1/txn takes it, in JSON."""
    text = b'{"KV":{"Verb":"%b","Key":%b' % (op.verb.encode(), jsontext.compact(op.key))
    if op.verb in ("set", "cas", "lock"):
        text += b',"Value":"%b"' % binascii.b2a_base64(op.value, newline=False)
    if op.verb in ("cas", "delete-cas", "check-index"):
        text += b',"Index":%d' % op.index
    if op.session:
        text += b',"Session":%b' % jsontext.compact(op.session)
    return text + b"}}"


_FRAME = len('{"KV":{"Verb":"delete-tree","Key":"","Value":"","Index":18446744073709551615,"Session":""}},')


def _size(op: Op) -> int:
    """Bytes that it takes in a transaction at most, with the comma; what JSON escapes in a key makes it twice as long at most."""
    return _FRAME + 2 * len(op.key.encode()) + (len(op.value) + 2) // 3 * 4 + len(op.session)


class Records:
    """The KV store of the agent's own datacenter."""

    def __init__(self, client: Client, features: Features, shelf: Shelf) -> None:
        self._client = client
        self._features = features
        self._shelf = shelf

    async def kept_tree(self, prefix: str) -> tuple[Pair, ...]:
        """As `read_tree`: read again only where something below *prefix* changed since it was read last."""
        if self._shelf.worth_asking(prefix):
            kept: tuple[Pair, ...] | None = self._shelf.current(prefix, await self.tree_index(prefix))
            if kept is not None:
                return kept
        answer = await self._read_tree(prefix)
        pairs = self._pairs(answer, prefix)
        if pairs or self._features.has(Feature.FILTERED_HEADER):
            self._shelf.keep(prefix, answer.index, pairs)
        return pairs or await self._nothing(prefix)

    async def read_tree(self, prefix: str) -> tuple[Pair, ...]:
        """Every key below *prefix*, which ends with a slash. () is certain: nothing is there.

        Raises Forbidden if the token may not see all of it, as far as Consul tells: from 1.11 it says when it left keys out;
        before, only a tree that looks empty can be told from one that may not be seen (a single read is refused, a tree is not).
        Source: Consul HTTP API, GET /v1/kv/:prefix?recurse.
        """
        return self._pairs(await self._read_tree(prefix), prefix) or await self._nothing(prefix)

    async def _read_tree(self, prefix: str) -> Answer:
        _must_be_folder(prefix)
        what = f"KV tree {prefix}"
        answer = await self._client.ask("GET", key_path(prefix), {"recurse": "", "consistent": ""}, what=what)
        self._whole(answer, what)
        return answer

    @staticmethod
    def _pairs(answer: Answer, prefix: str) -> tuple[Pair, ...]:
        if answer.status == 404:
            return ()
        return tuple(_pair(each) for each in _list(answer, f"KV tree {prefix}"))

    async def _nothing(self, prefix: str) -> tuple[Pair, ...]:
        """Nothing, if the token may see what is there. Raises Forbidden."""
        if not self._features.has(Feature.FILTERED_HEADER):
            await self.read(f"{prefix}may-i")
        return ()

    async def tree_index(self, prefix: str) -> int:
        """An index that moves with any change below *prefix*: a tiny answer, to know whether a tree must be read again.

        Source: Consul HTTP API, GET /v1/kv/:prefix?keys&separator=/.
        """
        _must_be_folder(prefix)
        answer = await self._client.ask(
            "GET", key_path(prefix), {"keys": "", "separator": "/", "consistent": ""}, what=f"KV keys {prefix}"
        )
        return answer.index

    async def read(self, key: str) -> Pair | None:
        """One key, None if it certainly is not there. Raises Forbidden where the token may not see it."""
        what = f"KV key {key}"
        answer = await self._client.ask("GET", key_path(key), {"consistent": ""}, what=what)
        if answer.status == 404:
            self._whole(answer, what)
            return None
        pairs = [_pair(each) for each in _list(answer, what)]
        if [pair.key for pair in pairs] != [key]:
            raise Unavailable(
                f"{what}: the answer is another key's, {answer.text[:80]!r}. Check the address of Consul."
            )
        return pairs[0]

    async def transact(self, ops: Sequence[Op]) -> tuple[Failure, ...]:
        """Do all of *ops* or none. () if they were done, else what stood in the way, by position; nothing was changed then.

        At most 64 operations and 512 KiB (`batches`). What the token may not do is a failure too (`denied`), so that the rest
        can be sent without it; an operation that stands alone raises Forbidden. Raises Fenced if a session check failed,
        TokenGone, Refused, Unknown.
        """
        if not ops:
            return ()
        write = any(op.verb not in READS for op in ops)
        keys = ops[0].key if len(ops) == 1 else f"{ops[0].key} and {len(ops) - 1} more"
        outcome = await txn.run(
            self._client, [text_of(op) for op in ops], write=write, what=f"KV transaction on {keys}"
        )
        if len(ops) == 1 and (denied := txn.denial(outcome.failures, f"KV key {keys}")):
            raise denied
        return outcome.failures

    @staticmethod
    def _whole(answer: Answer, what: str) -> None:
        if answer.filtered:
            raise Forbidden(
                f"{what}: Consul left out what the token may not see. The token needs `key_prefix` read on all of it."
            )


OpT = TypeVar("OpT", bound=Op)


def batches(groups: Sequence[Sequence[OpT]]) -> list[list[Sequence[OpT]]]:
    """*groups*, in order, in as few transactions as their limits allow: at most 64 operations and 512 KiB.

    The operations of a group stay together. A group that is too large by itself stands alone, so that Consul's refusal is its own.
    """
    out: list[list[Sequence[OpT]]] = []
    count = size = 0
    for ops in groups:
        if not ops:
            continue
        more, bytes_more = len(ops), sum(map(_size, ops))
        if not out or count + more > MOST_OPERATIONS or size + bytes_more > MOST_BYTES:
            out.append([])
            count, size = 0, 2  # the brackets of the list
        out[-1].append(ops)
        count, size = count + more, size + bytes_more
    return out


def _must_be_folder(prefix: str) -> None:
    if not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} would also name what only begins alike: a prefix ends with a slash")


def _list(answer: Answer, what: str) -> list[Mapping[str, Any]]:
    found = answer.json() if answer.status == 200 else None
    if not isinstance(found, list):
        raise Unavailable(f"{what}: the answer is no list but {answer.text[:80]!r}. Check the address of Consul.")
    return found


def _pair(found: Mapping[str, Any]) -> Pair:
    try:
        return Pair(
            key=found["Key"],
            value=binascii.a2b_base64(found["Value"] or "", strict_mode=True),
            create_index=found["CreateIndex"],
            modify_index=found["ModifyIndex"],
            session=found.get("Session") or "",
            lock_index=found["LockIndex"],
        )
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise Unavailable(
            f"the answer holds no KV pair but {str(found)[:80]!r}. Check the address of Consul."
        ) from error
