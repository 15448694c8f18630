"""The mirror of a repository behind https: whom it trusts, what it shows of itself, and hosts that mean no good."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsync.model.errors import Forbidden, Invalid, Rejected, Unavailable
from gitsync.repository import GitSource, Mirror
from tests.servers import wait_for
from tests.servers.git import GitRepository
from tests.servers.git_hosts import (
    TOKEN,
    USER,
    GitHttps,
    HostileHost,
    hangs,
    never_ends,
    replies,
    trickles,
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHttps]:
    with GitHttps(tmp_path_factory.mktemp("repositories")) as server:
        yield server


@pytest.fixture(autouse=True)
def _usual(host: GitHttps) -> None:
    host.allow(USER, TOKEN)
    host.cut_after = None


@pytest.fixture
def repository(host: GitHttps, tmp_path: Path) -> GitRepository:
    repository = GitRepository(host.root / "private" / f"{tmp_path.name}.git")
    repository.commit({"a.yaml": "name: a"})
    return repository


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


def open_mirror(tmp_path: Path, url: str, **source) -> Mirror:
    return Mirror(GitSource(url, **source), tmp_path / "state" / "mirror", accepts=lambda _: None)


def at(host: GitHttps, repository: GitRepository) -> str:
    return f"{host.url}/private/{repository.folder.name}"


async def test_a_private_repository_is_fetched_with_the_token(host, repository, token_file, tmp_path):
    mirror = open_mirror(tmp_path, at(host, repository), username=USER, token_file=token_file, ca_file=host.ca_file)
    first = await mirror.fetch()
    second = repository.commit({"a.yaml": "name: b"})

    assert first.sha != second
    assert (await mirror.fetch()).sha == second
    assert list((await mirror.snapshot(second)).contents.values()) == [b"name: b"]


async def test_a_single_commit_can_be_asked_for(host, repository, token_file, tmp_path):
    lost = repository.commit({"a.yaml": "lost"})
    repository.commit({"a.yaml": "new"}, parent="")
    mirror = open_mirror(tmp_path, at(host, repository), username=USER, token_file=token_file, ca_file=host.ca_file)

    assert (await mirror.resolve(lost)).sha == lost


async def test_the_token_is_read_again_for_every_fetch(host, repository, token_file, tmp_path):
    mirror = open_mirror(tmp_path, at(host, repository), username=USER, token_file=token_file, ca_file=host.ca_file)
    await mirror.fetch()
    host.allow(USER, "another")
    with pytest.raises(Forbidden):
        await mirror.fetch()
    token_file.write_text("another")

    assert (await mirror.fetch()).sha == repository.sha("main")


@pytest.mark.parametrize("content", [None, "wrong"])
async def test_missing_and_wrong_credentials_are_forbidden_and_never_shown(host, repository, tmp_path, content):
    token = tmp_path / "token"
    token.write_text("wrong-canary-token")
    given = {"username": USER, "token_file": token} if content else {}

    with pytest.raises(Forbidden, match=r"git\.token_file") as raised:
        await open_mirror(tmp_path, at(host, repository), ca_file=host.ca_file, **given).fetch()
    assert "wrong-canary-token" not in str(raised.value)
    assert not list((tmp_path / "state").rglob("*.pack"))


@pytest.mark.parametrize(
    ("content", "error"), [(None, Unavailable), ("", Rejected), ("a\nb", Rejected), ("é", Rejected)]
)
async def test_a_token_file_that_holds_no_token_is_named(host, repository, tmp_path, content, error):
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)

    with pytest.raises(error, match="token_file"):
        await open_mirror(tmp_path, at(host, repository), token_file=token, ca_file=host.ca_file).fetch()


async def test_a_host_whose_certificate_is_not_trusted_is_unavailable(host, repository, token_file, tmp_path):
    with HostileHost(hangs) as other, pytest.raises(Unavailable, match=r"git\.ca_file"):
        await open_mirror(tmp_path, at(host, repository), token_file=token_file, ca_file=other.ca_file).fetch()


async def test_a_repository_that_is_not_there_is_refused(host, tmp_path):
    with pytest.raises(Rejected, match=r"Check git\.url"):
        await open_mirror(tmp_path, f"{host.url}/nothing.git", ca_file=host.ca_file).fetch()


async def test_nobody_listening_is_unavailable(tmp_path):
    with HostileHost(hangs) as gone:
        url, authority = gone.url, gone.ca_file.read_bytes()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority)

    with pytest.raises(Unavailable, match="cannot be reached"):
        await open_mirror(tmp_path, f"{url}/x.git", ca_file=ca_file).fetch()


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
async def test_a_redirect_is_not_followed_and_takes_no_credentials_along(token_file, tmp_path, status):
    with HostileHost(replies("200 OK")) as target:
        with HostileHost(
            replies(status, f"Location: {target.url}/x.git/info/refs"), authority=target.authority
        ) as host:
            mirror = open_mirror(tmp_path, f"{host.url}/x.git", token_file=token_file, ca_file=host.ca_file)
            with pytest.raises(Rejected, match="redirects"):
                await mirror.fetch()
        assert target.requests == []
        assert set(host.credentials) == {f"git:{TOKEN}"}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", Forbidden),
        ("403 Forbidden", Forbidden),
        ("404 Not Found", Rejected),
        ("429 Too Many Requests", Unavailable),
        ("500 Internal Server Error", Unavailable),
        ("503 Service Unavailable", Unavailable),
    ],
)
async def test_a_status_of_the_host_is_told_apart(token_file, tmp_path, status, error):
    with HostileHost(replies(status, "WWW-Authenticate: Basic realm=x")) as host, pytest.raises(error) as raised:
        await open_mirror(tmp_path, f"{host.url}/x.git", token_file=token_file, ca_file=host.ca_file).fetch()
    assert type(raised.value) is error


async def test_a_host_that_repeats_the_credentials_does_not_get_them_into_the_message(token_file, tmp_path):
    with HostileHost(replies("200 OK")) as host:

        def echo(connection):
            value = host.requests[-1].partition("Authorization: Basic ")[2].partition("\r\n")[0]
            replies(
                "500 No",
                "Content-Type: text/plain; charset=utf-8",
                body=f"you sent {value} and {TOKEN}\x1b[31m".encode(),
            )(connection)

        host.answer = echo
        with pytest.raises(Unavailable) as raised:
            await open_mirror(tmp_path, f"{host.url}/x.git", token_file=token_file, ca_file=host.ca_file).fetch()
    said = str(raised.value)
    assert "you sent *** and ***" in said
    assert TOKEN not in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    "body", [b"", b"<html>hello</html>", b"001e# service=git-upload-pack\n0000zzzz", os.urandom(2000)]
)
async def test_an_answer_that_is_not_gits_protocol_is_no_answer(tmp_path, body):
    kind = "Content-Type: application/x-git-upload-pack-advertisement"
    with HostileHost(replies("200 OK", kind, body=body)) as host, pytest.raises((Unavailable, Rejected)):
        await open_mirror(tmp_path, f"{host.url}/x.git", ca_file=host.ca_file).fetch()


@pytest.mark.parametrize("answer", [hangs, trickles])
async def test_a_host_that_hangs_is_given_up_in_time_and_nothing_of_git_stays(tmp_path, answer):
    with HostileHost(answer) as host:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await open_mirror(tmp_path, f"{host.url}/x.git", ca_file=host.ca_file, timeout=1.0).fetch()
        assert time.monotonic() - began < 10
        assert processes_with(host.url) == []


async def test_a_list_of_refs_without_end_is_ended(tmp_path):
    with HostileHost(never_ends) as host, pytest.raises((Unavailable, Rejected)):
        await open_mirror(tmp_path, f"{host.url}/x.git", ca_file=host.ca_file, timeout=1.0).fetch()
    assert processes_with(host.url) == []


async def test_credentials_are_in_no_argument_of_any_process_and_in_no_file(token_file, tmp_path):
    with HostileHost(hangs) as host:
        mirror = open_mirror(tmp_path, f"{host.url}/x.git", token_file=token_file, ca_file=host.ca_file)
        task = asyncio.create_task(mirror.fetch())
        await asyncio.to_thread(wait_for, lambda: host.requests, "the request")
        running = processes_with(host.url)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        secret = host.requests[0].partition("Authorization: Basic ")[2].partition("\r\n")[0]
        assert secret
        assert running
        assert not [line for line in running if TOKEN in line or secret in line]
        files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert not [
            path for path in files if TOKEN.encode() in path.read_bytes() or secret.encode() in path.read_bytes()
        ]


@pytest.mark.parametrize("cut_after", [200, 2_000, 100_000])
async def test_an_answer_that_is_cut_short_changes_nothing_and_the_next_fetch_mends_it(
    host, repository, token_file, tmp_path, cut_after
):
    mirror = open_mirror(tmp_path, at(host, repository), username=USER, token_file=token_file, ca_file=host.ca_file)
    first = await mirror.fetch()
    second = repository.commit({f"{n}.bin": os.urandom(50_000) for n in range(5)})
    host.cut_after = cut_after
    with pytest.raises((Unavailable, Rejected)):
        await mirror.fetch()
    again = Mirror(mirror.source, mirror.directory, accepts=lambda _: None)
    assert len((await again.tree(first.sha)).files) == 1
    host.cut_after = None

    assert (await again.fetch()).sha == second
    assert len((await again.tree(second)).files) == 6


async def test_a_token_goes_over_plain_http_to_this_machine_only(tmp_path, token_file):
    with pytest.raises(Invalid, match="https"):
        await open_mirror(tmp_path, "http://git.example/x.git", token_file=token_file).fetch()


@pytest.mark.parametrize(
    "url", ["git://localhost/x", "ext::sh -c touch% x", "ftp://h/x", "--upload-pack=touch x", "https://u:p@h/x"]
)
def test_other_transports_and_options_are_refused_before_git_sees_them(tmp_path, url):
    with pytest.raises(Invalid):
        open_mirror(tmp_path, url)


def processes_with(text: str) -> list[str]:
    """The command lines of all processes that have *text* in them, but our own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and path.parent.name != str(os.getpid()):
            found.append(line)
    return found
