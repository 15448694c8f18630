"""Read YAML, and JSON as a part of it, into nodes that know their text, line and column. Pure.

Read at the level of parser events, because everything above it can be made to misbehave by a small file: the C composer ends
the process on nested brackets (SIGSEGV), merge keys multiply without bound, duplicate keys pass silently. Scalars follow the
core schema of YAML 1.2, with one exception: a number with leading zeros, and one in hexadecimal or octal, stays text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

try:
    from yaml._yaml import CParser as _Native

    _NATIVE: Any = _Native
except ImportError:  # PyYAML without libyaml: ten times slower, and the same events
    _NATIVE = None

FILE_BYTES = 1_048_576
DEPTH = 20
NODES = 50_000
ALIASES = 50
ALIAS_NODES = 5_000
"""How many nodes all aliases of a file may stand for together."""

MERGE = "<<"

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATES = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")

_HINTS = {
    "mapping values are not allowed": "put a value that contains ': ' in quotes, and check the indentation",
    "could not find expected ':'": "check the indentation, and that every key ends with ':'",
    "did not find expected key": "check the indentation, and that quotes and brackets are closed",
    "did not find expected ',' or": "close the bracket, or put a comma between the elements",
    "did not find expected '-' indicator": "indent all elements of the list alike",
    "cannot start any token": "put the value in quotes",
    "found unexpected end of stream": "close the quote",
    "undefined alias": "define the anchor before it is used",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value: its text as it stands in the file, and whether it stands there without quotes."""

    text: str
    plain: bool
    line: int
    column: int

    @property
    def value(self) -> str | int | float | bool | None:
        """The value by the core schema; text wherever that would lose how it was written."""
        text = self.text
        if not self.plain:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] in "+-.0123456789":
            if _INT.fullmatch(text):
                return int(text)
            if len(text) <= 40 and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
                return float(text)
        return text


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list, with the place where it begins."""

    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping of unique text keys in the order of the file, with the place where it begins."""

    pairs: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int

    def get(self, key: str) -> Node | None:
        return next((node for name, node in self.pairs if name.text == key), None)


Node = Scalar | ListNode | MapNode


class YamlError(ValueError):
    """A file that is not read. `code` is the finding's; line and column count from 1, 0 means the file as a whole."""

    def __init__(self, code: str, message: str, hint: str = "", *, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.code, self.hint, self.line, self.column = code, hint, line, column


def read(data: bytes, *, json: bool = False) -> tuple[Node, ...]:
    """The documents of a file, empty ones left out. Raises YamlError, and only that, for what is refused.

    The work is bounded by the size of the file and never more than linear in it. *json*: escapes are JSON's, whose
    characters beyond U+FFFF are two `\\u`.
    """
    text = _decoded(data)
    if json:
        text = _SURROGATES.sub(_joined, text)
    try:
        return tuple(_documents(text))
    except yaml.YAMLError as error:
        raise _syntax(error, text) from None


def _decoded(data: bytes) -> str:
    if len(data) > FILE_BYTES:
        raise YamlError(
            "file-too-large", f"file of {len(data)} bytes, limit {FILE_BYTES}", "split it into several files"
        )
    if data.startswith(_OTHER_MARKS):
        raise YamlError("not-utf8", "not UTF-8 but UTF-16 or UTF-32", "save the file as UTF-8", line=1, column=1)
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError("not-utf8", f"not UTF-8 at byte {error.start}", "save the file as UTF-8", line=line) from None
    found = _CONTROL.search(text)
    if found:
        line, column = _place(text, found.start())
        what = "a NUL byte" if found[0] == "\0" else f"the control character U+{ord(found[0]):04X}"
        hint = "remove it, or write it as an escape in double quotes"
        raise YamlError("control-character", f"the file contains {what}", hint, line=line, column=column)
    return text


def _place(text: str, position: int) -> tuple[int, int]:
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _joined(pair: re.Match[str]) -> str:
    if not pair[1]:
        return pair[0]
    return f"\\U{0x10000 + ((int(pair[1], 16) - 0xD800) << 10) + int(pair[2], 16) - 0xDC00:08x}"


def _syntax(error: yaml.YAMLError, text: str) -> YamlError:
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    if "maximum nesting depth" in problem:
        return _too_deep(line, column)
    lines = text.split("\n", line)
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())] or written[column - 1 : column] == "\t":
        return YamlError(
            "yaml-syntax", "a tab where YAML takes only spaces", "indent with spaces", line=line, column=column
        )
    hint = next((hint for part, hint in _HINTS.items() if part in problem), "")
    return YamlError("yaml-syntax", problem, hint, line=line, column=column)


@dataclass(slots=True)
class _Open:
    """A list or a mapping that is being read."""

    is_map: bool
    line: int
    column: int
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)
    key: Scalar | None = None
    keys: set[str] = field(default_factory=set)
    merged: list[tuple[Scalar, Node]] = field(default_factory=list)
    size: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Whole:
    """A node with the number of nodes in it, those that aliases stand for included, and its levels."""

    node: Node
    size: int
    height: int


