"""A run costs what changed: how many gits it starts, what stays the same object, and that what is read without git is what git reads."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
import subprocess
import time
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsync.model.desired import ParsedFile
from gitsync.model.revision import History, Refusal, TreeFile
from gitsync.repository import GitSource, Mirror, MirrorSpecs, TreeLimits, command, quick
from gitsync.repository.directory import blob_oid
from gitsync.repository.pack import DELTA_BYTES, OBJECT_BYTES, NotHere, Packs
from gitsync.repository.tree import sort_in, sort_out
from tests.servers.git import ENV, GitRepository, Link, Submodule

ROWS = "".join(f"line {number}: {number * 7919 % 10007}\n" for number in range(400))


def accepts(path: str) -> str | None:
    return None if path.endswith(".yaml") else "not *.yaml"


def parse(path: str, content: bytes) -> ParsedFile:
    return ParsedFile(path, unnamed=len(content))


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "origin.git")
    repository.commit({f"services/{number % 7}/{number}.yaml": f"{number}" for number in range(100)})
    return repository


@pytest.fixture
def specs(repository: GitRepository, tmp_path: Path) -> MirrorSpecs:
    return open_specs(repository, tmp_path)


def open_specs(repository: GitRepository, tmp_path: Path, *, limits: TreeLimits | None = None, **source) -> MirrorSpecs:
    given = GitSource(**{"url": repository.url, "path": "services", **source})
    return MirrorSpecs(Mirror(given, tmp_path / "mirror", accepts=accepts, limits=limits or TreeLimits()), parse)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The git commands that were started."""
    commands: list[str] = []
    run = command.run

    async def counted(words, **given):
        commands.append(words[2])
        return await run(words, **given)

    monkeypatch.setattr(command, "run", counted)
    return commands


async def run_of(specs: MirrorSpecs, applied: str) -> tuple[ParsedFile, ...]:
    """What a run asks of the repository."""
    revision = await specs.fetch()
    assert await specs.history(applied, revision.sha) in (History.SAME, History.FORWARD)
    files = await specs.load(revision, applied)
    await specs.keep(revision.sha)
    return files


class TestHowManyGits:
    async def test_nothing_changed_costs_one_fetch_and_gives_the_same_files(self, repository, specs, started):
        before = await run_of(specs, "")
        started.clear()
        after = await run_of(specs, repository.sha("main"))

        assert started == ["fetch"]
        assert after is before

    @pytest.mark.parametrize("packed", [False, True])
    async def test_one_changed_file_costs_one_fetch(self, repository, specs, started, packed):
        before = await run_of(specs, "")
        if packed:
            await specs.mirror.maintain()
        applied = repository.sha("main")
        sha = repository.commit({"services/3/10.yaml": "changed"})
        started.clear()
        after = await run_of(specs, applied)

        assert started == ["fetch"]
        assert [new for new, old in zip(after, before, strict=True) if new is not old] == [
            ParsedFile("3/10.yaml", unnamed=7)
        ]
        assert git(specs.mirror.directory, "rev-parse", "refs/gitsync/applied").strip() == sha

    async def test_several_small_commits_cost_one_fetch(self, repository, specs, started):
        await run_of(specs, "")
        applied = repository.sha("main")
        for number in range(5):
            repository.commit({f"services/new/{number}.yaml": "new", f"services/1/{7 * number + 1}.yaml": None})
        started.clear()
        after = await run_of(specs, applied)

        assert started == ["fetch"]
        assert after == await alone(specs, repository.sha("main"))

    async def test_a_commit_that_touches_no_spec_gives_the_same_files(self, repository, specs, started):
        before = await run_of(specs, "")
        applied = repository.sha("main")
        repository.commit({"README.md": "more"})
        started.clear()

        assert await run_of(specs, applied) is before
        assert started == ["fetch"]

    async def test_an_annotated_tag_that_did_not_move_costs_one_fetch(self, repository, tmp_path, started):
        repository.tag("stable")
        specs = open_specs(repository, tmp_path, ref="refs/tags/stable")
        before = await run_of(specs, "")
        started.clear()

        assert await run_of(specs, repository.sha("main")) is before
        assert started == ["fetch"]

    async def test_many_changed_files_are_left_to_git(self, repository, specs, started):
        before = await run_of(specs, "")
        applied = repository.sha("main")
        repository.commit({f"services/{n % 7}/{n}.yaml": f"changed {n}" for n in range(quick.FEW + 1)})
        started.clear()
        after = await run_of(specs, applied)

        assert started == ["fetch", "diff-tree", "cat-file", "cat-file"]
        assert sum(new is old for new, old in zip(after, before, strict=True)) == 99 - quick.FEW
        assert after == await alone(specs, repository.sha("main"))

    async def test_a_huge_file_is_refused_by_its_size_and_nobody_reads_it(
        self, repository, tmp_path, started, monkeypatch
    ):
        specs = open_specs(repository, tmp_path, limits=TreeLimits(file_bytes=1000))
        await run_of(specs, "")
        applied = repository.sha("main")
        repository.commit({"services/3/10.yaml": os.urandom(OBJECT_BYTES + 1)})
        started.clear()
        monkeypatch.setattr("gitsync.repository.pack.BYTES", 100_000)
        after = await run_of(specs, applied)

        assert started == ["fetch"]
        assert [(file.path, file.unreadable) for file in after if file.unreadable] == [("3/10.yaml", True)]


