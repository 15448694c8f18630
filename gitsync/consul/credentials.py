"""The token and the certificates with which gitsync speaks to Consul, read again when their files change."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from gitsync.model.errors import Invalid

Stamp = tuple[int, int, int]


def _stamp(path: Path) -> Stamp:
    """What changes when a file does. A symlink that points elsewhere changes it too."""
    state = os.stat(path)  # noqa: PTH116 (this is asked before every request, and Path.stat costs twice as much)
    return state.st_mtime_ns, state.st_size, state.st_ino


class TokenFile:
    """A token in a file: called, it gives the token that is there now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._value = ""
        self._seen: Stamp | None = None

    def __call__(self) -> str:
        """The token. Raises Invalid if its file was never readable, or holds something else."""
        try:
            stamp = _stamp(self._path)
            if stamp != self._seen:
                self._value = self._read()
                self._seen = stamp
        except (OSError, UnicodeDecodeError, Invalid) as error:
            # A rotation may take the file away, or empty it, for a moment: the last token stands until Consul refuses it.
            if self._seen is None:
                raise Invalid(
                    f"consul.token_file {self._path} cannot be used: {error} Create it, readable for gitsync."
                ) from error
        return self._value

    def _read(self) -> str:
        token = self._path.read_text().strip()
        if not token:
            raise Invalid(f"{self._path} is empty. Without a token, leave consul.token_file out.")
        return checked(token, str(self._path))


def checked(token: str, where: str) -> str:
    """*token* if a header can carry it. Raises Invalid, without quoting it."""
    if not token.isascii() or any(not char.isprintable() or char.isspace() for char in token):
        raise Invalid(f"{where} does not hold a token of Consul: it has characters that no token has.")
    return token


class Tls:
    """The TLS context. Certificates that changed are taken for the next connection."""

    def __init__(self, ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> None:
        self._ca_file, self._cert_file, self._key_file = ca_file, cert_file, key_file
        self.context = self._make()
        self._seen = self._stamps()

    def refresh(self) -> None:
        """Load again what changed. What cannot be loaded is left as it was: half a rotation must not end a daemon."""
        stamps = self._stamps()
        if stamps == self._seen or None in stamps:
            return
        try:
            self._load(self.context)
            self._seen = stamps
        except Invalid:
            return

    def _files(self) -> tuple[Path, ...]:
        return tuple(file for file in (self._ca_file, self._cert_file, self._key_file) if file)

    def _stamps(self) -> tuple[Stamp | None, ...]:
        out: list[Stamp | None] = []
        for file in self._files():
            try:
                out.append(_stamp(file))
            except OSError:
                out.append(None)
        return tuple(out)

    def _make(self) -> ssl.SSLContext:
        context = ssl.create_default_context() if self._ca_file is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            if self._ca_file:
                context.load_verify_locations(cafile=self._ca_file)
            if self._cert_file:
                context.load_cert_chain(self._cert_file, self._key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(map(str, self._files()))
            raise Invalid(
                f"consul.ca_file, cert_file or key_file cannot be used ({files}): {error}. They must be PEM."
            ) from error
