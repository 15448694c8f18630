"""A terminal in which somebody runs gitsync, in this process or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gitsync.cli import main
from tests.workbench import Workbench

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """A working directory in which somebody runs gitsync: in this process, which saves the start of one each time."""

    def __init__(self, folder: Path, bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.bench, self._capsys = folder, bench, capsys
        self.config = folder / "gitsync.yaml"

    def __call__(self, *arguments: str) -> Ended:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert isinstance(ended.value.code, int)
        return self._checked(ended.value.code, *self._capsys.readouterr())

    def process(self, *arguments: str) -> Ended:
        """The same as a process of its own."""
        command = [sys.executable, "-m", "gitsync", *arguments]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        return self._checked(ran.returncode, ran.stdout, ran.stderr)

    def _checked(self, code: int, out: str, err: str) -> Ended:
        assert "Traceback" not in err, err
        assert "this is a bug" not in err, err
        assert "\x1b" not in out + err
        return Ended(code, out, err)

    def json(self, *arguments: str) -> Any:
        ended = self(*arguments, "--json")
        return ended.json

    def configure(self, **sync: Any) -> None:
        """Write a configuration by hand; *sync* is what the sync has besides its repository."""
        git = {"url": f"file://{self.bench.repo}", "ref": "main", "path": "services"}
        settings = {
            "instance": "test",
            "state_dir": "state",
            "consul": {"address": self.bench.address, "lock_ttl": "10s"},
            "gateway": "tgw",
            "syncs": {"payments": {"git": git, **sync}},
        }
        self.config.write_text(json.dumps(settings))
