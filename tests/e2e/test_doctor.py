"""`gitsync doctor`: what is in order, what is wrong, and what to do, on a real repository and a real Consul."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.servers.consul import ConsulServer
from tests.terminal import Terminal
from tests.workbench import Workbench, external

ENOUGH = """
key_prefix "svc-handler/" { policy = "write" }
session_prefix ""         { policy = "write" }
agent_prefix ""           { policy = "read" }
node_prefix ""            { policy = "read" }
node_prefix "ext-"        { policy = "write" }
service_prefix ""         { policy = "write" intentions = "write" }
"""


def checks(document: Any, area: str, state: str | None = None) -> list[dict[str, Any]]:
    return [each for each in document["checks"] if each["area"] == area and state in (None, each["state"])]


def test_where_all_is_well_it_says_so_and_leaves_nothing_behind(
    gitsync: Terminal, bench: Workbench, consul: ConsulServer
):
    gitsync.configure()
    sha = bench.commit(pay=external("pay"))
    before = consul.dump()

    ended = gitsync("doctor")

    assert ended.code == 0, ended.out
    assert f"main at {sha[:12]} can be read" in ended.out
    assert f"Consul {'.'.join(map(str, consul.version))}" in ended.out
    assert "ACLs are off" in ended.out
    assert "0 wrong, 1 warning" in ended.out
    assert not (gitsync.folder / "state").exists()
    assert consul.dump() == before


def test_after_a_run_it_knows_what_is_applied(gitsync: Terminal, bench: Workbench):
    gitsync.configure()
    sha = bench.commit(pay=external("pay"))
    assert gitsync("sync").code == 0

    document = gitsync.json("doctor")

    assert document["ok"]
    assert f"applied {sha[:12]}, 1 services" in [each["message"] for each in checks(document, "consul")]
    assert "last run" in checks(document, "store")[0]["message"]


def test_one_thing_that_is_wrong_hides_no_other(gitsync: Terminal, bench: Workbench):
    bench.address = "http://127.0.0.1:1"
    gitsync.configure(signatures={"mode": "head", "allowed_signers_file": "nobody"})
    settings = json.loads(gitsync.config.read_text())
    settings["syncs"]["payments"]["git"]["ref"] = "no-such-branch"
    gitsync.config.write_text(json.dumps(settings))

    ended = gitsync("doctor", "--json")

    wrong = {each["area"]: each for each in ended.json["checks"] if each["state"] == "wrong"}
    assert ended.code == 6, "the largest of all of them"
    assert set(wrong) == {"git", "signatures", "consul"}
    assert "no branch or tag no-such-branch" in wrong["git"]["message"]
    assert wrong["git"]["exit_code"] == 5
    assert "allowed_signers_file" in wrong["signatures"]["message"]


def test_a_configuration_that_cannot_be_used_is_a_line_too(gitsync: Terminal):
    gitsync.config.write_text("instance: test\nsyncs: {}\n")

    ended = gitsync("doctor", "--json")

    assert ended.code == 3
    (check,) = ended.json["checks"]
    assert (check["area"], check["state"]) == ("configuration", "wrong")


def test_a_repository_that_does_not_take_the_credentials_is_wrong_and_the_token_stays_unsaid(
    gitsync: Terminal, bench: Workbench
):
    gitsync.configure()
    settings = json.loads(gitsync.config.read_text())
    settings["syncs"]["payments"]["git"] = {"url": "https://127.0.0.1:1/specs.git", "token_file": "token"}
    gitsync.config.write_text(json.dumps(settings))
    token = gitsync.folder / "token"
    token.touch(mode=0o600)
    token.write_text("canary-of-git\n")

    ended = gitsync("doctor")

    assert ended.code == 6
    assert "cannot be reached" in ended.out
    assert "canary" not in ended.out + ended.err


# -- Consul's token -------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_acl(gitsync: Terminal, consul_acl: ConsulServer, tmp_path: Path) -> Workbench:
    bench = Workbench(consul_acl, tmp_path / "acl")
    gitsync.bench = bench
    gitsync.configure()
    return bench


def rows(consul: ConsulServer) -> str:
    return ("mesh" if consul.version >= (1, 12) else "operator") + ' = "write"\n'


def test_a_token_that_may_do_all_that_is_needed_is_in_order(
    gitsync: Terminal, with_acl: Workbench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", with_acl.consul.new_token(ENOUGH + rows(with_acl.consul)))

    document = gitsync.json("doctor")

    assert document["ok"], document
    assert "the token may do what gitsync needs" in [each["message"] for each in checks(document, "consul", "ok")]


def test_what_a_token_lacks_is_said_with_the_rule_that_gives_it(
    gitsync: Terminal, with_acl: Workbench, monkeypatch: pytest.MonkeyPatch
):
    lacking = ENOUGH.replace('session_prefix ""         { policy = "write" }\n', "")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", with_acl.consul.new_token(lacking))

    ended = gitsync("doctor", "--json")

    wrong = checks(ended.json, "consul", "wrong")
    assert ended.code == 5
    assert [each["hint"] for each in wrong] == ['session_prefix "" { policy = "write" }', rows(with_acl.consul).strip()]
    assert "session write" in wrong[0]["message"]


def test_a_service_of_ours_that_the_token_may_not_write_any_more_is_named(
    gitsync: Terminal, with_acl: Workbench, monkeypatch: pytest.MonkeyPatch
):
    with_acl.commit(pay=external("pay"), books=external("books"))
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", with_acl.consul.new_token(ENOUGH + rows(with_acl.consul)))
    assert gitsync("sync").code == 0
    less = ENOUGH + rows(with_acl.consul) + 'service "books" { policy = "read" }\n'
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", with_acl.consul.new_token(less))

    (wrong,) = checks(gitsync.json("doctor"), "consul", "wrong")

    assert "services and intentions of books, which gitsync owns" in wrong["message"]


def test_a_token_that_consul_does_not_know_is_wrong(
    gitsync: Terminal, with_acl: Workbench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "6b3d3c4e-0000-4000-8000-000000000000")

    ended = gitsync("doctor")

    assert ended.code == 5
    assert "6b3d3c4e" not in ended.out + ended.err


def test_it_says_when_the_token_ends(gitsync: Terminal, with_acl: Workbench, monkeypatch: pytest.MonkeyPatch):
    server = with_acl.consul
    policy = server.put("/v1/acl/policy", {"Name": "for-a-day", "Rules": ENOUGH + rows(server)})
    made = server.put("/v1/acl/token", {"Policies": [{"ID": policy["ID"]}], "ExpirationTTL": "23h"})
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", made["SecretID"])

    document = gitsync.json("doctor")

    (soon,) = checks(document, "consul", "warning")
    assert "in 0 days" in soon["message"]
    assert soon["expires"]
    assert made["SecretID"] not in json.dumps(document)


# -- keys and certificates ------------------------------------------------------------------------------------------------


def test_it_says_when_the_certificate_for_consul_ends(gitsync: Terminal, bench: Workbench):
    authority = trustme.CA()
    authority.issue_cert("gitsync.example").private_key_and_cert_chain_pem.write_to_path("client.pem")
    gitsync.configure()
    settings = json.loads(gitsync.config.read_text())
    settings["consul"] |= {"cert_file": "client.pem", "key_file": "client.pem"}
    gitsync.config.write_text(json.dumps(settings))

    found = [each for each in checks(gitsync.json("doctor"), "consul") if "cert_file" in each["message"]]

    assert [each["state"] for each in found] == ["ok"]
    assert found[0]["expires"].startswith("3000-01-01")


def test_keys_that_sign_commits_are_counted_and_what_is_odd_about_them_is_said(gitsync: Terminal, bench: Workbench):
    key = gitsync.folder / "ada"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, capture_output=True)
    public = key.with_suffix(".pub").read_text()
    signers = gitsync.folder / "signers"
    signers.write_text(f'# who may\n* namespaces="git" {public}* valid-before="20200101" {public}')
    signers.chmod(0o666)
    gitsync.configure(signatures={"mode": "range", "allowed_signers_file": "signers"})

    document = gitsync.json("doctor")

    found = checks(document, "signatures")
    assert document["ok"]
    assert [each["state"] for each in found] == ["ok", "warning", "warning"]
    assert "range: 1 SSH signers count" in found[0]["message"]
    assert "out of their time" in found[1]["message"]
    assert f"chmod go-w {signers}" in found[2]["hint"]

    signers.write_text("# nobody\n")
    assert gitsync("doctor").code == 3


# -- this machine ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_wrong(gitsync: Terminal, bench: Workbench):
    (gitsync.folder / "file").write_text("")
    gitsync.configure()
    settings = json.loads(gitsync.config.read_text()) | {"state_dir": "file/state"}
    gitsync.config.write_text(json.dumps(settings))

    ended = gitsync("doctor", "--json")

    assert ended.code == 6
    assert {each["area"] for each in ended.json["checks"] if each["state"] == "wrong"} == {"state", "store"}
