"""What values look like: one function a kind of value, from the text to the same text or a sentence that says what is wrong.

No message repeats a value that may hold a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic_core import PydanticCustomError

from gitsync.model.duration import Duration


class Local:
    """The mark of a value that names a file of this machine, so that a relative one is relative to something."""


LOCAL = Local()

_SHORT_NAME = re.compile(r"[a-z0-9-]{1,32}")
_GATEWAY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
_SCP = re.compile(r"([A-Za-z0-9._-]+)@([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):([^/].*|/[^/].*)")
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(^|/)\.|\.lock(/|$)|\.$|/$|^/")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_DAYS = re.compile(r"([0-9]{1,5})d")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def wrong(sentence: str) -> PydanticCustomError:
    """The error that pydantic collects with the others."""
    return PydanticCustomError("setting", "{sentence}", {"sentence": sentence})


def short_name(text: str) -> str:
    if not _SHORT_NAME.fullmatch(text):
        raise wrong("names have 1 to 32 of the characters a-z, 0-9 and -")
    return text


def gateway_name(text: str) -> str:
    if not _GATEWAY.fullmatch(text):
        raise wrong("no name of a gateway: letters, digits, and . _ - between them, 128 at most")
    return text


def label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise wrong("no name: letters, digits, and . _ - between them")
    return text


def tenant(text: str) -> str:
    if not _TENANT.fullmatch(text):
        raise wrong("no name of a partition or namespace: a-z, 0-9, and - between them, 64 at most")
    return text


def version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise wrong("no version: write three numbers, such as 1.21.4")
    return text


def variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise wrong("no name of an environment variable: write it as in GITHUB_TOKEN")
    return text


def fingerprint(text: str) -> str:
    """As `gpg --fingerprint` prints it, or without its spaces."""
    digits = re.sub(r"[\s:]", "", text).upper().removeprefix("0X")
    if not _FINGERPRINT.fullmatch(digits):
        raise wrong("no fingerprint of a GPG key: write all 40 hex digits")
    return digits


def days(value: Any) -> Any:
    """Whole days, which Go's syntax does not have, as hours; everything else as it is."""
    match = _DAYS.fullmatch(value) if isinstance(value, str) else None
    return f"{int(match[1]) * 24}h" if match else value


def duration_within(least: Duration, most: Duration | None) -> Callable[[Duration], Duration]:
    """A check that a duration is at least *least* and at most *most*."""

    def within(duration: Duration) -> Duration:
        if duration < least:
            raise wrong(f"{duration} is too short: at least {least}")
        if most is not None and duration > most:
            raise wrong(f"{duration} is too long: at most {most}")
        return duration

    return within


def together(one: object, one_name: str, other: object, other_name: str) -> None:
    """Two keys of which neither makes sense alone. Raises what pydantic collects."""
    if (one is None) != (other is None):
        given, missing = (one_name, other_name) if other is None else (other_name, one_name)
        raise wrong(f"{given} is given without {missing}: they belong together")


def gateway_file(text: str) -> str:
    """A path on the gateway's hosts: absolute, because nothing here knows what it would be relative to."""
    if not text.startswith("/") or _CONTROL.search(text):
        raise wrong("paths on the gateway's hosts are absolute: begin with /")
    return text


def listen(text: str) -> str:
    address_and_port(text)
    return text


def address_and_port(text: str) -> tuple[str, int]:
    """`host:port` or `[IPv6]:port`, taken apart."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not colon
        or not host
        or (":" in host) != bracketed
        or not port.isascii()
        or not port.isdigit()
        or int(port) > 65_535
    ):
        raise wrong("no address and port: write 127.0.0.1:8080 or [::1]:8080")
    return host.strip("[]"), int(port)


# -- URLs -----------------------------------------------------------------------------------------------------------------


def consul_address(text: str) -> str:
    """An http or https URL of scheme, host and port; without a scheme it is http, as Consul's own commands read it."""
    if text.startswith("unix:"):
        raise wrong("a unix socket is not supported: give Consul an http or https address")
    url = _split(text if "://" in text else f"http://{text}", "use token_file")
    if url.scheme not in ("http", "https"):
        raise wrong("Consul is spoken to over http or https: write https://HOST:8501")
    if url.path.strip("/") or url.query or url.fragment:
        raise wrong("an address is scheme, host and port only")
    return f"{url.scheme}://{url.netloc}"


