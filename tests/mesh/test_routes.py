"""Which requests reach which server, and how the server sees them."""

from __future__ import annotations

import pytest

from tests.mesh.conftest import Street
from tests.mesh.echo import Echo


async def test_a_plain_external_service_answers(street: Street, echo: Echo):
    caller = await street.serve(street.spec(echo))

    reply = caller.ask("/a?b=c", method="POST")

    assert (reply.status, reply.server) == (200, "echo")
    assert (reply.seen.method, reply.seen.path) == ("POST", "/a?b=c")