class _PurePython(Reader, Scanner, Parser):
    """PyYAML's own parser, for events only."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


def _documents(text: str) -> Iterator[Node]:
    parser: Any = (_NATIVE or _PurePython)(text)
    try:
        nodes = 0
        while True:
            event = parser.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                reading = _Reading(nodes)
                root = reading.document(parser)
                nodes = reading.nodes
                if not (isinstance(root, Scalar) and root.value is None):
                    yield root
    finally:
        parser.dispose()


class _Reading:
    """One document while it is read. `nodes`: how many the file has had, those that aliases stand for included."""

    __slots__ = ("alias_nodes", "aliases", "anchors", "nodes", "stack")

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Whole | None] = {}
        self.aliases = self.alias_nodes = 0

    def document(self, parser: Any) -> Node:
        """Read up to the end of the root node."""
        get_event, stack = parser.get_event, self.stack
        while True:
            event = get_event()
            kind, mark = type(event), event.start_mark
            line, column = mark.line + 1, mark.column + 1
            if kind is yaml.ScalarEvent:
                self._count(1, event, line, column)
                whole = _Whole(Scalar(event.value, not event.style, line, column), 1, 0)
                if event.anchor is not None:
                    self.anchors[event.anchor] = whole
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._count(1, event, line, column)
                if len(stack) >= DEPTH:
                    raise _too_deep(line, column)
                if event.anchor is not None:
                    self.anchors[event.anchor] = None
                stack.append(_Open(kind is yaml.MappingStartEvent, line, column, event.anchor))
                continue
            elif kind is yaml.AliasEvent:
                whole = self._alias(event, line, column)
            else:  # the end of a list or a mapping
                opened = stack.pop()
                whole = _Whole(_node(opened), opened.size, opened.height)
                if opened.anchor is not None:
                    self.anchors[opened.anchor] = whole
            if not stack:
                return whole.node
            if len(stack) + whole.height > DEPTH:
                raise _too_deep(line, column)
            _add(stack[-1], whole, line, column)

    def _count(self, nodes: int, event: Any, line: int, column: int) -> None:
        self.nodes += nodes
        if self.nodes > NODES:
            raise YamlError(
                "yaml-too-many-nodes", f"more than {NODES} values", "split the file", line=line, column=column
            )
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")[:60]
            hint = "remove it; put a value that has to be text in quotes"
            raise YamlError("yaml-tag", f"the tag {tag!a} is not allowed", hint, line=line, column=column)

    def _alias(self, event: Any, line: int, column: int) -> _Whole:
        whole, name = self.anchors.get(event.anchor), ascii(event.anchor[:60])
        if whole is None:
            if event.anchor in self.anchors:
                fault, hint = f"the alias {name} refers to itself", "write the value out"
                raise YamlError("yaml-aliases", fault, hint, line=line, column=column)
            fault, hint = f"undefined alias {name}", "define the anchor before it is used, or put the value in quotes"
            raise YamlError("yaml-syntax", fault, hint, line=line, column=column)
        self.aliases, self.alias_nodes, self.nodes = (
            self.aliases + 1,
            self.alias_nodes + whole.size,
            self.nodes + whole.size,
        )
        if self.aliases > ALIASES or self.alias_nodes > ALIAS_NODES:
            fault = f"more than {ALIASES} aliases, or they stand for more than {ALIAS_NODES} values"
            raise YamlError("yaml-aliases", fault, "write the values out", line=line, column=column)
        return whole


def _too_deep(line: int, column: int) -> YamlError:
    return YamlError(
        "yaml-too-deep", f"nested deeper than {DEPTH} levels", "no spec needs that", line=line, column=column
    )


def _add(parent: _Open, whole: _Whole, line: int, column: int) -> None:
    """Put a node into the list or the mapping that is open."""
    parent.size += whole.size
    if whole.height >= parent.height:
        parent.height = whole.height + 1
    if not parent.is_map:
        parent.items.append(whole.node)
    elif parent.key is None:
        parent.key = _key(parent, whole.node, line, column)
    else:
        key, parent.key = parent.key, None
        if key.plain and key.text == MERGE:
            parent.merged.extend(_merged(whole.node, key))
        else:
            parent.pairs.append((key, whole.node))


def _key(parent: _Open, node: Node, line: int, column: int) -> Scalar:
    if not isinstance(node, Scalar):
        raise YamlError("yaml-key", "a list or a mapping as a key", "keys are text", line=line, column=column)
    if not isinstance(node.value, str):
        hint = f'write it in quotes: "{node.text[:60]}"' if node.text else "write the key before the ':'"
        raise YamlError("yaml-key", "a key that is not text", hint, line=line, column=column)
    if node.text in parent.keys:
        fault = f"duplicate key {node.text[:60]!a}"
        raise YamlError("yaml-duplicate-key", fault, "keep one of the two", line=line, column=column)
    parent.keys.add(node.text)
    return node


def _merged(node: Node, key: Scalar) -> Iterator[tuple[Scalar, Node]]:
    """The pairs that `<<` brings in, of a mapping or of several in a list. They are an alias's, or stand there themselves."""
    for source in node.items if isinstance(node, ListNode) else (node,):
        if not isinstance(source, MapNode):
            fault, hint = "'<<' takes only mappings", "write '<<: *name', or put the key in quotes if it is no merge"
            raise YamlError("yaml-merge", fault, hint, line=key.line, column=key.column)
        yield from source.pairs


def _node(opened: _Open) -> Node:
    if not opened.is_map:
        return ListNode(tuple(opened.items), opened.line, opened.column)
    pairs, taken = opened.pairs, {key.text for key, _ in opened.pairs} if opened.merged else set()
    for key, node in opened.merged:  # what the mapping says itself wins, then what was merged first
        if key.text not in taken:
            taken.add(key.text)
            pairs.append((key, node))
    return MapNode(tuple(pairs), opened.line, opened.column)