def is_plain_http_to_elsewhere(text: str) -> bool:
    """Whether what is sent to this URL can be read on a network."""
    url = urlsplit(text)
    return url.scheme == "http" and not is_loopback(url.hostname or "")


def web_url(text: str) -> str:
    url = _split(text, "use a file")
    if url.scheme not in ("http", "https"):
        raise wrong("no web address: write https://HOST/…")
    if is_plain_http_to_elsewhere(text):
        raise wrong("plain http goes to loopback only: use https")
    return text.rstrip("/")


def git_url(text: str) -> str:
    scheme = git_scheme(text)
    if _CONTROL.search(text) or text.startswith("-"):
        raise wrong("no repository: control characters or a leading -")
    if _SCP.fullmatch(text):
        return text
    if scheme not in ("https", "http", "ssh", "file"):
        raise wrong("no repository that gitsync reads: write https://…, ssh://…, user@host:path or file:///…")
    if scheme == "file":
        if not text.startswith("file:///") or len(text) == len("file:///"):
            raise wrong("a file:// repository is an absolute path: write file:///…")
        return text
    url = _split(text, "use username and token_file", user_allowed=scheme == "ssh")
    if not url.path.strip("/"):
        raise wrong("the URL names a host and no repository")
    if url.query or url.fragment:
        raise wrong("a repository's URL has neither ? nor #")
    if is_plain_http_to_elsewhere(text):
        raise wrong("plain http goes to loopback only: use https or ssh")
    return text


def git_scheme(text: str) -> str:
    """`https`, `http`, `ssh`, `file`, or whatever stands before `://`; ssh too for `user@host:path`; "" if there is none."""
    if _SCP.fullmatch(text):
        return "ssh"
    return text.partition("://")[0].lower() if "://" in text else ""


def store_url(text: str) -> str:
    if text.startswith("sqlite:"):
        if not text.startswith("sqlite:///") or "?" in text or text == "sqlite:///":
            raise wrong("an SQLite store is a file: write sqlite:///FILE, or sqlite:////ABSOLUTE/FILE")
        return text
    if not text.startswith("postgresql+psycopg://"):
        raise wrong("a store is sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")
    url = _split(text, "use ?passfile=FILE, or ~/.pgpass", user_allowed=True)
    if "password=" in url.query:
        raise wrong("a password in a URL ends up in logs: use ?passfile=FILE, or ~/.pgpass")
    return text


def _split(text: str, instead: str, *, user_allowed: bool = False) -> SplitResult:
    """The parts of a URL. A password in it is refused, and where no user is *user_allowed* the user too."""
    if _CONTROL.search(text) or " " in text or "\\" in text:
        raise wrong("no URL: spaces, backslashes or control characters")
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise wrong("no URL: its host or port cannot be read") from None
    if url.password is not None or (url.username is not None and not user_allowed):
        raise wrong(f"a user or password in a URL ends up in logs and process lists: take it out and {instead}")
    if not url.hostname and url.scheme != "postgresql+psycopg":
        raise wrong("the URL names no host")
    return url


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- inside the repository ------------------------------------------------------------------------------------------------


def git_ref(text: str) -> str:
    """A branch, tag or SHA, by the rules of `git check-ref-format`. Source: git-check-ref-format(1)."""
    if not text or text.startswith("-") or text == "@" or _REF_FORBIDDEN.search(text):
        raise wrong("no branch, tag or commit that Git can have")
    return text


def tree_path(text: str) -> str:
    """A directory below the repository's root, without the slashes around it."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts or _CONTROL.search(text) or "\\" in text:
        raise wrong(
            "the path leads out of the repository, or is none: write it from the repository's root, such as services/eu"
        )
    return "/".join(parts)


def glob(text: str) -> str:
    if not text or text.startswith("/") or ".." in text.split("/") or _CONTROL.search(text):
        raise wrong("globs are relative to path, such as **/*.yaml")
    return text


def localized(text: str, directory: Path) -> str:
    """A path, or the file of an SQLite URL, made absolute from *directory*."""
    if text.startswith("sqlite:///") and text != "sqlite:///":
        return f"sqlite:///{directory / text.removeprefix('sqlite:///')}"
    return text if "://" in text or not text else str(directory / text)
