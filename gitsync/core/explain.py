"""From what a model refuses to findings that a person can act on: where in the file, what is wrong, what to write. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from gitsync.core.spec_fields import NAMES, keys_at, meant, pattern
from gitsync.core.spelling import Location, Spelled
from gitsync.core.yaml_reader import ListNode, MapNode, Node, Scalar
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.grammar import shown
from gitsync.model.key import ServiceKey

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_*-]{1,64}")
_NEEDS_SUBJECT = ("announces ", "has ", "is ", "leads ", "looks ", "needs ", "says ")
_TYPES = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "text",
    "tuple_type": "a list",
}
_BOOLEANS = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "1": "true",
    "no": "false",
    "off": "false",
    "n": "false",
    "0": "false",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a document, at a place of its canonical form."""

    code: str
    text: str
    hint: str
    at: Location
    of_key: bool = False
    """It is the key that is wrong, not what stands there."""


def faults(error: ValidationError, spelled: Spelled) -> Iterator[Fault]:
    """What a model says, in words of the file."""
    for detail in error.errors(include_url=False, include_input=False):
        context: Mapping[str, Any] = detail.get("ctx") or {}
        at: Location = tuple(step for step in detail["loc"] if step != "[key]")
        found = _fault(detail["type"], detail["msg"], context, at, spelled)
        yield replace(found, of_key=True) if "[key]" in detail["loc"] else found


def clashes(spelled: Spelled) -> Iterator[Fault]:
    """What a document says in both spellings."""
    for older, canonical in spelled.clashes:
        both = f"{'.'.join(older)} and {'.'.join(canonical)} are two spellings of one thing, and both are there"
        yield Fault("invalid-combination", both, f"keep {'.'.join(canonical)}", canonical)


def _fault(  # noqa: PLR0911 (a list of rules reads best as a list)
    kind: str, message: str, context: Mapping[str, Any], at: Location, spelled: Spelled
) -> Fault:
    last = shown_step(at[-1]) if at else "the document"
    if "hint" in context:
        return Fault(kind, message, str(context["hint"]), at + tuple(context.get("at", ())))
    if kind == "extra_forbidden":
        return Fault("unknown-key", f"unknown key {shown(at[-1])}", meant(str(at[-1]), pattern(at[:-1])), at, True)
    if kind == "missing":
        return Fault("missing-field", f"{last} is missing", f"add {last}", at)
    if kind in _TYPES:
        node = _find(spelled.root, at)
        return Fault("wrong-type", f"has to be {_TYPES[kind]}, and is {_described(node)}", _retyped(kind, node, at), at)
    if kind in ("string_too_short", "too_short"):
        return Fault("invalid-value", "is empty", f"write a value, or remove {last}", at)
    if kind in ("string_too_long", "too_long"):
        unit = "characters" if kind == "string_too_long" else "elements"
        return Fault("invalid-value", f"has more than {context.get('max_length')} {unit}", "shorten it", at)
    return Fault("invalid-value", message, "", at)


def _described(node: Node | None) -> str:
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if node is None or node.value is None:
        return "without a value"
    kind = {bool: "a truth value", int: "a number", float: "a number"}.get(type(node.value), "text")
    return f"{kind} ({shown(node.text)})"


def _retyped(kind: str, node: Node | None, at: Location) -> str:
    """What to write, where the value is of another type than it has to be."""
    if kind == "string_type" and isinstance(node, Scalar):
        if node.value is None:
            return 'write a value, "" for an empty one, or remove it'
        return f'put it in quotes: "{node.text}"' if shown(node.text) == f"'{node.text}'" else "put it in quotes"
    if kind == "bool_type" and isinstance(node, Scalar):
        return f"write {_BOOLEANS.get(node.text.lower(), 'true or false')}" + (
            " without quotes" if node.text in ("true", "false") else ""
        )
    if kind == "tuple_type" and isinstance(node, Scalar) and shown(node.text) == f"'{node.text}'":
        return f"write [{node.text}]"
    keys = keys_at(pattern(at))
    return "its keys are " + ", ".join(keys) if keys else ""


def finding(fault: Fault, spelled: Spelled, path: str, service: ServiceKey | None) -> Finding:
    """The finding of a fault. *path*: the file's; *service*: whose document it is, where that is known."""
    line, column = _place(spelled.root, fault.at, of_key=fault.of_key)
    written = spelled.written(fault.at)
    text, names = fault.text, NAMES
    if text.startswith(_NEEDS_SUBJECT):
        subject = shown_step(written[-1]) if written else "the document"
        text, names = f"{subject} {text}", NAMES | {subject} if written else frozenset()
    return Finding(
        fault.code,
        Severity.ERROR,
        sentence(text, names=names),
        sentence(fault.hint),
        service=service,
        place=Place(path, line, column),
        spec_path=spec_path(written),
    )


def sentence(text: str, *, names: frozenset[str] = frozenset()) -> str:
    """*text* as a sentence. A first word that is in quotes, or one of *names*, stays as it is."""
    if not text:
        return ""
    first = text.split(" ", 1)[0]
    if first.isalpha() and first not in names:
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


def shown_step(step: str | int) -> str:
    """One step of a path as a message may show it."""
    if isinstance(step, int):
        return f"element {step + 1}"
    return step if _PLAIN_KEY.fullmatch(step) else shown(step)


def spec_path(location: Location) -> str:
    """`connect.router.routes[0].match.path_prefix`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + shown_step(step)
    return path


def _find(node: Node | None, location: Location) -> Node | None:
    for step in location:
        if isinstance(node, MapNode) and isinstance(step, str):
            node = node.get(step)
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def _place(root: MapNode, location: Location, *, of_key: bool) -> tuple[int, int]:
    """Line and column of a value; of its key, if it is a mapping or a list; of what surrounds it, if it is not there."""
    node: Node = root
    place = (root.line, root.column)
    for step in location:
        if isinstance(node, MapNode) and isinstance(step, str):
            pair = next((pair for pair in node.pairs if pair[0].text == step), None)
            if pair is None:
                break
            key, node = pair
            place = (key.line, key.column)
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            place = (node.line, node.column)
        else:
            break
    else:
        if isinstance(node, Scalar) and node.value is not None and location and not of_key:
            place = (node.line, node.column)
    return place


def fields(root: MapNode) -> str:
    """Where the parts of a valid spec stand, as `Place.fields` says it. *root* is its canonical form."""
    return "\n".join(f"{path} {line} {column}" for path, line, column in _parts(root, "", root.line))


def _parts(node: Node, path: str, line: int) -> Iterator[tuple[str, int, int]]:
    """Every part whose line is not that of what surrounds it. Labels are one part, since nothing is ever said of a single one."""
    parts: list[tuple[str, Node, Scalar | Node]] = []
    if isinstance(node, MapNode) and path != "metadata":
        parts = [(f"{path}.{key.text}" if path else key.text, inner, key) for key, inner in node.pairs]
    elif isinstance(node, ListNode):
        items = sorted(node.items, key=_source) if path == "connect.intentions" else node.items
        parts = [(f"{path}[{at}]", inner, inner) for at, inner in enumerate(items)]
    for inner_path, inner, begins in parts:
        if begins.line != line:
            yield inner_path, begins.line, begins.column
        yield from _parts(inner, inner_path, begins.line)


def _source(intention: Node) -> str:
    """What the model sorts intentions by."""
    source = intention.get("source") if isinstance(intention, MapNode) else None
    return source.text if isinstance(source, Scalar) else ""
