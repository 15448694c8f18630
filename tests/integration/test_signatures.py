"""Whose commits count: real gpg and ssh-keygen sign, break, expire and revoke, and the mirror says which commits are trusted."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitsync.model.errors import GitsyncError, Invalid, Unavailable, Untrusted
from gitsync.repository import GitSource, Mirror, Mode, SignaturePolicy, Signatures
from gitsync.repository.keyring import in_force
from tests.servers.git import ENV

SPEC = "name: pay\n"
PAST, LONG_AGO = "20200101", 1_500_000_000  # 2017


def ran(command: list[str], stdin: bytes = b"", **env: str) -> str:
    done = subprocess.run(command, env={**ENV, **env}, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout.decode().strip()


class Signers:
    """People with keys. A GNUPGHOME has a short path: the socket of gpg's agent lies in it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        home.chmod(0o700)
        self.ada, self.bob = self.gpg_key("ada"), self.gpg_key("bob")
        self.expired = self.gpg_key("eve", "seconds=1", faked="20200101T000000")
        self.revoked = self.gpg_key("rob")
        self.exported = self.export(self.ada, self.expired)
        self.ssh = {name: self.ssh_key(name) for name in ("ada", "bob", "rob")}

    def gpg(self, *arguments: str, stdin: bytes = b"") -> str:
        return ran(["gpg", "--batch", "--no-tty", "--yes", *arguments], stdin, GNUPGHOME=str(self.home))

    def gpg_key(self, name: str, expires: str = "never", *, faked: str = "") -> str:
        time = ["--faked-system-time", faked] if faked else []
        unlocked = ["--pinentry-mode", "loopback", "--passphrase", ""]
        self.gpg(*time, *unlocked, "--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", "sign", expires)
        listed = self.gpg("--with-colons", "--list-keys", f"{name}@example.org")
        return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))

    def revoke(self, fingerprint: str) -> None:
        certificate = (
            (self.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
        )
        self.gpg("--import", stdin=certificate.encode())

    def export(self, *fingerprints: str) -> Path:
        file = self.folder / f"{'-'.join(each[:6] for each in fingerprints)}.asc"
        file.write_text(self.gpg("--armor", "--export", *fingerprints) + "\n")
        return file

    def ssh_key(self, name: str) -> Path:
        file = self.folder / f"ssh-{name}"
        ran(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)])
        return file

    def allowed(self, *names: str, options: str = 'namespaces="git"') -> Path:
        keys = [" ".join((self.folder / f"ssh-{name}.pub").read_text().split()[:2]) for name in names]
        file = self.folder / "allowed_signers"
        file.write_text("".join(f"{name}@example.org {options} {key}\n" for name, key in zip(names, keys, strict=True)))
        return file


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signers]:
    home = Path(tempfile.mkdtemp(prefix="gs-"))
    try:
        yield Signers(tmp_path_factory.mktemp("keys"), home)
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env={**ENV, "GNUPGHOME": str(home)}, check=False)
        shutil.rmtree(home)


class Repository:
    """A work tree in which people commit with their keys."""

    def __init__(self, folder: Path, signers: Signers) -> None:
        self.folder, self.signers, self.count = folder, signers, 0
        folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, stdin: bytes = b"", **env: str) -> str:
        config = ["-c", "gpg.ssh.program=ssh-keygen"]
        return ran(["git", "-C", str(self.folder), *config, *arguments], stdin, GNUPGHOME=str(self.signers.home), **env)

    def commit(self, *options: str, date: int = 1_714_564_800, config: tuple[str, ...] = ()) -> str:
        self.count += 1
        (self.folder / "pay.yaml").write_text(f"{SPEC}# {self.count}\n")
        self.git("add", "-A")
        settings = [part for each in config for part in ("-c", each)]
        stamp = f"{date + self.count} +0000"
        self.git(
            *settings,
            "commit",
            "-q",
            "-m",
            f"change {self.count}",
            *options,
            GIT_COMMITTER_DATE=stamp,
            GIT_AUTHOR_DATE=stamp,
        )
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def unsigned(self) -> str:
        return self.commit("--no-gpg-sign")

    def gpg(self, fingerprint: str, *, gpg: str = "gpg", date: int = 1_714_564_800) -> str:
        return self.commit(f"-S{fingerprint}", config=(f"gpg.program={gpg}",), date=date)

    def ssh(self, name: str, *, date: int = 1_714_564_800) -> str:
        return self.commit(f"-S{self.signers.folder / f'ssh-{name}'}", config=("gpg.format=ssh",), date=date)

    def raw(self, content: bytes) -> str:
        """Let main be a commit that no client makes."""
        sha = self.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=content)
        self.git("update-ref", "refs/heads/main", sha)
        return sha

    def object(self, sha: str) -> bytes:
        return self.git("cat-file", "commit", sha).encode() + b"\n"


