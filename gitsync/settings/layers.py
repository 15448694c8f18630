"""The three places where settings stand: gitsync's own variables, the aliases, the file. Each is a layer over the next.

A layer gives what it says as nested mappings whose scalars are text (`drift: off` is the word, not a boolean), and can tell where
it says it, so that an error names a line or a variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gitsync.settings.shape import KeyPath, Leaf, Record, Sequence, Shape, Table, did_you_mean, localize

PREFIX = "GITSYNC_"
CONFIG_VARIABLE = "GITSYNC_CONFIG"

RESERVED = re.compile(r"GITSYNC_(CONFIG|CONSUL|CONSUL_FROM|TEST_.*|DEMO_.*)")
"""Variables of gitsync's command line and scripts that are no settings."""

SERVICE_LINK = re.compile(
    r"GITSYNC(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.+)?)?)"
)
"""What Kubernetes puts into the environment of every container beside a Service called gitsync…."""

ALIASES: Mapping[str, KeyPath] = {
    "CONSUL_HTTP_ADDR": ("consul", "address"),
    "CONSUL_HTTP_TOKEN": ("consul", "token"),
    "CONSUL_HTTP_TOKEN_FILE": ("consul", "token_file"),
    "CONSUL_CACERT": ("consul", "ca_file"),
    "CONSUL_CLIENT_CERT": ("consul", "cert_file"),
    "CONSUL_CLIENT_KEY": ("consul", "key_file"),
    "CONSUL_PARTITION": ("consul", "partition"),
    "CONSUL_NAMESPACE": ("consul", "namespace"),
    "TGW_SERVICE_NAME": ("gateway",),
    "LOCK_TTL": ("consul", "lock_ttl"),
}
"""The usual Consul variables, and two older ones. CONSUL_HTTP_SSL chooses the scheme of an address without one."""

TOKEN_KEYS: tuple[KeyPath, KeyPath] = ALIASES["CONSUL_HTTP_TOKEN"], ALIASES["CONSUL_HTTP_TOKEN_FILE"]

NOT_READ = ("CONSUL_CAPATH", "CONSUL_HTTP_AUTH", "CONSUL_HTTP_SSL_VERIFY", "CONSUL_TLS_SERVER_NAME")
"""Consul variables that change how Consul's own commands connect, and not how gitsync does."""

MOST_BYTES = 1 << 20
MOST_VALUES = 50_000
DEEPEST = 16

Problem = tuple[str, str]
"""Where (`gitsync.yaml:3:1`, or a variable), and what is wrong."""


class Layer(PydanticBaseSettingsSource):
    """One place. `problems` is what could not even be placed."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings)
        self.root = Record(settings)
        self.values: dict[str, Any] = {}
        self.where: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self.values

    def _refuse_token(self) -> None:
        if place := self.tells(TOKEN_KEYS[0]):
            self.problems.append(
                (place, "consul.token: a token is no setting: write it into a file and give token_file")
            )
            self.drop(TOKEN_KEYS[0])

    def tells(self, path: KeyPath) -> str | None:
        """Where this layer says what stands at *path*, None if it does not."""
        return self.where.get(path)

    def drop(self, path: KeyPath) -> None:
        """Forget what stands at *path*."""
        table = _walk(self.values, path[:-1])
        if isinstance(table, dict):
            table.pop(path[-1], None)
        self.where.pop(path, None)

    def put(self, path: KeyPath, value: Any, where: str) -> None:
        table: dict[Any, Any] = self.values
        for depth, step in enumerate(path[:-1], 1):
            inner = table.setdefault(step, {})
            if not isinstance(inner, dict):
                inner = table[step] = {}
            self.where.setdefault(path[:depth], where)
            table = inner
        table[path[-1]] = value
        self._mark(path, value, where)

    def _mark(self, path: KeyPath, value: Any, where: str) -> None:
        """Say of everything in *value* where it stands."""
        self.where[path] = where
        if isinstance(value, dict | list):
            for step, one in value.items() if isinstance(value, dict) else enumerate(value):
                self._mark((*path, step), one, where)


class FileLayer(Layer):
    """The YAML file."""

    def __init__(self, settings: type[BaseSettings], text: str, name: str, directory: Path) -> None:
        super().__init__(settings)
        values = _Reading(text, name).read(self.where, self.problems)
        if not isinstance(values, dict | None):
            self.problems.append((name, "holds no settings: it begins with a key, such as instance: prod-eu"))
        elif values:
            self.values = localize(values, self.root, directory)
            self._refuse_token()


class AliasLayer(Layer):
    """The usual Consul variables. Relative paths are relative to the working directory, as Consul's own commands read them."""

    def __init__(
        self, settings: type[BaseSettings], environ: Mapping[str, str], directory: Path, *, address_elsewhere: bool
    ) -> None:
        super().__init__(settings)
        for name, path in ALIASES.items():
            if value := environ.get(name, "").strip():
                self.put(path, f"{value}s" if name == "LOCK_TTL" and value.isdigit() else value, name)
        if environ.get("CONSUL_HTTP_SSL", "").strip().lower() in ("1", "t", "true"):
            if address := environ.get("CONSUL_HTTP_ADDR", "").strip():
                if "://" not in address:
                    self.put(ALIASES["CONSUL_HTTP_ADDR"], f"https://{address}", "CONSUL_HTTP_ADDR")
            elif not address_elsewhere:
                self.put(ALIASES["CONSUL_HTTP_ADDR"], "https://127.0.0.1:8500", "CONSUL_HTTP_SSL")
        if self.tells(ALIASES["CONSUL_HTTP_TOKEN_FILE"]):
            self.drop(ALIASES["CONSUL_HTTP_TOKEN"])  # as Consul's own commands decide it
        self.values = localize(self.values, self.root, directory)


