"""Templates, and what of a text may stand on a page: everything is written out, then escaped, wherever it came from."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gitsync.core.shown import safe
from gitsync.log import SECRETS
from gitsync.web.told import MARKS, SIGNS, TONES

HERE = Path(__file__).parent / "templates"
STYLE = (HERE / "style.css").read_text(encoding="utf-8")
ICON = (HERE / "icon.svg").read_text(encoding="utf-8")


def seen(value: object) -> object:
    """What a template may put out: text without secrets, controls and marks that turn it around. Jinja escapes it after this.

    Every expression of every template passes here, so there is no filter to forget. Markup is what a macro drew, from parts that did.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return safe(SECRETS.clean(value))


def took(seconds: float | None) -> str:
    """`12 ms`, `3.4 s`, `2 min 5 s`."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "< 1 ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def when(stamp: str) -> str:
    """`2026-01-01 12:00:00 UTC`."""
    return stamp.replace("T", " ").replace("Z", " UTC")


def ago(stamp: str, now: datetime) -> str:
    """`3 min ago`, `in 20 s`."""
    try:
        seconds = (now - datetime.fromisoformat(stamp)).total_seconds()
    except (TypeError, ValueError):
        return ""
    size = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if size >= 2 * length or unit == "s":
            count = f"{size // length:.0f} {unit}"
            return f"{count} ago" if seconds >= 0 else f"in {count}"
    return ""


def breakable(path: str) -> Markup:
    """A field's path that may go on in the next line after each part."""
    return Markup("<wbr>").join(f"{part}" for part in re.split(r"(?<=[.\]])", safe(SECRETS.clean(path))) if part)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=seen,
    )
    environment.filters |= {
        "took": took,
        "when": when,
        "ago": ago,
        "breakable": breakable,
        "tone": lambda word: TONES.get(word, "calm"),
    }
    environment.globals |= {"marks": MARKS, "signs": SIGNS}
    return environment


TEMPLATES = _environment()


def drawn(template: str, **facts: Any) -> str:
    """The page. Everything in *facts* is taken as hostile."""
    return TEMPLATES.get_template(template).render(facts)
