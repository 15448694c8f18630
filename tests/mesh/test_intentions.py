"""Who gets in, and with what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mesh.conftest import Street
from tests.mesh.echo import Echo
from tests.servers import wait_for


@pytest.mark.parametrize(("protocol", "refused"), [("http", 403), ("tcp", 0)])
async def test_who_is_denied_gets_nothing(street: Street, echo: Echo, protocol: str, refused: int):
    caller = await street.serve(street.spec(echo, protocol=protocol, intentions=[{"source": "web", "action": "deny"}]))

    assert (caller.ask().status, echo.seen) == (refused, [])


async def test_who_is_allowed_gets_in_where_all_others_are_denied(street: Street, echo: Echo):
    only = [{"source": "web", "action": "allow"}, {"source": "*", "action": "deny"}]
    caller = await street.serve(street.spec(echo, intentions=only))

    assert caller.ask().status == 200


async def test_a_denial_of_everyone_is_one_of_the_client_too(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, intentions=[{"source": "*", "action": "deny"}]))

    assert (caller.ask().status, echo.seen) == (403, [])


async def test_a_denial_of_another_does_not_touch_the_client(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, intentions=[{"source": "batch", "action": "deny"}]))

    assert caller.ask().status == 200


@pytest.mark.parametrize(("begins", "becomes"), [("deny", 200), ("allow", 403)])
async def test_a_changed_intention_holds_from_the_second_request_of_an_open_connection(
    street: Street, echo: Echo, begins: str, becomes: int
):
    def spec(action: str) -> dict[str, Any]:
        return street.spec(echo, intentions=[{"source": "web", "action": action}])

    caller = await street.serve(spec(begins))
    before = caller.ask().status  # the sidecar keeps its connection to the gateway

    await street.sync(spec("allow" if begins == "deny" else "deny"))
    street.mesh.settle()

    assert before in (200, 403)
    assert caller.ask().status == before  # judged by what held when the connection was made
    wait_for(lambda: caller.ask().status == becomes, "the changed intention", seconds=10)
    assert {caller.ask().status for _ in range(5)} == {becomes}


async def test_a_denial_that_left_the_spec_lets_the_client_in_again(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, intentions=[{"source": "web", "action": "deny"}]))
    assert caller.ask().status == 403

    await street.sync(street.spec(echo))

    wait_for(lambda: caller.ask().status == 200, "the client being let in", seconds=10)


REST = {"action": "deny", "http": {"path_prefix": "/"}}


@pytest.mark.parametrize(
    ("http", "allowed", "denied"),
    [
        ({"path_exact": "/orders"}, ("GET /orders",), ("GET /orders/1", "GET /")),
        ({"path_prefix": "/v1/"}, ("GET /v1/a", "PUT /v1/"), ("GET /v1", "GET /v2/a")),
        ({"path_regex": "/v[0-9]/pay"}, ("GET /v1/pay",), ("GET /v1/pay/x", "GET /pay")),
        ({"path_prefix": "/", "methods": ["GET"]}, ("GET /a",), ("PUT /a", "DELETE /a")),
    ],
    ids=["exact", "prefix", "regex", "methods"],
)
async def test_a_permission_lets_in_what_fits_it(
    street: Street, echo: Echo, http: dict[str, Any], allowed: tuple[str, ...], denied: tuple[str, ...]
):
    permissions = [{"action": "allow", "http": http}, REST]
    caller = await street.serve(street.spec(echo, intentions=[{"source": "web", "permissions": permissions}]))

    def status(request: str) -> int:
        method, path = request.split()
        return caller.ask(path, method=method).status

    assert {request: status(request) for request in allowed} == dict.fromkeys(allowed, 200)
    assert {request: status(request) for request in denied} == dict.fromkeys(denied, 403)


@pytest.mark.parametrize(
    ("header", "allowed", "denied"),
    [
        ({"exact": "yes"}, ("yes",), ("no", None)),
        ({"prefix": "ye"}, ("yes",), ("no", None)),
        ({"suffix": "es"}, ("yes",), ("no", None)),
        ({"regex": "y.s"}, ("yes",), ("yess", None)),
        ({"present": True}, ("yes", "no"), (None,)),
        ({"present": True, "invert": True}, (None,), ("yes", "no")),
        ({"exact": "yes", "invert": True}, ("no",), ("yes", None)),
    ],
    ids=["exact", "prefix", "suffix", "regex", "present", "absent", "invert"],
)
async def test_a_permission_lets_in_by_header(
    street: Street, echo: Echo, header: dict[str, Any], allowed: tuple[Any, ...], denied: tuple[Any, ...]
):
    permissions = [{"action": "allow", "http": {"headers": [{"name": "x-team", **header}]}}, REST]
    caller = await street.serve(street.spec(echo, intentions=[{"source": "web", "permissions": permissions}]))

    def status(value: str | None) -> int:
        return caller.ask(headers={} if value is None else {"x-team": value}).status

    assert [status(value) for value in allowed] == [200] * len(allowed)
    assert [status(value) for value in denied] == [403] * len(denied)


@pytest.mark.parametrize("how", ["exact", "prefix", "suffix", "regex"])
async def test_a_denial_of_an_inverted_header_is_passed_by_leaving_the_header_out(street: Street, echo: Echo, how: str):
    without = {"name": "x-team", how: "yes", "invert": True}
    permissions = [
        {"action": "deny", "http": {"path_prefix": "/", "headers": [without]}},
        {"action": "allow", "http": {"path_prefix": "/"}},
    ]
    caller = await street.serve(street.spec(echo, intentions=[{"source": "web", "permissions": permissions}]))

    assert caller.ask(headers={"x-team": "yes"}).status == 200
    assert caller.ask(headers={"x-team": "no"}).status == 403
    assert caller.ask().status == 200


DENY_ADMIN = [
    {"action": "deny", "http": {"path_prefix": "/admin"}},
    {"action": "allow", "http": {"path_prefix": "/"}},
]


@pytest.mark.parametrize("spelling", ["//admin", "/%61dmin", "/x/../admin"])
async def test_a_denied_path_is_passed_with_another_spelling_and_the_finding_says_so(
    street: Street, echo: Echo, spelling: str
):
    caller = await street.serve(street.spec(echo, intentions=[{"source": "web", "permissions": DENY_ADMIN}]))

    assert caller.ask("/admin").status == 403
    assert caller.ask(spelling).status == 200
    assert "l7-path-bypass" in street.said


@pytest.mark.parametrize(
    "spelling", ["/admin", "//admin", "/%61dmin", "/orders/../admin", "//orders", "/orders%2f..%2fadmin"]
)
async def test_allowing_whole_paths_is_passed_by_no_spelling(street: Street, echo: Echo, spelling: str):
    permissions = [{"action": "allow", "http": {"path_exact": "/orders", "methods": ["GET"]}}, REST]
    caller = await street.serve(street.spec(echo, intentions=[{"source": "web", "permissions": permissions}]))

    assert caller.ask("/orders").status == 200
    assert caller.ask(spelling).status == 403
    assert "l7-path-bypass" not in street.said
