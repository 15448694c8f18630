"""A real Gitea for tests: one instance with a configuration of its own, in a temporary folder, as somebody who is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import trustme

from tests.servers import DidNotStart, ServerProcess, free_ports, wait_for

NOBODY = 65534
"""Gitea refuses to run as root. Where we are root, it runs as this one."""

MASTER = "root-of-the-suite"
INI = """
APP_NAME = gitsync tests
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {folder}
[server]
PROTOCOL = https
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
DOMAIN = localhost
ROOT_URL = https://localhost:{port}/
LOCAL_ROOT_URL = https://localhost:{port}/
CERT_FILE = {folder}/server.pem
KEY_FILE = {folder}/server.key
APP_DATA_PATH = {folder}/data
OFFLINE_MODE = true
DISABLE_SSH = true
{static}
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
SQLITE_JOURNAL_MODE = WAL
[repository]
ROOT = {folder}/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
PASSWORD_HASH_ALGO = pbkdf2_v1
[service]
DISABLE_REGISTRATION = true
ENABLE_NOTIFY_MAIL = false
[webhook]
ALLOWED_HOST_LIST = loopback
SKIP_TLS_VERIFY = true
[indexer]
ISSUE_INDEXER_TYPE = db
[session]
PROVIDER = memory
[actions]
ENABLED = false
[packages]
ENABLED = false
[cron]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
ROOT_PATH = {folder}/log
"""


def lacking() -> str:
    """What is missing, as one sentence with what to do; empty when it is there."""
    named = os.environ.get("GITSYNC_TEST_GITEA", "")
    how = "GITSYNC_TEST_GITEA=/path/to/gitea make test-gitea"
    if not named:
        return f"test-gitea needs a Gitea, of 1.22 say, and none is named: {how}"
    try:
        version = version_of(named)
    except DidNotStart as error:
        return f"test-gitea needs a Gitea in GITSYNC_TEST_GITEA: {error}"
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return "test-gitea runs Gitea as somebody else than root, and for that it needs setpriv, of Debian's util-linux"
    return "" if version else f"test-gitea: {named} says no version: {how}"


def version_of(binary: str) -> str:
    """The version that *binary* says it is, 1.22.0 say. Raises DidNotStart."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            said = subprocess.run(
                [binary, "--version"], capture_output=True, text=True, check=False, env={"HOME": folder, "PATH": os.defpath}
            ).stdout  # fmt: skip
    except OSError as error:
        raise DidNotStart(f"{binary} does not run: {error.strerror}") from error
    found = re.search(r"(?:Gitea|Forgejo) version (\S+)", said)
    if not found:
        raise DidNotStart(f"{binary} is no Gitea: it said {said[:80]!r}")
    return found[1]


def static_root(binary: str) -> str:
    """Where the templates of *binary* are: GITSYNC_TEST_GITEA_ROOT, else beside it; "" for one that carries them."""
    if named := os.environ.get("GITSYNC_TEST_GITEA_ROOT"):
        return named
    beside = Path(binary).resolve().parent
    return str(beside) if (beside / "templates").is_dir() and (beside / "options").is_dir() else ""


class Refused(AssertionError):
    """Gitea did not do what a test's preparation asked for."""


