"""Which requests reach which server, and what of them the server sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mesh.conftest import Street
from tests.mesh.echo import Caller, Echo
from tests.mesh.http2 import Http2
from tests.servers import wait_for


@pytest.fixture
def other() -> Iterator[Echo]:
    """A second server."""
    with Echo("other") as server:
        yield server


async def routed(street: Street, echo: Echo, other: Echo, *matches: dict[str, Any]) -> Caller:
    """A caller of a service on *echo* whose requests that fit one of *matches* go to a service on *other*."""
    there = {"service": street.also("other")}
    routes = [{"match": match, "destination": there} for match in matches]
    return await street.serve(
        street.spec(echo, router={"routes": routes}), street.spec(other, name=street.also("other"))
    )


# -- where it is ------------------------------------------------------------------------------------------------------


async def test_a_plain_external_service_answers(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo))

    reply = caller.ask("/a?b=c", method="POST")

    assert (reply.status, reply.server) == (200, "echo")
    assert (reply.seen.method, reply.seen.path) == ("POST", "/a?b=c")


async def test_a_dotted_name_answers(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, name=street.also("dev.credit.open-build")))

    assert caller.ask().status == 200


async def test_a_server_on_ipv6_answers(street: Street):
    with Echo(host="::1") as six:
        caller = await street.serve(street.spec(six))

        assert caller.ask().status == 200


async def test_a_server_by_its_dns_name_answers(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, routing={"host": "localhost", "port": echo.port}))

    assert caller.ask().status == 200


async def test_all_of_several_endpoints_answer(street: Street, echo: Echo, other: Echo):
    endpoints = [{"host": each.host, "port": each.port} for each in (echo, other)]
    caller = await street.serve(street.spec(echo, routing={"endpoints": endpoints}))

    assert {caller.ask().server for _ in range(30)} == {"echo", "other"}


async def test_a_service_moves_to_where_its_spec_says(street: Street, echo: Echo, other: Echo):
    caller = await street.serve(street.spec(echo))
    assert caller.ask().server == "echo"

    await street.sync(street.spec(other))
    street.mesh.settle()

    assert caller.ask().server == "other"


# -- what the server sees as Host -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "preserve", "sees"),
    [("localhost", False, "localhost"), ("localhost", True, "shop.example"), ("127.0.0.1", False, "shop.example")],
)
async def test_the_host_that_the_server_sees(street: Street, echo: Echo, host: str, preserve: bool, sees: str):
    routing = {"host": host, "port": echo.port, "preserve_host": preserve}
    caller = await street.serve(street.spec(echo, routing=routing))

    assert caller.ask(headers={"Host": "shop.example"}).seen.host == sees


# -- tcp --------------------------------------------------------------------------------------------------------------


async def test_tcp_passes_bytes_on(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, protocol="tcp"))

    reply = caller.ask("//as/../it//is", headers={"Host": "shop.example"})

    assert (reply.status, reply.seen.path, reply.seen.host) == (200, "//as/../it//is", "shop.example")
    assert "x-request-id" not in reply.seen.headers


@pytest.mark.parametrize("protocol", ["http2", "grpc"])
async def test_a_server_that_speaks_http1_answers_no_http2(street: Street, echo: Echo, protocol: str):
    caller = await street.serve(street.spec(echo, protocol=protocol))

    assert (caller.ask().status, echo.seen) == (502, [])


@pytest.mark.parametrize("protocol", ["http2", "grpc"])
async def test_a_server_that_speaks_http2_answers(street: Street, protocol: str):
    with Http2() as server:
        caller = await street.serve(street.spec(server, protocol=protocol, router={"prefix": "/pay.Pay/"}))

        reply = caller.ask("/pay.Pay/Do", method="POST", headers={"content-type": "application/grpc"})

    assert (reply.status, reply.server) == (200, "http2")
    assert server.seen == [("2", "POST", "/pay.Pay/Do")]
    assert "protocol-http2" in street.said


async def test_the_gateway_of_the_configuration_carries_who_names_none(street: Street, echo: Echo):
    spec = street.spec(echo)
    del spec["exposure"]["terminating_gateway"]
    caller = await street.serve(spec)

    assert caller.ask().status == 200


async def test_a_gateway_that_does_not_run_carries_nothing_and_the_finding_says_so(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo))
    assert caller.ask().status == 200

    spec = street.spec(echo)
    spec["exposure"]["terminating_gateway"] = {"service": "tgw-2"}
    street.said = await street.sync(spec)

    wait_for(lambda: caller.ask().status == 503, "the service being gone from the gateway")
    assert "gateway-has-no-instance" in street.said


async def test_without_a_row_in_a_gateway_nothing_answers_and_the_finding_says_so(street: Street, echo: Echo):
    spec = street.spec(echo)
    spec["exposure"]["terminating_gateway"] = None
    caller = await street.serve(spec)

    assert (caller.ask().status, echo.seen) == (503, [])
    assert "no-gateway" in street.said


# -- routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "fits", "does_not"),
    [
        ({"path_exact": "/health"}, ("GET /health", "GET /health?a=b"), ("GET /health/", "GET /healthy")),
        ({"path_prefix": "/v1/"}, ("GET /v1/", "GET /v1/a"), ("GET /v1", "GET /v2/")),
        ({"path_regex": "/v[0-9]+/pay"}, ("GET /v12/pay",), ("GET /v12/pay/more", "GET /x/v1/pay")),
        ({"path_prefix": "/", "methods": ["PUT", "DELETE"]}, ("PUT /", "DELETE /a"), ("GET /", "POST /")),
        ({"query": [{"name": "a", "exact": "b"}]}, ("GET /?a=b", "GET /x?c=d&a=b"), ("GET /?a=c", "GET /")),
        ({"query": [{"name": "a", "regex": "b+"}]}, ("GET /?a=bb",), ("GET /?a=c",)),
        ({"query": [{"name": "a", "present": True}]}, ("GET /?a=", "GET /?a=x"), ("GET /?b=a",)),
    ],
    ids=["exact", "prefix", "regex", "methods", "query-exact", "query-regex", "query-present"],
)
async def test_a_route_takes_what_fits_it(
    street: Street, echo: Echo, other: Echo, match: dict[str, Any], fits: tuple[str, ...], does_not: tuple[str, ...]
):
    caller = await routed(street, echo, other, match)

    def server(request: str) -> str:
        method, path = request.split()
        return caller.ask(path, method=method).server

    assert {request: server(request) for request in fits} == dict.fromkeys(fits, "other")
    assert {request: server(request) for request in does_not} == dict.fromkeys(does_not, "echo")


@pytest.mark.parametrize(
    ("header", "fits", "does_not"),
    [
        ({"exact": "yes"}, ("yes",), ("no", "yes!", None)),
        ({"prefix": "ye"}, ("yes",), ("no", None)),
        ({"suffix": "es"}, ("yes",), ("no", None)),
        ({"regex": "y.s"}, ("yes",), ("yess", None)),
        ({"present": True}, ("yes", "no"), (None,)),
        ({"present": True, "invert": True}, (None,), ("yes", "no")),
        ({"exact": "yes", "invert": True}, ("no",), ("yes", None)),  # an inverted value, too, needs the header
    ],
    ids=["exact", "prefix", "suffix", "regex", "present", "absent", "invert"],
)
async def test_a_route_takes_requests_by_their_headers(
    street: Street, echo: Echo, other: Echo, header: dict[str, Any], fits: tuple[Any, ...], does_not: tuple[Any, ...]
):
    caller = await routed(street, echo, other, {"headers": [{"name": "x-canary", **header}]})

    def server(value: str | None) -> str:
        return caller.ask(headers={} if value is None else {"x-canary": value}).server

    assert [server(value) for value in fits] == ["other"] * len(fits)
    assert [server(value) for value in does_not] == ["echo"] * len(does_not)


async def test_everything_that_a_match_gives_has_to_be_so_and_the_first_route_wins(
    street: Street, echo: Echo, other: Echo
):
    routes = [
        {"match": {"path_prefix": "/a/", "methods": ["GET"], "headers": [{"name": "x", "exact": "1"}]}},
        {"match": {"path_prefix": "/a/"}, "destination": {"service": street.also("other")}},
        {"match": {"path_prefix": "/"}},
    ]
    caller = await street.serve(
        street.spec(echo, router={"routes": routes}), street.spec(other, name=street.also("other"))
    )

    assert caller.ask("/a/", headers={"x": "1"}).server == "echo"
    assert caller.ask("/a/", headers={"x": "2"}).server == "other"
    assert caller.ask("/a/", headers={"x": "1"}, method="PUT").server == "other"
    assert caller.ask("/b/").server == "echo"


async def test_a_router_with_a_prefix_is_one_route_and_all_else_still_answers(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo, router={"prefix": "/v1/"}))

    assert [caller.ask(path).seen.path for path in ("/v1/a", "/else")] == ["/v1/a", "/else"]


# -- rewrites ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "rewrite", "asked", "sees"),
    [
        ({"path_prefix": "/v1/"}, "/api/", "/v1/a/b?c=d", "/api/a/b?c=d"),
        ({"path_prefix": "/v1"}, "/api", "/v1/a", "/api/a"),
        ({"path_prefix": "/v1/"}, "/", "/v1/a", "/a"),
        ({"path_exact": "/health"}, "/status", "/health?a=b", "/status?a=b"),
    ],
)
async def test_a_rewritten_path_has_no_double_slash(
    street: Street, echo: Echo, match: dict[str, str], rewrite: str, asked: str, sees: str
):
    route = {"match": match, "destination": {"prefix_rewrite": rewrite}}
    caller = await street.serve(street.spec(echo, router={"routes": [route]}))

    assert caller.ask(asked).seen.path == sees
    assert not street.said & {"rewrite-double-slash", "rewrite-without-slash"}


@pytest.mark.parametrize(
    ("prefix", "rewrite", "asked", "sees", "said"),
    [
        ("/v1", "/", "/v1/a", "//a", "rewrite-double-slash"),
        ("/v1/", "/api", "/v1/a", "/apia", "rewrite-without-slash"),
    ],
)
async def test_a_rewrite_that_spoils_the_path_is_what_the_finding_says(
    street: Street, echo: Echo, prefix: str, rewrite: str, asked: str, sees: str, said: str
):
    route = {"match": {"path_prefix": prefix}, "destination": {"prefix_rewrite": rewrite}}
    caller = await street.serve(street.spec(echo, router={"routes": [route]}))

    assert caller.ask(asked).seen.path == sees
    assert said in street.said


# -- shares -----------------------------------------------------------------------------------------------------------


async def test_a_splitter_gives_each_its_share(street: Street, echo: Echo, other: Echo):
    splitter = [{"weight": 75}, {"weight": 25, "service": street.also("other")}]
    caller = await street.serve(street.spec(echo, splitter=splitter), street.spec(other, name=street.also("other")))

    shares = Counter(caller.ask().server for _ in range(400))

    assert set(shares) == {"echo", "other"}
    assert 55 <= shares["other"] <= 145  # 100 expected; five standard deviations are 43


async def test_a_share_of_zero_gets_nothing(street: Street, echo: Echo, other: Echo):
    splitter = [{"weight": 0}, {"weight": 100, "service": street.also("other")}]
    caller = await street.serve(street.spec(echo, splitter=splitter), street.spec(other, name=street.also("other")))

    assert {caller.ask().server for _ in range(40)} == {"other"}
