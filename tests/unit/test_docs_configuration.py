"""docs/configuration.md and the example configuration against the settings: every key is there, and what is there works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gitsync.model.duration import Duration
from gitsync.settings import Setting, Settings, as_markdown, describe, load_settings
from gitsync.settings.layers import ALIASES, NOT_READ

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
EXAMPLE = ROOT / "config" / "gitsync.example.yaml"
WHOLE = re.sub(r"^( *)#(?=[^ \n]|  +\S)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
"""The example with every key that stands behind a `#` written out."""

SQLITE = "sqlite:////var/lib/gitsync/gitsync.db"
POSTGRESQL = "postgresql+psycopg://gitsync@db.example/gitsync"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("whole") / "gitsync.yaml"
    file.write_text(WHOLE)
    return load_settings(file, {})


def paths_of(value: object, path: str = "") -> set[str]:
    """The keys of a document as the settings spell them."""
    match value:
        case dict():
            found: set[str] = set()
            for key, below in value.items():
                name = f"<{path[:-1]}>" if path in ("syncs", "gateways") else key
                found |= paths_of(below, f"{path}.{name}" if path else name)
            return found | {path} if path else found
        case list():
            return {path}.union(*(paths_of(each, f"{path}[]") for each in value))
    return {path}


def test_the_table_is_that_of_the_settings():
    assert as_markdown() in PAGE, (
        "write gitsync.settings.as_markdown() into docs/configuration.md, below `Every setting`"
    )


@pytest.mark.parametrize("setting", describe(), ids=lambda setting: setting.path)
def test_every_setting_of_this_version_is_in_the_example(setting: Setting):
    assert setting.description.endswith(".") or setting.later
    assert setting.later is (setting.path not in paths_of(yaml.load(WHOLE, yaml.BaseLoader)))  # where `on` is a word


def test_the_example_works_as_it_stands():
    settings = load_settings(EXAMPLE, {})

    assert settings.instance == "prod-eu"
    assert list(settings.syncs) == ["payments"]


def test_the_example_works_with_everything_written_out(whole: Settings):
    assert list(whole.syncs) == ["payments", "ledger", "cards"]
    assert whole.gateways["tgw-1"].tls[0].cert_file == "/etc/consul.d/tls/partner-client.pem"


@pytest.mark.parametrize(
    "path",
    [
        "store", "consul.allow_plain_http", "consul.timeout", "consul.lock_ttl", "consul.concurrency", "consul.partition",
        "consul.namespace", "web.listen", "web.anonymous_read", "retention.runs", "log.level", "log.format",
    ],
)  # fmt: skip
def test_what_is_behind_a_hash_and_has_a_default_shows_the_default(whole: Settings, path: str):
    default: object = Settings(instance="a", syncs={"b": {"git": {"url": "https://c.example/d.git"}}})
    shown: object = whole
    for step in path.split("."):
        default, shown = getattr(default, step), getattr(shown, step)

    assert shown == default


@pytest.mark.parametrize(
    "path",
    ["interval", "adopt", "drift", "strict", "prune", "git.timeout", "git.history", "git.ref", "require_reviewed_plan"],
)
def test_the_same_of_a_sync(whole: Settings, path: str):
    default: object = Settings(instance="a", syncs={"b": {"git": {"url": "https://c.example/d.git"}}}).syncs["b"]
    shown: object = whole.syncs["payments"]
    for step in path.split("."):
        default, shown = getattr(default, step), getattr(shown, step)

    assert shown == default


def test_postgresql_as_the_example_writes_it_is_taken(tmp_path: Path):
    file = tmp_path / "gitsync.yaml"
    file.write_text(WHOLE.replace(SQLITE, POSTGRESQL))

    assert POSTGRESQL in EXAMPLE.read_text()
    assert load_settings(file, {}).store == POSTGRESQL


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_every_configuration_on_the_page_works(block: str, tmp_path: Path):
    file = tmp_path / "gitsync.yaml"
    file.write_text(block)

    assert load_settings(file, {}).syncs


def test_the_variables_on_the_page_work(tmp_path: Path):
    file = tmp_path / "gitsync.yaml"
    file.write_text(
        "instance: a\nsyncs:\n  payments: { git: { url: https://h.example/a } }\n"
        "  card-network: { git: { url: https://h.example/b } }\n"
    )
    lines = re.findall(r"^    (GITSYNC_\w+)=(\S+)", PAGE, re.MULTILINE)
    settings = load_settings(file, dict(lines))

    assert len(lines) == 3
    assert settings.consul.address == "https://consul.example:8501"
    assert settings.syncs["card-network"].interval == Duration.parse("30s")
    assert settings.syncs["payments"].redact == ("cost_center", "pii")


def test_the_page_names_every_variable_that_is_and_is_not_read():
    assert [name for name in (*ALIASES, *NOT_READ) if f"`{name}`" not in PAGE] == []


def test_there_is_only_what_the_table_has():
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)

    assert rows == [setting.path for setting in describe()]
