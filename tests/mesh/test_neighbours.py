"""What one service can do to the others of its gateway and its clients: nothing, even after both Envoys restarted."""

from __future__ import annotations

from tests.mesh.conftest import Street
from tests.mesh.echo import Caller, Echo
from tests.servers import wait_for


def stands_after_a_restart(street: Street, caller: Caller) -> bool:
    street.mesh.restart()
    return wait_for(lambda: caller.ask().status == 200, "the neighbour after a restart", seconds=60)


async def test_the_longest_name_that_gitsync_takes_hurts_nobody(street: Street, echo: Echo):
    longest = (street.also("long-") + "x" * 128)[:128]
    good = await street.serve(street.spec(echo), street.spec(echo, name=longest))
    long = street.mesh.dial(longest)

    assert long.ask().status == 200
    assert stands_after_a_restart(street, good)
    assert wait_for(lambda: long.ask().status == 200, "the long one after a restart", seconds=60)


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
    assert stands_after_a_restart(street, good)


async def test_a_file_that_is_not_on_the_gateway_is_refused_and_its_neighbours_stand(street: Street, echo: Echo):
    good = await street.serve(street.spec(echo))
    tls = {"sni": "pay.example.org", "ca_file": "/etc/ssl/nowhere.pem"}
    bad = street.spec(echo, name=street.also("bad"), routing={"host": echo.host, "port": echo.port, "tls": tls})

    street.bench.commit(bad=street.text(bad))
    report = await street.bench.sync()

    said = {finding.code for service in report.services for finding in service.findings}
    assert "gateway-file-not-listed" in said
    assert not street.mesh.carries(street.also("bad"))
    assert stands_after_a_restart(street, good)
