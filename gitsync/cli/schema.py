"""`gitsync schema`: the JSON Schema of a spec, for editors and other tools."""

from __future__ import annotations

from gitsync.cli.call import FINE, carry_out
from gitsync.cli.options import Debug, Json
from gitsync.cli.screen import Screen
from gitsync.model.spec import json_schema


def schema(as_json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001  it is JSON anyway
    """Print the JSON Schema of a spec.

    Editors complete and check specs by it. It is JSON with or without --json.

    Example:

      gitsync schema > spec.schema.json
      # yaml-language-server: $schema=spec.schema.json
    """

    async def work(screen: Screen) -> int:
        screen.document(json_schema())
        return FINE

    carry_out(work, as_json=True, debug=debug)