class TestWhatIsRememberedHidesNoDamage:
    @pytest.mark.parametrize("what", ["", ":services", ":services/3", ":services/3/10.yaml", ":services/2/2.yaml"])
    async def test_an_object_that_is_lost_between_two_runs_is_had_again(self, repository, specs, what):
        before = await run_of(specs, "")
        applied = repository.sha("main")
        lose(specs.mirror.directory, f"{applied}{what}")
        assert await run_of(specs, applied) == before
        repository.commit({"services/3/10.yaml": "changed", "services/2/2.yaml": None})
        after = await run_of(specs, applied)
        repository.commit({"services/3/10.yaml": "10", "services/2/2.yaml": "2"})

        assert len(after) == 99
        assert await run_of(specs, applied) == before

    @pytest.mark.parametrize("damage", [b"", b"nothing\n", b"1" * 40 + b"\n", b"ref: refs/heads/main\n"])
    async def test_a_ref_that_names_nothing_is_made_again(self, repository, specs, damage):
        await run_of(specs, "")
        sha = repository.commit({"services/3/10.yaml": "changed"})
        for name in ("branch/main", "applied"):
            (specs.mirror.directory / "refs" / "gitsync" / name).write_bytes(damage)

        assert len(await run_of(specs, "")) == 100
        assert git(specs.mirror.directory, "rev-parse", "refs/gitsync/applied").strip() == sha


class TestWhatStaysTheSame:
    async def test_refused_files_are_the_same_objects_too(self, repository, specs):
        repository.commit({"services/link.yaml": Link("x"), "services/module": Submodule(), "services/README": "r"})
        before = await run_of(specs, "")
        applied = repository.sha("main")
        repository.commit({"services/2/2.yaml": None, "services/2/1000.yaml": "new", "services/README": "other"})
        after = await run_of(specs, applied)

        kept = {id(file) for file in before}
        assert [file.path for file in after if id(file) not in kept] == ["2/1000.yaml"]
        assert [file.path for file in after if file.unreadable] == ["link.yaml", "module/"]

    async def test_files_that_come_and_go_are_what_a_fresh_mirror_reads(self, repository, specs):
        await specs.fetch()
        chance = random.Random(7)
        commits = []
        for number in range(25):
            paths = [f"services/{chance.choice(['', 'a/', 'a/b/', '.h/', 'c.yaml/'])}{chance.randrange(6)}.yaml"]
            paths += ["services/a", "services/c.yaml", "services/x.md"][: chance.randrange(4)]
            contents = ["1", "22", f"{number}", ROWS + f"{number}", Link("x"), Submodule(), None, None]
            commits.append(repository.commit({path: chance.choice(contents) for path in paths}))
        await specs.fetch()
        for sha in chance.sample([*commits, *commits], 50):
            revision = await specs.resolve(sha)
            assert await specs.load(revision, "x") == await alone(specs, sha)

    @given(
        st.dictionaries(st.integers(0, 30), st.integers(0, 5)),
        st.dictionaries(st.integers(0, 30), st.one_of(st.none(), st.integers(0, 5))),
    )
    def test_sorting_in_what_moved_is_sorting_out_all(self, start, moved):
        def judged(number: int, value: int):
            path = f"{number}.yaml"
            return TreeFile(path, path, str(value), value) if value else Refusal(f"{number // 3}/", "no")

        before = {number: judged(number, value) for number, value in start.items()}
        after = {**before, **{number: judged(number, value) for number, value in moved.items() if value is not None}}
        after = {number: each for number, each in after.items() if moved.get(number, 0) is not None}
        moves = [(before.get(number), after.get(number)) for number in moved]
        last = sort_out(before.values())
        found = sort_in(last, moves, after.values())

        assert found == sort_out(after.values())
        if before == after:
            assert found.files is last.files
            assert found.passed is last.passed


