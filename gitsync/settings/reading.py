"""From the file and the environment to `Settings`, or to one message that lists everything that is wrong."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from gitsync.model.errors import Invalid
from gitsync.settings.grammar import is_plain_http_to_elsewhere
from gitsync.settings.keys import Settings
from gitsync.settings.later import not_in_this_version
from gitsync.settings.layers import (
    ALIASES,
    CONFIG_VARIABLE,
    TOKEN_KEYS,
    AliasLayer,
    EnvironmentLayer,
    FileLayer,
    Layer,
    Problem,
    dotted,
    unread,
)
from gitsync.settings.shape import KeyPath, Record, at, did_you_mean

DEFAULT_FILE = Path("gitsync.yaml")
LONGEST_SECRET = 64 * 1024

_SENTENCES = {
    "missing": "is missing",
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "float_parsing": "is no number",
    "finite_number": "is no number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is no text",
    "tuple_type": "is no list",
    "model_type": "has keys below it",
    "model_attributes_type": "has keys below it",
    "dict_type": "has names below it",
    "mapping_type": "has names below it",
}
"""What pydantic's own error types say in this house."""


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the configuration file and what *environ* says over it.

    path: the file; None takes `GITSYNC_CONFIG`, else gitsync.yaml in the working directory, which need not exist if the
    variables say enough. Raises Invalid with one message that names every problem, its line or variable, and never a secret.
    """
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    file = named or DEFAULT_FILE
    text = _text(file, must_exist=named is not None)
    here, beside = Path.cwd(), file.absolute().parent
    file_layer = FileLayer(Settings, text, str(file), beside)
    own = EnvironmentLayer(Settings, environ, file_layer, beside)
    address = ALIASES["CONSUL_HTTP_ADDR"]
    aliases = AliasLayer(
        Settings, environ, here, address_elsewhere=any(layer.tells(address) for layer in (own, file_layer))
    )
    layers = (own, aliases, file_layer)
    _one_token(layers)

    problems = [problem for layer in layers for problem in layer.problems]
    settings = None
    try:
        settings = Settings.model_validate({"layers": layers})
    except ValidationError as error:
        problems += [_problem(layers, detail) for detail in error.errors(include_url=False)]
    else:
        problems += [
            (_where(layers, key), f"{dotted(key)} is not in this version of gitsync: take it out")
            for key in not_in_this_version(settings)
        ]
    if settings is None or problems:
        missing = not text and named is None
        raise Invalid(_message(file, problems, missing=missing))
    return settings


def read_secret(file: Path, setting: str) -> SecretStr:
    """The secret in *file*, without the line end. *setting* is the key that names the file, for the message.

    Raises Invalid if the file is not there, cannot be read, is empty, or is more than a secret.
    """
    try:
        content = file.read_bytes()[: LONGEST_SECRET + 1]
        text = content.decode().strip()
    except OSError as error:
        raise Invalid(f"{setting}: {file} cannot be read ({error.strerror}): create it, or correct {setting}") from None
    except UnicodeDecodeError:
        raise Invalid(f"{setting}: {file} holds no text: write the secret alone into it") from None
    if not text or len(content) > LONGEST_SECRET:
        what = "is empty" if not text else "is too large for a secret"
        raise Invalid(f"{setting}: {file} {what}: write the secret alone into it")
    if "\n" in text and "-----BEGIN" not in text:
        raise Invalid(f"{setting}: {file} has more than one line: write the secret alone into it")
    return SecretStr(text)


def secret_files(settings: Settings) -> dict[str, Path]:
    """Every file that holds a secret, by its key."""
    files: dict[str, Path] = {}
    _collect(settings, (), files)
    return files


def warnings(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """What is allowed and should be known at the start: readable secrets, plain http, variables that nobody reads."""
    found: list[str] = []
    for key, file in secret_files(settings).items():
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError:
            continue  # whoever reads it says so, with the reason
        if mode & 0o007:
            found.append(f"{key}: {file} is open to every user of this machine (mode {mode:04o}): chmod o= {file}")
    if is_plain_http_to_elsewhere(settings.consul.address):
        found.append(f"consul.address: {settings.consul.address} is plain http: tokens cross the network readable")
    found += [f"{name} is set, and gitsync does not read it" for name in unread(environ, Settings)]
    return found


def _text(file: Path, *, must_exist: bool) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise Invalid(
                f"there is no configuration at {file}: write one with `gitsync init`, or name another"
            ) from None
        return ""
    except OSError as error:
        raise Invalid(f"the configuration {file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Invalid(f"the configuration {file} is not UTF-8 text") from None


def _one_token(layers: Sequence[Layer]) -> None:
    """A token, or a file with one: the highest layer that gives either decides, and what is below it is no second opinion."""
    given = False
    for layer in layers:
        for key in TOKEN_KEYS:
            if given:
                layer.drop(key)
        given = given or any(layer.tells(key) for key in TOKEN_KEYS)


def _where(layers: Sequence[Layer], path: KeyPath) -> str:
    """The line or variable that says what stands at *path*, or at the nearest key above it."""
    for depth in range(len(path), 0, -1):
        for layer in layers:
            if place := layer.tells(path[:depth]):
                return place
    return ""


def _problem(layers: Sequence[Layer], detail: ErrorDetails) -> Problem:
    path = tuple(step for step in detail["loc"] if step != "[key]")
    kind = detail["type"]
    if kind == "extra_forbidden":
        above = at(Record(Settings), path[:-1])
        known = list(above.model.model_fields) if isinstance(above, Record) else []
        return _where(layers, path), f"there is no setting {dotted(path)}{did_you_mean(str(path[-1]), known)}"
    sentence = _SENTENCES.get(kind) or detail["msg"].replace("Input should be", "should be")
    if hint := detail.get("ctx", {}).get("hint"):
        sentence = f"{sentence}: {hint}"
    return _where(layers, path), f"{dotted(path)}{':' if path else ''} {sentence}".strip()


def _message(file: Path, problems: Iterable[Problem], *, missing: bool) -> str:
    lines = [f"  {where}: {what}" if where else f"  {what}" for where, what in dict.fromkeys(problems)]
    absent = f" (there is no {file} here: write one with `gitsync init`, or name one with --config)" if missing else ""
    return f"the configuration cannot be used{absent}:\n" + "\n".join(lines)


def _collect(here: Any, path: KeyPath, files: dict[str, Path]) -> None:
    if isinstance(here, BaseModel):
        below: Iterable[tuple[str | int, Any]] = ((name, getattr(here, name)) for name in type(here).model_fields)
    elif isinstance(here, Mapping):
        below = here.items()
    elif isinstance(here, tuple):
        below = enumerate(here)
    else:
        if isinstance(here, Path) and re.search(r"(token|key|secret)_files?(\[|$)", dotted(path)):
            files[dotted(path)] = here
        return
    for step, value in below:
        _collect(value, (*path, step), files)
