"""scripts/consul: which Consul it takes, from where, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import socket
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE = "#!/bin/sh\necho Consul v{}\n"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with a cache of its own, on a machine without Consul."""
    loader = SourceFileLoader("consul_script", str(ROOT / "scripts" / "consul"))
    spec = importlib.util.spec_from_loader("consul_script", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # beside a script without .py it would be left in the tree
    loader.exec_module(module)
    monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(module.shutil, "which", lambda _name: None)
    monkeypatch.delenv("GITSYNC_CONSUL", raising=False)
    monkeypatch.delenv("GITSYNC_CONSUL_FROM", raising=False)
    return module


@pytest.fixture
def vendor(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A vendor whose release is a Consul of one line; `status` and `body` are what it answers."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("LICENSE.txt", "text")
        files.writestr("consul", FAKE.format(script.VERSION))
    answer: dict[str, Any] = {"status": 200, "body": archive.getvalue(), "asked": 0}

    class Vendor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer["asked"] += 1
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Vendor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(script, "RELEASE", f"http://127.0.0.1:{server.server_port}/{{version}}/{{platform}}.zip")
        monkeypatch.setattr(script, "SHA256", {script.this_platform(): hashlib.sha256(answer["body"]).hexdigest()})
        yield answer
        server.shutdown()


def consul(path: Path, version: str = "1.20.1") -> Path:
    """Something that says it is a Consul."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE.format(version))
    path.chmod(0o755)
    return path


@pytest.fixture
def run(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> Callable[[], tuple[int, str, str]]:
    """Run it: exit code, stdout, stderr."""

    def run() -> tuple[int, str, str]:
        code = script.main()
        said = capsys.readouterr()
        return code, said.out.strip(), said.err

    return run


def test_the_named_one_comes_first_and_nothing_else_will_do(script, run, tmp_path, monkeypatch, vendor):
    monkeypatch.setenv("GITSYNC_CONSUL", str(consul(tmp_path / "mine")))
    assert run() == (0, str(tmp_path / "mine"), f"consul: took {tmp_path / 'mine'} (1.20.1), named by GITSYNC_CONSUL\n")

    monkeypatch.setenv("GITSYNC_CONSUL", str(tmp_path / "absent"))
    code, path, said = run()
    assert (code, path, said.count("\n")) == (1, "", 1)
    assert "GITSYNC_CONSUL" in said
    assert vendor["asked"] == 0


def test_the_one_on_the_path_comes_next_if_it_is_new_enough(script, run, tmp_path, monkeypatch, vendor):
    there = consul(tmp_path / "bin" / "consul")
    monkeypatch.setattr(script.shutil, "which", lambda _name: str(there))
    assert run()[:2] == (0, str(there))

    consul(there, "1.7.4")
    code, path, said = run()
    assert (code, vendor["asked"]) == (0, 1)
    assert path != str(there)
    assert "older than 1.8" in said


def test_the_release_is_fetched_once(script, run, vendor):
    code, path, said = run()
    assert (code, Path(path).read_text()) == (0, FAKE.format(script.VERSION))
    assert "its SHA-256 checked" in said
    assert sorted(each.name for each in script.CACHE.iterdir()) == [script.release_name()]

    assert run()[:2] == (0, path)
    assert vendor["asked"] == 1


def test_a_wrong_hash_is_an_error_and_not_a_next_try(script, run, vendor):
    vendor["body"] += b"x"

    code, path, said = run()

    assert (code, path) == (1, "")
    assert "not the pinned" in said
    assert "Debian" not in said
    assert list(script.CACHE.iterdir()) == []


@pytest.mark.parametrize("how", ["404", "refused", "silent", "unpinned"])
def test_a_vendor_that_cannot_be_had_is_one_line_and_the_next_way(script, run, vendor, monkeypatch, how):
    kept = consul(script.CACHE / script.debian_name() / "consul", "1.8.7")
    vendor["status"] = 404
    monkeypatch.setattr(script, "CONNECT_SECONDS", 0.5)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if how == "silent":
            listening.listen()
        if how in ("refused", "silent"):
            monkeypatch.setattr(
                script, "RELEASE", f"https://127.0.0.1:{listening.getsockname()[1]}/{{version}}{{platform}}"
            )
        if how == "unpinned":
            monkeypatch.setattr(script, "SHA256", {})

        code, path, said = run()
        assert (code, path) == (0, str(kept))
        assert len([line for line in said.splitlines() if "the vendor's release" in line]) == 1

        if how != "unpinned":  # for a day it is not waited for again
            assert "within a day" in run()[2]
            assert vendor["asked"] <= 1


def test_a_package_that_make_test_left_is_not_what_a_new_user_meets(script, run, vendor):
    consul(script.CACHE / script.debian_name() / "consul", "1.8.7")

    assert f"({script.VERSION})" in run()[2]


def test_debian_means_debian_and_no_other_word_is_known(script, run, monkeypatch, vendor):
    kept = consul(script.CACHE / script.debian_name() / "consul", "1.8.7")
    monkeypatch.setenv("GITSYNC_CONSUL", "ignored")
    monkeypatch.setenv("GITSYNC_CONSUL_FROM", "debian")
    assert run()[:2] == (0, str(kept))

    monkeypatch.setenv("GITSYNC_CONSUL_FROM", "vendor")
    assert run()[0] == 1
    assert vendor["asked"] == 0


def test_nothing_at_all_ends_with_what_to_do(script, run, monkeypatch):
    monkeypatch.setattr(script, "SHA256", {})

    code, path, said = run()

    assert (code, path) == (1, "")
    assert "needs apt-get and dpkg-deb" in said
    assert "GITSYNC_CONSUL=" in said.splitlines()[-1]


def test_mirrors_are_read_in_both_spellings(script, tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.invalid/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one.invalid/debian/ bookworm main contrib # ours\n"
        "deb-src http://source.invalid/debian bookworm main\n"
        "deb http://one.invalid/debian-security bookworm-security main\n"
        "deb https://packages.invalid/node nodistro main\n"
    )
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        "Types: deb\n# a comment\nURIs: http://two.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n"
        "Types: deb deb-src\nEnabled: no\nURIs: http://off.invalid/debian\nSuites: bookworm\nComponents: main\n\n"
        "Types: deb\nURIs:\n http://three.invalid/debian\n mirror+file:/etc/apt/mirrors/debian.list\nSuites: trixie\n"
        "Components: main\n"
    )

    assert list(dict.fromkeys(script.debian_mirrors(tmp_path))) == [
        "http://one.invalid/debian",
        "http://two.invalid/debian",
        "http://three.invalid/debian",
    ]
    assert script.archived("http://one.invalid/debian") == "http://one.invalid/debian-archive/debian"


def test_of_two_at_once_each_gets_the_whole_of_it(script, tmp_path):
    script.CACHE.mkdir()
    finished = [consul(tmp_path / str(number)) for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda path: script.keep(path, "x"), finished))

    assert paths == [script.CACHE / "x" / "consul"] * 8
    assert script.version_of(paths[0]) == "1.20.1"


def test_stdout_is_the_path_alone(consul_binary: str):
    environment = {**os.environ, "GITSYNC_CONSUL": consul_binary, "GITSYNC_CONSUL_FROM": ""}
    ran = subprocess.run([ROOT / "scripts" / "consul"], env=environment, capture_output=True, text=True, check=True)

    assert ran.stdout == f"{consul_binary}\n"
    assert ran.stderr.startswith("consul: took ")
