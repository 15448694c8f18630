"""The specs of a mirror and of a folder: what is parsed, what is refused by name, and what a missing path means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Invalid, Rejected
from gitsync.model.finding import Severity
from gitsync.model.revision import NO_REVISION, History, Snapshot
from gitsync.repository import DirectorySpecs, GitSource, Mirror, MirrorSpecs, TreeLimits, read_directory
from tests.servers.git import GitRepository, Link, Submodule

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


def accepts(path: str) -> str | None:
    return None if path.endswith((".yaml", ".yml", ".json")) else "not *.yaml, *.yml or *.json"


class Parser:
    """Remembers what it was asked to parse."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []

    def __call__(self, path: str, content: bytes) -> ParsedFile:
        self.seen.append((path, content))
        return ParsedFile(path, unnamed=len(content))


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return GitRepository(tmp_path / "origin.git")


@pytest.fixture
def parser() -> Parser:
    return Parser()


@pytest.fixture
def specs(repository: GitRepository, tmp_path: Path, parser: Parser) -> MirrorSpecs:
    source = GitSource(repository.url, path="services")
    return MirrorSpecs(Mirror(source, tmp_path / "mirror", accepts=accepts), parser)


async def test_every_spec_file_is_parsed_and_in_the_order_of_paths(repository, specs):
    repository.commit({"services/b.yaml": "bb", "services/a/z.json": "z", "services/README": "r"})
    files = await specs.load(await specs.fetch(), "")

    assert files == (ParsedFile("a/z.json", unnamed=1), ParsedFile("b.yaml", unnamed=2))
    assert [each.path for each in specs.passed_over] == ["README"]


async def test_a_commit_costs_what_it_changes(repository, specs, parser):
    repository.commit({f"services/{n}.yaml": f"name: {n}" for n in range(500)})
    await specs.load(await specs.fetch(), "")
    parser.seen.clear()
    repository.commit({"services/7.yaml": "name: seven", "services/8.yaml": None, "services/new.yaml": "name: 9"})
    files = await specs.load(await specs.fetch(), "")

    # a file of the same content at another path is parsed again: its findings name the path
    assert sorted(parser.seen) == [("7.yaml", b"name: seven"), ("new.yaml", b"name: 9")]
    assert len(files) == 500


async def test_what_was_loaded_is_the_same_whatever_was_loaded_before(repository, specs, tmp_path, parser):
    first = repository.commit({"services/a.yaml": "1", "services/b.yaml": POINTER, "services/c": Link("x")})
    second = repository.commit({"services/a.yaml": Link("b.yaml"), "services/b.yaml": "22"})
    for sha in (first, second, first):
        fresh = MirrorSpecs(Mirror(specs.mirror.source, tmp_path / "mirror", accepts=accepts), parser)
        revision = await specs.resolve(sha)
        assert await specs.load(revision, "") == await fresh.load(revision, "")
        assert specs.passed_over == fresh.passed_over


async def test_what_may_hold_specs_and_is_not_read_is_an_unreadable_file_with_a_finding(repository, tmp_path, parser):
    repository.commit(
        {
            "services/good.yaml": "1",
            "services/pointer.yaml": POINTER,
            "services/link.yaml": Link("good.yaml"),
            "services/module": Submodule(),
            "services/large.yaml": "x" * 300,
            "services/run.sh": Link("x"),
        }
    )
    mirror = Mirror(
        GitSource(repository.url, path="services"),
        tmp_path / "mirror",
        accepts=accepts,
        limits=TreeLimits(file_bytes=200),
    )
    specs = MirrorSpecs(mirror, parser)
    files = await specs.load(await specs.fetch(), "")
    refused = [file for file in files if file.unreadable]

    assert [file.path for file in refused] == ["large.yaml", "link.yaml", "module/", "pointer.yaml"]
    for file in refused:
        (finding,) = file.findings
        assert (finding.code, finding.severity, finding.place.path) == ("file-refused", Severity.ERROR, file.path)
        assert finding.message.startswith(f"{file.path} is not read: ")
    assert [each.path for each in specs.passed_over] == ["large.yaml", "link.yaml", "module/", "pointer.yaml", "run.sh"]
    assert next(each.reason for each in specs.passed_over if each.path == "pointer.yaml").startswith("Git LFS pointer")
    assert [path for path, _ in parser.seen] == ["good.yaml"]


async def test_a_path_that_was_there_when_applied_and_is_gone_is_a_commit_without_specs(repository, specs):
    applied = repository.commit({"services/a.yaml": "1", "README": ""})
    repository.commit({"services": None})

    assert await specs.load(await specs.fetch(), applied) == ()


