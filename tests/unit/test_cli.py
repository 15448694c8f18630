"""The command line without anything behind it: help, usage, exit codes, and the commands that need neither Git nor Consul."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
import yaml
from rich.console import Console

from gitsync.cli.app import app, main
from gitsync.cli.call import carry_out, together
from gitsync.cli.choice import service_key
from gitsync.cli.draft import Answers, Seen, written
from gitsync.cli.example import EXAMPLE_SPEC
from gitsync.cli.redact import without
from gitsync.cli.screen import Screen, as_json, visible
from gitsync.model.errors import Conflict, Unavailable
from gitsync.model.key import ServiceKey
from gitsync.model.spec import SpecDefaults

ROOT = Path(__file__).resolve().parents[2]
GROUP: Any = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)
GOOD = """
name: pay
routing: { host: pay.example.org, port: 8080 }
exposure: { mode: catalog_external, terminating_gateway: { service: tgw } }
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An empty working directory, no variables of ours, and logging as it was."""
    for name in os.environ:
        if name.startswith(("GITSYNC_", "CONSUL_", "TGW_")) or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def gitsync(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command line in this process."""

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / "pay.yaml").write_text(GOOD)
    return folder


# -- help and usage -------------------------------------------------------------------------------------------------------


def test_without_a_command_the_commands_are_listed(gitsync):
    ended = gitsync()

    assert ended.code == 0
    assert all(name in ended.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_with_an_example(gitsync, name: str):
    ended = gitsync(name, "--help")

    assert ended.code == 0
    assert re.search(r"Examples?:", ended.out)
    assert f"  gitsync {name}" in ended.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_common_options(name: str):
    options = {option for parameter in GROUP.commands[name].params for option in parameter.opts}

    assert "--debug" in options
    assert ("--json" in options) == (name != "run")
    assert ("--config" in options) == (name not in ("init", "schema", "version"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["plann"],
        ["plan", "--nothing"],
        ["approve"],
        ["show"],
        ["runs", "--limit", "many"],
        ["runs", "--limit", "0"],
        ["plan", "--rev", "abc", "--path", "."],
        ["plan", "--path", "nowhere"],
        ["validate"],
        ["validate", ".", "--rev", "abc"],
        ["validate", ".", "--consul-version", "new"],
        ["validate", ".", "--consul-version", "1.2.3"],
        ["suspend"],
        ["suspend", "--reason", " "],
        ["suspend", "--reason", "x", "--for", "long"],
        ["suspend", "--reason", "x", "--for", "2"],
        ["suspend", "--reason", "x", "--for", "0s"],
        ["suspend", "--reason", "x", "--until", "tomorrow"],
        ["suspend", "--reason", "x", "--until", "2999-01-01T00:00:00"],
        ["suspend", "--reason", "x", "--until", "2001-01-01T00:00:00Z"],
        ["suspend", "--reason", "x", "--for", "2h", "--until", "2999-01-01T00:00:00Z"],
        ["adopt"],
        ["adopt", "pay", "--all"],
        ["adopt", "pay", "--from", "a/b/c"],
        ["init"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_64_and_not_a_plan_with_changes(gitsync, arguments: list[str]):
    ended = gitsync(*arguments)

    assert ended.code == 64
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert "--help` shows what there is" in ended.err


def test_a_typo_in_a_command_is_answered_with_the_nearest(gitsync):
    assert "Did you mean 'plan'?" in gitsync("plann").err


def test_every_command_and_option_is_in_the_documentation():
    text = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(re.findall(r"^### `gitsync (\w+)[^`]*`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    common = text.partition("## Begin")[0]

    assert sorted(sections) == COMMANDS
    for name, command in GROUP.commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                for option in parameter.opts:
                    assert f"`{option}" in sections[name] + common, f"{name} {option}"
    for parameter in GROUP.params:
        assert all(option in common for option in parameter.opts)


def test_the_documentation_names_no_option_that_is_not_there():
    text = (ROOT / "docs" / "cli.md").read_text()
    known = {
        option
        for command in (GROUP, *GROUP.commands.values())
        for parameter in command.params
        for option in parameter.opts
    } | {"--help"}

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known


# -- exit codes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "one"),
    [([], 0), ([0, 2], 2), ([2, 3], 3), ([6, 4, 2], 6), ([0, 1, 2], 1), ([1, 3], 3), ([5, 4], 5)],
)
def test_of_several_exit_codes_the_largest_of_3_to_6_counts(codes: list[int], one: int):
    assert together(codes) == one


def carried_out(work: Callable[[Screen], Any], **options: bool) -> int:
    with pytest.raises(typer.Exit) as ended:
        carry_out(work, **options)
    return ended.value.exit_code


def test_an_error_of_ours_is_one_line_and_its_exit_code(capsys):
    async def work(screen: Screen) -> int:
        raise Unavailable("Consul did not answer. Try again.")

    assert carried_out(work) == 6
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: Consul did not answer. Try again.\n")


def test_an_error_is_a_document_for_whoever_asked_for_json(capsys):
    async def work(screen: Screen) -> int:
        raise Conflict("somebody was first")

    assert carried_out(work, as_json=True) == 4
    assert json.loads(capsys.readouterr().out) == {
        "error": {"kind": "conflict", "message": "somebody was first", "exit_code": 4, "retryable": False}
    }


def test_a_bug_is_one_line_and_exit_code_1(capsys):
    async def work(screen: Screen) -> int:
        raise KeyError("pay")

    assert carried_out(work) == 1
    assert re.fullmatch(
        r"error: this is a bug: KeyError: 'pay' \(test_cli\.py:\d+\)\. Say --debug .*\n", capsys.readouterr().err
    )


def test_a_bug_shows_its_traceback_with_debug(capsys):
    async def work(screen: Screen) -> int:
        raise KeyError("pay")

    assert carried_out(work, debug=True) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_work_in_order(capsys, number: signal.Signals, code: int):
    ended = []

    async def work(screen: Screen) -> int:
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("in order")
        return 0

    assert carried_out(work) == code
    assert ended == ["in order"]
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_gitsync_is_still_starting_ends_it_without_a_traceback(number: signal.Signals):
    # Most of the start is importing: a module that sends the signal stands in the place of one that is imported in the middle.
    begin = (
        "import os, sys, types, importlib.abc\n"
        "class Tells(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'gitsync.wire': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Tells())\n"
        "import gitsync.cli\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", begin],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (-number, "", "")


def test_ctrl_c_is_pythons_own_again_once_gitsync_has_started():
    ask = "import gitsync.cli, signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    ran = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stdout == "True\n"


@pytest.mark.parametrize("name", ["", " ", "a/b", "a/b/", "/b/c", "pay\x1b[31m", "pay\n", " pay", "a/b/c/d"])
def test_what_no_service_can_be_called_is_wrong_usage_and_not_asked_of_consul(name: str):
    with pytest.raises(typer.BadParameter, match="is no service"):
        service_key(name, SpecDefaults())


@pytest.mark.parametrize(
    ("name", "key"),
    [("pay", ServiceKey("pay")), ("Their_Own", ServiceKey("Their_Own")), ("p/n/pay", ServiceKey("pay", "n", "p"))],
)
def test_a_service_is_named_alone_or_by_its_path(name: str, key: ServiceKey):
    assert service_key(name, SpecDefaults()) == key


def test_a_reader_that_left_is_no_reason_to_complain():
    read, write = os.pipe()
    os.close(read)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "gitsync", "schema"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)

    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.parametrize("command", ["schema", "--help"])
def test_an_output_that_the_disk_does_not_take_is_no_bug(command: str):
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "gitsync", command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ran.returncode == 6
    assert ran.stderr.startswith("error: the output cannot be written: No space left on device")
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_does_not_change_how_it_ends(closed: str):
    ran = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m gitsync version {closed}', sys.executable],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0
    assert ran.stderr == ""


# -- what is printed ------------------------------------------------------------------------------------------------------


def test_characters_from_outside_do_not_move_the_cursor():
    assert visible("a\x1b[2J\u202eb\nc") == "a\\x1b[2J\\u202eb\nc"
    assert json.loads(as_json({"a": "\x1b\x9b\u202e"})) == {"a": "\x1b\x9b\u202e"}
    assert not re.search("[\x1b\x9b\u202e]", as_json({"a": "\x1b\x9b\u202e"}))


def test_a_redacted_label_is_hidden_wherever_labels_stand():
    spec = {"metadata": {"Cost_Center": "FIN-1", "team": "pay"}, "routing": {"cost_center": "no label"}}

    assert without([spec, {"Meta": {"cost_center": "FIN-1"}}], frozenset({"cost_center"})) == [
        {"metadata": {"Cost_Center": "(redacted)", "team": "pay"}, "routing": {"cost_center": "no label"}},
        {"Meta": {"cost_center": "(redacted)"}},
    ]


def test_columns_are_aligned_and_nothing_is_cut_off(capsys):
    Screen().columns([("a", "x" * 300, "end"), ("long", "y", "end")], header=("one", "two", "three"))

    first, second, third = capsys.readouterr().out.splitlines()
    assert second == f"a     {'x' * 300}  end"
    assert first.startswith("one   two ")
    assert third.index("end") == second.index("end")


def test_colours_are_for_terminals(capsys, monkeypatch):
    Screen().line(("bad", "bad"))
    assert capsys.readouterr().out == "bad\n"

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    Screen().line(("bad", "bad"))
    assert "\x1b[" in capsys.readouterr().out

    monkeypatch.setenv("NO_COLOR", "1")
    assert Console(file=sys.stdout).no_color
    Screen().line(("good", "good"))
    assert "\x1b[32m" not in capsys.readouterr().out


# -- the commands that need nothing ---------------------------------------------------------------------------------------


def test_version_says_which_gitsync_this_is(gitsync):
    from_module = gitsync("version", "--json").json["version"]

    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", from_module)
    assert gitsync("version").out.startswith(f"gitsync {from_module} ")


def test_schema_is_a_json_schema_with_or_without_json(gitsync):
    ended = gitsync("schema")

    assert ended.json["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "routing" in ended.json["required"]
    assert gitsync("schema", "--json").out == ended.out


def test_validate_of_good_specs_is_0(gitsync, specs: Path):
    ended = gitsync("validate", specs)

    assert ended.code == 0
    assert "1 file, 1 service: 0 errors" in ended.out


def test_the_example_that_init_writes_is_a_good_spec(gitsync, specs: Path, monkeypatch):
    monkeypatch.setenv("TGW_SERVICE_NAME", "tgw")
    (specs / "pay.yaml").write_text(EXAMPLE_SPEC)

    ended = gitsync("validate", specs, "--json")

    assert ended.code == 0
    assert [each["code"] for each in ended.json["findings"]] == []


def test_what_consul_is_called_cannot_write_into_the_configuration(tmp_path: Path):
    answers = Answers("file:///r", "main", "", "http://127.0.0.1:8500", "test", "specs", "./state", {})
    evil = "x\nsyncs: {}\n#"

    for gateways in ([evil], [evil, "tgw"]):
        file = tmp_path / "gitsync.yaml"
        file.write_text(written(answers, Seen(version="1.21.4", datacenter=evil, gateways=gateways)))
        assert list(yaml.safe_load(file.read_text())["syncs"]) == ["specs"]


def test_validate_says_file_line_and_column(gitsync, specs: Path):
    (specs / "bad.yaml").write_text("name: orders\nrouting:\n  host: orders.example.org\n  prot: 8080\n")

    ended = gitsync("validate", specs)

    assert ended.code == 3
    assert f"{specs}/bad.yaml:4:3: error unknown-key" in ended.out


def test_validate_takes_a_single_file_and_says_its_path(gitsync, specs: Path, monkeypatch):
    (specs / "bad.yaml").write_text("name: [\n")
    monkeypatch.chdir(specs.parent)

    assert gitsync("validate", "services/pay.yaml").code == 0
    ended = gitsync("validate", "services/bad.yaml")
    assert ended.code == 3
    assert ended.out.startswith("services/bad.yaml:2:")


def test_validate_finds_one_name_twice(gitsync, specs: Path):
    (specs / "again.yaml").write_text(GOOD)

    ended = gitsync("validate", specs, "--json")

    assert ended.code == 3
    assert [each["code"] for each in ended.json["findings"]].count("duplicate-service") == 2


def test_validate_lists_what_was_passed_over_and_why(gitsync, specs: Path):
    (specs / "README.md").write_text("no spec")
    (specs / ".hidden").mkdir()
    (specs / ".hidden" / "pay.yaml").write_text(GOOD)

    ended = gitsync("validate", specs, "--json")

    assert ended.json["passed_over"] == [
        {"path": ".hidden/", "reason": "its name begins with a dot", "unreadable": False},
        {"path": "README.md", "reason": "not *.yaml, *.yml or *.json", "unreadable": False},
    ]
    assert re.search(r"README\.md +not \*\.yaml", gitsync("validate", specs).out)


def test_validate_knows_what_a_version_of_consul_cannot_express(gitsync, specs: Path):
    (specs / "old.yaml").write_text(
        "name: old\nrouting: { host: old.example.org, port: 80 }\n"
        "exposure: { mode: tgw_static, terminating_gateway: { service: tgw } }\n"
    )

    new, old = (gitsync("validate", specs, "--json", "--consul-version", each).json for each in ("1.21.4", "1.12.9"))

    assert (new["consul_version"], old["consul_version"]) == ("1.21.4", "1.12.9")
    assert {each["code"] for each in new["findings"]} != {each["code"] for each in old["findings"]}


def test_validate_takes_a_partition_for_an_enterprise_consul_only(gitsync, specs: Path):
    (specs / "pay.yaml").write_text(GOOD + "partition: west\n")

    assert gitsync("validate", specs).code == 3
    assert gitsync("validate", specs, "--consul-version", "1.21.4+ent").code == 0


def test_validate_uses_the_configuration_where_there_is_one(gitsync, specs: Path, tmp_path: Path):
    (specs / "draft.yaml").write_text("name: [\n")
    (tmp_path / "gitsync.yaml").write_text(
        "instance: test\nsyncs: { payments: { git: { url: 'file:///nowhere', exclude: [draft.yaml] } } }\n"
    )

    assert gitsync("validate", specs).code == 0

    (tmp_path / "gitsync.yaml").write_text("instance: test\nsinks: {}\n")
    ended = gitsync("validate", specs)
    assert ended.code == 3
    assert "gitsync.yaml:2" in ended.err


def test_validate_of_what_is_not_there_is_invalid(gitsync):
    ended = gitsync("validate", "nowhere")

    assert ended.code == 3
    assert "nowhere" in ended.err


def test_what_a_file_says_cannot_paint_on_the_terminal(gitsync, specs: Path):
    (specs / "evil.yaml").write_text('name: evil\nrouting: { host: a.example.org, port: 80 }\n"\\e[2Jx\\u202e": 1\n')

    ended = gitsync("validate", specs)

    assert ended.code == 3
    assert not re.search("[\x1b\u202e]", ended.out)
    assert not re.search("[\x1b\u202e]", gitsync("validate", specs, "--json").out)


@pytest.mark.parametrize(
    "arguments",
    [["plan"], ["sync"], ["run"], ["status"], ["show", "pay"], ["runs"], ["approve", "0123456789ab"], ["adopt", "pay"],
     ["release", "pay"], ["suspend", "--reason", "x"], ["resume"], ["validate", "--rev", "abcdef"]],
    ids=" ".join,
)  # fmt: skip
def test_without_a_configuration_the_way_to_one_is_said(gitsync, arguments: list[str]):
    ended = gitsync(*arguments)

    assert ended.code == 3
    assert "gitsync init" in ended.err


@pytest.mark.parametrize(
    "arguments", [["plan", "pay"], ["sync", "paymets"], ["status", "x"], ["resume", "x"]], ids=" ".join
)
def test_a_sync_that_is_not_configured_is_named_with_those_that_are(gitsync, tmp_path: Path, arguments: list[str]):
    (tmp_path / "gitsync.yaml").write_text("instance: test\nsyncs: { payments: { git: { url: 'file:///nowhere' } } }\n")

    ended = gitsync(*arguments)

    assert ended.code == 3
    assert "payments" in ended.err


def test_options_for_one_sync_are_refused_for_several(gitsync, tmp_path: Path):
    (tmp_path / "gitsync.yaml").write_text(
        "instance: test\nsyncs: { a: { git: { url: 'file:///a' } }, b: { git: { url: 'file:///b' } } }\n"
    )

    for arguments in (
        ["sync", "--rev", "abc"],
        ["plan", "--path", "."],
        ["adopt", "pay"],
        ["sync", "--accept-lineage"],
    ):
        ended = gitsync(*arguments)
        assert ended.code == 64
        assert "a, b" in ended.err


def test_init_overwrites_nothing_unless_told(gitsync, tmp_path: Path):
    (tmp_path / "gitsync.yaml").write_text("mine")

    ended = gitsync("init", "https://git.example/platform/specs.git")

    assert ended.code == 3
    assert "--force" in ended.err
    assert (tmp_path / "gitsync.yaml").read_text() == "mine"


@pytest.mark.parametrize("url", ["ftp://git.example/specs", "https://user:secret@git.example/specs.git", "nothing"])
def test_init_refuses_what_is_no_repository(gitsync, tmp_path: Path, url: str):
    ended = gitsync("init", url)

    assert ended.code == 3
    assert "secret" not in ended.err
    assert not (tmp_path / "gitsync.yaml").exists()
