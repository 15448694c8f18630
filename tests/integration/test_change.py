"""A pull request in the mirror: its exact head, what it would be once merged, and authors that mean no good."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gitsync.core.load import SpecDefaults, accepts, parse_file
from gitsync.model.errors import Rejected, Unavailable
from gitsync.model.review import Landed, Merged, NotThere, Unmergeable
from gitsync.model.revision import Revision
from gitsync.repository import GitSource, Mirror, MirrorSpecs
from gitsync.repository.change import Changes
from tests.servers.git import ENV, GitRepository, Link, Submodule
from tests.servers.git_hosts import TOKEN, USER, GitHttps

PAY = "name: {name}\nrouting: {{host: pay.example.org, port: 80}}\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHttps]:
    with GitHttps(tmp_path_factory.mktemp("repositories")) as server:
        yield server


@pytest.fixture
def repository(host: GitHttps, tmp_path: Path) -> GitRepository:
    repository = GitRepository(host.root / "private" / f"{tmp_path.name}.git")
    repository.commit({"services/a.yaml": spec("a"), "services/b.yaml": spec("b"), "README.md": "specs\n"})
    return repository


@pytest.fixture
def specs(host: GitHttps, repository: GitRepository, tmp_path: Path) -> MirrorSpecs:
    return opened(tmp_path, f"{host.url}/private/{repository.folder.name}", host)


@pytest.fixture(params=["merge-tree", "path by path"])
def changes(specs: MirrorSpecs, request: pytest.FixtureRequest) -> Changes:
    changes = Changes(specs)
    changes.merges = request.param == "merge-tree"
    return changes


def spec(name: str) -> str:
    return PAY.format(name=name)


def opened(tmp_path: Path, url: str, host: GitHttps) -> MirrorSpecs:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    source = GitSource(url, path="services", username=USER, token_file=token, ca_file=host.ca_file)
    takes = partial(accepts, include=(), exclude=())
    mirror = Mirror(source, tmp_path / "state" / "mirror", accepts=takes)
    return MirrorSpecs(mirror, partial(parse_file, defaults=SpecDefaults(gateway="tgw")))


def request(repository: GitRepository, number: int, files, *, parent: str = "", ref: str = "") -> str:
    """A commit that only a ref of the kind that hosts make for requests names."""
    sha = repository.commit(files, branch=f"work-{number}", parent=parent or repository.sha("main"))
    repository.set_branch(f"work-{number}", "")
    repository.git("update-ref", ref or f"refs/pull/{number}/head", sha)
    return sha


def merged_by_hand(repository: GitRepository, ref: str, work: Path) -> str:
    """The tree that a person gets who merges *ref* in a clone."""
    commands = (
        ["clone", "--quiet", str(repository.folder), str(work)],
        ["-C", str(work), "fetch", "--quiet", "origin", ref],
        ["-C", str(work), "merge", "--quiet", "--no-ff", "-m", "merge", "FETCH_HEAD"],
        ["-C", str(work), "rev-parse", "HEAD^{tree}"],
    )
    for command in commands:
        ran = subprocess.run(["git", *command], env=ENV, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


async def merged(changes: Changes, specs: MirrorSpecs, number: int, sha: str) -> Merged | Unmergeable:
    base = await specs.fetch()
    assert isinstance(await changes.fetch(number, sha, (f"refs/pull/{number}/head",)), Revision)
    return await changes.merge(number, base.sha, sha)


async def files(specs: MirrorSpecs, tree: str) -> list[str]:
    loaded = await specs.load_tree(Revision("f" * 40, "", "", ""), tree)
    return [str(each.key) for file in loaded for each in file.specs]


def refs(specs: MirrorSpecs) -> list[str]:
    ran = subprocess.run(
        ["git", f"--git-dir={specs.mirror.directory}", "for-each-ref", "--format=%(refname)", "refs/gitsync/changes"],
        env=ENV, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ran.stdout.split()


class TestTheHead:
    async def test_it_is_fetched_by_its_name_though_no_ref_of_ours_names_it(self, repository, specs, changes):
        sha = request(repository, 5, {"services/a.yaml": spec("c")})

        found = await changes.fetch(5, sha)

        assert isinstance(found, Revision)
        assert (found.sha, found.subject) == (sha, "a commit")
        assert refs(specs) == ["refs/gitsync/changes/5/head"]

    async def test_the_ref_may_lag_behind_what_the_host_told(self, repository, changes):
        old = request(repository, 5, {"services/a.yaml": spec("c")})
        new = repository.commit({"services/a.yaml": spec("d")}, branch="hidden", parent=old)

        found = await changes.fetch(5, new, ("refs/pull/5/head",))

        assert isinstance(found, Revision)
        assert found.sha == new

    async def test_a_commit_that_the_host_does_not_have_yet_is_not_there_and_comes_later(self, repository, changes):
        old = request(repository, 5, {"services/a.yaml": spec("c")})
        elsewhere = GitRepository(repository.folder.parent / f"fork-{repository.folder.name}")
        new = elsewhere.commit({"services/a.yaml": spec("d")})

        found = await changes.fetch(5, new, ("refs/pull/5/head",))
        assert found == NotThere(
            f"commit {new[:12]} of request 5 cannot be fetched: the host hands out {old[:12]} instead", old
        )

        repository.git("fetch", "--quiet", str(elsewhere.folder), f"+{new}:refs/pull/5/head")
        assert isinstance(await changes.fetch(5, new, ("refs/pull/5/head",)), Revision)

    async def test_of_a_host_that_gives_out_refs_only_the_ref_is_asked(self, repository, specs):
        sha = request(repository, 7, {"services/a.yaml": spec("c")})
        changes = Changes(specs)
        asked: list[str] = []
        bare = changes._bare
        fetch = bare.fetch_as

        async def refs_only(what, private, held):
            asked.append(what)
            await fetch(what if what.startswith("refs/") else "f" * 40, private, held)

        bare.fetch_as = refs_only  # type: ignore[method-assign]
        found = await changes.fetch(7, sha, ("refs/nowhere", "refs/pull/7/head"))

        assert isinstance(found, Revision)
        assert asked == [sha, "refs/nowhere", "refs/pull/7/head"]

    async def test_a_short_name_is_the_one_that_the_ref_leads_to(self, repository, changes):
        sha = request(repository, 7, {"services/a.yaml": spec("c")})

        found = await changes.fetch(7, sha[:12], ("refs/pull/7/head",))
        other = await changes.fetch(7, "0123456789ab", ("refs/pull/7/head",))

        assert isinstance(found, Revision)
        assert found.sha == sha
        assert isinstance(other, NotThere)

    async def test_a_forced_push_is_followed_and_what_it_replaced_stays_to_be_asked_for(self, repository, changes):
        first = request(repository, 5, {"services/a.yaml": spec("c")})
        await changes.fetch(5, first, ("refs/pull/5/head",))
        second = request(repository, 5, {"services/b.yaml": spec("d")})

        found = await changes.fetch(5, second, ("refs/pull/5/head",))
        again = await changes.fetch(5, first, ("refs/pull/5/head",))

        assert isinstance(found, Revision)
        assert found.sha == second
        assert isinstance(again, Revision)
        assert again.sha == first

    async def test_of_a_closed_request_nothing_is_kept(self, repository, specs, changes):
        sha = request(repository, 5, {"services/a.yaml": spec("c")})
        await merged(changes, specs, 5, sha)
        assert refs(specs) == ["refs/gitsync/changes/5/head", "refs/gitsync/changes/5/merged"]

        await changes.drop(5)
        await changes.drop(5)

        assert refs(specs) == []
        assert not (specs.mirror.directory / "refs/gitsync/changes/5").exists()
        await specs.mirror.maintain()
        assert isinstance(await changes.fetch(5, sha), Revision)

    @pytest.mark.parametrize(
        "ref",
        [
            "--upload-pack=touch x", "-o", "main", "refs/heads/*", "refs/heads/a:refs/gitsync/applied", "^refs/heads/main",
            "refs/heads/a b", "refs/heads/a\nb", "refs/heads/a..b", "refs/heads/\u202ea", "refs/heads/a.lock", "refs/heads/@{u}",
            "ext::sh -c true", "+refs/heads/main", "refs/heads//a", "refs/" + "a" * 400, "",
        ],
    )  # fmt: skip
    async def test_a_hostile_name_is_never_asked_for(self, specs, repository, changes, ref):
        assert (await specs.fetch()).sha == repository.sha("main")
        before = (specs.mirror.directory / "refs/gitsync/branch/main").read_text()

        found = await changes.fetch(5, "f" * 40, (ref,))

        assert isinstance(found, NotThere)
        assert (specs.mirror.directory / "refs/gitsync/branch/main").read_text() == before
        assert refs(specs) == []

    @pytest.mark.parametrize(
        "sha", ["", "HEAD", "main", "--all", "f" * 39 + "g", "F" * 6, "f" * 64, f"{'f' * 40}^{{tree}}"]
    )
    async def test_what_is_no_commits_name_is_not_there(self, changes, sha):
        assert isinstance(await changes.fetch(5, sha), NotThere)

    async def test_a_tree_or_a_tag_is_no_head(self, repository, changes):
        tree = repository.git("rev-parse", "main^{tree}").strip()
        repository.tag("v1")
        tag = repository.git("rev-parse", "v1").strip()

        assert isinstance(await changes.fetch(5, tree), NotThere)
        assert isinstance(await changes.fetch(5, tag), NotThere)

    @pytest.mark.parametrize("number", [0, -1, 10**12])
    async def test_what_is_no_number_is_refused(self, changes, number):
        with pytest.raises(Rejected):
            await changes.fetch(number, "f" * 40)

    async def test_what_git_itself_finds_wrong_is_not_taken(self, repository, specs, changes):
        blob = repository.blob("x")
        sha = repository.commit_tree(f"100644 blob {blob}\t.GIT\0".encode(), branch="evil")
        await specs.fetch()

        with pytest.raises(Rejected, match="git's own checks"):
            await changes.fetch(5, sha)

        assert refs(specs) == []

    async def test_a_host_that_is_away_is_not_a_head_that_is_not_there(self, host, specs, changes):
        await specs.fetch()
        host.cut_after = 10
        try:
            with pytest.raises(Unavailable):
                await changes.fetch(5, "e" * 40)
        finally:
            host.cut_after = None

    async def test_two_readers_and_a_run_share_one_mirror(self, repository, specs):
        shas = {
            number: request(repository, number, {f"services/n{number}.yaml": spec(f"n{number}")})
            for number in (1, 2, 3)
        }
        changes = Changes(specs)

        results = await asyncio.gather(
            specs.fetch(), *(changes.fetch(number, sha) for number, sha in shas.items()), specs.fetch()
        )

        assert all(isinstance(each, Revision) for each in results)


class TestTheMerge:
    async def test_a_request_on_top_of_its_base_is_its_own_tree(self, repository, specs, changes):
        sha = request(repository, 5, {"services/c.yaml": spec("c")})

        result = await merged(changes, specs, 5, sha)

        assert result == Merged(repository.git("rev-parse", f"{sha}^{{tree}}").strip())
        assert await files(specs, result.tree) == ["a", "b", "c"]

    async def test_what_both_sides_changed_is_joined(self, repository, specs, changes):
        sha = request(repository, 5, {"services/c.yaml": spec("c"), "services/a.yaml": None})
        repository.commit({"services/b.yaml": spec("b2")})

        result = await merged(changes, specs, 5, sha)

        assert isinstance(result, Merged)
        assert await files(specs, result.tree) == ["b2", "c"]

    async def test_the_tree_is_the_one_that_a_merge_has_in_the_end(self, repository, specs, changes, tmp_path):
        sha = request(repository, 5, {"services/deep/c.yaml": spec("c")})
        repository.commit({"services/b.yaml": spec("b2")})
        result = await merged(changes, specs, 5, sha)

        assert result == Merged(merged_by_hand(repository, "refs/pull/5/head", tmp_path / "work"))

    async def test_more_renames_than_are_worth_their_time_are_deletes(self, repository, specs, monkeypatch):
        lines = [f"# {number}\n" for number in range(40)]
        old = repository.commit({f"services/{name}": "".join([name, "\n", *lines]) for name in "xy"})
        sha = request(repository, 5, {"services/x": None, "services/y": None, "services/v": "".join(["x\n", *lines, "v\n"]),
                                      "services/w": "".join(["y\n", *lines, "w\n"])}, parent=old)  # fmt: skip
        repository.commit({f"services/{name}": "".join([name, "\n#\n", *lines]) for name in "xy"})
        changes = Changes(specs)

        joined = await merged(changes, specs, 5, sha)
        monkeypatch.setattr("gitsync.repository.change.RENAMES", 1)
        result = await merged(changes, specs, 5, sha)

        assert isinstance(joined, Merged) or not changes.merges, "path by path nothing is renamed"
        assert isinstance(result, Unmergeable)
        assert result.paths == ("services/x", "services/y")

    async def test_a_conflict_names_its_files(self, repository, specs, changes):
        sha = request(repository, 5, {"services/a.yaml": spec("mine"), "services/b.yaml": None})
        repository.commit({"services/a.yaml": spec("theirs"), "services/b.yaml": spec("b2")})

        result = await merged(changes, specs, 5, sha)

        assert result == Unmergeable("it conflicts with its base in 2 files", ("services/a.yaml", "services/b.yaml"))
        assert refs(specs) == ["refs/gitsync/changes/5/head"]

    async def test_a_file_where_the_other_side_has_a_folder_is_a_conflict(self, repository, specs, changes):
        sha = request(repository, 5, {"services/new": "a file"})
        repository.commit({"services/new/c.yaml": spec("c")})

        assert isinstance(await merged(changes, specs, 5, sha), Unmergeable)

    async def test_the_same_change_on_both_sides_is_none(self, repository, specs, changes):
        sha = request(repository, 5, {"services/a.yaml": spec("same")})
        repository.commit({"services/a.yaml": spec("same"), "README.md": "other"})

        result = await merged(changes, specs, 5, sha)

        assert isinstance(result, Merged)
        assert await files(specs, result.tree) == ["same", "b"]

    async def test_a_request_that_is_part_of_the_base_changes_nothing(self, repository, specs, changes):
        sha = request(repository, 5, {"services/a.yaml": spec("c")})
        main = repository.commit({"README.md": "new"}, parent=sha)

        assert await merged(changes, specs, 5, sha) == Merged(repository.git("rev-parse", f"{main}^{{tree}}").strip())

    async def test_a_history_of_its_own_is_not_merged(self, repository, specs, changes):
        sha = repository.commit({"services/z.yaml": spec("z")}, branch="orphan", parent="")

        result = await merged(changes, specs, 5, sha)

        assert result == Unmergeable("it has no history in common with its base")

    async def test_names_that_cannot_be_shown_are_written_out(self, repository, specs, changes):
        name = "services/\u202eevil\x1b.yaml".encode()
        repository.commit({name: "one"})
        sha = request(repository, 5, {name: "two"})
        repository.commit({name: "three"})

        result = await merged(changes, specs, 5, sha)

        assert isinstance(result, Unmergeable)
        assert result.paths == ("services/\\u202eevil\\x1b.yaml",)

    async def test_links_and_submodules_of_a_request_are_passed_over_as_anywhere(self, repository, specs, changes):
        sha = request(
            repository,
            5,
            {"services/link.yaml": Link("/etc/passwd"), "services/sub": Submodule(), "services/c.yaml": spec("c")},
        )
        result = await merged(changes, specs, 5, sha)
        assert isinstance(result, Merged)

        loaded = await specs.load_tree(Revision(sha, "", "", ""), result.tree)

        assert [file.path for file in loaded if file.unreadable] == ["link.yaml", "sub/"]
        assert [str(each.key) for file in loaded for each in file.specs] == ["a", "b", "c"]

    async def test_a_folder_that_became_a_link_is_refused(self, repository, specs):
        changes = Changes(specs)
        sha = request(repository, 5, {"services": Link("elsewhere")})
        result = await merged(changes, specs, 5, sha)
        assert isinstance(result, Merged)

        with pytest.raises(Rejected, match="services is a symbolic link"):
            await specs.load_tree(Revision(sha, "", "", ""), result.tree)

    async def test_a_folder_that_is_gone_holds_nothing(self, repository, specs, changes):
        sha = request(repository, 5, {"services": None, "other.txt": "x"})
        result = await merged(changes, specs, 5, sha)
        assert isinstance(result, Merged)

        assert await files(specs, result.tree) == []

    async def test_nothing_is_checked_out_and_nothing_is_left_over(self, repository, specs, changes):
        sha = request(repository, 5, {"services/c.yaml": spec("c")})
        repository.commit({"services/b.yaml": spec("b2")})
        await merged(changes, specs, 5, sha)

        names = {path.name for path in specs.mirror.directory.iterdir()}
        assert not names & {
            "index",
            "gitsync-merge",
            "gitsync-merge.lock",
            "services",
            "MERGE_HEAD",
            "FETCH_HEAD",
            "ORIG_HEAD",
        }

    async def test_a_merge_survives_maintenance_and_a_mirror_that_broke(self, repository, specs, changes):
        sha = request(repository, 5, {"services/c.yaml": spec("c")})
        repository.commit({"services/b.yaml": spec("b2")})
        result = await merged(changes, specs, 5, sha)
        await specs.mirror.maintain()
        assert isinstance(result, Merged)
        assert await files(specs, result.tree) == ["a", "b2", "c"]

        base = await specs.fetch()
        for pack in (specs.mirror.directory / "objects/pack").iterdir():
            pack.chmod(0o600)
            pack.write_bytes(b"broken")

        assert await changes.merge(5, base.sha, sha) == result


async def test_what_another_reader_loaded_last_stays_and_nothing_is_parsed_twice(repository, specs):
    base = await specs.fetch()
    first = await specs.load(base, "")
    sha = request(repository, 5, {"services/c.yaml": spec("c")})
    beside = specs.beside()
    changes = Changes(beside)
    await changes.fetch(5, sha)

    there = await beside.load_tree(base, sha)

    assert await specs.load(base, "") is first
    assert [file for file in there if file.path != "c.yaml"] == list(first)
    assert all(one is two for one, two in zip(first, there, strict=False))


class TestWhatLanded:
    async def test_the_commits_of_the_ref_since_the_applied_one(self, repository, specs):
        applied = repository.sha("main")
        head = request(repository, 5, {"services/c.yaml": spec("c")})
        squashed = repository.commit({"services/d.yaml": spec("d")})
        tree = repository.git("merge-tree", "--write-tree", squashed, head).strip()
        joined = repository.git("commit-tree", "-m", "m", "-p", squashed, "-p", head, tree).strip()
        repository.set_branch("main", joined)
        await specs.fetch()

        landed = await Changes(specs).landed(applied, joined)

        assert landed == (
            Landed(joined, tree, (squashed, head)),
            Landed(squashed, repository.git("rev-parse", f"{squashed}^{{tree}}").strip(), (applied,)),
        )

    async def test_of_an_applied_revision_it_is_itself(self, repository, specs):
        applied = repository.sha("main")
        await specs.fetch()

        assert [each.sha for each in await Changes(specs).landed(applied, applied)] == [applied]
