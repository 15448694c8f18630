"""`gitsync show`: everything that is known of one service."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
import yaml

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, settings_of
from gitsync.cli.choice import service_key
from gitsync.cli.options import Config, Debug, Json
from gitsync.cli.redact import without
from gitsync.cli.screen import Screen, short
from gitsync.engine import errands
from gitsync.engine.errands import Shown
from gitsync.model import kv
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.key import ServiceKey
from gitsync.wire import House


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The service, or partition/namespace/name.", show_default=False)
    ],
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show one service: whose it is, where its spec is, what stands in Consul, and its versions.

    What stood there before an adoption is shown as well. Nothing has to be ours: also what somebody else wrote under that
    name is shown.

    Example:

      gitsync show pay
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen.warn)
        redact = frozenset(label for sync in settings.syncs.values() for label in sync.redact)
        async with wire.opened(settings, said=screen.warn) as house:
            key = service_key(name, house.defaults)
            room = next(iter(house.rooms.values()))
            shown = await errands.show(room.world, key)
            versions = await _versions(house, key, screen)
        if not (shown.ledger or shown.standing or shown.observed or shown.adopted or versions):
            raise Invalid(
                f"there is no service {key}: neither Consul nor gitsync knows it. `gitsync status` lists syncs."
            )
        document = without(_document(key, shown, versions), redact)
        screen.document(document)
        _tell(screen, document)
        return FINE

    carry_out(work, as_json=as_json, debug=debug)


async def _versions(house: House, key: ServiceKey, screen: Screen) -> list[dict[str, Any]]:
    """The versions of the service, the newest first; none where the history cannot be read."""
    try:
        return [dict(each) for each in await house.store.service_history(key)]
    except GitsyncError as error:
        screen.warn(f"the history is not to be read: {error}")
        return []


def _document(key: ServiceKey, shown: Shown, versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "service": key.path,
        "ledger": json.loads(kv.ledger_json(shown.ledger)) if shown.ledger else None,
        "standing": dict(sorted(shown.standing.items())),
        "observed": _parsed(shown.observed),
        "before_adoption": _parsed(shown.adopted),
        "versions": versions,
    }


def _parsed(value: bytes) -> Any:
    """A record that people and other tools may have written: as JSON, or as the text it is."""
    if not value:
        return None
    try:
        return json.loads(value)
    except ValueError:
        return value.decode(errors="replace")


def _tell(screen: Screen, document: dict[str, Any]) -> None:
    ledger = document["ledger"]
    screen.line((document["service"].removeprefix("default/default/"), "head"))
    if ledger:
        origin = ledger["origin"]
        where = origin["path"] + (f" at {short(origin['commit'])}" if origin["commit"] else "")
        rows = [("owner", ledger["owner"]), ("state", ledger["state"]), ("origin", where)]
        rows += [("version", f"{ledger['version']} ({ledger['accessor_id']})")]
        screen.columns(rows, indent=2)
        _block(screen, "spec", ledger["spec"])
        screen.line(("components", "head"))
        screen.columns([(_component(each), each["state"]) for each in ledger["components"]], indent=2)
    else:
        screen.line("  gitsync has no record of it")
    for name, body in document["standing"].items():
        _block(screen, f"in Consul: {name}", body)
    _block(screen, "as gitsync last saw it", document["observed"])
    _block(screen, "before it was adopted", document["before_adoption"])
    if document["versions"]:
        screen.line(("versions", "head"))
        screen.columns([_version(each) for each in document["versions"]], indent=2)


def _component(component: dict[str, Any]) -> str:
    return f"{component['kind']} {component['at']}".strip()


def _version(version: dict[str, Any]) -> tuple[str, ...]:
    at = f" at {short(version['origin_commit'])}" if version["origin_commit"] else ""
    return str(version["version"]), version["recorded"], version["state"], version["origin_path"] + at, version["owner"]


def _block(screen: Screen, title: str, value: Any) -> None:
    if value is None:
        return
    screen.line((title, "head"))
    for line in yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000).splitlines():
        screen.line("  " + line)
