"""A real Consul for tests: one agent on ports of its own, up only when it takes writes."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import subprocess
import tempfile
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.servers import DidNotStart, ServerProcess, free_ports, wait_for

ROOT = Path(__file__).resolve().parents[2]

KINDS = (  # in the order in which they can be deleted
    "service-router", "service-splitter", "service-resolver", "service-intentions", "exported-services",
    "terminating-gateway", "ingress-gateway", "http-route", "tcp-route", "bound-api-gateway", "api-gateway",
    "inline-certificate", "file-system-certificate", "jwt-provider", "sameness-group", "control-plane-request-limit",
    "mesh", "service-defaults", "proxy-defaults",
)  # fmt: skip


BUILT_IN = "00000000-0000-0000-0000-"  # how the ids of ACL objects begin that every Consul has


def find_consul() -> str:
    """The Consul that tests run: GITSYNC_TEST_CONSUL, else Debian's, the same everywhere. Raises DidNotStart."""
    named = os.environ.get("GITSYNC_TEST_CONSUL")
    if named:
        return named
    env = {**os.environ, "GITSYNC_CONSUL_FROM": "debian"}
    ran = subprocess.run([ROOT / "scripts" / "consul"], env=env, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise DidNotStart(f"no Consul for the tests: {ran.stderr.strip()}")
    return ran.stdout.strip()


def version_of(binary: str) -> tuple[int, int, int]:
    """The version that *binary* says it is, (1, 8, 7) say. Raises DidNotStart."""
    try:
        said = subprocess.run([binary, "version"], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise DidNotStart(f"{binary} does not run: {error.strerror}") from error
    found = re.search(r"Consul v?(\d+)\.(\d+)\.(\d+)", said)
    if not found:
        raise DidNotStart(f"{binary} is not a Consul: it said {said[:80]!r}")
    return int(found[1]), int(found[2]), int(found[3])


@dataclass(frozen=True, slots=True)
class Answer:
    """What Consul answered, whatever the status."""

    status: int
    text: str
    headers: Mapping[str, str]  # names in lower case

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.text)


class Refused(AssertionError):
    """Consul did not do what a test's preparation asked for."""


class ConsulServer:
    """One Consul agent, a server, as a context manager.

    binary: default `find_consul()`. acl: on, default deny, `token` is the management token.
    durable: a data folder, so that `restart()` finds what was there (default: in memory, as `-dev`).
    config: anything else of the agent's configuration, merged over ours (`session_ttl_min`, say).
    datacenter, primary: `primary` is the ConsulServer of the primary datacenter, which this one joins over WAN.
    tls: {ca_file, cert_file, key_file}: also listens on `https_url`.
    """

    def __init__(
        self,
        binary: str | None = None,
        *,
        acl: bool = False,
        durable: bool = False,
        datacenter: str = "dc1",
        primary: ConsulServer | None = None,
        tls: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.binary = binary or find_consul()
        self.version = version_of(self.binary)
        self.durable, self.datacenter, self.primary = durable, datacenter, primary
        self.node = f"gitsync-test-{uuid.uuid4().hex[:8]}"
        self.token = str(uuid.uuid4()) if acl else None
        self._acl, self._tls, self._config = acl, dict(tls or {}), dict(config or {})
        self._process: ServerProcess | None = None
        self._paused = False

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="gitsync-consul-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        try:
            self._start_on_free_ports()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    # -- its life ---------------------------------------------------------------------------------------------------

    def _start_on_free_ports(self) -> None:
        for attempt in range(3):
            self._ports = dict(zip(("http", "server", "serf_lan", "serf_wan", "https"), free_ports(5), strict=True))
            try:
                self.start()
                break
            except DidNotStart as error:
                # Between asking the kernel and Consul's bind, another process may have taken a port.
                if attempt == 2 or "address already in use" not in str(error):
                    raise

    @property
    def url(self) -> str:
        """Its HTTP address."""
        return f"http://127.0.0.1:{self._ports['http']}"

    @property
    def https_url(self) -> str:
        """Its HTTPS address, where `tls` was given."""
        return f"https://127.0.0.1:{self._ports['https']}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.running

    @property
    def log(self) -> str:
        """What it has logged so far."""
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self) -> None:
        """Start it, on the ports it had, and wait until it takes writes."""
        assert not self.running, "it runs already"
        (self.folder / "agent.json").write_text(json.dumps(self._agent_config()))
        command = [self.binary, "agent", "-config-file", str(self.folder / "agent.json")]
        command += ["-data-dir", str(self.folder / "data")] if self.durable else ["-dev"]
        command += ["-node", self.node, "-bind", "127.0.0.1"]
        self._process = ServerProcess(command, folder=self.folder, log=self.folder / "log")
        self._paused = False
        try:
            wait_for(self._is_up, f"Consul {self.binary} taking writes", seconds=60)
            if self.primary:
                primary = self.primary
                wait_for(lambda: self.sees(primary) and primary.sees(self), "the two datacenters seeing each other")
        except TimeoutError as error:
            raise DidNotStart(f"{error}; it logged: {self.log[-800:]}") from error

    def stop(self) -> None:
        """Stop it as an administrator would."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process:
            self._process.kill()

    def restart(self) -> None:
        """Stop and start it on the same ports. Only a durable one knows afterwards what it knew before."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        assert self._process
        self._process.pause()
        self._paused = True

    def resume(self) -> None:
        """Let a frozen one go on."""
        assert self._process
        self._process.resume()
        self._paused = False

    def _agent_config(self) -> dict[str, Any]:
        # A port of -1 is off. gRPC's TLS port is known, and on by default, from 1.14; before, its name is an error.
        ports = {name: self._ports[name] for name in ("http", "server", "serf_lan", "serf_wan")} | {
            "dns": -1,
            "grpc": -1,
        }
        if self.version >= (1, 14):
            ports["grpc_tls"] = -1
        config: dict[str, Any] = {
            "datacenter": self.datacenter,
            "ports": ports,
            "connect": {"enabled": True},
            "log_level": "info",
            "disable_update_check": True,
        }
        if self.durable:
            config |= {"server": True, "bootstrap_expect": 1, "performance": {"raft_multiplier": 1}}
        if self._tls:
            config |= self._tls
            ports["https"] = self._ports["https"]
        if self._acl:
            first = "initial_management" if self.version >= (1, 11) else "master"
            config["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {first: self.token, "agent": self.token},
            }
        if self.primary:
            config["primary_datacenter"] = self.primary.datacenter
            config["retry_join_wan"] = [f"127.0.0.1:{self.primary._ports['serf_wan']}"]
        return merged(config, self._config)

    def _is_up(self) -> bool:
        """Whether the agent on our port is ours and takes writes; a leader is elected a moment before it does."""
        if not self.running:
            raise DidNotStart(f"{self.binary} ended at once; it logged: {self.log[-800:]}")
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            itself = self.request("GET", "/v1/agent/self", timeout=5)
            if itself.status != 200:
                return False  # with ACLs, its own tokens come after it listens
            if itself.json["Config"]["NodeName"] != self.node:
                raise DidNotStart(f"another agent answers on {self.url}: address already in use")
            if not self._takes_writes():
                return False
            # The agent describes its node in the catalog a moment later; before that it looks like an external one.
            return any(node["Node"] == self.node and is_agent(node) for node in self.get("/v1/catalog/nodes"))
        return False

    def _takes_writes(self) -> bool:
        key = f"/v1/kv/gitsync-test-up-{self.node}"
        wrote = self.request("PUT", key, "up", timeout=5)
        return (wrote.status, wrote.text) == (200, "true") and self.request("DELETE", key, timeout=5).status == 200

    def sees(self, other: ConsulServer) -> bool:
        """Whether it can ask the other's datacenter."""
        answer = self.request("GET", "/v1/catalog/nodes", dc=other.datacenter, timeout=5)
        return answer.status == 200 and any(node["Node"] == other.node for node in answer.json)

    # -- asking it --------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        timeout: float = 30,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> Answer:
        """One request, one connection, any status. *body*: JSON unless it is text or bytes. *params*: True is a bare name.

        token: default the management token; None is the anonymous one.
        """
        query = "&".join(
            name if value is True else f"{name}={urllib.parse.quote(str(value), safe='')}"
            for name, value in params.items()
        )
        sent = dict(headers or {})
        if secret := self.token if token == "" else token:
            sent["X-Consul-Token"] = secret
        if not (body is None or isinstance(body, str | bytes)):
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["http"], timeout=timeout)
        try:
            connection.request(method, path + (f"?{query}" if query else ""), body, sent)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace").strip()
            return Answer(answer.status, text, {name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    def get(self, path: str, **params: Any) -> Any:
        """The decoded answer; None if there is no such thing. Raises Refused on any other status."""
        answer = self.request("GET", path, **params)
        if answer.status == 404:
            return None
        return self._done(answer, "GET", path)

    def put(self, path: str, body: Any = None, **params: Any) -> Any:
        """The decoded answer. Raises Refused unless it is 200 and not `false` (a lost compare-and-set)."""
        return self._done(self.request("PUT", path, body, **params), "PUT", path)

    def delete(self, path: str, **params: Any) -> Any:
        """The decoded answer. Raises Refused unless it is 200 and not `false`."""
        return self._done(self.request("DELETE", path, **params), "DELETE", path)

    def _done(self, answer: Answer, method: str, path: str) -> Any:
        if answer.status != 200 or answer.text == "false":
            raise Refused(f"{method} {path}: {answer.status} {answer.text[:300]}")
        return json.loads(answer.text) if answer.text else None

    def entry(self, kind: str, name: str) -> dict[str, Any] | None:
        """One config entry, or None."""
        found: dict[str, Any] | None = self.get(f"/v1/config/{kind}/{quoted(name)}", consistent=True)
        return found

    def put_entry(self, kind: str, name: str, **fields: Any) -> None:
        """Write a config entry, whatever is there."""
        self.put("/v1/config", {"Kind": kind, "Name": name, **fields})

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """All config entries of one kind; none where this Consul does not know the kind."""
        answer = self.request("GET", f"/v1/config/{kind}", consistent=True)
        if answer.status in (400, 500) and "invalid config entry kind" in answer.text.lower():
            return []
        return self._done(answer, "GET", f"/v1/config/{kind}") or []

    def value(self, key: str) -> bytes | None:
        """The value of one key, or None."""
        found = self.get(f"/v1/kv/{quoted(key, safe='/')}", consistent=True)
        return base64.b64decode(found[0]["Value"] or "") if found else None

    def keys(self, prefix: str = "") -> list[str]:
        """The keys below *prefix*."""
        return self.get(f"/v1/kv/{quoted(prefix, safe='/')}", keys=True, consistent=True) or []

    # -- all of it --------------------------------------------------------------------------------------------------

    def dump(self, *, datacenter: str | None = None) -> dict[tuple[str, ...], Any]:
        """Everything that a client can have put there, with its indexes: what did not change compares equal.

        By ("config", kind, name), ("kv", key), ("node", name) with its services and checks. The agent's own node is left
        out (it changes by itself), and so are sessions (they come and go) and ACLs.
        """
        dc = {"dc": datacenter} if datacenter else {}
        found: dict[tuple[str, ...], Any] = {
            ("config", kind, entry["Name"]): entry for kind in KINDS for entry in self.entries(kind)
        }
        for pair in self.get("/v1/kv/", recurse=True, consistent=True, **dc) or []:
            found["kv", pair["Key"]] = pair
        for name in self._external_nodes(**dc):
            node = self.get(f"/v1/catalog/node/{quoted(name)}", consistent=True, **dc)
            checks = self.get(f"/v1/health/node/{quoted(name)}", consistent=True, **dc)
            if node:
                found["node", name] = {**node, "Checks": checks}
        return found

    def _external_nodes(self, **dc: Any) -> list[str]:
        return [node["Node"] for node in self.get("/v1/catalog/nodes", consistent=True, **dc) if not is_agent(node)]

    def reset(self) -> None:
        """Empty it for the next test, and mend what the last one did to it: a frozen agent goes on, a dead one starts."""
        if self._paused:
            self.resume()
        if not self.running:
            self.start()
        for session in self.get("/v1/session/list"):
            self.put(f"/v1/session/destroy/{session['ID']}")
        self.delete("/v1/kv/", recurse=True)
        wait_for(self._without_entries, "deleting all config entries", every=0.01)
        for name in self._external_nodes():
            self.put("/v1/catalog/deregister", {"Node": name})
        for service in self.get("/v1/agent/services"):
            self.put(f"/v1/agent/service/deregister/{quoted(service)}")
        for service in (self.get(f"/v1/catalog/node/{self.node}") or {"Services": {}})["Services"]:
            if service != "consul":  # what a test registered on the agent's own node by way of the catalog
                self.put("/v1/catalog/deregister", {"Node": self.node, "ServiceID": service})
        if self._acl:
            self._reset_acl()

    def _without_entries(self) -> bool:
        """Delete what can be deleted; an entry that another one needs goes in a later pass."""
        there = [(kind, entry["Name"]) for kind in KINDS for entry in self.entries(kind)]
        for kind, name in there:
            self.request("DELETE", f"/v1/config/{kind}/{quoted(name)}")
        return not there

    def _reset_acl(self) -> None:
        for token in self.get("/v1/acl/tokens"):
            first = any(policy["Name"] == "global-management" for policy in token.get("Policies") or [])
            if not first and not token["AccessorID"].startswith(BUILT_IN):
                self.delete(f"/v1/acl/token/{token['AccessorID']}")
        for kind, kinds, key in (
            ("auth-method", "auth-methods", "Name"),
            ("role", "roles", "ID"),
            ("policy", "policies", "ID"),
        ):
            for each in self.get(f"/v1/acl/{kinds}"):
                if not each[key].startswith(BUILT_IN):
                    self.delete(f"/v1/acl/{kind}/{each[key]}")

    def new_token(self, rules: str) -> str:
        """The secret of a new token that may do what *rules* (HCL) say."""
        policy = self.put("/v1/acl/policy", {"Name": f"test-{uuid.uuid4().hex}", "Rules": rules})
        secret: str = self.put("/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})["SecretID"]
        return secret


def is_agent(node: Mapping[str, Any]) -> bool:
    """Whether a node of the catalog is a Consul agent's own."""
    return "consul-network-segment" in (node.get("Meta") or {})


def quoted(text: str, safe: str = "") -> str:
    """*text* as a part of a URL's path."""
    return urllib.parse.quote(text, safe=safe)


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """*theirs* over *ours*, table by table."""
    out = dict(ours)
    for key, value in theirs.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both else value
    return out
