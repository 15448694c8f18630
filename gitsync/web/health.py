"""/healthz: does the process live. /readyz: does every sync get through to Git and Consul."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gitsync.model.view import SyncView

FRESH = {"cache-control": "no-store"}


class View(Protocol):
    """Whoever knows the syncs."""

    def syncs(self) -> Mapping[str, SyncView]: ...


def health_app(view: View) -> Starlette:
    """The application with the two routes and nothing else."""
    return Starlette(routes=health_routes(view))


def health_routes(view: View) -> list[Route]:
    """The two routes. Neither takes anything from the request, nor reads its body."""

    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"}, headers=FRESH)

    async def readyz(_: Request) -> JSONResponse:
        syncs = view.syncs()
        reasons = {name: each.trouble for name, each in sorted(syncs.items()) if each.trouble}
        body = {
            "status": "not ready" if reasons else "ready",
            "reasons": reasons,
            "syncs": {name: sync_json(each) for name, each in sorted(syncs.items())},
        }
        return JSONResponse(body, 503 if reasons else 200, headers=FRESH)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def sync_json(sync: SyncView) -> dict[str, Any]:
    """One sync as JSON; what there is not is null."""
    return {
        "ready": not sync.trouble,
        "last_success": sync.last_success or None,
        "applied": sync.applied or None,
        "outcome": sync.outcome or None,
        "suspended": sync.suspended,
        "in_flight": sync.in_flight or None,
        "waiting": sync.waiting or None,
        "next_run": sync.next_run or None,
        "failures": sync.failures,
        "backoff_seconds": round(sync.backoff, 1),
        "error": sync.error or None,
    }
