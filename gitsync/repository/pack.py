"""Objects out of the mirror's packs, read without a git, which takes longer to start than a small change takes to read.

Only what is plain is read here: of a few objects, small ones, out of packs that git wrote and checked. Every object is proven by
its name. Whatever is missing, large, odd or broken raises NotHere, and then git itself is asked, within its own bounds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gitsync.repository.commit import Printed

OBJECTS, OBJECT_BYTES, BYTES = 512, 2 * 1024 * 1024, 16 * 1024 * 1024
"""How much is read: objects, bytes of one (or of what it is made from), bytes of all."""

DELTA_BYTES, DELTA_COST, CHAIN, PACKS = 64 * 1024, 32, 64, 64
"""Bytes of a delta, and what each counts, since a delta's steps are taken in Python; deltas in a row; packs looked into."""

NAMES = 100_000
"""Names that begin with the same byte: a pack of 25 million objects."""

_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_BY_OFFSET, _BY_NAME = 6, 7
_NAMES = 8 + 256 * 4
_CHUNK = 4096
_CANNOT = (OSError, zlib.error, struct.error, IndexError, ValueError, OverflowError)


class NotHere(Exception):
    """It is nothing for this reader; git has to be asked."""


@dataclass(frozen=True, slots=True)
class _Pack:
    """An open pack. firsts: of each first byte of a name, how many names begin with it or a lower one."""

    index: int
    data: int
    firsts: tuple[int, ...]

    def offset(self, oid: bytes) -> int | None:
        """Where *oid* is in the pack, None if it is not."""
        low, high, count = (self.firsts[oid[0] - 1] if oid[0] else 0), self.firsts[oid[0]], self.firsts[255]
        if not 0 <= high - low <= NAMES:  # nobody's repository, but what a broken index may say
            raise NotHere
        names = os.pread(self.index, (high - low) * 20, _NAMES + low * 20)
        left, right = 0, high - low
        while left < right:
            middle = (left + right) // 2
            name = names[middle * 20 : middle * 20 + 20]
            if name == oid:
                place = os.pread(self.index, 4, _NAMES + count * 24 + (low + middle) * 4)
                (offset,) = struct.unpack(">I", place)
                if offset & 0x80000000:
                    raise NotHere
                return int(offset)
            left, right = (middle + 1, right) if name < oid else (left, middle)
        return None


@dataclass(frozen=True, slots=True)
class _Stored:
    """One entry of a pack, not yet inflated. size: inflated. at: where its data begins. base: what a delta is to be applied to."""

    kind: int
    size: int
    at: int
    head: bytes
    base: int = 0


