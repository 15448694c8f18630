"""Whether a subset's filter can be evaluated. Every Consul stores one that cannot, later ones as long as its syntax is right.

Narrower than Consul's own grammar: what is not known to be good counts as bad, because a bad one takes the servers of every
service from the gateway. What is known to be good is tried on a real Consul in the tests.
"""

from __future__ import annotations

import re

from gitsync.core.entries.patterns import pattern_fault

_TOKEN = re.compile(
    r"""\s*(?P<token>==|!=|\(|\)(?=[\s)]|$)|("[^"\\]*"|`[^`]*`|[A-Za-z][A-Za-z0-9_.]*(\["[^"\\]*"\])?|0|[1-9][0-9]*)(?=[\s)=!]|$))"""
)
_META = r'(\.[A-Za-z][A-Za-z0-9_]*|\["[^"\\]+"\])'
_TEXT = re.compile(
    rf"Node\.(ID|Node|Address|Datacenter|Meta{_META})|Service\.(ID|Service|Address|Meta{_META})|Checks\.(CheckID|Name|Status)"
)
_NUMBER = re.compile(r"Service\.Port")
_MANY = re.compile(r"Service\.Tags|Service\.Meta|Node\.Meta")
_WORDS = frozenset({"and", "or", "not", "in", "is", "empty", "contains", "matches"})

Step = tuple[str | None, list[str]]
"""A fault or None, and the tokens that are left."""


def filter_fault(text: str) -> str | None:
    """Why *text* may be no filter, None if it certainly is one."""
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            return f"the filter has something that is not known to work, at {text[at : at + 20].strip()!r}"
        tokens.append(match["token"])
        at = match.end()
    try:
        fault, rest = _expression(tokens)
    except RecursionError:
        return "the filter is nested too deeply"
    return fault or (f"the filter goes on with {rest[0]!r} where it should end" if rest else None)


def _expression(tokens: list[str]) -> Step:
    fault, rest = _term(tokens)
    while not fault and rest and rest[0] in ("and", "or"):
        fault, rest = _term(rest[1:])
    return fault, rest


def _term(tokens: list[str]) -> Step:
    if not tokens:
        return "the filter ends too early", []
    if tokens[0] == "not":
        return _term(tokens[1:])
    if tokens[0] == "(":
        fault, rest = _expression(tokens[1:])
        if fault:
            return fault, rest
        return (None, rest[1:]) if rest[:1] == [")"] else ("the filter has a bracket that is not closed", rest)
    return _comparison(tokens)


def _comparison(tokens: list[str]) -> Step:
    """One comparison: three tokens, four with a `not`."""
    first, second, third, fourth = (*tokens[:4], "", "", "", "")[:4]
    if second == "is" and _MANY.fullmatch(first):
        if third == "empty":
            return None, tokens[3:]
        if (third, fourth) == ("not", "empty"):
            return None, tokens[4:]
    negated = second == "not" and third in ("in", "contains", "matches")
    operator, right, rest = (third, fourth, tokens[4:]) if negated else (second, third, tokens[3:])
    if _compares(first, operator, right):
        return (pattern_fault(right[1:-1]) if operator == "matches" else None), rest
    return f"the filter has a comparison that is not known to work, at {' '.join(tokens[:4])!r}", tokens


def _compares(left: str, operator: str, right: str) -> bool:
    match operator:
        case "==" | "!=":
            return bool(
                (_TEXT.fullmatch(left) and _value(right))
                or (_NUMBER.fullmatch(left) and right.isdigit() and len(right) < 6)
            )
        case "in":
            return _value(left) and bool(_TEXT.fullmatch(right) or _MANY.fullmatch(right))
        case "contains":
            return bool(_TEXT.fullmatch(left) or _MANY.fullmatch(left)) and _value(right)
        case "matches":
            return bool(_TEXT.fullmatch(left)) and right[:1] in ('"', "`")
    return False


def _value(token: str) -> bool:
    return token[:1] in ('"', "`") or token.isdigit() or (token.isalnum() and token.isascii() and token not in _WORDS)