names = st.text("019\x01 .", min_size=1, max_size=3).map(str.encode)
values = st.sampled_from([b"\0" * 20, b"1" * 20, b"100644 1\0" + b"1" * 11, b"0" * 19 + b"\0", b" 1\0" + b"1" * 17])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with deltas on top of deltas, in two packs. Nobody changes it."""
    repository = GitRepository(tmp_path_factory.mktemp("quick") / "origin.git")
    stream = []
    for number in range(33):
        text = f"{ROWS}{number}\n{ROWS}" if number < 30 else f"more {number}\n{ROWS}"
        files = {"services/0/0.yaml": text, f"services/{number}.yaml": f"{number}", "services/folder/a": "a"}
        stream.append(f"commit refs/heads/main\ncommitter A <a@b> {number} +0000\ndata 0\n")
        stream += [f"M 100644 inline {path}\ndata {len(each)}\n{each}\n" for path, each in files.items()]
    repository.git("fast-import", "--quiet", stdin="".join(stream[: 30 * 4]).encode())
    repository.tag("v1")
    repository.git("repack", "-adfq", "--depth=20")
    more = stream[30 * 4].replace("data 0\n", f"data 0\nfrom {repository.sha('main')}\n")
    repository.git("fast-import", "--quiet", stdin="".join([more, *stream[30 * 4 + 1 :]]).encode())
    repository.git("repack", "-dq")
    assert len(list((repository.folder / "objects" / "pack").glob("*.pack"))) == 2
    return repository.folder


class TestWithoutGit:
    def test_every_object_is_what_git_prints(self, bare):
        oids = git(bare, "rev-list", "--objects", "--all").split("\n")
        for oid in {line.split()[0] for line in oids if line}:
            with Packs(bare) as packs:
                read = packs.read(oid)
                assert (read.kind, len(read.content)) == packs.size(oid)
            assert read.kind == git(bare, "cat-file", "-t", oid).strip()
            assert read.content == raw(bare, "cat-file", read.kind, oid)

    def test_what_differs_is_what_git_says(self, bare):
        commits = git(bare, "rev-list", "main").split()
        for old, new in [
            *pairwise(commits),
            (commits[-1], commits[0]),
            (commits[0], commits[-1]),
        ]:
            here = quick.difference(bare, tree_of(bare, old), tree_of(bare, new))
            said = git(bare, "diff-tree", "-r", "--raw", "--no-abbrev", "--no-renames", old, new).splitlines()

            assert here is not None
            assert {(each.path.decode(), each.oid or "0" * 40) for each in here} == {
                (line.split("\t")[1], line.split()[3]) for line in said
            }
            for each in here:
                assert each.size == (int(git(bare, "cat-file", "-s", each.oid)) if each.oid else 0)

    @given(st.dictionaries(names, values), st.dictionaries(names, st.none() | values), st.integers(0, 40))
    def test_lines_that_differ_are_found_without_reading_the_others(self, start, moved, more):
        start = {**{b"%d" % (100 + number): b"\0" * 20 for number in range(more)}, **start}
        changed = {**start, **moved}
        old, new = (
            b"".join(b"100644 %b\0%b" % (name, each[name]) for name in sorted(each) if each[name] is not None)
            for each in (start, changed)
        )
        before, after = quick.apart(old, new)

        assert before - after == set(quick.lines(old)) - set(quick.lines(new))
        assert after - before == set(quick.lines(new)) - set(quick.lines(old))

    @pytest.mark.parametrize("tree", [b"x", b"100644 a\0", b"100644 a\0" + b"1" * 20 + b"9", b"100644 \0" + b"1" * 20])
    def test_what_is_no_tree_is_not_read_as_one(self, tree):
        with pytest.raises(NotHere):
            quick.lines(tree)
        with pytest.raises(NotHere):
            quick.apart(b"", tree)

    def test_near_ancestors_are_found_and_far_ones_left_to_git(self, bare):
        commits = git(bare, "rev-list", "main").split()

        assert quick.leads_to(bare, commits[20], commits[0])
        assert not quick.leads_to(bare, commits[0], commits[20])
        assert not quick.leads_to(bare, "1" * 40, commits[0])

    def test_what_is_not_in_a_pack_is_not_here(self, bare, repository):
        loose = repository.blob("loose")

        for folder in (bare, repository.folder):
            for oid in (loose, "00" * 20, "ff" * 20):
                with Packs(folder) as packs, pytest.raises(NotHere):
                    packs.read(oid)
        with Packs(bare / "nothing") as packs, pytest.raises(NotHere):
            packs.size(loose)

    def test_a_tag_and_a_tree_are_no_commit_and_a_file_no_folder(self, bare):
        tree, tag = tree_of(bare, "main"), git(bare, "rev-parse", "v1").strip()

        assert quick.commit_of(bare, tree, "") is None
        assert quick.commit_of(bare, tag, "") is None
        assert quick.commit_of(bare, git(bare, "rev-parse", "main").strip(), "services/0/0.yaml") is None
        assert quick.contents(bare, [tree]) is None

    @pytest.mark.parametrize("suffix", ["pack", "idx"])
    def test_a_damaged_pack_never_gives_anything_but_the_truth(self, bare, tmp_path, suffix):
        chance = random.Random(suffix)
        commits = git(bare, "rev-list", "main").split()
        oids = [git(bare, "rev-parse", f"{commit}:services/0/0.yaml").strip() for commit in commits[::4]]
        truth = {oid: raw(bare, "cat-file", "blob", oid) for oid in oids}
        refused = 0
        for number in range(60):
            broken = tmp_path / f"broken-{number}"
            shutil.copytree(bare / "objects" / "pack", broken / "objects" / "pack")
            for path in broken.rglob(f"*.{suffix}"):
                path.chmod(0o600)
                content = bytearray(path.read_bytes())
                for _ in range(chance.choice([1, 10, 300])):
                    content[chance.randrange(len(content))] = chance.randrange(256)
                path.write_bytes(content if number % 5 else content[: chance.randrange(len(content))])
            for oid in oids:
                try:
                    with Packs(broken) as packs:
                        assert packs.read(oid).content == truth[oid]
                except NotHere:
                    refused += 1
            shutil.rmtree(broken)
        assert refused

    def test_an_object_that_is_another_than_its_name_says_is_not_here(self, bare, tmp_path):
        swapped = tmp_path / "swapped"
        shutil.copytree(bare / "objects" / "pack", swapped / "objects" / "pack")
        path = min(swapped.rglob("*.idx"))
        path.chmod(0o600)
        index = bytearray(path.read_bytes())
        names, count = 8 + 256 * 4, int.from_bytes(index[8 + 255 * 4 : 8 + 256 * 4], "big")
        places = names + count * 24
        index[places : places + 8] = index[places + 4 : places + 8] + index[places : places + 4]
        path.write_bytes(index)

        for at in (0, 1):
            oid = bytes(index[names + at * 20 : names + at * 20 + 20]).hex()
            with Packs(swapped) as packs, pytest.raises(NotHere):
                packs.read(oid)

    def test_more_than_a_little_is_left_to_git(self, repository, monkeypatch):
        lines = ROWS.splitlines(keepends=True) * 40
        big = os.urandom(1000) * (OBJECT_BYTES // 1000 + 1)
        repository.commit({"big": big, "a": "".join(lines)})
        random.Random(1).shuffle(lines)
        repository.commit({"a": "".join(lines)})
        repository.git("repack", "-adfq")
        bare, oid = repository.folder, repository.blob(big)

        with Packs(bare) as packs, pytest.raises(NotHere):
            packs.read(oid)
        with Packs(bare) as packs:
            assert packs.size(oid) == ("blob", len(big))
        for name, value in {"BYTES": 10, "OBJECTS": 0, "OBJECT_BYTES": 10, "PACKS": 0, "NAMES": 0}.items():
            with monkeypatch.context() as patched:
                patched.setattr(f"gitsync.repository.pack.{name}", value)
                with Packs(bare) as packs, pytest.raises(NotHere):
                    packs.read(repository.sha("main"))
        monkeypatch.setattr("gitsync.repository.pack.DELTA_BYTES", 10)
        versions = [git(bare, "rev-parse", f"{name}:a").strip() for name in ("main", "main^")]
        assert sum(quick.contents(bare, [oid]) is None for oid in versions) == 1

    @pytest.mark.parametrize(("count", "readable"), [(7, True), (40, False)])
    def test_a_pack_that_was_made_to_cost_time_costs_little(self, tmp_path, count, readable):
        bare = GitRepository(tmp_path / "bomb.git").folder
        oids = pack_of_steps(bare, count)

        began = time.process_time()
        with Packs(bare) as packs:
            if readable:
                assert packs.read(oids[-1]).kind == "blob"
            else:
                with pytest.raises(NotHere):
                    packs.read(oids[-1])
        assert time.process_time() - began < 2


class TestTheAppliedRef:
    async def test_it_is_written_as_git_writes_it(self, repository, specs):
        directory = specs.mirror.directory
        await specs.fetch()
        for number in range(3):
            sha = repository.commit({"services/a.yaml": str(number)})
            await specs.fetch()
            await specs.keep(sha)
            if number == 1:
                await specs.mirror.maintain()

            assert git(directory, "rev-parse", "refs/gitsync/applied").strip() == sha
        assert (directory / "refs/gitsync/applied").stat().st_mode & 0o777 == 0o600
        assert not list(directory.rglob("*.lock"))

    async def test_what_is_no_commit_of_the_mirror_is_left_to_git(self, repository, specs):
        await specs.fetch()
        directory, tree = specs.mirror.directory, tree_of(repository.folder, "main")

        assert not quick.write_ref(directory, "refs/gitsync/applied", "1" * 40)
        assert not quick.write_ref(directory, "refs/gitsync/applied", tree)
        assert not (directory / "refs/gitsync/applied").exists()

    async def test_a_ref_that_is_locked_or_has_no_folder_is_left_to_git(self, repository, specs):
        await specs.fetch()
        directory, sha = specs.mirror.directory, repository.sha("main")
        (directory / "refs/gitsync/applied.lock").touch()

        assert not quick.write_ref(directory, "refs/gitsync/applied", sha)
        assert (directory / "refs/gitsync/applied.lock").exists()
        assert not quick.write_ref(directory, "refs/absent/applied", sha)
        await specs.keep(sha)
        assert git(directory, "rev-parse", "refs/gitsync/applied").strip() == sha


async def alone(specs: MirrorSpecs, sha: str) -> tuple[ParsedFile, ...]:
    """What git alone reads at *sha*, for a mirror that remembers nothing."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("commit_of", "difference", "contents"):
            patched.setattr(quick, name, lambda *_: None)
        fresh = MirrorSpecs(Mirror(specs.mirror.source, specs.mirror.directory, accepts=accepts), parse)
        return await fresh.load(await fresh.resolve(sha), "x")


