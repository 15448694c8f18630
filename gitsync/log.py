"""Where log lines go: one event a step, for people on a terminal, one JSON object a line otherwise.

Everybody logs with `structlog.get_logger()`, a sentence and `action=`; run, sync, service and revision come from
`structlog.contextvars.bound_contextvars` where they are known once for many lines:

    log.info("3 entries written", action="write", phase="defaults", count=3)

Writing never waits: lines go through a bounded queue to one thread, and a reader that stands still costs lines, which are
counted, instead of a lease that is not renewed.
"""

from __future__ import annotations

import atexit
import base64
import json
import logging
import queue
import re
import threading
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
SHORTEST_SECRET = 4
"""A shorter text stands in too many innocent words to be replaced everywhere."""

QUEUE_LINES = 10_000
QUIET = (
    "aiosqlite",
    "alembic",
    "apscheduler",
    "asyncio",
    "git",
    "granian",
    "httpcore",
    "httpx",
    "hypercorn",
    "sqlalchemy",
)
"""Libraries whose own lines are written from WARNING up only."""


# -- secrets --------------------------------------------------------------------------------------------------------------


MOST_SECRETS = 500


class Redaction:
    """The secrets of this process, and a text without them."""

    def __init__(self) -> None:
        self._forms: dict[str, set[str]] = {}
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, secret: str) -> None:
        """Hide *secret* from now on: as it is, as JSON, URLs and base64 write it, and line by line if it has lines.

        Too short a text (under four characters) is passed over: it would blot out half of every line. Of very many the oldest are
        forgotten: a GitHub App has a new token every hour, and the one of last week opens nothing.
        """
        if secret in self._forms:  # who reads a file again and again may say so each time
            return
        lines = [line for line in secret.splitlines() if len(line.strip()) >= 16] if "\n" in secret else []
        with self._lock:
            forms = self._forms[secret] = set()
            for text in (secret, secret.strip(), *lines):
                if len(text) >= SHORTEST_SECRET:
                    forms |= {
                        text,
                        json.dumps(text)[1:-1],
                        json.dumps(text, ensure_ascii=False)[1:-1],
                        repr(text)[1:-1],
                    }
                    forms |= {quote(text, safe=""), *_inside_base64(text)}
            while len(self._forms) > MOST_SECRETS:
                del self._forms[next(iter(self._forms))]
            if every := set().union(
                *self._forms.values()
            ):  # the longest first: one secret may be the beginning of another
                ordered = sorted(every, key=lambda form: (-len(form), form))
                self._pattern = re.compile("|".join(map(re.escape, ordered)))

    def clean(self, text: str) -> str:
        pattern = self._pattern
        return pattern.sub(HIDDEN, text) if pattern else text


def _inside_base64(text: str) -> set[str]:
    """What base64 makes of *text* wherever it begins in what is encoded (`user:TOKEN`), without what depends on neighbours."""
    raw = text.encode()
    forms = set()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        start = (0, 2, 3)[shift]
        end = len(encoded) - (0, 3, 2)[(shift + len(raw)) % 3]
        middle = encoded[start:end]
        if len(middle) >= 8:
            forms |= {middle, middle.replace("+", "-").replace("/", "_")}
    return forms


SECRETS = Redaction()


def hide(secret: str) -> None:
    """From now on *secret* stands in no log line of this process, in no usual spelling."""
    SECRETS.add(secret)


# -- the way out ----------------------------------------------------------------------------------------------------------


class Sink:
    """Lines on their way to a stream, by a thread of their own."""

    def __init__(self, stream: TextIO, size: int = QUEUE_LINES) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(size)
        self._lost = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that found the queue full since the last one that was written."""
        return self._lost

    def put(self, line: str) -> None:
        """Take a line, without its end. Never waits and never raises."""
        if self._closed:
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def close(self, timeout: float = 2.0) -> None:
        """Write what is there, for at most *timeout* seconds."""
        if self._closed:
            return
        self._closed = True
        try:
            self._lines.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            lost, self._lost = self._lost, 0
            try:
                if lost:
                    self._stream.write(f"{lost} log lines were lost: their reader stands still\n")
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (
                OSError,
                ValueError,
            ):  # the reader is gone, or the stream was closed at exit: nobody is left to tell
                self._lost += lost + 1
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._closed = True


@dataclass(frozen=True, slots=True)
class _Line:
    """The logger at structlog's end: every level is a line for the sink."""

    sink: Sink

    def msg(self, message: str) -> None:
        self.sink.put(message)

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


class _FromStdlib(logging.Handler):
    """What libraries log with the standard library, through the same processors into the same sink."""

    def __init__(self, sink: Sink, formatter: logging.Formatter) -> None:
        super().__init__()
        self.sink = sink
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self.sink.put(self.format(record))


# -- configuration --------------------------------------------------------------------------------------------------------


def configure(stream: TextIO, *, level: str = "info", style: str = "auto", secrets: Redaction = SECRETS) -> Sink:
    """Send the log lines of this process to *stream*. The sink's `close` writes what is left; it is called at exit too.

    level: debug, info, warning or error. style: console, json, or auto, which is console if *stream* is a terminal.
    """
    console = style == "console" or (style == "auto" and stream.isatty())
    sink = Sink(stream)
    least = logging.getLevelName(level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    end = _rendered(_console(stream) if console else _json(), secrets)
    structlog.configure(
        processors=[*shared, end],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: _Line(sink),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, end],
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _FromStdlib)]:
        root.removeHandler(handler)
    root.addHandler(_FromStdlib(sink, formatter))
    root.setLevel(least)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, least))
    logging.captureWarnings(True)
    atexit.register(sink.close)
    return sink


def _rendered(render: Callable[[WrappedLogger, str, EventDict], str | bytes], secrets: Redaction) -> Processor:
    """The last processor: the line, without secrets. Cleaning the finished line misses neither keys nor tracebacks."""

    def line(logger: WrappedLogger, name: str, event: EventDict) -> str:
        text = render(logger, name, event)
        return secrets.clean(text if isinstance(text, str) else text.decode())

    return line


def _console(stream: TextIO) -> Callable[[WrappedLogger, str, EventDict], str]:
    colors = stream.isatty()
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        pad_event_to=44,
        timestamp_key="time",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def readable(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return str(render(logger, name, _one_line(event)))

    return readable


def _one_line(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Values from outside must not fake lines or move the cursor: control characters are shown, not sent."""
    return {
        key: _visible(value) if isinstance(value, str) and key != "exception" else value for key, value in event.items()
    }


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _json() -> Callable[[WrappedLogger, str, EventDict], str]:
    trace = structlog.processors.format_exc_info

    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        event = trace(logger, name, event)
        first = {key: event.pop(key) for key in ("time", "level", "event", "action") if key in event}
        return json.dumps({**first, **event}, ensure_ascii=False, default=_plain)

    return render


def _plain(value: object) -> object:
    """What JSON does not know: a mapping or a set of ours as such, everything else as its text."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)
