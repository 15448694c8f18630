"""Whether Envoy can load a regular expression: the part of RE2's syntax that is certain, and the size of its program.

Envoy refuses a program of more than 100 steps with its usual settings, so a short text with counted repetitions can be too much.
"""

from __future__ import annotations

import re

PROGRAM_LIMIT = 100
"""Steps of a program that Envoy loads with its usual settings (re2.max_program_size.error_level)."""

FRAME = 3
"""Steps that every program has."""

REPEATS = 1000
"""The greatest count of a repetition in RE2."""

_EXACT = re.compile(r"\{\d+\}")
_COUNT = re.compile(r"\{(\d{1,9})(,(\d{0,9}))?\}")
_ESCAPES = frozenset("dDwWsSbBAzafnrtv")
_SIZES = {"d": 1, "w": 4, "s": 3, "D": 2, "W": 5, "S": 4}
"""Ranges of bytes in each class; a step of the program is one range."""

_FOLDED = re.compile(r"\(\?[imsUP-]*i")
_GROUP = re.compile(r"\?(P?<[A-Za-z_]\w*>|[imsU]*(-[imsU]+)?:|[imsU]+(-[imsU]+)?(?=\)))")
_CLASS_NAME = re.compile(
    r"\[:\^?(alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]"
)


class _Unknown(Exception):
    """The expression has something that RE2 does not have, or that is not known to work."""


def pattern_fault(text: str) -> str | None:
    """Why *text* may be an expression that Envoy cannot load, None if it certainly is not."""
    try:
        reader = _Reader(text)
        size = FRAME + reader.alternatives()
        if reader.at < len(text):
            return "the expression closes a bracket that was never opened"
    except _Unknown as unknown:
        return str(unknown)
    except RecursionError:
        return "the expression is nested too deeply"
    return (
        f"the expression is too large for Envoy (about {size} steps, {PROGRAM_LIMIT} are possible)"
        if size > PROGRAM_LIMIT
        else None
    )


class _Reader:
    """Reads RE2 from left to right; every method gives the size of what it read, rounded up."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.folded = bool(_FOLDED.search(text))  # (?i): a range of letters is two

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise _Unknown("the expression ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def alternatives(self) -> int:
        size = 1 + self._sequence()
        while self._peek() == "|":
            self.at += 1
            size += 1 + self._sequence()
        return size

    def _sequence(self) -> int:
        size = 0
        while self._peek() not in ("", "|", ")"):
            size += self._repeated()
        return size

    def _repeated(self) -> int:
        size = self._one()
        exact = _EXACT.match(self.text, self.at)
        times = self._times()
        if times is None:
            return size
        if self._peek() == "?":
            self.at += 1
        if self._times() is not None:
            raise _Unknown("the expression repeats a repetition")
        return size * times if exact else (size + 1) * times

    def _times(self) -> int | None:
        """How often what was read goes into the program; None where nothing repeats it."""
        if self._peek() in ("*", "+", "?") and self._peek():
            self.at += 1
            return 1
        count = _COUNT.match(self.text, self.at)
        if count is None:
            return None
        least, most = int(count[1]), int(count[3] or count[1])
        if max(least, most) > REPEATS or most < least:
            raise _Unknown(f"the expression repeats {count[0]}, and up to {REPEATS} are possible")
        self.at = count.end()
        return max(most, 1) + (1 if count[2] == "," else 0)

    def _one(self) -> int:
        character = self._next()
        if character == "(":
            if self._peek() == "?":
                group = _GROUP.match(self.text, self.at)
                if group is None:
                    raise _Unknown("the expression has a group that RE2 does not have")
                self.at = group.end()
                if self._peek() == ")" and group[0][-1] not in ":>":  # only flags, such as (?i)
                    self.at += 1
                    if self._peek() in ("*", "+", "?", "{"):
                        raise _Unknown("the expression repeats a group of flags")
                    return 0
            size = self.alternatives()
            if self._next() != ")":
                raise _Unknown("the expression does not close a bracket")
            return size + 2
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character in "*+?{":
            raise _Unknown(f"the expression repeats nothing, at {character}")
        return 2 if character == "." else len(character.encode())

    def _escape(self) -> int:
        character = self._next()
        if character.isalnum() and character not in _ESCAPES:
            raise _Unknown(f"the expression has \\{character}, which is not known to work")
        if not character.isascii():
            raise _Unknown("the expression escapes a character beyond ASCII")
        return _SIZES.get(character, 1)

    def _class(self) -> int:
        size = 1 if self._peek() == "^" else 0
        self.at += self._peek() == "^"
        first = True
        while first or self._peek() != "]":
            first = False
            name = _CLASS_NAME.match(self.text, self.at)
            if name:
                self.at = name.end()
                size += 4
                continue
            start, width = self._member()
            size += width
            if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                end, _ = self._member()
                if not start or not end or end < start:
                    raise _Unknown("the expression has a range that goes backwards")
        self.at += 1
        return max(size, 1) * (2 if self.folded else 1)

    def _member(self) -> tuple[str, int]:
        """One character of a class ("" for a whole set of them) and its size."""
        character = self._next()
        if character == "\\":
            character = self._next()
            if character in "dDwWsS":
                return "", _SIZES[character]
            if character.isalnum() and character not in "afnrtv":
                raise _Unknown(f"the expression has \\{character} in brackets, which is not known to work")
            return character, 1
        return character, 1 if character.isascii() else 4
