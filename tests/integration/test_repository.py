"""The mirror of a repository: which commit, which files, and what it does when things are broken."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from gitsync.model.errors import Invalid, Rejected, Unavailable
from gitsync.model.revision import FileChange, History
from gitsync.repository import GitSource, Mirror, TreeLimits
from gitsync.repository.lock import exclusive
from tests.servers import wait_for
from tests.servers.git import GitRepository, Link, Submodule


def accepts(path: str) -> str | None:
    return None if path.endswith((".yaml", ".yml", ".json")) else "not *.yaml, *.yml or *.json"


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "origin.git")


@pytest.fixture
def mirror(repository: GitRepository, tmp_path: Path) -> Mirror:
    return open_mirror(repository, tmp_path)


def open_mirror(repository: GitRepository, tmp_path: Path, *, limits: TreeLimits | None = None, **source) -> Mirror:
    given = GitSource(**{"url": repository.url, "path": "services", **source})
    return Mirror(given, tmp_path / "state" / "mirror", accepts=accepts, limits=limits or TreeLimits())


def objects(mirror: Mirror) -> list[Path]:
    return [path for path in (mirror.directory / "objects").rglob("*") if path.is_file()]


async def test_what_is_made_is_for_our_user_alone(repository, mirror, tmp_path):
    repository.commit({"services/a.yaml": "name: a"})
    await mirror.fetch()

    folders = [tmp_path / "state", *(path for path in (tmp_path / "state").rglob("*") if path.is_dir())]
    assert {path for path in folders if path.stat().st_mode & 0o077} == set()
    assert [pack for pack in objects(mirror) if pack.stat().st_mode & 0o077] == []


class TestWhichCommit:
    async def test_a_fetch_returns_what_the_branch_names_now(self, repository, mirror):
        first = repository.commit({"services/a.yaml": "name: a"}, message="one\n\nmore", author=b"Ada <a@b>")
        revision = await mirror.fetch()
        second = repository.commit({"services/a.yaml": "name: b"})

        assert (revision.sha, revision.subject, revision.author) == (first, "one", "Ada <a@b>")
        assert revision.committed == "2024-05-01T12:00:00Z"
        assert (await mirror.fetch()).sha == second

    @pytest.mark.parametrize("annotated", [True, False])
    async def test_a_tag_names_the_commit_that_it_leads_to(self, repository, tmp_path, annotated):
        sha = repository.commit({"services/a.yaml": ""})
        repository.tag("v1.0", sha, annotated=annotated)
        repository.commit({"services/a.yaml": "later"})

        assert (await open_mirror(repository, tmp_path, ref="v1.0").fetch()).sha == sha

    async def test_a_tag_that_moved_is_followed(self, repository, tmp_path):
        repository.commit({"services/a.yaml": ""})
        repository.tag("stable")
        mirror = open_mirror(repository, tmp_path, ref="refs/tags/stable")
        await mirror.fetch()
        moved = repository.commit({"services/a.yaml": "later"})
        repository.tag("stable")

        assert (await mirror.fetch()).sha == moved

    async def test_a_branch_goes_before_a_tag_of_its_name(self, repository, tmp_path):
        old = repository.commit({"services/a.yaml": ""})
        repository.tag("release", old)
        new = repository.commit({"services/a.yaml": "later"}, branch="release", parent=old)

        assert (await open_mirror(repository, tmp_path, ref="release").fetch()).sha == new
        assert (await open_mirror(repository, tmp_path, ref="refs/tags/release").fetch()).sha == old

    async def test_a_full_sha_is_that_commit_whatever_the_branch_does(self, repository, tmp_path):
        old = repository.commit({"services/a.yaml": ""})
        repository.commit({"services/a.yaml": "later"})
        mirror = open_mirror(repository, tmp_path, ref=old.upper())

        assert (await mirror.fetch()).sha == old
        assert (await mirror.fetch()).sha == old

    async def test_a_branch_in_the_place_of_a_folder_of_branches_is_no_obstacle(self, repository, tmp_path):
        repository.commit({"services/a.yaml": ""}, branch="a")
        await open_mirror(repository, tmp_path, ref="a").fetch()
        repository.set_branch("a", "")
        sha = repository.commit({"services/a.yaml": ""}, branch="a/b")

        assert (await open_mirror(repository, tmp_path, ref="a/b").fetch()).sha == sha

    async def test_only_the_ref_that_is_followed_is_fetched(self, repository, mirror):
        repository.commit({"services/a.yaml": ""})
        other = repository.commit({"big.bin": "x" * 5000}, branch="other", parent="")
        await mirror.fetch()

        assert not is_there(mirror.directory, other)

    @pytest.mark.parametrize("ref", ["missing", "refs/tags/missing", "1" * 40])
    async def test_a_ref_that_is_not_there_is_refused_and_says_what_to_do(self, repository, tmp_path, ref):
        repository.commit({"services/a.yaml": ""})

        with pytest.raises(Rejected, match=r"(correct git.ref|name another commit)") as raised:
            await open_mirror(repository, tmp_path, ref=ref).fetch()
        assert repository.url in str(raised.value)
        assert ref.removeprefix("refs/tags/") in str(raised.value)

    async def test_an_empty_repository_is_refused(self, mirror):
        with pytest.raises(Rejected, match="no branch or tag main"):
            await mirror.fetch()

    async def test_a_branch_that_was_deleted_is_refused_and_its_last_commit_can_still_be_read(self, repository, mirror):
        sha = repository.commit({"services/a.yaml": "name: a"})
        await mirror.fetch()
        repository.set_branch("main", "")

        with pytest.raises(Rejected):
            await mirror.fetch()
        assert [file.path for file in (await mirror.tree(sha)).files] == ["a.yaml"]

    async def test_a_repository_that_is_not_there_is_refused(self, tmp_path):
        mirror = Mirror(GitSource(f"file://{tmp_path}/nothing.git"), tmp_path / "mirror", accepts=accepts)

        with pytest.raises(Rejected, match=r"Check git\.url"):
            await mirror.fetch()

    async def test_a_tag_of_something_that_is_no_commit_is_refused(self, repository, tmp_path):
        repository.tag("readme", repository.blob("text"))

        with pytest.raises(Rejected, match="not a commit"):
            await open_mirror(repository, tmp_path, ref="refs/tags/readme").fetch()

    async def test_the_beginning_of_a_sha_a_branch_and_a_tag_are_resolved(self, repository, mirror):
        sha = repository.commit({"services/a.yaml": ""})
        repository.tag("v1")
        repository.commit({"services/b.yaml": ""}, branch="topic")

        assert (await mirror.resolve(sha[:8])).sha == sha
        assert (await mirror.resolve("v1")).sha == sha
        assert (await mirror.resolve("topic")).sha == repository.sha("topic")

    async def test_a_beginning_that_several_commits_have_is_refused(self, repository, mirror):
        one = "commit refs/heads/main\ncommitter A <a@b> {n} +0000\ndata 0\n\n"
        repository.git("fast-import", "--quiet", stdin="".join(one.format(n=n) for n in range(1, 1500)).encode())
        names = repository.git("rev-list", "main").split()
        counts = Counter(name[:4] for name in names)
        clash = next(start for start, count in counts.items() if count > 1)

        with pytest.raises(Rejected, match="more digits"):
            await mirror.resolve(clash)

    async def test_a_commit_that_no_branch_has_any_more_is_fetched_by_its_name(self, repository, mirror):
        lost = repository.commit({"services/a.yaml": "lost"})
        repository.commit({"services/a.yaml": "new"}, parent="")
        await mirror.fetch()

        assert (await mirror.resolve(lost)).sha == lost

    @pytest.mark.parametrize("text", ["--upload-pack=touch x", "a..b", "HEAD~1", "main^", "", "a b"])
    async def test_what_is_no_name_is_refused_before_git_sees_it(self, mirror, text):
        with pytest.raises(Invalid):
            await mirror.resolve(text)

    async def test_what_a_commit_says_of_itself_is_escaped_and_cut(self, repository, mirror):
        repository.commit(
            {"services/a.yaml": ""},
            message="\x1b[31mred\u202e" + "x" * 5000,
            author=b"\x1b]0;Ada <a@b>",
            date=4102444800000,
        )
        revision = await mirror.fetch()

        assert "\x1b" not in revision.subject + revision.author
        assert revision.subject.startswith("\\x1b[31mred\\u202e")
        assert len(revision.subject) <= 1024

    async def test_a_message_that_is_no_utf8_can_be_read(self, repository, mirror):
        repository.commit({"services/a.yaml": ""}, message=b"caf\xe9", author=b"J\xf6rg <j@b>")

        assert (await mirror.fetch()).subject.startswith("caf")


class TestHistory:
    async def test_how_two_commits_stand_to_each_other(self, repository, mirror):
        first = repository.commit({"services/a.yaml": "1"})
        second = repository.commit({"services/a.yaml": "2"})
        third = repository.commit({"services/a.yaml": "3"})
        other = repository.commit({"services/a.yaml": "4"}, parent=first, branch="other")
        await mirror.fetch()

        assert await mirror.history("", third) is History.FORWARD
        assert await mirror.history(third, third) is History.SAME
        assert await mirror.history(second, third) is History.FORWARD
        assert await mirror.history(first, third) is History.FORWARD
        assert await mirror.history(third, first) is History.BEHIND
        assert await mirror.history(other, third) is History.DIVERGED
        assert await mirror.history("a" * 40, third) is History.UNKNOWN

    async def test_a_rewritten_history_diverges_also_when_the_host_dropped_the_old_one(self, repository, mirror):
        old = repository.commit({"services/a.yaml": "1"})
        await mirror.fetch()
        await mirror.keep(old)
        new = repository.commit({"services/a.yaml": "2"}, parent="")
        repository.git("gc", "--quiet", "--prune=now")
        await mirror.fetch()
        await mirror.maintain()

        assert await mirror.history(old, new) is History.DIVERGED

    async def test_what_is_not_kept_goes_with_maintenance(self, repository, mirror):
        old = repository.commit({"services/a.yaml": "1"})
        await mirror.fetch()
        new = repository.commit({"services/a.yaml": "2"}, parent="")
        repository.git("gc", "--quiet", "--prune=now")
        await mirror.fetch()
        await mirror.maintain()
        again = Mirror(mirror.source, mirror.directory, accepts=accepts)

        assert await again.history(old, new) is History.UNKNOWN


class TestWhatItHolds:
    async def test_spec_files_below_the_path_are_listed_and_the_rest_is_passed_over_with_a_reason(
        self, repository, mirror
    ):
        repository.commit(
            {
                "services/b/pay.yml": "name: pay",
                "services/a.yaml": "name: a",
                "services/README.md": "text",
                "services/.hidden.yaml": "name: h",
                "services/.github/a.yaml": "x",
                "services/.github/b.yaml": "x",
                "elsewhere/c.yaml": "name: c",
            }
        )
        tree = await mirror.tree((await mirror.fetch()).sha)

        assert [(file.path, file.full_path, file.size) for file in tree.files] == [
            ("a.yaml", "services/a.yaml", 7),
            ("b/pay.yml", "services/b/pay.yml", 9),
        ]
        assert [(each.path, each.reason, each.unreadable) for each in tree.passed_over] == [
            (".github/", "its name begins with a dot", False),
            (".hidden.yaml", "its name begins with a dot", False),
            ("README.md", "not *.yaml, *.yml or *.json", False),
        ]

    async def test_without_a_path_it_is_the_whole_repository(self, repository, tmp_path):
        repository.commit({"a.yaml": "1", "x/b.yaml": "2"})
        mirror = open_mirror(repository, tmp_path, path="")

        assert [file.full_path for file in (await mirror.tree((await mirror.fetch()).sha)).files] == [
            "a.yaml",
            "x/b.yaml",
        ]

    async def test_links_submodules_and_large_files_are_refused_by_name_and_never_followed(self, repository, tmp_path):
        repository.commit(
            {
                "services/good.yaml": "name: good",
                "services/link.yaml": Link("/etc/passwd"),
                "services/folder": Link("../elsewhere"),
                "services/run.sh": Link("../bin/run.sh"),
                "services/module": Submodule(),
                "services/large.yaml": "x" * 200,
                "services/a/b/c/deep.yaml": "name: deep",
            }
        )
        mirror = open_mirror(repository, tmp_path, limits=TreeLimits(file_bytes=100, depth=3))
        tree = await mirror.tree((await mirror.fetch()).sha)

        assert [file.path for file in tree.files] == ["good.yaml"]
        assert {
            each.path: (each.reason.split(",")[0].split(" folders")[0], each.unreadable) for each in tree.passed_over
        } == {
            "link.yaml": ("a symbolic link", True),
            "folder": ("a symbolic link", True),
            "run.sh": ("a symbolic link", False),
            "module/": ("a submodule", True),
            "large.yaml": ("200 bytes", True),
            "a/b/c/deep.yaml": ("more than 3", True),
        }

    async def test_lfs_pointers_are_refused_by_name(self, repository, mirror):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
        repository.commit({"services/a.yaml": "name: a", "services/big.yaml": pointer})
        snapshot = await mirror.snapshot((await mirror.fetch()).sha)
        again = await mirror.snapshot(snapshot.tree.revision.sha, [file.oid for file in snapshot.tree.files])

        assert list(snapshot.contents.values()) == [b"name: a"]
        assert [(each.path, each.unreadable) for each in snapshot.tree.passed_over] == [("big.yaml", True)]
        assert again.tree == snapshot.tree
        assert again.contents == {}

    async def test_names_that_cannot_be_shown_are_escaped_and_refused(self, repository, mirror):
        names = [
            b"services/a\nb.yaml",
            b"services/\xff.yaml",
            "services/\u202elmay.yaml".encode(),
            b"services/fine name.yaml",
        ]
        repository.commit(dict.fromkeys(names, "name: a"))
        tree = await mirror.tree((await mirror.fetch()).sha)

        assert [file.path for file in tree.files] == ["fine name.yaml"]
        assert sorted(each.path for each in tree.passed_over) == ["\\u202elmay.yaml", "\\xff.yaml", "a\\nb.yaml"]
        assert all(each.unreadable for each in tree.passed_over)

    async def test_contents_are_read_by_object_and_the_same_content_once(self, repository, mirror):
        repository.commit(
            {"services/a.yaml": b"\x00\n\xff", "services/b.yaml": b"\x00\n\xff", "services/empty.yaml": ""}
        )
        snapshot = await mirror.snapshot((await mirror.fetch()).sha)

        assert sorted(snapshot.contents.values()) == [b"", b"\x00\n\xff"]
        assert {snapshot.contents[file.oid] for file in snapshot.tree.files} == {b"", b"\x00\n\xff"}

    async def test_a_tree_after_another_is_what_it_would_be_alone(self, repository, mirror):
        commits = [
            repository.commit({f"services/{n}.yaml": str(n) for n in range(5)}),
            repository.commit({"services/1.yaml": None, "services/x/6.yaml": "6", "services/2.yaml": "changed"}),
            repository.commit({"services/2.yaml": Link("3.yaml"), "services/.x.yaml": "x", "other/a.yaml": "x"}),
            repository.commit({"services": None}),
            repository.commit({"services/2.yaml": "back"}),
        ]
        await mirror.fetch()
        for sha in [*commits, *reversed(commits)]:
            alone = Mirror(mirror.source, mirror.directory, accepts=accepts)
            assert await mirror.tree(sha) == await alone.tree(sha)

    async def test_a_path_that_is_not_there_and_one_that_is_no_folder_are_told_apart(self, repository, tmp_path):
        absent = repository.commit({"README": ""})
        for content in ("a file", Link("elsewhere"), Submodule()):
            wrong = repository.commit({"services": content})
            mirror = open_mirror(repository, tmp_path)
            assert not (await mirror.tree(absent)).path_exists
            with pytest.raises(Rejected, match=r"services is a .*not a folder"):
                await mirror.tree(wrong)

    async def test_more_files_or_bytes_than_the_limits_refuse_the_commit(self, repository, tmp_path):
        sha = repository.commit({f"services/{n}.yaml": str(n) * 10 for n in range(5)})

        with pytest.raises(Rejected, match="5 spec files"):
            await open_mirror(repository, tmp_path, limits=TreeLimits(files=4)).tree(sha)
        with pytest.raises(Rejected, match="50 bytes together"):
            await open_mirror(repository, tmp_path, limits=TreeLimits(total_bytes=49)).tree(sha)

    async def test_a_bomb_of_paths_is_refused_soon(self, repository, tmp_path):
        tree = repository.git("mktree", stdin=f"100644 blob {repository.blob('x')}\ta.yaml\n".encode()).strip()
        for _ in range(9):
            lines = "".join(f"040000 tree {tree}\td{n}\n" for n in range(10))
            tree = repository.git("mktree", stdin=lines.encode()).strip()
        sha = repository.commit_tree(f"040000 tree {tree}\tservices\0".encode())

        with pytest.raises(Rejected, match="narrower"):
            await open_mirror(repository, tmp_path, limits=TreeLimits(entries=2000)).tree(sha)

    async def test_changes_between_two_commits_name_spec_files_below_the_path_only(self, repository, mirror):
        old = repository.commit(
            {"services/a.yaml": "1", "services/b.yaml": "1", "services/c.yaml": "1", "services/x.md": "1"}
        )
        files = {
            "services/a.yaml": None,
            "services/b.yaml": "2",
            "services/d.yaml": "1",
            "services/x.md": "2",
            "e.yaml": "",
        }
        new = repository.commit({**files, "services/c.yaml": Link("a")})
        await mirror.fetch()

        assert await mirror.changed(old, old) == ()
        assert await mirror.changed(old, new) == (
            FileChange("D", "a.yaml", ""),
            FileChange("M", "b.yaml", repository.blob("2")),
            FileChange("T", "c.yaml", repository.blob("a")),
            FileChange("A", "d.yaml", repository.blob("1")),
        )

    @pytest.mark.parametrize("name", [".git", "..", "git~1"])
    async def test_trees_that_git_itself_would_not_make_are_refused_and_the_last_commit_stays(
        self, repository, mirror, name
    ):
        good = repository.commit({"services/a.yaml": "1"})
        await mirror.fetch()
        repository.commit_tree(f"100644 blob {repository.blob('x')}\t{name}\0".encode())

        with pytest.raises(Rejected, match="git's own checks"):
            await mirror.fetch()
        assert (await mirror.tree(good)).files

    async def test_a_host_with_a_part_of_the_history_only_is_refused(self, repository, tmp_path):
        for number in range(4):
            repository.commit({"services/a.yaml": str(number)})
        repository.git("clone", "--quiet", "--bare", "--depth=2", repository.url, str(tmp_path / "shallow.git"))

        with pytest.raises(Rejected, match="shallow clone"):
            await open_mirror(repository, tmp_path, url=f"file://{tmp_path}/shallow.git").fetch()

    async def test_more_than_the_limit_in_one_fetch_is_refused_and_leaves_nothing(
        self, repository, mirror, monkeypatch
    ):
        good = repository.commit({"services/a.yaml": "1"})
        await mirror.fetch()
        repository.commit({"services/big.bin": os.urandom(300_000)})
        monkeypatch.setattr("gitsync.repository.command.PACK_BYTES", 100_000)
        again = Mirror(mirror.source, mirror.directory, accepts=accepts)

        with pytest.raises(Rejected, match="larger than the 100,000 bytes"):
            await again.fetch()
        assert (await again.tree(good)).files
        monkeypatch.undo()
        assert (await mirror.fetch()).sha == repository.sha("main")
        assert not list(mirror.directory.rglob("tmp_pack_*"))


class TestNothingOfTheMachineReachesGit:
    async def test_hooks_settings_and_variables_of_the_user_have_no_effect(
        self, repository, mirror, tmp_path, monkeypatch
    ):
        marker = tmp_path / "ran"
        home = tmp_path / "home"
        home.mkdir()
        (home / ".gitconfig").write_text(
            f'[core]\n\thooksPath = {home}\n\tfsmonitor = {home}/hook\n[url "file:///nowhere/"]\n\tinsteadOf = file:///\n'
        )
        for name in ("reference-transaction", "hook"):
            (home / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
            (home / name).chmod(0o755)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {marker}")
        monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
        sha = repository.commit({"services/a.yaml": "1"})

        assert (await mirror.fetch()).sha == sha
        hooks = mirror.directory / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "reference-transaction").write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / "reference-transaction").chmod(0o755)
        repository.commit({"services/a.yaml": "2"})
        await mirror.fetch()
        assert not marker.exists()
        assert not (tmp_path / "trace").exists()

    async def test_there_is_no_work_tree_and_replacements_are_not_heard(self, repository, mirror):
        first = repository.commit({"services/a.yaml": "1"})
        second = repository.commit({"services/a.yaml": "2"})
        await mirror.fetch()
        git_in(mirror.directory, "replace", second, first)
        again = Mirror(mirror.source, mirror.directory, accepts=accepts)

        assert list((await again.snapshot(second)).contents.values()) == [b"2"]
        assert not list(mirror.directory.rglob("a.yaml"))

    async def test_a_machine_without_git_is_told_so(self, mirror, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))

        with pytest.raises(Invalid, match="git is not installed"):
            await mirror.fetch()


class TestItHealsItself:
    async def test_locks_and_half_packs_of_killed_fetches_are_removed(self, repository, mirror):
        repository.commit({"services/a.yaml": "1"})
        await mirror.fetch()
        private = mirror.directory / "refs" / "gitsync" / "branch"
        leftovers = [
            private / "main.lock",
            mirror.directory / "packed-refs.lock",
            mirror.directory / "config.lock",
            mirror.directory / "objects" / "pack" / "tmp_pack_abc",
            mirror.directory / "objects" / "tmp_objdir-incoming-x" / "pack" / "tmp_pack_1",
        ]
        for path in leftovers:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("half")
        sha = repository.commit({"services/a.yaml": "2"})

        assert (await mirror.fetch()).sha == sha
        assert [path for path in leftovers if path.exists()] == []

    @pytest.mark.parametrize(
        "damage", ["pack", "index", "HEAD", "config", "ref", "objects", "not a repository", "a file"]
    )
    async def test_a_broken_mirror_is_made_again(self, repository, mirror, damage):
        old = repository.commit({"services/a.yaml": "1"})
        await mirror.fetch()
        await mirror.keep(old)
        break_mirror(mirror.directory, damage)
        sha = repository.commit({"services/b.yaml": "2"})
        again = Mirror(mirror.source, mirror.directory, accepts=accepts)

        assert (await again.fetch()).sha == sha
        assert sorted((await again.snapshot(sha)).contents.values()) == [b"1", b"2"]
        assert await again.history(old, sha) is History.FORWARD
        assert not mirror.directory.with_name("mirror.old").exists()

    @pytest.mark.parametrize("kind", ["tree", "blob", "commit"])
    async def test_an_object_that_is_missing_is_never_taken_for_nothing(self, repository, mirror, kind):
        old = repository.commit({"services/a.yaml": "1"})
        sha = repository.commit({"services/a.yaml": "2"})
        await mirror.fetch()
        await mirror.keep(old)
        lose(mirror.directory, {"tree": f"{sha}:services", "blob": f"{sha}:services/a.yaml", "commit": sha}[kind])
        again = Mirror(mirror.source, mirror.directory, accepts=accepts)
        snapshot = await again.snapshot(sha)

        assert snapshot.tree.path_exists
        assert list(snapshot.contents.values()) == [b"2"]

    async def test_a_broken_mirror_that_cannot_be_made_again_stays_as_it_is(self, repository, mirror):
        sha = repository.commit({"services/a.yaml": "1", "services/b.yaml": "2"})
        await mirror.fetch()
        lose(mirror.directory, f"{sha}:services/a.yaml")
        repository.folder.rename(repository.folder.with_name("away.git"))
        again = Mirror(mirror.source, mirror.directory, accepts=accepts)

        with pytest.raises((Rejected, Unavailable)):
            await again.snapshot(sha)
        assert (await again.history(sha, sha)) is History.SAME
        assert is_there(mirror.directory, sha)

    async def test_a_folder_that_held_another_repository_is_not_taken_for_this_one(self, repository, mirror, tmp_path):
        old = repository.commit({"services/a.yaml": "1"})
        await mirror.fetch()
        other = GitRepository(tmp_path / "other.git")
        sha = other.commit({"services/z.yaml": "9"})
        moved = open_mirror(other, tmp_path)

        assert (await moved.fetch()).sha == sha
        assert not is_there(mirror.directory, old)

    async def test_many_fetches_do_not_leave_many_packs(self, repository, mirror, monkeypatch):
        monkeypatch.setattr("gitsync.repository.bare.PACKS", 3)
        for number in range(6):
            sha = repository.commit({"services/a.yaml": str(number)})
            await mirror.fetch()

        assert len(list((mirror.directory / "objects" / "pack").glob("*.pack"))) <= 4
        assert list((await mirror.snapshot(sha)).contents.values()) == [b"5"]

    async def test_a_state_folder_that_cannot_be_made_is_unavailable(self, repository, tmp_path):
        (tmp_path / "state").write_text("a file")

        with pytest.raises(Unavailable, match="state_dir"):
            await open_mirror(repository, tmp_path).fetch()


class TestSeveralAtOnce:
    async def test_fetches_and_reads_of_one_mirror_do_not_disturb_each_other(self, repository, mirror):
        sha = repository.commit({f"services/{n}.yaml": str(n) for n in range(50)})
        others = [Mirror(mirror.source, mirror.directory, accepts=accepts) for _ in range(3)]
        revisions = await asyncio.gather(*(each.fetch() for each in [mirror, *others]))
        trees = await asyncio.gather(*(each.tree(sha) for each in [mirror, *others]), mirror.maintain())

        assert {revision.sha for revision in revisions} == {sha}
        assert {len(tree.files) for tree in trees if tree} == {50}

    async def test_two_processes_fetch_into_one_mirror(self, repository, mirror):
        script = (
            "import asyncio, pathlib, sys\n"
            "from gitsync.repository import GitSource, Mirror\n"
            "m = Mirror(GitSource(sys.argv[1], path='services'), pathlib.Path(sys.argv[2]), accepts=lambda p: None)\n"
            "async def main():\n"
            "    for _ in range(5): print((await m.fetch()).sha)\n"
            "asyncio.run(main())\n"
        )
        sha = repository.commit({"services/a.yaml": "1"})
        command = [sys.executable, "-c", script, repository.url, str(mirror.directory)]
        processes = [await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1) for _ in range(2)]
        said = await asyncio.gather(*(process.communicate() for process in processes))

        assert [out.decode().split() for out, _ in said] == [[sha] * 5] * 2, said

    async def test_a_lock_that_is_held_is_waited_for_and_then_unavailable(self, tmp_path):
        path = tmp_path / "mirror.lock"
        async with exclusive(path, seconds=1):
            with pytest.raises(Unavailable, match="held by another gitsync"):
                async with exclusive(path, seconds=0.1):
                    pass
        async with exclusive(path, seconds=1):
            pass

    async def test_a_git_whose_gitsync_was_killed_is_ended_and_the_lock_taken(self, tmp_path):
        path = tmp_path / "mirror.lock"
        script = (
            "import asyncio, os, sys, pathlib\n"
            "from gitsync.repository.lock import exclusive\n"
            "from gitsync.repository.process import Limits, run\n"
            "async def main():\n"
            "    async with exclusive(pathlib.Path(sys.argv[1]), seconds=1) as held:\n"
            "        await run(['sleep', '1000'], env=dict(os.environ), limits=Limits(900), keep_open=held.fd, started=held.started)\n"
            "asyncio.run(main())\n"
        )
        process = start(script, str(path))
        note = wait_for(lambda: path.exists() and path.read_text(), "the note of who works")
        child = json.loads(note)["child"][0]
        process.kill()
        process.wait()
        assert alive(child)

        async with exclusive(path, seconds=10):
            wait_for(lambda: not alive(child), "the orphan's end")

    async def test_a_cancelled_fetch_leaves_no_process_and_no_lock(self, repository, mirror, tmp_path, monkeypatch):
        repository.commit({"services/a.yaml": "1"})
        slow = tmp_path / "bin"
        slow.mkdir()
        (slow / "git").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 1000 & wait\n")
        (slow / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
        task = asyncio.create_task(mirror.fetch())
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():  # noqa: ASYNC110 -- no event to wait for
            await asyncio.sleep(0.01)
        pid = int((tmp_path / "pid").read_text())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        monkeypatch.undo()

        assert not alive(pid)
        async with exclusive(mirror.directory.with_name("mirror.lock"), seconds=5):
            pass
        assert (await mirror.fetch()).sha == repository.sha("main")

    async def test_a_git_that_takes_too_long_is_ended_with_its_children(self, repository, tmp_path, monkeypatch):
        slow = tmp_path / "bin"
        slow.mkdir()
        real = shutil.which("git")
        (slow / "git").write_text(
            f'#!/bin/sh\ncase "$*" in *fetch*) echo $$ > {tmp_path}/pid; sleep 1000 & wait;; *) exec {real} "$@";; esac\n'
        )
        (slow / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
        began = time.monotonic()

        with pytest.raises(Unavailable, match=r"not done within 0\.5 s"):
            await open_mirror(repository, tmp_path, timeout=0.1).fetch()
        assert time.monotonic() - began < 20
        assert not alive(int((tmp_path / "pid").read_text()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments])


def git_in(folder: Path, *command: str) -> None:
    subprocess.run(["git", f"--git-dir={folder}", *command], check=True, capture_output=True)


def is_there(folder: Path, sha: str) -> bool:
    command = ["git", f"--git-dir={folder}", "cat-file", "-e", sha]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def lose(folder: Path, name: str) -> None:
    """Take one object out of the repository."""
    git = ["git", f"--git-dir={folder}"]
    oid = subprocess.run([*git, "rev-parse", name], capture_output=True, text=True, check=True).stdout.strip()
    packs = [pack.rename(folder / pack.name) for pack in (folder / "objects" / "pack").glob("*.pack")]
    for rest in (folder / "objects" / "pack").iterdir():
        rest.unlink()
    for pack in packs:
        subprocess.run([*git, "unpack-objects", "-q"], input=pack.read_bytes(), check=True)
        pack.unlink()
    (folder / "objects" / oid[:2] / oid[2:]).unlink()


def break_mirror(folder: Path, damage: str) -> None:
    packs = folder / "objects" / "pack"
    if damage == "pack":
        for path in packs.glob("*.pack"):
            path.chmod(0o600)
            os.truncate(path, 20)
    elif damage == "index":
        for path in packs.glob("*.idx"):
            path.chmod(0o600)
            path.write_bytes(b"nothing")
    elif damage == "ref":
        next((folder / "refs" / "gitsync" / "branch").iterdir()).write_text("nothing\n")
    elif damage == "objects":
        subprocess.run(["rm", "-rf", str(folder / "objects")], check=True)
    elif damage == "not a repository":
        subprocess.run(f"rm -rf {folder}/*", shell=True, check=True)
    elif damage == "a file":
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        folder.write_text("a file")
    else:
        (folder / damage).write_text("[[[nothing\n")
