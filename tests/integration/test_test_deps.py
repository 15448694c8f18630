"""scripts/test-deps: what it says of a machine on which the tests' servers are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test-deps"


def check(path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--check"]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def test_what_is_missing_is_said_in_one_line_and_nothing_is_installed(tmp_path: Path):
    ran = check(str(tmp_path))

    assert ran.returncode == 1
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("test-deps: the tests need what these Debian packages have: ")
    assert " git " in line
    assert line.endswith(": install them")


def test_where_nothing_is_missing_it_is_silent():
    ran = check(os.environ["PATH"])

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