class Packs:
    """The packs of *repository*, the newest first. Not for several threads. It holds open files until it is closed."""

    def __init__(self, repository: Path) -> None:
        self._folder = repository / "objects" / "pack"
        self._opened: list[_Pack] = []
        self._rest: list[str] | None = None  # the newest last
        self._left = BYTES
        self._objects = OBJECTS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pack in self._opened:
            os.close(pack.index)
            os.close(pack.data)
        self._opened, self._rest = [], []

    def read(self, oid: str) -> Printed:
        """An object with its content. Raises NotHere."""
        try:
            pack, offset = self._find(bytes.fromhex(oid))
            kind, content = self._whole(pack, offset)
        except _CANNOT as error:
            raise NotHere from error
        named = hashlib.sha1(b"%b %d\0" % (kind.encode(), len(content)), usedforsecurity=False)
        named.update(content)
        if named.hexdigest() != oid:
            raise NotHere
        return Printed(oid, oid, kind, content)

    def size(self, oid: str) -> tuple[str, int]:
        """The kind and the size of an object, without reading all of it. Raises NotHere."""
        try:
            pack, offset = self._find(bytes.fromhex(oid))
            stored = self._stored(pack, offset)
            size = stored.size
            if stored.base:
                beginning = zlib.decompressobj().decompress(stored.head, 20)  # the base's size, then the object's
                size = _varint(beginning, _varint(beginning, 0)[1])[0]
            for _ in range(CHAIN):
                if not stored.base:
                    return _KINDS[stored.kind], size
                stored = self._stored(pack, stored.base)
        except (*_CANNOT, KeyError) as error:
            raise NotHere from error
        raise NotHere

    # -- where

    def _find(self, oid: bytes) -> tuple[_Pack, int]:
        self._objects -= 1
        if self._objects < 0:
            raise NotHere
        for number in range(PACKS):
            pack = self._opened[number] if number < len(self._opened) else self._open()
            offset = pack.offset(oid)
            if offset is not None:
                return pack, offset
        raise NotHere

    def _open(self) -> _Pack:
        """The newest pack that is not open yet."""
        if self._rest is None:
            with os.scandir(self._folder) as found:
                packs = [(each.stat().st_mtime_ns, each.path) for each in found if each.name.endswith(".pack")]
            self._rest = [path for _, path in sorted(packs)]
        path = self._rest.pop()
        with contextlib.ExitStack() as stack:
            index = _opened(f"{path.removesuffix('.pack')}.idx", stack)
            data = _opened(path, stack)
            head = os.pread(index, _NAMES, 0)
            if head[:8] != b"\377tOc\0\0\0\2" or os.pread(data, 4, 0) != b"PACK":
                raise NotHere
            pack = _Pack(index, data, struct.unpack(">256I", head[8:]))
            stack.pop_all()
        self._opened.append(pack)
        return pack

    # -- what

    def _stored(self, pack: _Pack, offset: int) -> _Stored:
        head = os.pread(pack.data, _CHUNK, offset)
        byte, at = head[0], 1
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 0x80:
            byte, at = head[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
        base = 0
        if kind == _BY_OFFSET:
            byte, at = head[at], at + 1
            back = byte & 0x7F
            while byte & 0x80:
                byte, at = head[at], at + 1
                back = (back + 1) << 7 | byte & 0x7F
            base = offset - back
            if not 0 < base < offset:
                raise NotHere
        elif kind == _BY_NAME:
            found = pack.offset(head[at : at + 20])
            if found is None:
                raise NotHere
            base, at = found, at + 20
        elif kind not in _KINDS:
            raise NotHere
        return _Stored(kind, size, offset + at, head[at:], base)

    def _inflated(self, pack: _Pack, stored: _Stored) -> bytes:
        """What *stored* holds. A byte more than it promises, or one less, is an error."""
        if stored.size > (DELTA_BYTES if stored.base else OBJECT_BYTES):
            raise NotHere
        self._take(stored.size * (DELTA_COST if stored.base else 1))
        inflate = zlib.decompressobj()
        out, at = bytearray(inflate.decompress(stored.head, stored.size + 1)), stored.at + len(stored.head)
        while not inflate.eof and len(out) <= stored.size:
            more = inflate.unconsumed_tail or os.pread(pack.data, 16 * _CHUNK, at)
            if not more:
                raise NotHere
            at += 0 if inflate.unconsumed_tail else len(more)
            out += inflate.decompress(more, stored.size + 1 - len(out))
        if len(out) != stored.size:
            raise NotHere
        return bytes(out)

    def _whole(self, pack: _Pack, offset: int) -> tuple[str, bytes]:
        deltas: list[bytes] = []
        stored = self._stored(pack, offset)
        while stored.base:
            if len(deltas) == CHAIN:
                raise NotHere
            deltas.append(self._inflated(pack, stored))
            stored = self._stored(pack, stored.base)
        content = self._inflated(pack, stored)
        for delta in reversed(deltas):
            content = self._changed(content, delta)
        return _KINDS[stored.kind], content

    def _changed(self, base: bytes, delta: bytes) -> bytes:
        """*base* with *delta* applied. Source: gitformat-pack, "Deltified representation"."""
        length, at = _varint(delta, 0)
        size, at = _varint(delta, at)
        if length != len(base) or size > OBJECT_BYTES:
            raise NotHere
        self._take(size)
        out = bytearray()
        while at < len(delta):
            step, at = delta[at], at + 1
            if step & 0x80:
                start = count = 0
                for number in range(4):
                    if step >> number & 1:
                        start, at = start | delta[at] << 8 * number, at + 1
                for number in range(3):
                    if step >> number + 4 & 1:
                        count, at = count | delta[at] << 8 * number, at + 1
                count = count or 0x10000
                out += base[start : start + count]
            else:
                count = step
                out += delta[at : at + count]
                at += count
            if not count or len(out) > size:
                raise NotHere
        if len(out) != size:
            raise NotHere
        return bytes(out)

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise NotHere


def _opened(path: str, stack: contextlib.ExitStack) -> int:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    stack.callback(os.close, file)
    return file


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise NotHere
