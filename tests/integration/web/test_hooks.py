"""POST /hooks/{sync} over real connections: who is let in, what is read, what is handed over, and what is said of it."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from structlog.testing import capture_logs

from gitsync.hosts import PROVIDERS
from gitsync.model.errors import Unavailable
from gitsync.web import hooks_application
from gitsync.web.bounds import REMEMBERED_SECONDS
from gitsync.web.hooks import SMALL_BYTES
from tests.integration.web.site import REVISION, SECRET, Hook, Site, push, signed

GITHUB = PROVIDERS["github"].webhooks
DATACENTER = PROVIDERS["bitbucket-datacenter"].webhooks


def site(**given) -> Site:
    return Site(Unavailable("no store is needed here"), **given)


def github(delivery: str = "d1", event: str = "push") -> dict[str, str]:
    """The headers of a push that GitHub would sign."""
    body = github_push()
    digest = signed(body)["x-signature"]
    return {
        "content-type": "application/json",
        "x-hub-signature-256": digest,
        "x-github-delivery": delivery,
        "x-github-event": event,
    }


def github_push() -> bytes:
    repository = {"full_name": "platform/specs"}
    return json.dumps(
        {"ref": "refs/heads/main", "before": "0" * 40, "after": REVISION, "repository": repository}
    ).encode()


async def counted(client: httpx.AsyncClient, verdict: str, sync: str = "payments") -> int:
    """How often /metrics says that a delivery had this verdict."""
    text = (await client.get("/metrics")).text
    name = f'gitsync_webhooks_total{{sync="{sync}",verdict="{verdict}"}} '
    return sum(int(float(line.removeprefix(name))) for line in text.splitlines() if line.startswith(name))


# -- who is let in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["the current one", "the previous one"])
async def test_a_signed_push_is_handed_over_whichever_of_the_two_secrets_signed_it(secret: str):
    one = site(hooks={"payments": Hook(known=("the current one", "the previous one"))})
    async with one.served() as client:
        answer = await client.post("/hooks/payments", content=push(), headers=signed(push(), secret))

        assert (answer.status_code, answer.json()) == (202, {"status": "woken"})
        assert await counted(client, "woken") == 1
    [(sync, event)] = one.inbox.taken
    assert (sync, event.kind, event.refs[0].ref, event.refs[0].after) == (
        "payments",
        "push",
        "refs/heads/main",
        REVISION,
    )


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(signed(push(), "another secret"), id="another secret"),
        pytest.param({**signed(push()), "x-signature": ""}, id="an empty signature"),
        pytest.param({**signed(push()), "x-signature": "sha256="}, id="an empty digest"),
        pytest.param({"content-type": "application/json"}, id="no signature"),
        pytest.param(signed(push()[:-1] + b" "), id="another body"),
    ],
)
async def test_what_is_not_signed_rightly_is_refused_and_told_nothing(headers: dict[str, str]):
    one = site()
    async with one.served() as client:
        answer = await client.post("/hooks/payments", content=push(), headers=headers)

        assert (answer.status_code, answer.json()) == (401, {"error": "no valid signature"})
        assert await counted(client, "unauthenticated") == 1
    assert not one.inbox.taken


async def test_a_body_is_understood_only_after_its_signature_is_right():
    async with site().served() as client:
        strangers = await client.post("/hooks/payments", content=b"{", headers=signed(b"{", "guessed"))
        hosts = await client.post("/hooks/payments", content=b"{", headers=signed(b"{"))

    assert (strangers.status_code, hosts.status_code) == (401, 400)


async def test_a_sync_without_a_secret_has_no_endpoint_and_looks_like_one_that_is_not_there():
    one = site(hooks={"payments": Hook(known=())})
    async with one.served() as client:
        without = await client.post("/hooks/payments", content=push(), headers=signed(push(), ""))
        unknown = await client.post("/hooks/nobody", content=push(), headers=signed(push()))

        assert without.status_code == unknown.status_code == 404
        assert without.content == unknown.content
        assert await counted(client, "no-endpoint", sync="") == 1


async def test_a_secret_that_cannot_be_read_lets_nobody_in():
    hook = Hook(broken=Unavailable("the file is not there"))
    async with site(hooks={"payments": hook}).served() as client:
        assert (await client.post("/hooks/payments", content=push(), headers=signed(push()))).status_code == 503
        hook.broken = None
        assert (await client.post("/hooks/payments", content=push(), headers=signed(push()))).status_code == 202


async def test_an_unsigned_ping_is_harmless():
    one = site(hooks={"payments": Hook(webhooks=DATACENTER)})
    headers = {"content-type": "application/json", "x-event-key": "diagnostics:ping"}
    async with one.served() as client:
        answer = await client.post("/hooks/payments", content=b'{"test": true}', headers=headers)

        assert answer.status_code == 200
        assert await counted(client, "ping") == 1
    assert not one.inbox.taken


async def test_a_signed_ping_is_harmless_too():
    one = site(hooks={"payments": Hook(webhooks=GITHUB)})
    async with one.served() as client:
        answer = await client.post("/hooks/payments", content=github_push(), headers=github(event="ping"))

    assert (answer.status_code, one.inbox.taken) == (200, [])


async def test_what_is_of_no_interest_is_fine():
    one = site(hooks={"payments": Hook(webhooks=GITHUB)})
    async with one.served() as client:
        answer = await client.post("/hooks/payments", content=github_push(), headers=github(event="star"))

    assert (answer.status_code, one.inbox.taken) == (202, [])


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"\xff\x00", b"[" * 50_000, b'{"ref": 1}'])
async def test_no_host_s_endpoint_breaks_over_what_a_stranger_sends(kind: str, body: bytes):
    one = site(hooks={"payments": Hook(webhooks=PROVIDERS[kind].webhooks)})
    async with one.served() as client:
        answer = await client.post("/hooks/payments", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, one.inbox.taken) == (401, [])


# -- what is read ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain; x=application/json"},
        {"content-type": ""},
        {"content-encoding": "gzip"},
    ],
)
async def test_only_plain_json_is_taken(headers: dict[str, str]):
    async with site().served() as client:
        answer = await client.post("/hooks/payments", content=push(), headers={**signed(push()), **headers})

        assert answer.status_code == 415
        assert await counted(client, "not-json") == 1


async def test_json_may_name_its_charset():
    headers = {**signed(push()), "content-type": "Application/JSON; charset=utf-8"}
    async with site().served() as client:
        assert (await client.post("/hooks/payments", content=push(), headers=headers)).status_code == 202


async def test_the_longest_body_is_taken_and_one_byte_more_is_not():
    fits, over = (b'{"x": "' + b"x" * (size - 9) + b'"}' for size in (300_000, 300_001))
    async with site(hooks={"payments": Hook(body_bytes=300_000)}).served() as client:
        assert (await client.post("/hooks/payments", content=fits, headers=signed(fits))).status_code == 202
        assert (await client.post("/hooks/payments", content=over, headers=signed(over))).status_code == 413
        assert await counted(client, "too-large") == 1


async def test_a_body_without_a_length_is_cut_off_while_it_comes_and_its_sender_hears_why():
    head = b"POST /hooks/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        site(hooks={"payments": Hook(body_bytes=50_000)}).served() as client,
        asyncio.timeout(10),
    ):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(head)
        answer = asyncio.create_task(reader.readuntil(b"bytes"))
        while not answer.done():
            writer.write(b"2710\r\n" + b" " * 10_000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    assert answer.result().startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.result().lower()


async def test_bodies_share_a_bounded_memory_and_give_it_back():
    one = site(hooks={"payments": Hook(body_bytes=400_000)}, purse_bytes=300_000)
    long = b'{"x": "' + b"x" * 350_000 + b'"}'
    async with one.served() as client:
        host, port = client.base_url.host, client.base_url.port
        head = f"POST /hooks/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(long)}\r\n\r\n"
        _, writer = await asyncio.open_connection(host, port)
        writer.write(head.encode() + long[:-1])
        await writer.drain()
        async with asyncio.timeout(5):  # until the half of it is there
            while (
                answer := await client.post("/hooks/payments", content=long, headers=signed(long))
            ).status_code != 429:
                assert answer.status_code == 202
        assert answer.headers["retry-after"] == "1"
        short = await client.post("/hooks/payments", content=push(), headers=signed(push()))
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        async with asyncio.timeout(5):
            while (await client.post("/hooks/payments", content=long, headers=signed(long))).status_code != 202:
                pass

        assert short.status_code == 202
        assert await counted(client, "broken-off") == 1
    assert one.receiver._small.left == one.receiver._large.left == 300_000


@pytest.mark.parametrize("path", ["/hooks/payments/", "/hooks//payments", "/hooks", "/hooks/", "/hooks/payments/more"])
async def test_nobody_is_sent_elsewhere(path: str):
    async with site().served() as client:
        assert (await client.post(path, content=push(), headers=signed(push()))).status_code == 404


async def test_only_post_is_taken():
    async with site().served() as client:
        assert (await client.get("/hooks/payments")).status_code == 405


# -- what is handed over --------------------------------------------------------------------------------------------------


async def test_a_delivery_that_comes_again_is_not_handed_over_again():
    one = site(hooks={"payments": Hook(webhooks=GITHUB)})
    async with one.served() as client:
        answers = [
            await client.post("/hooks/payments", content=github_push(), headers=github(each))
            for each in ("a", "b", "a")
        ]

        assert [each.status_code for each in answers] == [202, 202, 202]
        assert await counted(client, "duplicate") == 1
    assert [event.delivery_id for _, event in one.inbox.taken] == ["a", "b"]


async def test_who_sends_a_delivery_again_after_ten_minutes_means_it():
    one = site(hooks={"payments": Hook(webhooks=GITHUB)})
    async with one.served() as client:
        for later in (0, REMEMBERED_SECONDS - 1, 2):
            one.seconds += later
            await client.post("/hooks/payments", content=github_push(), headers=github("a"))

    assert len(one.inbox.taken) == 2


async def test_one_delivery_may_be_for_two_syncs():
    one = site(hooks={"payments": Hook(webhooks=GITHUB), "search": Hook(webhooks=GITHUB)})
    async with one.served() as client:
        for sync in ("payments", "search"):
            await client.post(f"/hooks/{sync}", content=github_push(), headers=github("a"))

    assert [sync for sync, _ in one.inbox.taken] == ["payments", "search"]


async def test_a_delivery_that_could_not_be_accepted_is_taken_when_it_comes_again():
    one = site(hooks={"payments": Hook(webhooks=GITHUB)})
    one.inbox.broken = Unavailable("gitsync is ending")
    async with one.served() as client:
        answers = [await client.post("/hooks/payments", content=github_push(), headers=github("a")) for _ in range(2)]

        assert [each.status_code for each in answers] == [503, 202]
        assert await counted(client, "failed") == 1
    assert len(one.inbox.taken) == 1


async def test_a_bug_in_accepting_swallows_no_delivery():
    one = site(hooks={"payments": Hook(webhooks=GITHUB)})
    one.inbox.broken = ZeroDivisionError("a bug")
    async with one.served() as client:
        answers = [await client.post("/hooks/payments", content=github_push(), headers=github("a")) for _ in range(2)]

    assert [each.status_code for each in answers] == [500, 202]
    assert len(one.inbox.taken) == 1


# -- strangers who do not give up -----------------------------------------------------------------------------------------


async def test_who_fails_too_often_has_to_wait_and_real_deliveries_from_the_same_address_get_through():
    one = site(hooks={"payments": Hook(body_bytes=400_000), "search": Hook()}, purse_bytes=10_000_000)
    large = b'{"x": "' + b"x" * SMALL_BYTES + b'"}'
    async with one.served() as client:
        bad = [await client.post("/hooks/payments", content=push(), headers=signed(push(), "no")) for _ in range(23)]
        good = await client.post("/hooks/payments", content=push(), headers=signed(push()))
        long = await client.post("/hooks/payments", content=large, headers=signed(large))
        elsewhere = await client.post("/hooks/search", content=push(), headers=signed(push(), "no"))
        one.seconds += 3
        later = [await client.post("/hooks/payments", content=push(), headers=signed(push(), "no")) for _ in range(2)]
        one.seconds += 60
        much_later = await client.post("/hooks/payments", content=large, headers=signed(large))

        assert [each.status_code for each in bad] == [401] * 20 + [429] * 3
        assert bad[-1].headers["retry-after"] == "3"
        assert (good.status_code, long.status_code, elsewhere.status_code) == (202, 429, 401)
        assert [each.status_code for each in later] == [401, 429]
        assert much_later.status_code == 202


async def test_neither_bodies_nor_signatures_nor_secrets_are_logged():
    one = site()
    canary = push(repository="canary-in-the-body")
    with capture_logs() as lines:
        async with one.served() as client:
            for secret in (SECRET, "canary-guess"):
                await client.post("/hooks/payments", content=canary, headers=signed(canary, secret))

    text = repr(lines)
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "a delivery without a valid signature is refused"
    ]
    assert "canary" not in text
    assert SECRET not in text
    assert signed(canary)["x-signature"] not in text


async def test_a_flood_of_forgeries_writes_a_few_lines_only():
    one = site()
    with capture_logs() as lines:
        async with one.served() as client:
            for _ in range(40):
                await client.post("/hooks/payments", content=push(), headers=signed(push(), "no"))

    assert len([line for line in lines if line["log_level"] == "warning"]) == 20


async def test_names_that_strangers_ask_for_make_no_series():
    async with site().served() as client:
        for number in range(5):
            await client.post(f"/hooks/guess-{number}", content=push(), headers=signed(push()))

        assert "guess" not in (await client.get("/metrics")).text
        assert await counted(client, "no-endpoint", sync="") == 5


# -- where it is served ---------------------------------------------------------------------------------------------------


async def test_the_outside_reaches_hooks_and_nothing_else():
    one = site()
    async with one.served(hooks_application(one.receiver)) as client:
        assert (await client.post("/hooks/payments", content=push(), headers=signed(push()))).status_code == 202
        for path in (
            "/",
            "/runs",
            "/runs/0123456789",
            "/healthz",
            "/readyz",
            "/metrics",
            "/docs",
            "/openapi.json",
            "/style.css",
        ):
            assert (await client.get(path)).status_code == 404, path


async def test_two_listeners_share_what_was_seen():
    one = site(hooks={"payments": Hook(webhooks=GITHUB)})
    async with one.served() as inside, one.served(hooks_application(one.receiver)) as outside:
        for client in (inside, outside):
            await client.post("/hooks/payments", content=github_push(), headers=github("a"))

    assert len(one.inbox.taken) == 1
