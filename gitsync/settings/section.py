"""What every group of settings is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from gitsync.model.duration import Duration
from gitsync.settings import grammar
from gitsync.settings.grammar import LOCAL

LocalPath = Annotated[Path, LOCAL]
"""A file of this machine. Relative ones were made absolute by whoever read them."""


def at_least(least: str) -> AfterValidator:
    return AfterValidator(grammar.duration_within(Duration.parse(least), None))


def between(least: str, most: str) -> AfterValidator:
    return AfterValidator(grammar.duration_within(Duration.parse(least), Duration.parse(most)))


class Section(BaseModel):
    """A group of keys. Unknown keys are errors; values do not change once they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