class EnvironmentLayer(Layer):
    """`GITSYNC_…`: the key in capitals, `__` between its parts; `_` in the name of a sync or gateway also stands for `-`."""

    def __init__(self, settings: type[BaseSettings], environ: Mapping[str, str], file: Layer, directory: Path) -> None:
        super().__init__(settings)
        self._file = file
        names = [name for name in environ if name.startswith(PREFIX) and environ[name] and not RESERVED.fullmatch(name)]
        for name in sorted(names, key=lambda name: (name.count("__"), name)):  # what is deeper is more exact, and wins
            self._place(name, environ[name])
        self.values = localize(self.values, self.root, directory)
        self._refuse_token()

    def _place(self, name: str, text: str) -> None:
        path: KeyPath = ()
        here: Shape = self.root
        for part in name.removeprefix(PREFIX).split("__"):
            match here:
                case Record():
                    step = part.lower()
                    below = here.field(step)
                    if below is None:
                        self._unknown(name, path, step, here)
                        return
                    path, here = (*path, step), below
                case Table():
                    path, here = (*path, self._chosen(path, part)), here.below
                case _:
                    self.problems.append((name, f"{dotted(path)} has no keys below it"))
                    return
        try:
            self.put(path, _from_text(text, here), name)
        except ValueError as error:
            self.problems.append((name, str(error)))

    def _unknown(self, name: str, path: KeyPath, step: str, here: Record) -> None:
        if not SERVICE_LINK.fullmatch(name):
            meant = did_you_mean(step, list(here.model.model_fields))
            if path or "__" in name or meant:  # else it may be anybody's: `warnings` names it
                self.problems.append((name, f"there is no setting {dotted((*path, step))}{meant}"))

    def _chosen(self, path: KeyPath, part: str) -> str:
        """The name that the file has for it, whatever its capitals, dots and dashes; else lower case with dashes."""
        known = _walk(self._file.values, path)
        same = [name for name in known if _as_variable(name) == _as_variable(part)] if isinstance(known, dict) else []
        return same[0] if len(same) == 1 else part.lower().replace("_", "-")


def unread(environ: Mapping[str, str], settings: type[BaseSettings]) -> list[str]:
    """Variables that look as if gitsync read them, and that it does not."""
    strangers = [
        name
        for name in sorted(environ)
        if name.startswith(PREFIX)
        and name.removeprefix(PREFIX).split("__")[0].lower() not in settings.model_fields
        and not RESERVED.fullmatch(name)
        and not SERVICE_LINK.fullmatch(name)
    ]
    return strangers + [name for name in NOT_READ if environ.get(name)]


def dotted(path: KeyPath) -> str:
    """`syncs.payments.git.url`, `notify[0].url`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _as_variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _walk(value: Any, path: KeyPath) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _from_text(text: str, here: Shape) -> Any:
    """The value of a variable. Raises ValueError with a sentence."""
    match here:
        case Leaf():
            return text
        case Sequence(item=Leaf()) if not text.lstrip().startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
    if not text.lstrip().startswith(("{", "[")):
        raise ValueError("has keys below it: set these, or give the whole as JSON")
    problems: list[Problem] = []
    value = _Reading(text, "value").read({}, problems)
    if problems:
        raise ValueError(problems[0][1])
    return value


class _Reading:
    """One pass over a YAML text, by nodes: positions are known, no tag makes anything, and every scalar stays what it is written.

    PyYAML's own parser in Python is used, not the one in C, which ends the process on deep nesting.
    """

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name, self._left = text, name, MOST_VALUES

    def read(self, where: dict[KeyPath, str], problems: list[Problem]) -> Any:
        """What the text holds, without the keys that have no value; None if nothing. The places go into *where*."""
        self._where, self._problems = where, problems
        if len(self._text) > MOST_BYTES:
            problems.append((self._name, f"is larger than {MOST_BYTES >> 20} MiB: that is no configuration"))
            return None
        try:
            node = yaml.compose(self._text, Loader=yaml.SafeLoader)
            return None if node is None else self._value(node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            at = f"{self._name}:{mark.line + 1}:{mark.column + 1}" if mark else self._name
            problems.append((at, f"is no YAML: {error.problem or error.context}"))
        except yaml.YAMLError as error:
            problems.append((self._name, f"is no YAML: {str(error).splitlines()[0]}"))
        except (RecursionError, _TooMuchError):
            problems.append(
                (self._name, f"has more than {MOST_VALUES} values or {DEEPEST} levels: that is no configuration")
            )
        return None

    def _place(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._left -= 1
        if self._left < 0 or len(path) > DEEPEST:
            raise _TooMuchError
        if node.tag.startswith("!"):
            self._problems.append((self._place(node), f"the tag {node.tag} means nothing here"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._where[(*path, index)] = self._place(item)
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return None if node.style is None and node.value in ("", "~", "null", "Null", "NULL") else node.value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        own: set[str] = set()
        for key, below in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problems.append((self._place(key), "a key is a word"))
                continue
            if key.value == "<<" and key.style is None:
                for one in below.value if isinstance(below, yaml.SequenceNode) else [below]:
                    inherited = self._value(one, path)
                    merged = {**(inherited if isinstance(inherited, dict) else {}), **merged}
                continue
            if key.value in own:
                self._problems.append((self._place(key), f"{dotted((*path, key.value))} stands here twice"))
                continue
            own.add(key.value)
            self._where[(*path, key.value)] = self._place(key)
            value = self._value(below, (*path, key.value))
            if value is not None:
                values[key.value] = value
        return {**merged, **values}


class _TooMuchError(Exception):
    """Deeper or larger than any configuration."""
