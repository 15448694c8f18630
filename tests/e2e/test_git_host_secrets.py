"""The three secrets of a Git host, its password for git, its token and the webhook's: who sees them, and where they never are."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import quote

from tests.e2e.hosting import Hosting, scanned
from tests.servers.forge import API_TOKEN, SECRET
from tests.servers.git_hosts import TOKEN, USER, HostileHost, hangs, replies
from tests.servers.host_api import HostApi, Reply
from tests.workbench import external

BASIC = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
EVERY = [TOKEN, API_TOKEN, SECRET, BASIC, quote(TOKEN, safe="_")]


def arguments() -> dict[int, bytes]:
    """The command lines of all processes."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes()
        except OSError:
            continue
    return found


def test_no_secret_is_in_a_log_the_database_the_mirror_or_an_answer(hosting):
    site: Hosting = hosting()
    first = site.forge.push()
    site.start()
    site.status(first, "success")
    said = [site.get(site.status(site.pushed(pay=external("pay")), "success")["target_url"])[1]]
    site.bench.git("checkout", "-q", "-b", "request-1")
    site.bench.commit("a request", shop=external("shop", "192.0.2.11"))
    head = site.forge.propose(1)
    site.bench.git("checkout", "-q", "main")
    site.told(site.forge.request(1, "opened"))
    site.plan(head)
    site.until(lambda: list(site.forge.comments[1]), "the comment")
    site.forge.deliver(site.port, site.forge.pushed(head), secret="guessed")
    # what comes back from the host with our own token in it
    site.forge.refusing = Reply(403, {"message": f"{API_TOKEN} may not, nor {TOKEN}"})
    late = site.pushed(books=external("books", "192.0.2.12"))
    site.until(lambda: site.forge.api.sent("POST", rf".*/statuses/{late}"), "the refused status")
    site.logged(action="deliver", outcome="forbidden")
    said += [site.get(f"{site.url}{path}")[1] for path in ("/runs", "/metrics", "/readyz", "/")]
    site.stop()

    state = site.folder / "state"
    assert (state / "gitsync.db").exists()
    assert not scanned(EVERY, state)
    assert not [needle for needle in EVERY if needle in site.log or any(needle in page for page in said)]
    posted = str(site.forge.posted) + str(site.forge.comments)
    assert not [needle for needle in EVERY if needle in posted]


def test_no_secret_is_in_the_arguments_of_any_process_while_a_fetch_is_held(hosting):
    with HostileHost(hangs) as held:
        site: Hosting = hosting()
        git = site.settings["syncs"]["payments"]["git"]
        git.update(url=f"{held.url}/acme/specs.git", ca_file=str(held.ca_file))
        site.start()
        site.until(lambda: held.requests, "the fetch")
        running = arguments()
        environments = [
            path.read_bytes()
            for path in Path("/proc").glob("[0-9]*/environ")
            if os.access(path, os.R_OK) and path.parent.name == str(site.process.pid)
        ]
        site.stop()

        assert any(b"acme/specs.git" in line for line in running.values())
        assert held.credentials == [f"{USER}:{TOKEN}"]
        assert not [line for line in running.values() if any(needle.encode() in line for needle in EVERY)]
        assert not [each for each in environments if any(needle.encode() in each for needle in EVERY)]


def test_a_redirect_of_git_to_elsewhere_gets_nothing(hosting):
    with HostileHost(hangs) as elsewhere:
        answer = replies("302 Found", f"Location: {elsewhere.url}/acme/specs.git/info/refs?service=git-upload-pack")
        with HostileHost(answer, authority=elsewhere.authority) as first:
            site: Hosting = hosting()
            git = site.settings["syncs"]["payments"]["git"]
            git.update(url=f"{first.url}/acme/specs.git", ca_file=str(elsewhere.ca_file))
            site.start()
            site.logged(action="run", outcome="failed")
            site.stop()

            assert first.credentials
            assert elsewhere.requests == []
            assert not [needle for needle in EVERY if needle in site.log]


def test_a_redirect_of_the_api_to_elsewhere_gets_nothing(hosting):
    with HostApi(base="/api/v1") as elsewhere:
        elsewhere.on("POST", ".*", Reply(201, {"id": 1}))
        elsewhere.on("GET", ".*", Reply(200, {}))
        site: Hosting = hosting()
        for status in (301, 307):
            target = {"location": f"{elsewhere.url}/repos/{site.forge.name}/statuses/1"}
            site.forge.refusing = Reply(status, {"message": "moved"}, target)
            if status == 301:
                sha = site.forge.push()
                site.start()
            else:
                sha = site.pushed(pay=external("pay"))
            site.until(lambda sha=sha: site.forge.api.sent("POST", rf".*/statuses/{sha}"), "the status")
            site.until(
                lambda sha=sha: [line for line in site.lines(action="deliver") if sha[:12] in line["event"]],
                "what became of it",
            )
        site.stop()

        assert elsewhere.seen == []
        assert not [needle for needle in EVERY if needle in site.log]
