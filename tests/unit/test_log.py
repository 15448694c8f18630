"""Log lines: who reads them, what they hide, and what they never wait for."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gitsync.log import HIDDEN, Redaction, Sink, configure


class Terminal(io.StringIO):
    """A stream that says of itself what it is told to."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@pytest.fixture(autouse=True)
def _put_back():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines_of(stream: Terminal, style: str = "auto", level: str = "info", secrets: Redaction | None = None):
    sink = configure(stream, style=style, level=level, secrets=secrets or Redaction())

    def written() -> list[str]:
        sink.close()
        return stream.getvalue().splitlines()

    return structlog.get_logger(), written


def test_a_pipe_gets_one_json_object_a_line():
    log, written = lines_of(Terminal(tty=False))
    structlog.contextvars.bind_contextvars(run="01J", sync="payments")
    log.info("3 entries written", action="write", count=3)

    (line,) = written()
    event = json.loads(line)

    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info",
        "event": "3 entries written",
        "action": "write",
        "run": "01J",
        "sync": "payments",
        "count": 3,
    }


def test_a_terminal_gets_lines_for_people():
    log, written = lines_of(Terminal(tty=True))
    log.info("3 entries written", action="write")

    (line,) = written()

    assert not line.startswith("{")
    assert "3 entries written" in line


def test_the_configuration_chooses_the_format_against_the_stream():
    log, written = lines_of(Terminal(tty=True), style="json")
    log.info("x", action="y")

    assert json.loads(written()[0])["action"] == "y"


def test_a_level_leaves_out_what_is_below_it():
    log, written = lines_of(Terminal(tty=False), level="warning")
    log.info("left out")
    logging.getLogger("somebody").info("left out")
    log.warning("kept")

    assert [json.loads(line)["event"] for line in written()] == ["kept"]


@pytest.mark.parametrize(
    "library", ["apscheduler.scheduler", "alembic.runtime.migration", "aiosqlite", "httpx", "sqlalchemy.engine"]
)
def test_libraries_speak_from_warning_up_only(library):
    _, written = lines_of(Terminal(tty=False))
    logging.getLogger(library).info("chatter")
    logging.getLogger(library).warning("trouble")

    (event,) = map(json.loads, written())

    assert (event["event"], event["logger"], event["level"]) == ("trouble", library, "warning")


def test_configuring_twice_writes_each_line_once():
    lines_of(Terminal(tty=False))
    _, written = lines_of(Terminal(tty=False))
    logging.getLogger("somebody").warning("once")

    assert len(written()) == 1


def test_a_text_from_outside_cannot_fake_a_line_or_move_the_cursor():
    log, written = lines_of(Terminal(tty=True), style="console")
    log.info("name\x1b[2J\ninfo all is well", service="a\nb\x07")

    (line,) = written()
    assert "\x1b[2J" not in line
    assert "\x07" not in line


def test_a_traceback_is_written_without_the_secret_in_its_message():
    secrets = Redaction()
    secrets.add("s3cr3t-value")
    log, written = lines_of(Terminal(tty=False), secrets=secrets)
    try:
        raise ValueError("token s3cr3t-value is bad")
    except ValueError:
        log.exception("failed", action="login")
        logging.getLogger("somebody").exception("failed too")

    text = "\n".join(written())
    assert text.count("\\nValueError: token *** is bad") == 2
    assert "s3cr3t-value" not in text


SECRET = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=12, max_size=60).filter(
    lambda text: len(text.strip()) >= 12
)


@given(SECRET, st.text(max_size=20), st.text(max_size=20))
def test_a_secret_stands_in_no_spelling_of_a_line(secret, before, after):
    secrets = Redaction()
    secrets.add(secret)
    text = before + secret + after
    spellings = [text, json.dumps(text), json.dumps(text, ensure_ascii=False), quote(text, safe=""), repr(secret)]

    for spelling, own in zip(
        spellings,
        [
            secret,
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            quote(secret, safe=""),
            repr(secret)[1:-1],
        ],
        strict=True,
    ):
        assert own in spelling
        assert HIDDEN in secrets.clean(spelling)
        assert own not in secrets.clean(spelling).replace(HIDDEN, "")


@pytest.mark.parametrize("user", ["", "g", "gi", "git", "oauth2"])
def test_a_secret_in_a_basic_authorization_header_is_hidden(user):
    secrets = Redaction()
    secrets.add("glpat-abcdefghijkl")
    header = base64.b64encode(f"{user}:glpat-abcdefghijkl".encode()).decode()

    cleaned = secrets.clean(f"Authorization: Basic {header}")

    left = cleaned.removeprefix("Authorization: Basic ").replace(HIDDEN, "")
    assert HIDDEN in cleaned
    assert len(left) <= len(base64.b64encode(f"{user}:".encode())) + 3


def test_every_line_of_a_key_is_hidden():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n"
    secrets = Redaction()
    secrets.add(key)

    assert secrets.clean("line AQEFAASCBKcwggSjAgEAAoIB of it") == f"line {HIDDEN} of it"


def test_a_very_short_text_is_not_taken_out_of_every_word():
    secrets = Redaction()
    secrets.add("e")
    secrets.add("")

    assert secrets.clean("everything") == "everything"


def test_of_two_secrets_the_longer_one_leaves_no_rest():
    secrets = Redaction()
    secrets.add("token")
    secrets.add("token-with-more")

    assert secrets.clean("token-with-more") == HIDDEN


class Stuck(io.StringIO):
    """A stream whose reader stands still until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.go.wait(10)
        return super().write(text)


def test_a_reader_that_stands_still_costs_lines_and_never_time():
    stream = Stuck()
    sink = Sink(stream, size=3)
    sink.put("first")
    assert stream.entered.wait(10)
    for number in range(10):  # three fit, seven do not: were put() to wait, this would never end
        sink.put(f"line {number}")
    assert sink.lost == 7

    stream.go.set()
    sink.close(timeout=10)

    assert stream.getvalue().splitlines() == [
        "first",
        "7 log lines were lost: their reader stands still",
        "line 0",
        "line 1",
        "line 2",
    ]


def test_closing_writes_what_is_there_and_ends():
    stream = io.StringIO()
    sink = Sink(stream)
    for number in range(500):
        sink.put(str(number))
    sink.close()
    sink.put("too late")

    assert stream.getvalue().splitlines() == [str(number) for number in range(500)]


def test_a_stream_that_is_gone_raises_nowhere():
    stream = io.StringIO()
    sink = Sink(stream)
    stream.close()
    sink.put("x")
    sink.close()


def test_of_very_many_secrets_the_newest_are_hidden_and_the_oldest_forgotten(monkeypatch):
    monkeypatch.setattr("gitsync.log.MOST_SECRETS", 3)
    secrets = Redaction()
    for number in range(4):
        secrets.add(f"ghs_token_{number:04}")

    assert secrets.clean("ghs_token_0000 ghs_token_0001 ghs_token_0003") == f"ghs_token_0000 {HIDDEN} {HIDDEN}"
