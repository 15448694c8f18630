"""What Consul answered, as it came: status, headers, bytes. No judgement; that is `verdict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitsync.model import jsontext
from gitsync.model.errors import Unavailable

LONGEST_QUOTE = 600
"""Characters of an answer that a message quotes: enough for Consul's longest refusals, too few for a proxy's error page."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `headers`: names in any case. `body`: all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text on one line, cut to what a message can carry."""
        text = " ".join(self.body[: 4 * LONGEST_QUOTE].decode(errors="replace").split())
        return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…"

    def json(self) -> Any:
        """The body, decoded. Raises Unavailable if it is no JSON: then something else than Consul answered."""
        try:
            return jsontext.parsed(self.body)
        except ValueError as error:
            raise Unavailable(
                f"the answer is not JSON but {self.text[:200]!r}: something between gitsync and Consul answered. "
                "Check the address of Consul, and any proxy on the way."
            ) from error

    @property
    def index(self) -> int:
        """X-Consul-Index, 0 where there is none."""
        text = self.headers.get("X-Consul-Index") or "0"
        return int(text) if text.isdecimal() else 0

    @property
    def filtered(self) -> bool:
        """Whether Consul says that it left out what the token may not see. It says so only from 1.11.0."""
        return (self.headers.get("X-Consul-Results-Filtered-By-ACLs") or "").lower() == "true"