class GiteaServer:
    """One Gitea, as a context manager. It can be stopped and started again with all it had, at the same address.

    url: where it is, https. ca_file: what its certificate chains to. master: a token that may do everything.
    """

    def __init__(self, binary: str | None = None) -> None:
        self.binary = binary or os.environ["GITSYNC_TEST_GITEA"]
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="gitsync-gitea-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._log = self.folder / "log.txt"
        try:
            self._prepare()
            self._client = httpx.Client(
                verify=ssl.create_default_context(cafile=self.ca_file), timeout=30, trust_env=False
            )
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if hasattr(self, "_client"):
            self._client.close()
        self._folder.cleanup()

    # -- its life

    def _prepare(self) -> None:
        [self._port] = free_ports(1)
        self.url = f"https://localhost:{self._port}"
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        self.ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate.private_key_pem.write_to_path(str(self.folder / "server.key"))
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(str(self.folder / "server.pem"), append=number > 0)
        uid = NOBODY if os.geteuid() == 0 else os.geteuid()
        root = static_root(self.binary)
        (self.folder / "app.ini").write_text(
            INI.format(
                user=pwd.getpwuid(uid).pw_name, folder=self.folder, port=self._port, secret=secrets.token_hex(32),
                static=f"STATIC_ROOT_PATH = {root}" if root else "",
            )
        )  # fmt: skip
        self.folder.chmod(0o755)  # the certificate is read by gitsync, who is somebody else
        if os.geteuid() == 0:
            for each in (self.folder, *self.folder.iterdir()):
                os.chown(each, NOBODY, NOBODY)
        self._told("migrate")
        self._told(
            "admin", "user", "create", "--admin", "--username", MASTER, "--password", secrets.token_hex(16),
            "--email", "root@example.org", "--must-change-password=false",
        )  # fmt: skip
        said = self._told(
            "admin", "user", "generate-access-token", "--username", MASTER, "--scopes", "all", "--token-name", "suite", "--raw"
        )  # fmt: skip
        self.master = said.split()[-1]

    def start(self) -> None:
        """Start it, or start it again, and wait for its answer."""
        self._process = ServerProcess(
            self._command("web"), folder=self.folder, log=self._log, env=self._environment()
        )  # fmt: skip
        try:
            wait_for(self._answers, "an answer of Gitea", seconds=60)
        except (TimeoutError, DidNotStart) as error:
            self._process.kill()
            raise DidNotStart(f"Gitea: {error}: {self.log[-1500:]}") from error

    def stop(self) -> None:
        """End it; its folder stays."""
        if self._process:
            self._process.stop(seconds=20)
            self._process = None

    @property
    def log(self) -> str:
        """What it has complained about so far."""
        return self._log.read_text(errors="replace")

    def _answers(self) -> bool:
        if not self._process or not self._process.running:
            raise DidNotStart("it ended")
        with contextlib.suppress(httpx.HTTPError):
            return self._client.get(f"{self.url}/api/v1/version").status_code == httpx.codes.OK
        return False

    def _command(self, *arguments: str) -> list[str]:
        as_user: list[str] = []
        if os.geteuid() == 0:
            as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return [*as_user, self.binary, "--config", str(self.folder / "app.ini"), *arguments]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "GITEA_WORK_DIR": str(self.folder),
        }

    def _told(self, *arguments: str) -> str:
        ran = subprocess.run(
            self._command(*arguments), env=self._environment(), cwd=self.folder, capture_output=True, text=True, check=False
        )  # fmt: skip
        if ran.returncode != 0:
            raise DidNotStart(f"gitea {arguments[0]}: {(ran.stderr or ran.stdout).strip()[-800:]}")
        return ran.stdout.strip()

    # -- its API

    def ask(self, method: str, path: str, body: Any = None, *, token: str = "") -> httpx.Response:
        """What it answers to one request below /api/v1, whatever that is. token: default the one that may do everything."""
        headers = {"Authorization": f"token {token or self.master}"}
        return self._client.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers)

    def get(self, path: str, *, token: str = "") -> Any:
        """What it shows at *path*."""
        return self._done("GET", path, None, token)

    def post(self, path: str, body: Any = None, *, token: str = "") -> Any:
        """Make something; what it says of that."""
        return self._done("POST", path, body, token)

    def patch(self, path: str, body: Any, *, token: str = "") -> Any:
        """Change something."""
        return self._done("PATCH", path, body, token)

    def pages(self, path: str) -> Iterator[Any]:
        """Every entry of a list."""
        for page in range(1, 100):
            found = self.get(f"{path}{'&' if '?' in path else '?'}limit=50&page={page}")
            yield from found
            if len(found) < 50:
                return

    def user(self, name: str) -> str:
        """Make *name*; a password."""
        password = secrets.token_hex(16)
        account = {"username": name, "email": f"{name}@example.org", "password": password}
        self.post("/admin/users", {**account, "must_change_password": False})
        return password

    def token(self, user: str, password: str, name: str, scopes: Sequence[str]) -> str:
        """A token of *user* with exactly these scopes."""
        where, login = f"{self.url}/api/v1/users/{user}/tokens", (user, password)
        answer = self._client.post(where, json={"name": name, "scopes": list(scopes)}, auth=login)
        if not answer.is_success:
            raise Refused(f"a token for {user}: {answer.status_code} {answer.text}")
        shown = self._client.get(f"{where}?limit=50", auth=login).json()
        made = next(each for each in shown if each["name"] == name)
        assert sorted(made["scopes"]) == sorted(scopes), made  # the answer to its making leaves them out
        return str(answer.json()["sha1"])

    def _done(self, method: str, path: str, body: Any, token: str) -> Any:
        answer = self.ask(method, path, body, token=token)
        if not answer.is_success:
            raise Refused(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


if __name__ == "__main__":  # what `make test-gitea` asks first
    sys.exit(lacking() or None)
