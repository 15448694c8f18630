"""The application: what the outside may reach, and what stands in the head of every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gitsync.model.errors import GitsyncError
from gitsync.web.access import Access
from gitsync.web.drawn import drawn
from gitsync.web.health import health_routes
from gitsync.web.hooks import Receiver
from gitsync.web.limits import Limits
from gitsync.web.metrics import Metrics
from gitsync.web.pages import PATIENCE_SECONDS, Pages, Sources, as_json, wants_json

HEADERS: Mapping[bytes, bytes] = {
    b"content-security-policy": (
        b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""What every answer says, unless it says something else itself."""

PART = 128 * 1024
"""More than the server reads of a body at once: that one is too long is said by the endpoint, which counts it."""

TITLES = {401: "Not shown here", 404: "Nothing here", 405: "Not like this", 503: "The history cannot be read"}


def application(
    sources: Sources,
    metrics: Metrics,
    access: Access,
    receiver: Receiver | None = None,
    *,
    patience: float = PATIENCE_SECONDS,
) -> FastAPI:
    """Everything: /healthz, /readyz, /metrics, the pages, and with a *receiver* /hooks.

    patience: seconds that a page waits for its turn, and for the store.
    /healthz, /readyz and /metrics are open: they name syncs, counts and why a sync does not work, and show no spec.
    """
    app = _bare()
    pages = Pages(sources, access, patience=patience)

    async def exposed(request: Request) -> Response:
        waiting = await pages.waiting()
        text, content_type = metrics.exposed(
            sources.view.syncs(), waiting, sources.now(), accept=request.headers.get("accept", "")
        )
        return Response(text, headers={"content-type": content_type})

    app.router.routes.extend([*health_routes(sources.view), Route("/metrics", exposed)])
    if receiver:
        app.router.routes.append(receiver.route())
    app.include_router(pages.router())
    return app


def hooks_application(receiver: Receiver) -> FastAPI:
    """What `web.hooks_listen` serves: /hooks and nothing else."""
    app = _bare()
    app.router.routes.append(receiver.route())
    return app


def limits_of(receiver: Receiver | None, usual: Limits) -> Limits:
    """*usual*, with room for the longest delivery at /hooks. The endpoint itself says which is too long for it."""
    if receiver is None:
        return usual
    return replace(usual, bodies={"/hooks/": receiver.body_bytes + PART})


def _bare() -> FastAPI:
    """An application without routes, its own pages of documentation included."""
    app = FastAPI(title="gitsync", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(_Headed)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return await _problem(request, error.status_code, error.detail, error.headers)

    @app.exception_handler(GitsyncError)
    async def without_store(request: Request, error: GitsyncError) -> Response:
        return await _problem(request, 503, str(error), {"retry-after": "10"})

    return app


async def _problem(request: Request, status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    if wants_json(request) or request.url.path.startswith("/hooks"):
        answer = as_json({"error": why}, status)
    else:
        root = "../" * max(0, request.url.path.count("/") - 1) or "./"
        title = TITLES.get(status, "That did not work")
        text = await asyncio.to_thread(drawn, "problem.html.j2", status=status, why=why, root=root, title=title)
        answer = Response(text, status, media_type="text/html", headers={"vary": "accept"})
    answer.headers.update(headers or {})
    return answer


class _Headed:
    """An application whose answers all carry HEADERS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {name for name, _ in own}
                message = {**message, "headers": [*own, *((n, v) for n, v in HEADERS.items() if n not in names)]}
            await send(message)

        await self._app(scope, receive, headed)