@pytest.fixture
def repository(tmp_path: Path, signers: Signers) -> Repository:
    return Repository(tmp_path / "specs", signers)


class Watch:
    """A sync that asks for signatures."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.folder = folder
        self.mirror = Mirror(GitSource(f"file://{repository.folder}"), folder / "mirror.git", accepts=lambda _: None)
        self.policies: dict[SignaturePolicy, Signatures] = {}

    async def check(self, policy: SignaturePolicy, applied: str = "") -> None:
        signatures = self.policies.setdefault(policy, Signatures(policy, self.folder / "signers"))
        await signatures.check(self.mirror, await self.mirror.fetch(), applied)

    async def refusal(self, policy: SignaturePolicy, applied: str = "") -> str:
        revision = await self.mirror.fetch()
        with pytest.raises(Untrusted) as refused:
            await self.check(policy, applied)
        assert refused.value.revision == revision.sha
        assert revision.sha[:12] in str(refused.value)
        return str(refused.value)


@pytest.fixture
def watch(repository: Repository, tmp_path: Path) -> Watch:
    return Watch(repository, tmp_path / "state")


@pytest.fixture
def gpg(signers: Signers) -> SignaturePolicy:
    return SignaturePolicy(Mode.HEAD, gpg_keys_file=signers.exported)


@pytest.fixture
def ssh(signers: Signers) -> SignaturePolicy:
    return SignaturePolicy(Mode.HEAD, allowed_signers_file=signers.allowed("ada"))


# -- GPG ------------------------------------------------------------------------------------------------------------------


async def test_a_commit_signed_by_a_listed_gpg_key_is_trusted(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy
):
    repository.gpg(signers.ada)
    await watch.check(gpg)
    await watch.check(SignaturePolicy(Mode.HEAD, signers.export(signers.ada, signers.bob), (signers.ada,)))


async def test_a_commit_without_a_signature_is_refused(repository: Repository, watch: Watch, gpg: SignaturePolicy):
    repository.unsigned()
    assert "it is not signed" in await watch.refusal(gpg)


async def test_a_gpg_key_that_nobody_listed_is_named(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy
):
    repository.gpg(signers.bob)
    assert f"the key {signers.bob[-16:]} that signed it is not in signatures.gpg_keys_file" in await watch.refusal(gpg)


async def test_a_key_in_the_file_whose_fingerprint_is_not_listed_does_not_count(
    repository: Repository, watch: Watch, signers: Signers
):
    repository.gpg(signers.bob)
    both = SignaturePolicy(Mode.HEAD, signers.export(signers.ada, signers.bob), (signers.ada,))
    assert f"the key {signers.bob} that signed it is not in signatures.gpg_fingerprints" in await watch.refusal(both)


async def test_a_key_that_has_expired_does_not_count_although_its_signature_was_made_before(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy, tmp_path: Path
):
    wrapper = tmp_path / "gpg-of-2020"
    wrapper.write_text('#!/bin/sh\nexec gpg --faked-system-time 20200101T000000 "$@"\n')
    wrapper.chmod(0o755)
    repository.gpg(signers.expired, gpg=str(wrapper))
    assert "the key that signed it has expired" in await watch.refusal(gpg)


async def test_a_revoked_gpg_key_does_not_count(repository: Repository, watch: Watch, signers: Signers):
    key = signers.gpg_key("rea")
    repository.gpg(key)
    policy = SignaturePolicy(Mode.HEAD, signers.export(key))
    await watch.check(policy)

    signers.revoke(key)
    signers.export(key)
    assert "the key that signed it was revoked" in await watch.refusal(policy)


@pytest.mark.parametrize("kind", ["gpg", "ssh"])
async def test_a_commit_that_was_changed_after_it_was_signed_is_refused(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy, ssh: SignaturePolicy, kind: str
):
    signed = repository.gpg(signers.ada) if kind == "gpg" else repository.ssh("ada")
    repository.raw(repository.object(signed).replace(b"change 1", b"change 2"))
    assert "its signature does not fit it" in await watch.refusal(gpg if kind == "gpg" else ssh)


async def test_the_signature_of_another_commit_does_not_count(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy
):
    signed = repository.object(repository.gpg(signers.ada))
    other = repository.object(repository.unsigned())
    begin = signed.index(b"gpgsig ")
    signature = signed[begin : signed.index(b"\n\n") + 1]
    repository.raw(other.replace(b"\n\n", b"\n" + signature + b"\n", 1))
    assert "its signature does not fit it" in await watch.refusal(gpg)


async def test_two_signatures_are_one_too_many(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy
):
    signed = repository.object(repository.gpg(signers.ada))
    begin = signed.index(b"gpgsig ")
    signature = signed[begin : signed.index(b"\n\n") + 1]
    repository.raw(signed.replace(b"\n\n", b"\n" + signature + b"\n", 1))
    assert "it has 2 signatures" in await watch.refusal(gpg)


async def test_two_signatures_in_one_are_one_too_many(
    repository: Repository, watch: Watch, signers: Signers, tmp_path: Path
):
    wrapper = tmp_path / "gpg-of-two"
    wrapper.write_text(f'#!/bin/sh\nexec gpg -u {signers.bob} "$@"\n')
    wrapper.chmod(0o755)
    repository.gpg(signers.ada, gpg=str(wrapper))
    both = SignaturePolicy(Mode.HEAD, signers.export(signers.ada, signers.bob))
    assert "not trusted: it has 2 signatures" in await watch.refusal(both)


async def test_what_is_neither_gpg_nor_ssh_is_refused(repository: Repository, watch: Watch, gpg: SignaturePolicy):
    plain = repository.object(repository.unsigned())
    signature = b"gpgsig -----BEGIN SIGNED MESSAGE-----\n MIIB\n -----END SIGNED MESSAGE-----\n"
    repository.raw(plain.replace(b"\n\n", b"\n" + signature + b"\n", 1))
    assert "neither of GPG nor of SSH" in await watch.refusal(gpg)


async def test_the_keyring_of_the_user_is_not_looked_at(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GNUPGHOME", str(signers.home))
    repository.gpg(signers.bob)
    assert "is not in signatures.gpg_keys_file" in await watch.refusal(gpg)


# -- SSH ------------------------------------------------------------------------------------------------------------------


async def test_a_commit_signed_by_an_allowed_ssh_key_is_trusted(
    repository: Repository, watch: Watch, ssh: SignaturePolicy
):
    repository.ssh("ada")
    await watch.check(ssh)


async def test_an_ssh_key_that_nobody_allowed_does_not_count_although_git_calls_it_good(
    repository: Repository, watch: Watch, ssh: SignaturePolicy
):
    repository.ssh("bob")
    assert "is not in signatures.allowed_signers_file" in await watch.refusal(ssh)


async def test_a_key_that_may_sign_for_another_purpose_may_not_sign_commits(
    repository: Repository, watch: Watch, signers: Signers
):
    repository.ssh("ada")
    policy = SignaturePolicy(Mode.HEAD, allowed_signers_file=signers.allowed("ada", options='namespaces="file"'))
    assert "may not sign for the namespace git" in await watch.refusal(policy)


async def test_a_signature_that_was_made_for_another_purpose_does_not_count(
    repository: Repository, watch: Watch, signers: Signers, ssh: SignaturePolicy
):
    plain = repository.object(repository.unsigned())
    made = ran(["ssh-keygen", "-Y", "sign", "-n", "file", "-f", str(signers.ssh["ada"])], plain)
    header = b"gpgsig " + b"\n ".join(made.encode().splitlines()) + b"\n"
    repository.raw(plain.replace(b"\n\n", b"\n" + header + b"\n", 1))
    assert "its signature was not made for git" in await watch.refusal(ssh)


@pytest.mark.parametrize("kind", ["public key", "revocation list"])
async def test_a_revoked_ssh_key_does_not_count(
    repository: Repository, watch: Watch, signers: Signers, tmp_path: Path, kind: str
):
    repository.ssh("rob")
    public, revoked = signers.ssh["rob"].with_name("ssh-rob.pub"), tmp_path / "revoked"
    if kind == "public key":
        shutil.copy(public, revoked)
    else:
        ran(["ssh-keygen", "-q", "-k", "-f", str(revoked), str(public)])
    allowed = signers.allowed("ada", "rob")
    await watch.check(SignaturePolicy(Mode.HEAD, allowed_signers_file=allowed))
    policy = SignaturePolicy(Mode.HEAD, allowed_signers_file=allowed, revoked_signers_file=revoked)
    assert "or its key is in signatures.revoked_signers_file" in await watch.refusal(policy)

    repository.ssh("ada")
    await watch.check(policy)


async def test_a_back_dated_commit_of_a_key_whose_time_is_over_is_refused(
    repository: Repository, watch: Watch, signers: Signers
):
    policy = SignaturePolicy(
        Mode.HEAD, allowed_signers_file=signers.allowed("ada", options=f'namespaces="git",valid-before="{PAST}"')
    )
    sha = repository.ssh("ada", date=LONG_AGO)
    asked = ["git", "-C", str(repository.folder), "-c", f"gpg.ssh.allowedSignersFile={policy.allowed_signers_file}"]
    ran([*asked, "verify-commit", sha])  # git itself is content with it

    assert "is not trusted" in await watch.refusal(policy)


def test_lines_that_are_out_of_their_time_are_left_out():
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    lines = [
        b'a@x valid-before="20260501120000Z" ssh-ed25519 AAAA\n',
        b'b@x valid-before="20260501120001Z" ssh-ed25519 AAAA\n',
        b'c@x namespaces="git",valid-after=20270101 ssh-ed25519 AAAA\n',
        b"d@x ssh-ed25519 AAAA valid-before=20200101\n",
        b"e@x Valid-Before=20200101 ecdsa-sha2-nistp256 AAAA\n",
        b"f@x valid-before=20269901 ssh-ed25519 AAAA\n",
        b"# valid-before=20200101\n",
    ]
    kept, left_out = in_force(b"".join(lines), now)

    assert kept == lines[1] + lines[3] + lines[6]
    assert left_out == 4


@pytest.mark.parametrize(
    "line",
    [
        b"ssh-bot@x valid-before=20200101 ssh-ed25519 AAAA\n",
        b"  sk-anna@x valid-before=20200101 ssh-ed25519 AAAA\n",
        b"ecdsa-bot@x valid-before=20260501120000UTC ssh-ed25519 AAAA\n",
    ],
)
def test_a_signer_whose_name_begins_like_a_key_goes_out_of_time_like_others(line: bytes):
    assert in_force(line, datetime(2026, 5, 1, 12, tzinfo=UTC)) == (b"", 1)


async def test_each_kind_of_key_counts_for_itself_only(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy, ssh: SignaturePolicy
):
    repository.ssh("ada")
    assert "signed with SSH, and signatures.allowed_signers_file names no key" in await watch.refusal(gpg)
    repository.gpg(signers.ada)
    assert "signed with GPG, and signatures.gpg_keys_file names no key" in await watch.refusal(ssh)
    await watch.check(SignaturePolicy(Mode.HEAD, signers.exported, (), ssh.allowed_signers_file))


# -- which commits --------------------------------------------------------------------------------------------------------


async def test_the_head_alone_counts_where_no_more_is_asked(
    repository: Repository, watch: Watch, signers: Signers, ssh: SignaturePolicy
):
    applied = repository.ssh("ada")
    repository.unsigned()
    repository.ssh("ada")
    await watch.check(ssh, applied)


async def test_every_commit_since_the_applied_one_counts_in_a_range(
    repository: Repository, watch: Watch, ssh: SignaturePolicy
):
    every = SignaturePolicy(Mode.RANGE, allowed_signers_file=ssh.allowed_signers_file)
    repository.unsigned()
    applied = repository.ssh("ada")
    repository.ssh("ada")
    repository.ssh("ada")
    await watch.check(every, applied)
    await watch.check(every)

    between = repository.unsigned()
    head = repository.ssh("ada")
    said = await watch.refusal(every, applied)
    assert f"commit {between[:12]}, on the way to {head[:12]}, is not trusted: it is not signed" in said


async def test_a_branch_that_was_merged_belongs_to_the_range(
    repository: Repository, watch: Watch, ssh: SignaturePolicy
):
    every = SignaturePolicy(Mode.RANGE, allowed_signers_file=ssh.allowed_signers_file)
    applied = repository.ssh("ada")
    repository.git("checkout", "-q", "-b", "side")
    side = repository.unsigned()
    repository.git("checkout", "-q", "main")
    key = repository.signers.ssh["ada"]
    repository.git("-c", "gpg.format=ssh", "merge", "-q", "--no-ff", f"-S{key}", "-m", "merge", "side")

    await watch.check(ssh, applied)
    assert side[:12] in await watch.refusal(every, applied)


async def test_after_the_history_was_rewritten_the_new_commits_count(
    repository: Repository, watch: Watch, ssh: SignaturePolicy
):
    every = SignaturePolicy(Mode.RANGE, allowed_signers_file=ssh.allowed_signers_file)
    root = repository.ssh("ada")
    applied = repository.ssh("ada")
    await watch.mirror.fetch()
    await watch.mirror.keep(applied)
    repository.git("reset", "-q", "--hard", root)
    repository.ssh("ada")
    await watch.check(every, applied)

    repository.git("reset", "-q", "--hard", root)
    between = repository.unsigned()
    repository.ssh("ada")
    assert between[:12] in await watch.refusal(every, applied)


async def test_where_the_applied_commit_is_gone_all_of_the_history_counts(
    repository: Repository, watch: Watch, ssh: SignaturePolicy
):
    every = SignaturePolicy(Mode.RANGE, allowed_signers_file=ssh.allowed_signers_file)
    repository.ssh("ada")
    repository.ssh("ada")
    await watch.check(every, "d" * 40)

    repository.git("checkout", "-q", "--orphan", "other")
    first = repository.unsigned()
    repository.ssh("ada")
    repository.git("branch", "-q", "-M", "main")
    assert first[:12] in await watch.refusal(every, "d" * 40)


async def test_more_commits_than_are_looked_at_are_refused_together(
    repository: Repository, watch: Watch, ssh: SignaturePolicy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gitsync.repository.signatures.MOST", 2)
    every = SignaturePolicy(Mode.RANGE, allowed_signers_file=ssh.allowed_signers_file)
    applied, _, between, _ = (repository.ssh("ada") for _ in range(4))
    assert "more than 2 commits" in await watch.refusal(every, applied)

    signatures = Signatures(every, watch.folder / "signers")
    await signatures.check(watch.mirror, await watch.mirror.resolve(between), applied)
    await watch.check(every, between)


async def test_an_older_commit_is_checked_like_any_other(repository: Repository, watch: Watch, ssh: SignaturePolicy):
    every = SignaturePolicy(Mode.RANGE, allowed_signers_file=ssh.allowed_signers_file)
    older = repository.unsigned()
    applied = repository.ssh("ada")
    await watch.mirror.fetch()
    with pytest.raises(Untrusted):
        await Signatures(every, watch.folder / "signers").check(
            watch.mirror, await watch.mirror.resolve(older), applied
        )


# -- keys that change, and keys that are not there ------------------------------------------------------------------------


async def test_a_key_that_was_taken_off_the_list_counts_no_more_at_the_next_look(
    repository: Repository, watch: Watch, signers: Signers, ssh: SignaturePolicy
):
    repository.ssh("ada")
    await watch.check(ssh)
    signers.allowed("bob")
    assert "is not in signatures.allowed_signers_file" in await watch.refusal(ssh)
    signers.allowed("ada")
    await watch.check(ssh)


async def test_a_commit_that_was_found_good_is_not_asked_about_again(
    repository: Repository, watch: Watch, ssh: SignaturePolicy, monkeypatch: pytest.MonkeyPatch
):
    repository.ssh("ada")
    await watch.check(ssh)
    monkeypatch.setenv("PATH", "/nonexistent")
    await watch.policies[ssh].check(watch.mirror, await watch.mirror.resolve(repository_head(watch)), "")


def repository_head(watch: Watch) -> str:
    return (watch.mirror.directory / "refs/gitsync/branch/main").read_text().strip()


@pytest.mark.parametrize("kind", ["gpg_keys_file", "allowed_signers_file", "revoked_signers_file"])
async def test_a_file_that_is_not_there_trusts_nobody(
    repository: Repository, watch: Watch, signers: Signers, ssh: SignaturePolicy, kind: str, tmp_path: Path
):
    sha = repository.ssh("ada")
    files = {"allowed_signers_file": ssh.allowed_signers_file, kind: tmp_path / "gone"}
    with pytest.raises(Unavailable, match=kind) as refused:
        await watch.check(SignaturePolicy(Mode.HEAD, **files))  # type: ignore[arg-type]
    assert refused.value.revision == sha


@pytest.mark.parametrize("content", [b"", b"no keys at all\n"])
async def test_a_file_without_keys_trusts_nobody(
    repository: Repository, watch: Watch, signers: Signers, tmp_path: Path, content: bytes
):
    repository.gpg(signers.ada)
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(GitsyncError) as refused:
        await watch.check(SignaturePolicy(Mode.HEAD, gpg_keys_file=tmp_path / "keys"))
    assert isinstance(refused.value, Untrusted | Invalid)
    (tmp_path / "signers").write_bytes(content)
    repository.ssh("ada")
    await watch.refusal(SignaturePolicy(Mode.HEAD, allowed_signers_file=tmp_path / "signers"))


@pytest.mark.parametrize("program", ["gpg", "ssh-keygen"])
async def test_where_the_program_is_missing_nobody_is_trusted(
    repository: Repository, watch: Watch, signers: Signers, gpg: SignaturePolicy, ssh: SignaturePolicy, program: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    policy = gpg if program == "gpg" else ssh
    revision = repository.gpg(signers.ada) if program == "gpg" else repository.ssh("ada")
    await watch.policies.setdefault(policy, Signatures(policy, watch.folder / "signers")).ring()
    await watch.mirror.fetch()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("git", "sh"):
        (tools / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tools))

    with pytest.raises(Untrusted, match=f"{program} is not installed"):
        await watch.policies[policy].check(watch.mirror, await watch.mirror.resolve(revision), "")


async def test_the_keys_are_for_our_user_alone_and_old_ones_are_gone(
    repository: Repository, watch: Watch, signers: Signers, ssh: SignaturePolicy
):
    repository.ssh("ada")
    await watch.check(ssh)
    signers.allowed("ada", "bob")
    await watch.check(ssh)

    folders = [each for each in (watch.folder / "signers").iterdir() if each.is_dir()]
    assert len(folders) == 1
    assert [oct(each.stat().st_mode & 0o077) for each in (watch.folder / "signers", *folders)] == ["0o0", "0o0"]
