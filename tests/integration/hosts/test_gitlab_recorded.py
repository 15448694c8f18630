"""What GitLab was recorded to say to another client is understood, and what is sent has the names that it answers with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from gitsync.model.host import ChangeRequest, CommitState, PostResult, Status, Verdict
from tests.integration.hosts.other_hosts import BASES, Host
from tests.servers.host_api import HostApi, Reply, Seen

CASSETTES = sorted((Path(__file__).parents[2] / "contract/hosts/payloads/ogr-cassettes/gitlab").glob("*.yaml"))
COMMIT = "11b37d913374b14f8519d16c2a2cca3ebc14ac64"
MARKER = "<!-- gitsync:plan source=eu -->"


class Recorded:
    """A cassette, answered again. pages: what was answered to a method at a path, by page."""

    def __init__(self, host: Host, cassette: Path) -> None:
        self.pages: dict[tuple[str, str], dict[str, Reply]] = {}
        self._host = host
        spoken = yaml.load(cassette.read_text(), Loader=yaml.CSafeLoader)["requests.sessions"]["send"]
        for method, urls in spoken.items():
            for url, entries in urls.items():
                self._take(method, url, entries[0]["output"])
        for method, path in self.pages:
            host.api.on(method, path, self._answer)

    def at(self, method: str, ending: str) -> list[str]:
        """The recorded paths that end so."""
        return [path for by, path in self.pages if by == method and path.endswith(ending)]

    def _take(self, method: str, url: str, output: Any) -> None:
        parts = urlsplit(url)
        path = parts.path.removeprefix("/api/v4")
        for name in ("14233409", "packit-service%2Fogr-tests"):
            path = path.replace(f"/projects/{name}", self._host.path)
        link = output["headers"].get("Link", "").replace("https://gitlab.com/api/v4/projects/14233409", self._host.path)
        headers = {"Link": link.replace("<", f"<{self._host.api.url}")}
        (page,) = parse_qs(parts.query).get("page", ["1"])
        body = json.loads(json.dumps(output["_content"]))
        self.pages.setdefault((method, path), {})[page] = Reply(output["status_code"], body, headers)

    def _answer(self, seen: Seen) -> Reply:
        return self.pages[seen.method, seen.path][seen.query.get("page", "1")]


@pytest.fixture
def gitlab(client: httpx.AsyncClient) -> Iterator[Host]:
    """Not held against the description: the queries of the next pages are of the recorded GitLab's own making."""
    with HostApi(base=BASES["gitlab"]) as api:
        yield Host("gitlab", api, client)


def test_the_recorded_traffic_is_there():
    assert len(CASSETTES) == 6


@pytest.mark.parametrize("cassette", [path for path in CASSETTES if "set_commit_status" in path.stem])
async def test_a_status_is_sent_in_the_words_of_the_recorded_answer(gitlab, cassette):
    recorded = Recorded(gitlab, cassette)
    change = ChangeRequest(1, COMMIT, "feature", "master", False, "packit-service/ogr-tests", "open")
    status = Status(COMMIT, "gitsync/plan/prod/eu", CommitState.SUCCESS, "fine", "https://x.example", change=change)

    assert await gitlab.provider().set_status(status) == PostResult(Verdict.DONE)

    (posted,) = gitlab.api.sent("POST")
    answered = recorded.pages["POST", posted.path]["1"].body
    assert posted.json["pipeline_id"] == 81824705
    assert posted.json.keys() - {"state", "pipeline_id"} <= answered.keys()
    assert answered["status"] in ("pending", "running", "success", "failed", "canceled")


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda path: path.stem)
async def test_what_was_recorded_is_read_to_its_last_page(gitlab, cassette):
    recorded = Recorded(gitlab, cassette)
    provider = gitlab.provider()
    notes = recorded.at("GET", "/notes")
    for path in notes:
        gitlab.api.on("POST", path, Reply(201, {"id": 5}))
        number = int(path.split("/")[-2])

        change = await provider.get_change(number)
        made = await provider.upsert_comment(number, MARKER, MARKER, None)

        assert change is not None
        assert (change.number, change.base_ref) == (number, "master")
        assert made == PostResult(Verdict.DONE, id="5")
        assert len(gitlab.api.sent("GET", path)) == len(recorded.pages["GET", path])
    for path in recorded.at("GET", "/user"):
        assert recorded.pages["GET", path]["1"].body["username"]
    assert notes or recorded.at("GET", f"/repository/commits/{COMMIT}")


@pytest.mark.parametrize("cassette", [path for path in CASSETTES if "comments_updates" in path.stem])
async def test_a_recorded_note_is_edited(gitlab, cassette):
    (path,) = [path for method, path in Recorded(gitlab, cassette).pages if method == "PUT"]
    number, note = int(path.split("/")[-3]), path.rpartition("/")[2]

    assert await gitlab.provider().upsert_comment(number, MARKER, MARKER, note) == PostResult(Verdict.DONE, id=note)
    assert gitlab.api.sent("PUT")[0].json == {"body": MARKER}
