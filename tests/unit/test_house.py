"""The house itself: what stands at the top, what the locks hold, and what must not be in the tree."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)


def tree() -> list[Path]:
    """Every file that is, or would be, in Git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def canonical(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "SECURITY.md", "config", "docs", "gitsync",
        "pyproject.toml", "requirements", "scripts", "specs-example", "tests",
    ],
)  # fmt: skip
def test_the_top_of_the_tree_is_what_the_card_says(name: str):
    assert (ROOT / name).exists()


@pytest.mark.parametrize("name", [".ci/run", "scripts/consul", "scripts/lock", "scripts/test-deps", "scripts/venv"])
def test_what_is_run_can_be_run(name: str):
    assert (ROOT / name).stat().st_mode & 0o111


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_index_and_no_host(lock: Path):
    text = lock.read_text()

    assert "://" not in text
    assert not re.findall(r"^\s*(-{1,2}[a-z-]+)", re.sub(r"--hash=sha256:", "", text), re.MULTILINE)
    assert " @ " not in text


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_everything_with_hashes(lock: Path):
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE).strip())

    assert entries
    assert [entry for entry in entries if not PINNED.match(entry) or "--hash=sha256:" not in entry] == []


def test_the_locks_hold_what_pyproject_asks_for_and_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    optional = project["project"]["optional-dependencies"]
    asked = {
        "runtime.txt": project["project"]["dependencies"],
        "postgres.txt": project["project"]["dependencies"] + optional["postgres"],
        "build.txt": groups["build"],
        "mesh.txt": groups["mesh"],
        "dev.txt": project["project"]["dependencies"] + optional["postgres"] + groups["build"] + groups["dev"],
    }
    pins = {
        lock.name: {(canonical(name), marker): version for name, version, marker in PINNED.findall(lock.read_text())}
        for lock in LOCKS
    }

    assert set(asked) == set(pins)
    for name, wanted in asked.items():
        names = {canonical(re.split(r"[\[<>=!~; ]", each)[0]) for each in wanted if isinstance(each, str)}
        assert names - {pinned for pinned, _ in pins[name]} == set(), f"{name} is old: make lock"
        beside = (
            {} if name != "mesh.txt" else {key: pin for key, pin in pins[name].items() if key not in pins["dev.txt"]}
        )
        assert pins[name].items() <= (pins["dev.txt"] | beside).items(), f"{name} and dev.txt disagree: make lock"


def test_no_path_of_one_machine_is_in_the_tree():
    one_machine = re.compile(r"(^|[^a-z])/(work|tmp|farm|root)[/]")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tree()
        if path.suffix in {".py", ".toml", ".yaml", ".yml", ".md", ".txt", ".json", ".sh", ""}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if one_machine.search(line)
    ]

    assert found == []


def test_no_module_is_named_for_nothing():
    nothing = {
        "base",
        "common",
        "data",
        "handler",
        "helper",
        "helpers",
        "info",
        "manager",
        "misc",
        "processor",
        "util",
        "utils",
    }
    modules = [path for path in tree() if path.suffix == ".py"]

    assert [
        str(path.relative_to(ROOT)) for path in modules if nothing & set(path.with_suffix("").parts[len(ROOT.parts) :])
    ] == []


def test_nothing_is_skipped_for_want_of_a_server():
    skips = re.compile(r"pytest\.(skip|importorskip|mark\.skip)|unittest\.skip")
    found = [
        str(path.relative_to(ROOT))
        for path in tree()
        if path.suffix == ".py" and path.is_relative_to(ROOT / "tests") and path != Path(__file__)
        if skips.search(path.read_text())
    ]

    assert found == []
