"""A length of time, written and printed as Go does it: `1m30s`, `250ms`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

UNITS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, what Go prints
    "μs": 1_000,  # U+03BC, what some keyboards write
    "ns": 1,
}
"""Nanoseconds in each unit of Go's time.ParseDuration."""

SYNTAX = r"[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|μs|ns))+)"
LONGEST_TEXT = 64  # nobody writes more; keeps digits from becoming work
GREATEST = 2**63 - 1  # Go keeps a duration in an int64

_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(h|ms|m|s|us|µs|μs|ns)")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)")


class DurationError(ValueError):
    """A text that is no duration. `hint` says what to write instead ("" where that is not known)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in whole nanoseconds.

    As a pydantic field it takes text and other durations, never a bare number, and is dumped as text.
    """

    ns: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read Go's syntax: decimal numbers with a unit each (h, m, s, ms, us, µs, ns), such as `1.5h` or `1m30s`.

        Raises DurationError, with a hint, for anything else. Source: Go, time.ParseDuration.
        """
        if len(text) > LONGEST_TEXT:
            raise DurationError(f"a duration of {len(text)} characters", "write it like 1m30s")
        sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
        if digits == "0":
            return cls(0)
        if _NUMBER.fullmatch(text) and text.isascii():
            raise DurationError(f"{text} has no unit", f'write it with a unit, such as "{text}s"')
        total, at = 0, 0
        for part in _PART.finditer(digits):
            whole, fraction, unit = part[1], part[2] or "", part[3]
            if part.start() != at or not (whole or fraction):
                break
            at = part.end()
            total += int(whole or 0) * UNITS[unit] + int(fraction or 0) * UNITS[unit] // 10 ** len(fraction)
        if not digits or at != len(digits):
            raise DurationError(
                "not a duration", "write numbers with units (h, m, s, ms, us, ns), such as 1m30s or 250ms"
            )
        if total > GREATEST:
            raise DurationError("longer than 292 years", "write a shorter one")
        return cls(sign * total)

    def __str__(self) -> str:
        """As Go's Duration.String prints it: `1.5s`, `1m30s`, `1h0m0s`, `250ms`, `0s`."""
        if not self.ns:
            return "0s"
        sign, ns = ("-", -self.ns) if self.ns < 0 else ("", self.ns)
        for unit in ("ns", "µs", "ms"):
            if ns < UNITS[unit] * 1_000 and (unit != "ms" or ns < UNITS["s"]):
                return f"{sign}{_decimal(ns, UNITS[unit])}{unit}"
        minutes, rest = divmod(ns, UNITS["m"])
        seconds = f"{_decimal(rest, UNITS['s'])}s"
        if not minutes:
            return f"{sign}{seconds}"
        hours, minutes = divmod(minutes, 60)
        return f"{sign}{hours}h{minutes}m{seconds}" if hours else f"{sign}{minutes}m{seconds}"

    @property
    def seconds(self) -> float:
        return self.ns / UNITS["s"]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validate,
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^{SYNTAX}$", "examples": ["250ms", "5s", "1m30s"]}


def _decimal(ns: int, unit: int) -> str:
    """*ns* in *unit*s, with as many decimals as it takes and no zero at the end."""
    whole, rest = divmod(ns, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _validate(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        text, hint = f"{value} has no unit", f'write it with a unit, such as "{value}s"'
        raise PydanticCustomError("invalid-value", "{text}", {"text": text, "hint": hint})
    if not isinstance(value, str):
        raise PydanticCustomError(
            "invalid-value", "{text}", {"text": "not a duration", "hint": 'write it like "1m30s"'}
        )
    try:
        return Duration.parse(value)
    except DurationError as error:
        raise PydanticCustomError("invalid-value", "{text}", {"text": str(error), "hint": error.hint}) from error