def raw(folder: Path, *words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", f"--git-dir={folder}", *words], env=ENV, input=stdin, capture_output=True, check=True
    ).stdout


def git(folder: Path, *words: str) -> str:
    return raw(folder, *words).decode()


def tree_of(folder: Path, name: str) -> str:
    return git(folder, "rev-parse", f"{name}^{{tree}}").strip()


def pack_of_steps(folder: Path, count: int) -> list[str]:
    """A pack of a blob and *count* deltas on top of each other, each of as many steps as a delta of its size can have."""
    content = bytearray(random.Random(0).randbytes(DELTA_BYTES // 2 - 100))
    size = bytes((len(content) & 0x7F | 0x80, len(content) >> 7 & 0x7F | 0x80, len(content) >> 14))
    oids = [blob_oid(bytes(content))]
    pack = bytearray(b"PACK" + struct.pack(">II", 2, count + 1))
    last = len(pack)
    pack += header(3, len(content)) + zlib.compress(content)
    for number in range(count):
        content[0] = (content[0] + 1) % 256
        oids.append(blob_oid(bytes(content)))
        delta = size + size + b"".join(b"\1%c" % byte for byte in content)
        back = len(pack) - last
        last = len(pack)
        assert back < 2**21, number
        high = [((back >> 7) - 1), back & 0x7F]
        offset = [((high[0] >> 7) - 1) & 0x7F | 0x80] if high[0] >= 128 else []
        pack += header(6, len(delta)) + bytes([*offset, high[0] & 0x7F | 0x80, high[1]]) + zlib.compress(delta)
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    raw(folder, "index-pack", "--stdin", stdin=bytes(pack))
    return oids


def lose(folder: Path, name: str) -> None:
    """Take one object out of the repository's packs."""
    oid = git(folder, "rev-parse", name).strip()
    oids = [line.split()[0] for line in git(folder, "rev-list", "--objects", "--all").splitlines()]
    packs = list((folder / "objects" / "pack").iterdir())
    raw(
        folder,
        "pack-objects",
        f"{folder}/objects/pack/pack",
        stdin="".join(f"{each}\n" for each in oids if each != oid).encode(),
    )
    for path in packs:
        path.unlink()


def header(kind: int, size: int) -> bytes:
    """The head of a pack's entry."""
    out = [kind << 4 | size & 15]
    size >>= 4
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7F)
        size >>= 7
    return bytes(out)