async def test_a_path_that_was_never_there_is_refused(repository, specs):
    repository.commit({"README": "2"})

    with pytest.raises(Rejected, match=r"Correct git\.path"):
        await specs.load(await specs.fetch(), "")


async def test_a_path_that_is_gone_stays_gone_after_that_commit_was_applied(repository, specs):
    applied = repository.commit({"README": "2"})
    repository.commit({"README": "3"})

    assert await specs.load(await specs.fetch(), applied) == ()


async def test_the_kept_commit_and_the_history_are_the_mirrors(repository, specs):
    first = repository.commit({"services/a.yaml": "1"})
    await specs.fetch()
    await specs.keep(first)
    second = repository.commit({"services/a.yaml": "2"})
    await specs.fetch()

    assert await specs.history(first, second) is History.FORWARD


class TestFolders:
    async def test_a_folder_is_read_like_a_commit_of_it(self, repository, tmp_path):
        content = {
            "a.yaml": "1",
            "x/b.json": "22",
            "README": "r",
            ".git/config.yaml": "x",
            "x/.hidden.yaml": "x",
            "pointer.yaml": POINTER,
            "link.yaml": Link("/etc/passwd"),
            "folder": Link(".."),
            "fine name.yaml": "3",
            "a\nb.yaml": "4",
        }
        folder = tmp_path / "folder"
        fill(folder, content)
        repository.commit({path: each for path, each in content.items() if ".git" not in path})
        mirror = Mirror(GitSource(repository.url), tmp_path / "mirror", accepts=accepts)
        committed, read = await mirror.snapshot((await mirror.fetch()).sha), read_directory(folder, accepts)

        assert read.tree.revision is NO_REVISION
        assert [(f.path, f.oid, f.size) for f in read.tree.files] == [
            (f.path, f.oid, f.size) for f in committed.tree.files
        ]
        assert read.contents == committed.contents
        assert refusals(read) == refusals(committed) | {(".git/", "its name begins with a dot", False)}

    def test_a_folder_without_specs_is_an_empty_tree(self, tmp_path):
        assert read_directory(tmp_path, accepts) == Snapshot(read_directory(tmp_path, accepts).tree, {})
        assert read_directory(tmp_path, accepts).tree.files == ()

    def test_what_is_no_file_is_not_opened(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.yaml")
        (refusal,) = read_directory(tmp_path, accepts).tree.passed_over

        assert (refusal.path, refusal.unreadable) == ("pipe.yaml", True)

    def test_one_file_can_be_named_whatever_its_name(self, tmp_path):
        (tmp_path / "spec.txt").write_text("name: a")

        assert list(read_directory(tmp_path / "spec.txt", accepts).contents.values()) == [b"name: a"]

    def test_limits_hold_for_folders_too(self, tmp_path):
        fill(tmp_path / "f", {f"{n}.yaml": "x" * 10 for n in range(5)} | {"a/b/c.yaml": "x", "large.yaml": "x" * 50})
        snapshot = read_directory(tmp_path / "f", accepts, TreeLimits(file_bytes=20, depth=1))

        assert {(each.path, each.unreadable) for each in snapshot.tree.passed_over} == {
            ("a/b/", True),
            ("large.yaml", True),
        }
        for limits in (TreeLimits(files=3), TreeLimits(total_bytes=10), TreeLimits(entries=2)):
            with pytest.raises(Rejected):
                read_directory(tmp_path / "f", accepts, limits)

    def test_a_folder_that_is_not_there_is_invalid(self, tmp_path):
        with pytest.raises(Invalid, match="No such file"):
            read_directory(tmp_path / "nothing", accepts)

    async def test_specs_of_a_folder_have_no_revision(self, tmp_path, parser):
        fill(tmp_path / "f", {"a.yaml": "1", "link.yaml": Link("a.yaml"), "big.yaml": POINTER})
        specs = DirectorySpecs(tmp_path / "f", accepts, parser)
        files = await specs.load(await specs.fetch(), "")

        assert [(file.path, file.unreadable) for file in files] == [
            ("a.yaml", False),
            ("big.yaml", True),
            ("link.yaml", True),
        ]
        assert [each.path for each in specs.passed_over] == ["big.yaml", "link.yaml"]
        assert await specs.history("a" * 40, "") is History.FORWARD
        await specs.keep("")
        assert await specs.resolve("main") == NO_REVISION


def refusals(snapshot: Snapshot) -> set[tuple[str, str, bool]]:
    return {(each.path, each.reason, each.unreadable) for each in snapshot.tree.passed_over}


def fill(folder: Path, content: dict[str, str | Link]) -> None:
    for path, each in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(each, Link):
            (folder / path).symlink_to(each.target)
        else:
            (folder / path).write_text(each)
