"""Hosts of repositories for tests: git's own backend behind lighttpd and TLS, a real sshd, and a host that means no good."""

from __future__ import annotations

import base64
import contextlib
import os
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import trustme

from tests.servers import DidNotStart, ServerProcess, free_ports, wait_for

USER, TOKEN = "gitsync", "ghp_CanaryToken0123456789"

LIGHTTPD = """
server.modules = ("mod_auth", "mod_authn_file", "mod_alias", "mod_cgi", "mod_setenv")
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{root}"
server.errorlog = "{folder}/error.log"
server.upload-dirs = ("{folder}")
server.stream-request-body = 1
alias.url = ("/" => "{backend}")
cgi.assign = ("" => "")
setenv.set-environment = ("GIT_PROJECT_ROOT" => "{root}", "GIT_HTTP_EXPORT_ALL" => "1",
    "GIT_CONFIG_NOSYSTEM" => "1", "GIT_CONFIG_GLOBAL" => "/dev/null", "HOME" => "/nonexistent")
$HTTP["url"] =~ "^/private" {{
    auth.backend = "plain"
    auth.backend.plain.userfile = "{folder}/users"
    auth.require = ("" => ("method" => "basic", "realm" => "git", "require" => "valid-user"))
}}
"""


def program(name: str) -> str:
    """Where *name* is. Raises DidNotStart."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/libexec")
    if not found:
        raise DidNotStart(f"{name} is not installed, and tests need it")
    return found


class _Listener:
    """A thread that accepts connections, over TLS if it has a certificate, and serves each in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None], certificate: trustme.LeafCert | None) -> None:
        self._serve = serve
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if certificate and self._tls:
            certificate.configure_cert(self._tls)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self._open):
            _cut(connection)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            if self._tls:
                self._open.discard(connection)
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.add(connection)
            self._serve(connection)
            if isinstance(connection, ssl.SSLSocket):
                connection.settimeout(2)
                connection.unwrap()
        except (OSError, ValueError):
            pass
        finally:
            self._open.discard(connection)
            connection.close()


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class GitHttps:
    """Every repository below *root* at `url/NAME`; those below *root*/private only for USER with TOKEN.

    cut_after: bytes of an answer after which the connection ends (None: never).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cut_after: int | None = None

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="gitsync-git-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        authority = trustme.CA()
        self.ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.allow(USER, TOKEN)
        (self.root / "private").mkdir(exist_ok=True)
        (self._backend,) = free_ports(1)
        backend = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
        config = self.folder / "lighttpd.conf"
        config.write_text(
            LIGHTTPD.format(
                port=self._backend, root=self.root, folder=self.folder, backend=f"{backend}/git-http-backend/"
            )
        )
        self._process = ServerProcess(
            [program("lighttpd"), "-D", "-f", str(config)], folder=self.folder, log=self.folder / "log"
        )
        self._listener = _Listener(self._relay, authority.issue_cert("localhost"))
        self.url = f"https://localhost:{self._listener.port}"
        self.authority = authority
        try:
            wait_for(self._answers, "lighttpd", seconds=10)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._process.stop()
        self._folder.cleanup()

    def allow(self, user: str, token: str) -> None:
        """From now on *user* with *token* may read below private, and nobody else."""
        (self.folder / "users").write_text(f"{user}:{token}\n")

    def _answers(self) -> bool:
        if not self._process.running:
            raise DidNotStart(f"lighttpd ended: {(self.folder / 'log').read_text()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._backend), 1).close()
            return True
        return False

    def _relay(self, client: socket.socket) -> None:
        """The TLS before lighttpd, which has none of its own everywhere."""
        with socket.create_connection(("127.0.0.1", self._backend)) as server:
            left = self.cut_after
            while True:
                # What TLS has decrypted already is not seen by select.
                pending = isinstance(client, ssl.SSLSocket) and client.pending()
                ready = [client] if pending else select.select([client, server], [], [])[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is client:
                        server.sendall(data)
                        continue
                    client.sendall(data[:left])
                    left = None if left is None else max(0, left - len(data))
                    if left == 0:
                        _cut(client)
                        return


class GitSsh:
    """Every repository below *root* at `url/NAME`, for the owner of *key*, by the real sshd and git-shell."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="gitsync-ssh-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.key, self.other_key = make_key(self.folder / "key"), make_key(self.folder / "other key")
        self._host_key = make_key(self.folder / "host")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(
                mode=0o755, exist_ok=True
            )  # as root, sshd wants its folder for privilege separation
        public = self.key.with_name("key.pub").read_text()
        (self.folder / "authorized").write_text(f'restrict,command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"" {public}')
        (self.port,) = free_ports(1)
        options = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": str(self._host_key),
            "AuthorizedKeysFile": str(self.folder / "authorized"),
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "yes",
            "PidFile": "none",
            "LogLevel": "ERROR",
        }
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in options.items()))
        self._process = ServerProcess(
            [program("sshd"), "-D", "-e", "-f", str(config)], folder=self.folder, log=self.folder / "log"
        )
        self.known_hosts = self.folder / "known hosts"
        self.trust(self._host_key)
        login = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        self.url = f"ssh://{login}@127.0.0.1:{self.port}{self.root}"
        try:
            wait_for(self._answers, "sshd", seconds=10)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._folder.cleanup()

    def trust(self, key: Path | None) -> None:
        """Write *key* as this host's into known_hosts; None leaves it empty."""
        public = key.with_name(f"{key.name}.pub").read_text() if key else ""
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}" if public else "")

    def trust_the_right_key(self) -> None:
        """Write the key that the host has into known_hosts."""
        self.trust(self._host_key)

    def pause(self) -> None:
        """Accept connections and say nothing."""
        self._process.pause()

    def resume(self) -> None:
        """Go on."""
        self._process.resume()

    def _answers(self) -> bool:
        if not self._process.running:
            raise DidNotStart(f"sshd ended: {(self.folder / 'log').read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
            return client.recv(4) == b"SSH-"
        return False


def make_key(path: Path) -> Path:
    """A new ed25519 key at *path*; its public half is beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


class HostileHost:
    """An https host that answers every request by *answer*, and writes down what it was asked.

    answer gets the connection, after the request's head was read. requests: the heads.
    """

    def __init__(self, answer: Callable[[socket.socket], Any], *, authority: trustme.CA | None = None) -> None:
        self.answer = answer
        self.authority = authority or trustme.CA()
        self.requests: list[str] = []

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="gitsync-hostile-", ignore_cleanup_errors=True)
        self.ca_file = Path(self._folder.name) / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self._listener = _Listener(self._serve, self.authority.issue_cert("localhost", "127.0.0.1"))
        self.url = f"https://localhost:{self._listener.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._folder.cleanup()

    @property
    def credentials(self) -> list[str]:
        """What was sent as Authorization, decoded."""
        values = [
            line.partition(":")[2].strip()
            for head in self.requests
            for line in head.split("\r\n")
            if line.lower().startswith("authorization:")
        ]
        return [base64.b64decode(value.removeprefix("Basic ")).decode() for value in values]

    def _serve(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            if not data:
                return
            head += data
        self.requests.append(head.decode(errors="replace"))
        self.answer(connection)


def replies(status: str, *headers: str, body: bytes = b"") -> Callable[[socket.socket], None]:
    """An answer with that status, headers and body."""

    def answer(connection: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)

    return answer


def hangs(connection: socket.socket) -> None:
    """Say nothing until the other side gives up."""
    while connection.recv(65536):
        pass


def trickles(connection: socket.socket) -> None:
    """Begin an answer of git's protocol, and go on by a byte now and then."""
    connection.sendall(SMART + b"Content-Length: 100000\r\n\r\n001e# service=git-upload-pack\n0000")
    while True:
        connection.sendall(b"0")
        time.sleep(0.1)


def never_ends(connection: socket.socket) -> None:
    """List refs without end."""
    connection.sendall(SMART + b"Connection: close\r\n\r\n001e# service=git-upload-pack\n0000")
    line = b"%040x refs/heads/%0900d\n"
    number = 0
    while True:
        lines = [line % (number + each, number + each) for each in range(200)]
        connection.sendall(b"".join(b"%04x%b" % (len(text) + 4, text) for text in lines))
        number += 200


SMART = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n"
