"""What every mapping of a spec is, and the rules that several of them share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from gitsync.model.grammar import wrong

LIST_LENGTH = 100
"""The most elements that a list or a mapping of a spec may have."""

Value = TypeVar("Value")
AnyPart = TypeVar("AnyPart", bound="Part")


class Part(BaseModel):
    """One mapping of a spec: unknown keys are errors, `"5"` is no number, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False)


def given(part: Part, *names: str) -> list[str]:
    """Those of *names* that *part* has a value for."""
    return [name for name in names if getattr(part, name) not in (None, (), False) and getattr(part, name) != {}]


def exactly_one(part: Part, *names: str) -> None:
    """Raise unless *part* has a value for exactly one of *names*."""
    found = given(part, *names)
    if len(found) != 1:
        text = f"has {' and '.join(found)}" if found else "has none of " + ", ".join(names)
        raise wrong(f"{text}, exactly one is needed", "write one of " + ", ".join(names), code="invalid-combination")


def at_most_one(part: Part, *names: str) -> None:
    """Raise if *part* has values for more than one of *names*."""
    found = given(part, *names)
    if len(found) > 1:
        raise wrong(
            f"has {' and '.join(found)}, at most one is possible", "keep one of them", code="invalid-combination"
        )


def at_most(count: int) -> AfterValidator:
    def check(items: tuple[Value, ...]) -> tuple[Value, ...]:
        if len(items) > count:
            raise wrong(f"has {len(items)} elements, at most {count} are possible")
        return items

    return AfterValidator(check)


def first_twice(texts: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def empty_is_absent(part: AnyPart | None) -> AnyPart | None:
    """None for a part in which everything is absent, so that both are one spelling."""
    return None if part is None or part == type(part)() else part
