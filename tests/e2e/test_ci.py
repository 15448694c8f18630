"""`gitsync ci` as a pipeline runs it: in a checkout, against a real Consul, with what GitHub and GitLab take besides text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.consul import ConsulServer
from tests.terminal import Terminal
from tests.workbench import GIT, Workbench, external

READ_ONLY = """
key_prefix "svc-handler/" { policy = "read" }
agent_prefix ""           { policy = "read" }
node_prefix ""            { policy = "read" }
service_prefix ""         { policy = "read" intentions = "read" }
operator = "read"
"""
"""What docs/ci.md gives the pipeline's token."""

BROKEN = "name: broken\nrouting:\n  host: 192.0.2.7\n  port: 99999\n"


@pytest.fixture
def on_github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """GitHub's runner; the page of the step."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return tmp_path / "summary.md"


def clone(bench: Workbench, folder: Path, *options: str) -> str:
    """A checkout as a pipeline makes it."""
    command = ["git", "clone", "-q", *options, f"file://{bench.repo}", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", **GIT})
    return str(folder)


def test_a_change_is_planned_and_nothing_is_written(gitsync: Terminal, bench: Workbench, consul: ConsulServer):
    gitsync.configure()
    base = bench.commit(pay=external("pay"), books=external("books"))
    assert gitsync("sync").code == 0
    bench.commit(pay=external("pay", host="192.0.2.99"), more=external("more"))
    before = consul.dump()

    ended = gitsync("ci", str(bench.repo), "--base", base, "--markdown", "plan.md")

    assert ended.code == 2, ended.err
    assert "+ more" in ended.out
    assert "1 to create, 1 to update" in ended.out
    comment = (gitsync.folder / "plan.md").read_text()
    assert comment.startswith("<!-- gitsync:ci source=test/payments -->\n### gitsync plan for `payments`")
    assert "**1 to create, 1 to update** by merging" in comment
    assert "192.0.2.99" in comment
    assert "books</code>" not in comment
    assert consul.dump() == before


def test_a_change_that_touches_no_service_is_fine(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    base = bench.commit(pay=external("pay"))
    bench.write("README.md", "more words\n")
    bench.commit()

    ended = gitsync("ci", str(bench.repo), "--base", base, "--markdown", "plan.md")

    assert ended.code == 0, "what is not applied yet is not of this change"
    assert "no service affected" in ended.out
    assert "No service is affected" in (gitsync.folder / "plan.md").read_text()


def test_without_a_base_everything_that_is_not_applied_is_said(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    assert gitsync("ci", str(bench.repo)).code == 2
    assert gitsync("sync").code == 0
    assert gitsync("ci", str(bench.repo)).code == 0


def test_what_was_wrong_before_does_not_stop_the_change_and_what_is_new_does(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    base = bench.commit(pay=external("pay"), old="nonsense: true\n")
    bench.commit(more=external("more"))
    assert gitsync("ci", str(bench.repo), "--base", base).code == 2

    bench.commit(broken=BROKEN)
    ended = gitsync("ci", str(bench.repo), "--base", base)
    assert ended.code == 3
    assert "broken.yaml:4" in ended.out
    assert "old.yaml" not in ended.out


def test_on_github_findings_stand_at_their_lines_and_the_plan_on_the_page(
    gitsync: Terminal, bench: Workbench, on_github: Path
):
    gitsync.configure()
    base = bench.commit(pay=external("pay"))
    bench.commit(broken=BROKEN)

    ended = gitsync("ci", str(bench.repo), "--base", base)

    assert ended.code == 3
    lines = ended.out.splitlines()
    stop = lines[0].removeprefix("::stop-commands::")
    commands = lines[lines.index(f"::{stop}::") + 1 :]
    assert [line for line in commands if line.startswith("::error file=services/broken.yaml,line=4,col=")]
    assert "broken" in on_github.read_text()
    assert "into `main`" in on_github.read_text()


def test_hostile_text_in_a_spec_is_no_command_to_the_runner(gitsync: Terminal, bench: Workbench, on_github: Path):
    gitsync.configure()
    evil = '"x\\n::set-env name=PATH::/evil\\n::add-mask::y"'
    bench.commit(pay=external("pay") + f"metadata: {{ note: {evil} }}\n", evil=f"name: {evil}\n")

    ended = gitsync("ci", str(bench.repo))

    heard, stop = [], ""
    for line in ended.out.splitlines():
        if stop:
            stop = "" if line == f"::{stop}::" else stop
        elif line.startswith("::stop-commands::"):
            stop = line.removeprefix("::stop-commands::")
        elif line.lstrip().startswith("::"):
            heard.append(line)
    assert ended.code == 3
    assert heard
    assert all(re.match(r"::(error|warning|notice) ", line) for line in heard)


def test_hostile_text_in_an_error_is_no_command_to_the_runner_either(
    gitsync: Terminal, bench: Workbench, monkeypatch: pytest.MonkeyPatch, on_github: Path
):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    monkeypatch.setattr(sys, "stderr", sys.stdout)  # the runner reads both

    said = gitsync("ci", str(bench.repo), "--base", "##[add-mask]everything").out.splitlines()

    (hostile,) = (at for at, line in enumerate(said) if line.startswith("error: ") and "##[add-mask]" in line)
    assert hostile < said.index(f"::{said[0].removeprefix('::stop-commands::')}::")
    assert said[-1].startswith("::error title=gitsync::--base")
    assert on_github.exists()


def test_no_link_that_a_change_brings_is_followed(gitsync: Terminal, bench: Workbench, tmp_path: Path):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    secret = tmp_path / "of-the-runner"
    secret.mkdir()
    (secret / "token.yaml").write_text("token: 7h3-s3cr3t\n")
    (bench.repo / "plan.md").symlink_to(secret / "profile")
    (bench.repo / "specs").symlink_to(secret)

    for options in (["--markdown", str(bench.repo / "plan.md")], ["--codequality", str(bench.repo / "specs/x.json")]):
        ended = gitsync("ci", str(bench.repo), "--offline", "--path", "services", *options)
        assert ended.code == 3
        assert "is a link in the checkout" in ended.err
    for options in ([], ["--offline"]):
        ended = gitsync("ci", str(bench.repo), "--path", "specs", *options)
        assert ended.code == 3
        assert "the folder specs is a link in the checkout" in ended.err
        assert "7h3-s3cr3t" not in ended.out + ended.err
    assert sorted(each.name for each in secret.iterdir()) == ["token.yaml"]


def test_a_plan_may_be_written_beside_the_checkout_and_into_it(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    for file in (bench.repo / "plan.md", bench.repo / ".." / "beside.md"):
        assert gitsync("ci", str(bench.repo), "--offline", "--path", "services", "--markdown", str(file)).code == 0
        assert file.exists()


def test_gitlab_gets_a_report_of_the_lines_at_fault(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    bench.commit(pay=external("pay"), broken=BROKEN)

    assert gitsync("ci", str(bench.repo), "--codequality", "quality.json").code == 3

    report = json.loads((gitsync.folder / "quality.json").read_text())
    (wrong,) = [each for each in report if each["severity"] == "critical"]
    assert wrong["location"] == {"path": "services/broken.yaml", "lines": {"begin": 4}}


def test_deletes_that_would_be_held_are_4(gitsync: Terminal, bench: Workbench):
    gitsync.configure(prune={"max_count": 0})
    base = bench.commit(pay=external("pay"), books=external("books"))
    assert gitsync("sync").code == 0
    bench.remove("services/pay.yaml")
    bench.commit()

    ended = gitsync("ci", str(bench.repo), "--base", base, "--markdown", "plan.md")

    assert ended.code == 4
    assert "deletes wait for an approval" in (gitsync.folder / "plan.md").read_text()


def test_where_consul_does_not_answer_the_comment_says_so(gitsync: Terminal, bench: Workbench, on_github: Path):
    bench.commit(pay=external("pay"))
    bench.address = "http://127.0.0.1:1"
    gitsync.configure()

    ended = gitsync("ci", str(bench.repo), "--markdown", "plan.md")

    assert ended.code == 6
    assert ended.out.splitlines()[-1].startswith("::error title=gitsync::")
    for page in (on_github, gitsync.folder / "plan.md"):
        assert "### gitsync could not plan this" in page.read_text()
    assert gitsync("ci", str(bench.repo), "--offline").code == 0


def test_the_files_alone_are_judged_without_consul_and_without_a_configuration(gitsync: Terminal, bench: Workbench):
    base = bench.commit(pay=external("pay"), old="nonsense: true\n")
    bench.commit(more=external("more"))

    ended = gitsync("ci", str(bench.repo), "--offline", "--path", "services", "--base", base, "--markdown", "plan.md")
    assert ended.code == 0, ended.err
    assert "1 spec changed" in ended.out
    assert "nothing is wrong with the files" in (gitsync.folder / "plan.md").read_text()

    bench.commit(broken=BROKEN)
    ended = gitsync("ci", str(bench.repo), "--offline", "--path", "services", "--base", base)
    assert ended.code == 3
    assert "services/broken.yaml:4" in ended.out
    assert "old.yaml" not in ended.out
    assert gitsync("ci", str(bench.repo), "--path", "services").code == 3, "a plan needs a configuration"


def test_a_shallow_checkout_is_enough_for_a_merge_and_else_it_says_what_to_fetch(
    gitsync: Terminal, bench: Workbench, tmp_path: Path
):
    gitsync.configure()
    bench.commit(pay=external("pay"), old="nonsense: true\n")
    bench.git("checkout", "-q", "-b", "change")
    bench.commit(more=external("more"))
    bench.git("checkout", "-q", "main")
    bench.commit(other=external("other"))
    bench.git("merge", "-q", "--no-ff", "-m", "merge", "change")

    merged = gitsync("ci", clone(bench, tmp_path / "two", "--depth", "2"), "--base", "HEAD^1")
    assert merged.code == 2, merged.err
    assert "+ more" in merged.out
    assert "+ other" not in merged.out

    alone = gitsync("ci", clone(bench, tmp_path / "one", "--depth", "1"), "--base", "HEAD^1")
    assert alone.code == 3
    assert "HEAD^1 is not in the checkout" in alone.err


@pytest.mark.parametrize("base", ["--upload-pack=x", "main..HEAD", "a b", "no-such-branch", "HEAD:services"])
def test_a_base_that_is_no_commit_is_refused(gitsync: Terminal, bench: Workbench, base: str):
    gitsync.configure()
    bench.commit(pay=external("pay"))

    ended = gitsync("ci", str(bench.repo), f"--base={base}")

    assert ended.code == 3
    assert ended.err.startswith("error: ")


def test_a_folder_without_git_is_planned_but_not_compared(gitsync: Terminal, bench: Workbench, tmp_path: Path):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    shutil.copytree(bench.repo, tmp_path / "plain", ignore=shutil.ignore_patterns(".git"))

    assert gitsync("ci", str(tmp_path / "plain")).code == 2
    compared = gitsync("ci", str(tmp_path / "plain"), "--base", "main")
    assert compared.code == 3
    assert "not the top of a Git checkout" in compared.err


def test_a_configuration_that_the_change_could_have_brought_is_not_taken(
    gitsync: Terminal, bench: Workbench, monkeypatch: pytest.MonkeyPatch
):
    gitsync.configure()
    bench.commit(pay=external("pay"))
    bench.write("gitsync.yaml", gitsync.config.read_text())
    monkeypatch.chdir(bench.repo)

    ended = gitsync("ci")
    assert ended.code == 3
    assert "is in the checkout" in ended.err
    assert gitsync("ci", "--offline").code == 0
    assert gitsync("ci", "--config", str(gitsync.config)).code == 2


@pytest.mark.parametrize("options", [[], ["--offline"]])
def test_a_configuration_that_a_link_of_the_change_chose_is_not_read(
    gitsync: Terminal, bench: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str]
):
    bench.commit(pay=external("pay"))
    (tmp_path / "credentials").write_text("machine example.com: 7h3-s3cr3t\ninstance: 7h3-s3cr3t!\n")
    (bench.repo / "gitsync.yaml").symlink_to(tmp_path / "credentials")
    monkeypatch.chdir(bench.repo)
    monkeypatch.delenv("GITSYNC_CONFIG", raising=False)

    ended = gitsync("ci", "--path", "services", *options)

    assert ended.code == 3
    assert "the configuration gitsync.yaml is a link in the checkout" in ended.err
    assert "7h3-s3cr3t" not in ended.out + ended.err


def test_a_redacted_label_is_in_nothing_that_is_written(
    gitsync: Terminal, bench: Workbench, on_github: Path, consul: ConsulServer
):
    gitsync.configure(redact=["cost_center"])
    base = bench.commit(pay=external("pay"))
    bench.commit(pay=external("pay") + "metadata: { owner: ada, cost_center: FIN-99 }\n")

    written = []
    for more in ((), ("--json",)):
        ended = gitsync(
            "ci", str(bench.repo), "--base", base, "--markdown", "plan.md", "--codequality", "quality.json", *more
        )
        assert ended.code == 2
        written += [ended.out, ended.err]
    written += [(gitsync.folder / name).read_text() for name in ("plan.md", "quality.json")]

    assert "FIN-99" not in "".join([*written, on_github.read_text()])
    assert "ada" in on_github.read_text()


def test_a_token_that_may_only_read_is_enough(
    gitsync: Terminal, consul_acl: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bench = Workbench(consul_acl, tmp_path / "acl")
    base = bench.commit(pay=external("pay"))
    bench.commit(more=external("more"))
    mesh = READ_ONLY + ('mesh = "read"\n' if consul_acl.version >= (1, 12) else "")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", consul_acl.new_token(mesh))
    gitsync.bench = bench
    gitsync.configure()

    ended = gitsync("ci", str(bench.repo), "--base", base)

    assert ended.code == 2, ended.out + ended.err
    assert "+ more" in ended.out


def test_the_answer_is_one_document_and_no_state_stays_behind(gitsync: Terminal, bench: Workbench, on_github: Path):
    gitsync.configure()
    base = bench.commit(pay=external("pay"))
    sha = bench.commit(broken=BROKEN)

    ended = gitsync("ci", str(bench.repo), "--base", base, "--json")

    assert ended.code == ended.json["exit_code"] == 3
    review = ended.json["review"]
    assert (review["sync"], review["head"], review["base"], review["base_ref"]) == ("payments", sha, base, "main")
    assert "::error file=services/broken.yaml" in ended.err
    assert not (gitsync.folder / "state").exists()
