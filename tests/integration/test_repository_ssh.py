"""The mirror of a repository behind ssh: only pinned hosts, only the given key, and no question is ever asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsync.model.errors import Forbidden, Invalid, Rejected, Unavailable
from gitsync.repository import GitSource, Mirror
from tests.servers.git import GitRepository
from tests.servers.git_hosts import GitSsh


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitSsh]:
    with GitSsh(tmp_path_factory.mktemp("repositories")) as server:
        yield server


@pytest.fixture(scope="module")
def repository(host: GitSsh) -> GitRepository:
    repository = GitRepository(host.root / "specs.git")
    repository.commit({"a.yaml": "name: a"})
    return repository


@pytest.fixture(autouse=True)
def _usual(host: GitSsh) -> None:
    host.trust_the_right_key()


def open_mirror(host: GitSsh, tmp_path: Path, **source) -> Mirror:
    given = {"ssh_key_file": host.key, "known_hosts_file": host.known_hosts, "timeout": 20.0, **source}
    return Mirror(GitSource(f"{host.url}/specs.git", **given), tmp_path / "mirror", accepts=lambda _: None)


async def test_a_repository_is_fetched_with_the_key_from_the_pinned_host(host, repository, tmp_path):
    mirror = open_mirror(host, tmp_path)
    first = await mirror.fetch()
    second = repository.commit({"a.yaml": "name: b"})

    assert first.sha != second
    assert (await mirror.fetch()).sha == second
    assert list((await mirror.snapshot(second)).contents.values()) == [b"name: b"]


async def test_a_commit_is_found_in_another_branch_where_the_host_hands_out_no_single_one(host, repository, tmp_path):
    other = repository.commit({"a.yaml": "other"}, branch="other")
    later = repository.commit({"a.yaml": "later"}, branch="other")
    mirror = open_mirror(host, tmp_path)

    assert (await mirror.resolve(other)).sha == other
    assert (await mirror.resolve(later[:10])).sha == later


async def test_a_commit_that_no_branch_has_any_more_is_refused_where_the_host_hands_out_no_single_one(
    host, repository, tmp_path
):
    lost = repository.commit({"a.yaml": "lost"}, branch="lost")
    repository.set_branch("lost", "")

    with pytest.raises(Rejected, match="Nor is it in any branch"):
        await open_mirror(host, tmp_path).resolve(lost)


async def test_a_host_that_changed_its_key_is_refused(host, repository, tmp_path):
    host.trust(host.other_key)

    with pytest.raises(Rejected, match="known_hosts_file"):
        await open_mirror(host, tmp_path).fetch()


async def test_an_unknown_host_is_refused_and_not_learnt(host, repository, tmp_path):
    host.trust(None)

    with pytest.raises(Rejected, match="known_hosts_file"):
        await open_mirror(host, tmp_path).fetch()
    assert host.known_hosts.read_text() == ""


async def test_another_key_is_forbidden(host, repository, tmp_path):
    with pytest.raises(Forbidden, match="ssh_key_file"):
        await open_mirror(host, tmp_path, ssh_key_file=host.other_key).fetch()


async def test_no_key_is_forbidden_whatever_keys_the_user_has(host, repository, tmp_path, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))

    with pytest.raises(Forbidden):
        await open_mirror(host, tmp_path, ssh_key_file=None).fetch()


async def test_a_key_that_others_can_read_is_refused_and_says_so(host, repository, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(host.key.read_bytes())
    key.chmod(0o644)

    with pytest.raises(Rejected, match="0600"):
        await open_mirror(host, tmp_path, ssh_key_file=key).fetch()


async def test_without_known_hosts_nothing_is_tried(host, repository, tmp_path):
    with pytest.raises(Invalid, match="known_hosts_file"):
        await open_mirror(host, tmp_path, known_hosts_file=None).fetch()
    with pytest.raises(Unavailable, match="known_hosts_file"):
        await open_mirror(host, tmp_path, known_hosts_file=tmp_path / "absent").fetch()


async def test_a_repository_that_is_not_there_is_refused(host, repository, tmp_path):
    source = GitSource(f"{host.url}/nothing.git", ssh_key_file=host.key, known_hosts_file=host.known_hosts)

    with pytest.raises(Rejected, match=r"Check git\.url"):
        await Mirror(source, tmp_path / "mirror", accepts=lambda _: None).fetch()


async def test_a_host_that_accepts_and_says_nothing_is_given_up_in_time(host, repository, tmp_path):
    host.pause()
    began = time.monotonic()
    try:
        with pytest.raises(Unavailable):
            await open_mirror(host, tmp_path, timeout=0.4).fetch()
    finally:
        host.resume()
    assert time.monotonic() - began < 10
