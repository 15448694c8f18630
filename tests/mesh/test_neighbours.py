"""What one service can do to the others of its gateway and its clients: nothing, even after both Envoys restarted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trustme

from tests.mesh.conftest import Street, said
from tests.mesh.echo import Caller, Echo
from tests.mesh.transparent import Transparent
from tests.servers import wait_for


def stands(caller: Caller, **headers: str) -> bool:
    """Wait until *caller* is answered: an Envoy that just started may need a while even when all is well."""
    return wait_for(lambda: caller.ask(headers=headers).status == 200, "an answer after a restart", seconds=55)


async def test_the_longest_name_that_gitsync_takes_hurts_nobody(street: Street, echo: Echo):
    longest = (street.also("long-") + "x" * 128)[:128]
    subset = "y" * (255 - 128 - 63 - len("dc1") - 1)
    resolver = {"default_subset": subset, "subsets": {subset: {"only_passing": True}}}
    good = await street.serve(street.spec(echo), street.spec(echo, name=longest, resolver=resolver))
    long = street.mesh.dial(longest)

    assert long.ask().status == 200
    street.mesh.restart()
    assert stands(good)
    assert stands(long)


async def test_the_largest_ring_and_the_smallest_choice_hurt_nobody(street: Street, echo: Echo):
    ring = {"policy": "ring_hash", "ring_hash": {"minimum": 1, "maximum": 8388608}}
    choice = {"policy": "least_request", "least_request": {"choice_count": 2}}
    good = await street.serve(
        street.spec(echo),
        street.spec(echo, name=street.also("ring"), resolver={"load_balancer": ring}),
        street.spec(echo, name=street.also("choice"), resolver={"load_balancer": choice}),
    )
    callers = [street.mesh.dial(street.also(word)) for word in ("ring", "choice")]

    assert [caller.ask().status for caller in callers] == [200, 200]
    street.mesh.restart()
    assert stands(good)


async def test_a_service_that_only_fails_itself_leaves_the_others_alone(street: Street, echo: Echo):
    nowhere = {"host": "does-not-resolve.example.org", "port": echo.port}
    odd = {"none": {"filter": 'Service.Meta.version == "none"'}}
    good = await street.serve(
        street.spec(echo),
        street.spec(echo, name=street.also("nowhere"), routing=nowhere),
        street.spec(echo, name=street.also("refused"), routing={"host": "127.0.0.1", "port": 1}),
        street.spec(echo, name=street.also("http2"), protocol="http2"),
        street.spec(echo, name=street.also("empty"), resolver={"default_subset": "none", "subsets": odd}),
        street.spec(
            echo,
            name=street.also("sni"),
            routing={"host": echo.host, "port": echo.port, "tls": {"sni": "s." * 126 + "s"}},
        ),
    )
    callers = [street.mesh.dial(street.also(word)) for word in ("nowhere", "refused", "http2", "empty", "sni")]

    def answers() -> list[int]:
        return [caller.ask().status for caller in callers]

    assert answers() == [503, 503, 502, 503, 200]  # the last one speaks plaintext: a CA file is not given
    street.mesh.restart()
    assert stands(good)
    assert wait_for(lambda: answers() == [503, 503, 502, 503, 200], "the same as before", seconds=30)


async def test_a_service_that_left_its_spec_is_gone_and_its_neighbour_stands(street: Street, echo: Echo):
    gone = street.also("gone")
    good = await street.serve(street.spec(echo), street.spec(echo, name=gone))
    caller = street.mesh.dial(gone)
    assert caller.ask().status == 200

    street.bench.remove(f"services/{gone.replace('.', '-')}.yaml")
    await street.sync(street.spec(echo))

    assert wait_for(lambda: caller.ask().status != 200, "the service being gone", seconds=30)
    assert wait_for(lambda: not street.mesh.carries(gone), "its row being gone", seconds=30)
    assert good.ask().status == 200


def files(folder: Path) -> dict[str, str]:
    """A CA file and two pairs of certificate and key, as a gateway's host may have them, and files that are none of that."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for pair in ("one", "two"):
        shown = authority.issue_cert(f"{pair}.example.org")
        shown.cert_chain_pems[0].write_to_path(folder / f"{pair}.pem")
        shown.private_key_pem.write_to_path(folder / f"{pair}-key.pem")
    (folder / "empty.pem").touch()
    (folder / "not.pem").write_text("no certificate\n")
    return {path.stem: str(path) for path in folder.glob("*.pem")}


