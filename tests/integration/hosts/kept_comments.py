"""The comments of request 7 as GitLab, Bitbucket and Azure DevOps keep, list and change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.integration.hosts.other_hosts import Host
from tests.servers.host_api import Reply, Seen

ME, ANOTHER = "gitsync-bot", "mona"
PAGE = 2


@dataclass(slots=True)
class Comment:
    """One of them. version: how often it was changed."""

    author: str
    body: str
    version: int = 0
    is_deleted: bool = False


class Comments:
    """Their keeper. me: whose token it is, "" where the host does not say."""

    def __init__(self, host: Host, *, me: str = ME) -> None:
        self.kept: dict[int, Comment] = {}
        self.me, self._host = me, host
        match host.kind:
            case "gitlab":
                self._gitlab(f"{host.path}/merge_requests/7/notes")
            case "bitbucket-cloud":
                self._cloud(f"{host.path}/pullrequests/7/comments")
            case "bitbucket-datacenter":
                self._data_center(f"{host.path}/pull-requests/7")
            case "azure-devops":
                self._azure(f"{host.path}/pullRequests/7/threads")

    def write(self, author: str, body: str) -> str:
        """Somebody writes one. Returns its id."""
        number = 100 + len(self.kept)
        self.kept[number] = Comment(author, body)
        return self.id(number)

    def id(self, number: int) -> str:
        """As the host names it."""
        return f"{number}/1" if self._host.kind == "azure-devops" else str(number)

    def of(self, author: str = ME) -> list[str]:
        """What *author* wrote and is still there."""
        return [one.body for one in self.kept.values() if one.author == author and not one.is_deleted]

    def _gitlab(self, notes: str) -> None:
        def shown(number: int) -> dict[str, Any]:
            one = self.kept[number]
            return {"id": number, "author": {"username": one.author}, "body": one.body, "system": False}

        def listed(seen: Seen) -> Reply:
            page = int(seen.query.get("page", "1"))
            there = [number for number, one in self.kept.items() if not one.is_deleted]
            link = f'<{self._host.api.url}{seen.path}?page={page + 1}>; rel="next"'
            more = {"Link": link} if len(there) > page * PAGE else {}
            return Reply(200, [shown(number) for number in there[(page - 1) * PAGE : page * PAGE]], more)

        who = Reply(200, {"id": 1, "username": self.me}) if self.me else Reply(403, {"message": "403 Forbidden"})
        self._host.api.on("GET", "/user", who)
        self._host.api.on("GET", notes, listed)
        self._host.api.on("POST", notes, lambda seen: Reply(201, shown(self._made(seen.json["body"]))))
        self._host.api.on("PUT", notes + r"/\d+", lambda seen: self._edited(seen, seen.json["body"], shown))

    def _cloud(self, comments: str) -> None:
        def shown(number: int) -> dict[str, Any]:
            one = self.kept[number]
            uuid = f"{{{one.author}}}"
            return {"id": number, "user": {"uuid": uuid}, "content": {"raw": one.body}, "deleted": one.is_deleted}

        def listed(seen: Seen) -> Reply:
            page = int(seen.query.get("page", "1"))
            there = list(self.kept)
            body: dict[str, Any] = {"values": [shown(number) for number in there[(page - 1) * PAGE : page * PAGE]]}
            if len(there) > page * PAGE:
                body["next"] = f"{self._host.api.url}{seen.path}?page={page + 1}"
            return Reply(200, body)

        who = Reply(200, {"uuid": f"{{{self.me}}}"}) if self.me else Reply(403, {"error": {"message": "no account"}})
        self._host.api.on("GET", "/user", who)
        self._host.api.on("GET", comments, listed)
        self._host.api.on("POST", comments, lambda seen: Reply(201, shown(self._made(seen.json["content"]["raw"]))))
        self._host.api.on(
            "PUT", comments + r"/\d+", lambda seen: self._edited(seen, seen.json["content"]["raw"], shown)
        )

    def _data_center(self, request: str) -> None:
        who = {"X-AUSERNAME": self.me} if self.me else {}

        def shown(number: int) -> dict[str, Any]:
            one = self.kept[number]
            return {"id": number, "version": one.version, "author": {"name": one.author}, "text": one.body}

        def listed(seen: Seen) -> Reply:
            start = int(seen.query.get("start", "0"))
            there = [number for number, one in self.kept.items() if not one.is_deleted]
            values: list[Any] = [
                {"action": "COMMENTED", "comment": shown(number)} for number in there[start : start + PAGE]
            ]
            body = {"values": [{"action": "OPENED"}, *values], "isLastPage": len(there) <= start + PAGE}
            return Reply(200, body | {"nextPageStart": start + PAGE}, who)

        def read(seen: Seen) -> Reply:
            number = int(seen.path.rpartition("/")[2])
            there = number in self.kept and not self.kept[number].is_deleted
            return Reply(200, shown(number), who) if there else Reply(404, {"errors": [{"message": "no comment"}]})

        def edit(seen: Seen) -> Reply:
            one = self.kept[int(seen.path.rpartition("/")[2])]
            if seen.json["version"] != one.version:
                return Reply(409, {"errors": [{"message": "the comment was changed meanwhile"}]})
            one.version += 1
            return self._edited(seen, seen.json["text"], shown)

        comments = f"{request}/comments"
        self._host.api.on("GET", f"{request}/activities", listed)
        self._host.api.on("POST", comments, lambda seen: Reply(201, shown(self._made(seen.json["text"])), who))
        self._host.api.on("GET", comments + r"/\d+", read)
        self._host.api.on("PUT", comments + r"/\d+", edit)

    def _azure(self, threads: str) -> None:
        def shown(number: int) -> dict[str, Any]:
            one = self.kept[number]
            return {"id": 1, "author": {"id": one.author}, "content": one.body, "isDeleted": one.is_deleted}

        def listed(_: Seen) -> Reply:
            return Reply(200, {"value": [{"id": number, "comments": [shown(number)]} for number in self.kept]})

        def made(seen: Seen) -> Reply:
            assert seen.json["status"] == "closed"  # an open one would hold the request up
            number = self._made(seen.json["comments"][0]["content"])
            return Reply(200, {"id": number, "comments": [shown(number)]})

        def edit(seen: Seen) -> Reply:
            number = int(seen.path.split("/")[-3])
            return self._edited(seen, seen.json["content"], shown, number)

        who = Reply(200, {"authenticatedUser": {"id": self.me}}) if self.me else Reply(403, {"message": "no"})
        self._host.api.on("GET", "/acme/_apis/connectionData", who)
        self._host.api.on("GET", threads, listed)
        self._host.api.on("POST", threads, made)
        self._host.api.on("PATCH", threads + r"/\d+/comments/\d+", edit)

    def _made(self, body: str) -> int:
        self.write(self.me or ME, body)
        return max(self.kept)

    def _edited(self, seen: Seen, body: str, shown: Any, number: int | None = None) -> Reply:
        number = int(seen.path.rpartition("/")[2]) if number is None else number
        one = self.kept.get(number)
        if one is None or one.is_deleted:
            return Reply(404, {"message": "404 Not Found"})
        if one.author != (self.me or ME):
            return Reply(403, {"message": "403 Forbidden"})
        one.body = body
        return Reply(200, shown(number))
