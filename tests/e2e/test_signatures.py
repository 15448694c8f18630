"""A commit that nobody who counts has signed changes nothing in Consul, and says so where it was pushed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gitsync.engine.reconcile import Mind
from gitsync.model.errors import Untrusted
from gitsync.model.run import Outcome, RunOutcome
from gitsync.model.sync import Options
from gitsync.wire import Silent
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, external, outcomes


class Signed(Workbench):
    """A bench whose sync wants each commit signed by Ada."""

    def __init__(self, consul: ConsulServer, folder: Path) -> None:
        super().__init__(consul, folder)
        self.allowed = folder / "allowed_signers"
        for name in ("ada", "bob"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(key, check=True, capture_output=True)
        self.allow("ada")
        self.policy["signatures"] = {"mode": "range", "allowed_signers_file": str(self.allowed)}

    def allow(self, *names: str) -> None:
        keys = [(self.folder / f"{name}.pub").read_text() for name in names]
        self.allowed.write_text("".join(f'* namespaces="git" {key}' for key in keys))

    def sign(self, key: str, **files: str) -> str:
        self.commit("signed", **files)
        self.git(
            "-c", "gpg.format=ssh", "commit", "-q", "--allow-empty", "--amend", "--no-edit", f"-S{self.folder / key}"
        )
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def signed(consul: ConsulServer, tmp_path: Path) -> Signed:
    return Signed(consul, tmp_path)


async def test_an_unsigned_commit_changes_nothing_in_consul(signed: Signed, consul: ConsulServer):
    signed.sign("ada", pay=external("pay"), books=external("books"))
    assert outcomes(await signed.sync()) == {"pay": Outcome.APPLIED, "books": Outcome.APPLIED}
    before = consul.entry("service-defaults", "pay")

    signed.remove("services/books.yaml")
    sha = signed.commit(pay=external("pay", host="192.0.2.99"), more=external("more"))
    report = await signed.sync()

    assert report.outcome is RunOutcome.FAILED or report.outcome is RunOutcome.PARTIAL
    assert report.revision == sha
    assert report.error_exit == Untrusted.exit_code
    assert f"commit {sha[:12]} is not trusted: it is not signed" in (report.error or "")
    assert consul.entry("service-defaults", "pay") == before
    assert consul.entry("service-defaults", "books")
    assert consul.entry("service-defaults", "more") is None


async def test_the_first_commit_of_all_needs_its_signature_too(signed: Signed, consul: ConsulServer):
    sha = signed.commit(pay=external("pay"))
    report = await signed.sync()

    assert (report.outcome, report.revision) == (RunOutcome.FAILED, sha)
    assert consul.entry("service-defaults", "pay") is None
    async with signed.house() as house:
        run = await house.store.last_run("payments")
    assert run is not None
    assert (run["revision"], run["outcome"]) == (sha, "failed")


async def test_what_was_applied_is_still_put_back_while_the_newest_commit_is_refused(
    signed: Signed, consul: ConsulServer
):
    signed.sign("ada", pay=external("pay"))
    await signed.sync()
    signed.commit(pay=external("pay", host="192.0.2.99"))
    before = consul.entry("service-defaults", "pay") or {}
    consul.put("/v1/config", {**before, "MeshGateway": {"Mode": "local"}, "Protocol": "http2"})

    report = await signed.sync()

    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert report.error
    assert (consul.entry("service-defaults", "pay") or {})["Protocol"] == "http"


async def test_a_refused_commit_is_told_once_and_so_is_that_it_counts_after_all(signed: Signed):
    applied = signed.sign("ada", pay=external("pay"))
    await signed.sync()
    sha = signed.sign("bob", more=external("more"))

    async with signed.house() as house:
        room = house.room("payments")
        room.mind = Mind()
        first = await room.run(Options(), Silent())
        again = await room.run(Options(), Silent())
        signed.allow("ada", "bob")
        good = await room.run(Options(), Silent())
        runs = await house.store.runs("payments")

    assert (first.revision, first.applied_revision) == (sha, applied)
    assert "allowed_signers_file" in (first.error or "")
    assert (again.id, again.revision) == ("", sha)
    assert (good.revision, good.outcome) == (sha, RunOutcome.APPLIED)
    assert [run["revision"] for run in runs] == [sha, sha, applied]


async def test_a_signed_commit_does_not_bring_an_unsigned_one_along(signed: Signed, consul: ConsulServer):
    signed.sign("ada", pay=external("pay"))
    await signed.sync()
    between = signed.commit(more=external("more"))
    head = signed.sign("ada", books=external("books"))

    report = await signed.sync()

    assert report.revision == head
    assert f"commit {between[:12]}, on the way to {head[:12]}, is not trusted" in (report.error or "")
    assert consul.entry("service-defaults", "books") is None


async def test_nobody_can_be_sent_to_an_unsigned_commit(signed: Signed, consul: ConsulServer):
    signed.sign("ada", pay=external("pay"))
    await signed.sync()
    sha = signed.commit(pay=external("pay", host="192.0.2.99"))

    report = await signed.sync(rev=sha)
    assert (report.outcome, report.revision) == (RunOutcome.FAILED, sha)
    with pytest.raises(Untrusted):
        await signed.plan(rev=sha)

    signed.sign("ada")
    signed.policy["signatures"] = {**signed.policy["signatures"], "mode": "head"}
    assert (await signed.sync()).outcome is RunOutcome.APPLIED, "the sync was not pinned to the refused commit"


async def test_nothing_of_an_untrusted_commit_is_parsed(
    signed: Signed, consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
):
    signed.sign("ada", pay=external("pay"))
    await signed.sync()
    signed.commit(evil="name: evil\n")
    read: list[bytes] = []
    async with signed.house() as house:
        specs = house.room("payments").world.specs
        parse = specs._parse
        specs._parse = lambda path, content: read.append(content) or parse(path, content)
        await house.room("payments").run(Options(), Silent())

    assert read
    assert not any(b"evil" in content for content in read)