async def test_no_poison_is_written_and_every_neighbour_stands_after_a_restart(
    street: Street, transparent: Transparent, echo: Echo, tmp_path: Path
):
    """Each of these values, once in Consul, takes the gateway or its clients down at their next restart."""
    tls = files(tmp_path)
    pair = {"ca_file": tls["ca"], "cert_file": tls["one"], "key_file": tls["one-key"]}
    other = {"ca_file": tls["ca"], "cert_file": tls["two"], "key_file": tls["two-key"]}
    street.bench.more = {"gateways": {"tgw": {"default_ca_file": tls["ca"], "tls": [pair, other]}}}
    name = street.also
    host = f"{street.name}.example.org"
    street.mesh.names.known[host] = "127.0.0.1"

    def routed(word: str, **more: Any) -> dict[str, Any]:
        return street.spec(echo, name=name(word), routing={"host": echo.host, "port": echo.port, **more})

    def resolved(word: str, **resolver: Any) -> dict[str, Any]:
        return street.spec(echo, name=name(word), resolver=resolver)

    def balanced(word: str, policy: str, **more: Any) -> dict[str, Any]:
        return resolved(word, load_balancer={"policy": policy, policy: more})

    def permitted(word: str, http: dict[str, Any]) -> dict[str, Any]:
        permissions = [{"action": "deny", "http": http}]
        return street.spec(echo, name=name(word), intentions=[{"source": "web", "permissions": permissions}])

    long, far = "x" * 64, "d" * 64
    wide = {"subsets": {"s" * 63: {"only_passing": True}}}
    poison = {
        "file-absent": (routed("a1", tls={"ca_file": "/etc/ssl/nowhere.pem"}), "gateway-file-not-listed"),
        "file-folder": (routed("a2", tls={"ca_file": str(tmp_path)}), "gateway-file-not-listed"),
        "file-empty": (routed("a3", tls={"ca_file": tls["empty"]}), "gateway-file-not-listed"),
        "file-no-pem": (routed("a4", tls={"ca_file": tls["not"]}), "gateway-file-not-listed"),
        "key-of-another": (routed("a5", tls={**pair, "key_file": tls["two-key"]}), "gateway-file-not-listed"),
        "sni-of-260": (routed("b1", tls={"sni": ".".join(["s" * 51] * 5), "ca_file": tls["ca"]}), "host-invalid"),
        "sni-of-254": (routed("b2", tls={"sni": "ss" + ".s" * 126, "ca_file": tls["ca"]}), "host-invalid"),
        "port-minus": (routed("c1", port=-1), "invalid-value"),
        "port-0": (routed("c2", port=0), "invalid-value"),
        "port-65536": (routed("c3", port=65536), "invalid-value"),
        "port-70000": (routed("c4", port=70000), "invalid-value"),
        "name-of-200": (street.spec(echo, name=(name("d1") + "x" * 200)[:200]), "name-invalid"),
        "name-and-subset": (street.spec(echo, name=(name("d2") + "x" * 128)[:128], resolver=wide), "name-too-long"),
        "datacenter-of-65": (
            street.spec(echo, name=name("d3"), resolver={"redirect": {"service": "x" * 128, "datacenter": far + "d"}}),
            "name-invalid",
        ),
        "subset-and-datacenter": (
            street.spec(
                echo, name=(name("d4") + long)[:100],
                resolver={**wide, "failover": {"*": {"targets": [{"subset": "s" * 63, "datacenter": far}]}}},
            ),
            "name-too-long",
        ),
        "name-and-own-datacenter": (
            {
                **resolved("d5", **wide), "name": (name("d5") + "x" * 100)[:100],
                "exposure": {"mode": "catalog_external", "dc": far},
            },
            "name-too-long",
        ),
        "static-host-of-254": (street.static(echo, name=name("d6"), host="hh" + ".h" * 126), "host-invalid"),
        "static-name-and-host": (
            street.static(echo, name=(name("d7") + "x" * 128)[:128], host="h" * 39 + ".example.org"), "name-too-long",
        ),
        "ring-minimum": (balanced("e1", "ring_hash", minimum=8388609), "invalid-value"),
        "ring-maximum": (balanced("e2", "ring_hash", maximum=8388609), "invalid-value"),
        "choice-of-0": (balanced("e3", "least_request", choice_count=0), "invalid-value"),
        "choice-of-1": (balanced("e4", "least_request", choice_count=1), "invalid-value"),
        "choice-of-nothing": (balanced("e5", "least_request"), "missing-field"),
        "filter": (resolved("f1", subsets={"v1": {"filter": "Service.Nowhere == 1"}}), "subset-filter-unsafe"),
        "expression": (permitted("f2", {"path_regex": "(/[a-z]{1,60}){1,60}"}), "regex-unsafe"),
        "named-like-gateway": (street.spec(echo, name="tgw"), "named-like-gateway"),
        "one-host-twice": (street.static(echo, name=name("g2"), host=host), "destination-taken"),
        "one-address-twice": (street.static(echo, name=name("g4"), protocol="tcp"), "destination-taken"),
    }  # fmt: skip
    with Echo("tcp") as tcp:
        poison["one-address-twice"][0]["routing"]["port"] = tcp.port
        good = await street.serve(
            street.spec(echo),
            routed("tls", tls={"sni": "pay.example.org"}),
            street.static(echo, name=name("static"), host=host),
            street.static(tcp, name=name("tcp"), protocol="tcp"),
        )

        street.bench.commit(**{word: street.text(spec) for word, (spec, _) in poison.items()})
        codes = said(await street.bench.sync())
        transparent.restart()
        street.mesh.restart()

        assert {word: code for word, (_, code) in poison.items() if code not in codes.get(word, ())} == {}
        assert [
            word for word, (spec, _) in poison.items() if spec["name"] != "tgw" and street.mesh.carries(spec["name"])
        ] == []
        assert stands(good)
        assert stands(transparent.dial("127.0.0.1", echo.port), Host=host)
        assert stands(transparent.dial("127.0.0.1", tcp.port))
