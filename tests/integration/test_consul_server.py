"""The Consul of the tests is what the tests take it for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import DidNotStart, wait_for
from tests.servers.consul import ROOT, ConsulServer, Refused

EXTERNAL = {
    "Node": "ext-pay",
    "Address": "192.0.2.1",
    "NodeMeta": {"external-node": "true"},
    "Service": {"Service": "pay", "Port": 443},
    "Check": {"Name": "tcp", "CheckID": "pay-tcp", "ServiceID": "pay", "Status": "passing"},
}


def fill(consul: ConsulServer) -> None:
    """One of everything that a test could leave behind, with entries that need each other."""
    consul.put("/v1/kv/a/b", "value")
    session = consul.put(
        "/v1/session/create", {"TTL": "15s", "NodeChecks": [], "LockDelay": "0s", "Behavior": "delete"}
    )
    consul.put("/v1/kv/lock", "host", acquire=session["ID"])
    consul.put_entry("service-defaults", "pay", Protocol="http")
    consul.put_entry("service-resolver", "pay", Subsets={"v1": {}})
    consul.put_entry("service-splitter", "pay", Splits=[{"Weight": 100, "ServiceSubset": "v1"}])
    consul.put_entry("service-router", "pay", Routes=[{"Match": {"HTTP": {"PathPrefix": "/"}}}])
    consul.put_entry("terminating-gateway", "tgw-1", Services=[{"Name": "pay"}])
    consul.put_entry("proxy-defaults", "global", Config={"protocol": "http"})
    consul.put("/v1/catalog/register", EXTERNAL)


def test_a_consul_that_is_up_is_the_one_we_started_and_takes_writes(consul: ConsulServer):
    config = consul.get("/v1/agent/self")["Config"]

    assert config["NodeName"] == consul.node
    assert config["Datacenter"] == consul.datacenter
    assert config["Version"] == ".".join(map(str, consul.version))
    assert consul.put("/v1/kv/k", "v") is True
    assert consul.value("k") == b"v"
    assert consul.keys() == ["k"]


def test_an_empty_consul_dumps_as_nothing(consul: ConsulServer):
    assert consul.dump() == {}


def test_the_dump_shows_what_changed_and_nothing_else(consul: ConsulServer):
    fill(consul)
    before = consul.dump()
    assert {("config", "service-router", "pay"), ("kv", "a/b"), ("node", "ext-pay")} <= set(before)
    assert consul.dump() == before

    consul.put_entry("service-resolver", "pay", Subsets={"v1": {}}, ConnectTimeout="5s")
    after = consul.dump()

    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == {
        ("config", "service-resolver", "pay")
    }


def test_a_reset_leaves_nothing(consul: ConsulServer):
    fill(consul)

    consul.reset()

    assert consul.dump() == {}
    assert consul.get("/v1/session/list") == []


def test_a_missing_thing_is_none_and_a_refusal_is_an_error(consul: ConsulServer):
    assert consul.entry("service-defaults", "absent") is None
    assert consul.value("absent") is None
    with pytest.raises(Refused, match="PUT /v1/config"):
        consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": ""}])
    with pytest.raises(Refused, match="200 false"):
        consul.put("/v1/kv/k", "v", cas=5)


def test_a_frozen_consul_answers_nothing_and_goes_on(consul: ConsulServer):
    consul.pause()
    with pytest.raises(TimeoutError):
        consul.request("GET", "/v1/status/leader", timeout=0.5)

    consul.resume()

    assert consul.get("/v1/status/leader")


def test_the_next_test_gets_a_working_consul_whatever_this_one_did(consul: ConsulServer):
    consul.pause()
    consul.reset()
    assert consul.get("/v1/status/leader")

    consul.kill()
    consul.reset()
    assert consul.get("/v1/status/leader")


def test_a_durable_consul_knows_after_a_restart_what_it_knew_before(consul_binary: str):
    with ConsulServer(consul_binary, durable=True) as server:
        fill(server)
        before, url, pid = server.dump(), server.url, server.pid

        server.restart()
        assert (server.url, server.pid == pid) == (url, False)
        assert {key: value for key, value in server.dump().items() if key != ("kv", "lock")} == {
            key: value for key, value in before.items() if key != ("kv", "lock")
        }

        server.kill()
        server.start()
        assert server.entry("service-defaults", "pay")


def test_under_default_deny_only_a_token_may(consul_acl: ConsulServer):
    consul_acl.put("/v1/kv/k", "v")

    assert consul_acl.request("GET", "/v1/kv/k", token=None).status == 403
    token = consul_acl.new_token('key "k" { policy = "read" }')
    assert consul_acl.request("GET", "/v1/kv/k", token=token).status == 200
    assert consul_acl.request("PUT", "/v1/kv/k", "w", token=token).status == 403

    consul_acl.reset()
    assert consul_acl.request("GET", "/v1/acl/token/self", token=token).status == 403
    assert consul_acl.dump() == {}


def test_configuration_reaches_the_agent(consul_binary: str):
    with ConsulServer(consul_binary, config={"session_ttl_min": "1s"}, datacenter="west-1") as server:
        assert server.put("/v1/session/create", {"TTL": "2s", "NodeChecks": []})["ID"]
        assert server.get("/v1/catalog/datacenters") == ["west-1"]


def test_a_second_datacenter_can_be_written_from_the_first(consul_binary: str):
    with ConsulServer(consul_binary) as first, ConsulServer(consul_binary, datacenter="dc2", primary=first) as second:
        first.put("/v1/catalog/register", {**EXTERNAL, "Datacenter": "dc2"}, dc="dc2")

        assert set(first.dump(datacenter="dc2")) == {("node", "ext-pay")} == set(second.dump())
        assert first.dump() == {}


def test_what_is_no_consul_is_named(tmp_path: Path):
    other = tmp_path / "consul"
    other.write_text("#!/bin/sh\necho something else\n")
    other.chmod(0o755)

    with pytest.raises(DidNotStart, match="is not a Consul"):
        ConsulServer(str(other))
    with pytest.raises(DidNotStart, match="does not run"):
        ConsulServer(str(tmp_path / "absent"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_consul_does_not_outlive_whoever_started_it(consul_binary: str, how: signal.Signals):
    holder = (
        "import time; from tests.servers.consul import ConsulServer\n"
        f"with ConsulServer({consul_binary!r}) as server:\n"
        "    print(server.pid, server.folder, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        pid, folder = process.stdout.readline().split(maxsplit=1)
        os.kill(int(pid), 0)

        process.send_signal(how)
        process.wait(20)

    def gone() -> bool:
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return not Path(folder.strip()).exists()
        return is_zombie(int(pid))

    wait_for(gone, f"the end of Consul {pid}", seconds=20)


def is_zombie(pid: int) -> bool:
    """Whether it ended and only waits for a parent to ask: no init may run in a container."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"
