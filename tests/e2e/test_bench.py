"""`make bench`'s program: every line is measured and says so. How fast is no test's business: machines differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = {
    "first", "first-all", "cli", "kv", "nochange-cold", "nochange", "same", "same-cpu", "file", "file-run", "prune", "prune-all", "gateway",
    "gateway-run", "memory",
}  # fmt: skip


def bench(consul_binary: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "tests.bench", "--services", "20", "--in-memory", *arguments]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "GITSYNC_TEST_CONSUL": consul_binary},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def test_every_line_of_the_bench_is_measured_beside_its_ceiling(consul_binary: str, tmp_path: Path):
    figures = tmp_path / "figures.json"

    said = bench(consul_binary, "--repeat", "1", "--light", "1", "--json", str(figures))

    lines = {line["key"]: line for line in json.loads(figures.read_text())["lines"]}
    assert lines.keys() == LINES
    for key, line in lines.items():
        assert f"[{key}] " in said
        assert len(line["ours"]) == 1
        assert line["ours"][0] > 0
        assert len(line["bare"]) == (0 if key in ("same", "same-cpu", "memory") else 1), key
        assert line["services"] == 20
    assert {key for key, line in lines.items() if line["verdict"] == "reported"} == {
        "nochange-cold", "same", "same-cpu", "file-run", "gateway-run",
    }  # fmt: skip


def test_the_profile_says_where_the_time_of_each_kind_of_run_goes(consul_binary: str):
    said = bench(consul_binary, "--profile")

    for run in ("first sync of 20", "no change, a new commit", "no change, the same commit", "one changed file"):
        assert f"{run}: " in said
    for area in ("load/parse", "render", "diff/compare", "serialise", "request", "transport", "store", "git"):
        assert f"| {area} " in said, area
