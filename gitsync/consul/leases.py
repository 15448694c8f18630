"""Sessions: what the locks of a run hang on, renewed in the background, and the word on whether writing is still allowed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gitsync.consul.client import Client, segment
from gitsync.model.errors import Fenced, Forbidden, GitsyncError, Unavailable

Clock = Callable[[], float]


def seconds_since_boot() -> float:
    """Seconds that also count while the machine sleeps, where it can tell: the servers do not stop with us."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Lease:
    """A session. Consul lets it go two TTLs after the last renewal; we stop writing after two thirds of one."""

    def __init__(self, sessions: Sessions, session: str, name: str, began: float) -> None:
        self.id = session
        self._sessions, self._name = sessions, name
        self._renewed = began
        self._gone = ""
        self._renewal = asyncio.create_task(self._keep(), name=f"renew session {session}")

    def check(self) -> None:
        """Raise Fenced if no write may start any more: the session is gone, or was not renewed in time."""
        if self._gone:
            raise Fenced(f"the session {self.id} ({self._name}) {self._gone}: nothing more is written in this run.")
        silent = self._sessions.now() - self._renewed
        if silent >= self._sessions.ttl_seconds * 2 / 3:
            raise Fenced(
                f"the session {self.id} ({self._name}) was not renewed for {silent:.1f} s, and Consul may let it go: nothing more "
                "is written in this run. Check that Consul answers, and that this machine is not overloaded."
            )

    async def destroy(self) -> None:
        """End the session. Behavior=delete removes the locks that it holds."""
        self.stop("was ended by this run")
        await self._sessions.destroy(self.id)

    def stop(self, why: str) -> None:
        """Renew it no more."""
        self._gone = self._gone or why
        self._renewal.cancel()
        self._sessions.leases.discard(self)

    async def _keep(self) -> None:
        pause = self._sessions.ttl_seconds / 3
        while True:
            await self._sessions.sleep(pause)
            began = self._sessions.now()
            try:
                async with asyncio.timeout(self._sessions.ttl_seconds / 3):
                    there = await self._sessions.renew(self.id)
            except (GitsyncError, TimeoutError):
                # Not known, so `check` counts on. Sooner the next time: there is one try less.
                pause = self._sessions.ttl_seconds / 12
                continue
            if not there:
                self._gone = "is gone: it expired, or somebody ended it"
                return
            self._renewed, pause = began, self._sessions.ttl_seconds / 3


class Sessions:
    """The sessions of the agent's own datacenter.

    node: the catalog node that they belong to, None for that of the agent which answers (which behind a load balancer is
    another one each time).
    """

    def __init__(
        self,
        client: Client,
        *,
        ttl_seconds: float,
        node: str | None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        now: Clock = seconds_since_boot,
    ) -> None:
        self._client = client
        self.ttl_seconds, self._node = ttl_seconds, node
        self.sleep, self.now = sleep, now
        self.leases: set[Lease] = set()

    async def open(self, name: str) -> Lease:
        """Make a session and renew it from now on, every third of its TTL.

        LockDelay 0: a lock that its holder let go is free at once. No NodeChecks: a restart of the agent ends nothing.
        Source: Consul HTTP API, PUT /v1/session/create.
        """
        what = f"session {name}"
        body: dict[str, Any] = {
            "Name": name,
            "TTL": f"{self.ttl_seconds:g}s",
            "Behavior": "delete",
            "LockDelay": "0s",
            "NodeChecks": [],
        }
        if self._node:
            body["Node"] = self._node
        began = self.now()
        answer = await self._client.ask("PUT", "/v1/session/create", body=body, what=what)
        try:
            session = str(answer.json()["ID"])
        except (KeyError, TypeError) as error:
            raise Unavailable(f"{what}: the answer is {answer.text[:80]!r}. Check the address of Consul.") from error
        lease = Lease(self, session, name, began)
        self.leases.add(lease)
        return lease

    async def renew(self, session: str) -> bool:
        """Renew it; False if it is not there any more. Does not wait behind other requests."""
        path = f"/v1/session/renew/{segment(session)}"
        return (
            await self._client.ask("PUT", path, write=False, urgent=True, what=f"renew session {session}")
        ).status == 200

    async def destroy(self, session: str) -> None:
        """End a session, whosever it is. That it is gone already is fine."""
        await self._client.ask(
            "PUT", f"/v1/session/destroy/{segment(session)}", urgent=True, what=f"end session {session}"
        )

    async def exists(self, session: str) -> bool:
        """Whether it is there. Raises Forbidden where Consul says that the token may not see it (from 1.11 on)."""
        what = f"session {session}"
        answer = await self._client.ask("GET", f"/v1/session/info/{segment(session)}", {"consistent": ""}, what=what)
        found = answer.json()
        if not found and answer.filtered:
            raise Forbidden(
                f"{what}: the token may not see it. It needs session read on the node that the session belongs to."
            )
        return bool(found)

    def close(self) -> None:
        """Renew nothing more."""
        for lease in list(self.leases):
            lease.stop("is renewed no more: gitsync is ending")
