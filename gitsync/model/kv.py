"""Where gitsync keeps its records in Consul's KV, and their JSON (design.md section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gitsync.model import jsontext
from gitsync.model.component import Ledger, LedgerComponent, Origin
from gitsync.model.errors import Rejected
from gitsync.model.key import ComponentKey, Kind, Owner, ServiceKey

ROOT = "svc-handler/"
LEDGERS = ROOT + "ledger/"
SCHEMA = 1


def desired(key: ServiceKey) -> str:
    """The spec as last submitted; `desired(key) + "/"` is the folder of its rendered objects."""
    return f"{ROOT}desired/{key.path}"


def observed(key: ServiceKey) -> str:
    return f"{ROOT}observed/{key.path}/observed.json"


def lock(key: ServiceKey) -> str:
    return f"{ROOT}locks/{key.path}"


def ledger(key: ServiceKey) -> str:
    return f"{LEDGERS}{key.path}"


def adopted(key: ServiceKey) -> str:
    return f"{ROOT}adopted/{key.path}"


def owner(of: Owner) -> str:
    """The folder of a sync's own records, with a slash at its end."""
    return f"{ROOT}owners/{of}/"


def holder(of: Owner, session: str) -> str:
    return f"{owner(of)}holders/{session}"


def dump(value: Any) -> bytes:
    """JSON with sorted keys: equal values give equal bytes, and KV writes of equal bytes do not move an index."""
    return jsontext.ordered(value)


def ledger_json(record: Ledger) -> bytes:
    """The bytes that stand in KV for *record*."""
    return dump(
        {
            "schema": SCHEMA,
            "owner": record.owner,
            "state": record.state,
            "spec": record.spec,
            "spec_hash": record.spec_hash,
            "version": record.version,
            "accessor_id": record.accessor_id,
            "origin": {"path": record.origin.path, "commit": record.origin.commit},
            "components": [
                {
                    "kind": str(component.key.kind),
                    "at": component.key.at,
                    "datacenter": component.key.datacenter,
                    "state": component.state,
                    "hash": component.hash,
                    "meta_keys": list(component.meta_keys),
                }
                for component in record.components
            ],
        }
    )


def parse_ledger(key: ServiceKey, value: bytes, index: int) -> Ledger:
    """The inverse of `ledger_json`.

    Raises Rejected for a record that this gitsync cannot read: a newer schema, or no JSON of ours. It is never taken for an
    absent one.
    """
    where = ledger(key)
    try:
        record: Mapping[str, Any] = jsontext.parsed(value)
        if record["schema"] > SCHEMA:
            raise Rejected(
                f"{where} has schema {record['schema']}, this gitsync knows {SCHEMA}. Run the newer gitsync that wrote it."
            )
        return Ledger(
            key=key,
            owner=record["owner"],
            state=record["state"],
            spec=record["spec"],
            spec_hash=record["spec_hash"],
            version=record["version"],
            accessor_id=record["accessor_id"],
            origin=Origin(record["origin"]["path"], record["origin"]["commit"]),
            components=tuple(
                LedgerComponent(
                    ComponentKey(key, Kind(component["kind"]), component["at"]),
                    component["state"],
                    component["hash"],
                    tuple(component["meta_keys"]),
                )
                for component in record["components"]
            ),
            index=index,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise Rejected(
            f"{where} is no ledger of gitsync's ({type(wrong).__name__}: {wrong}). Somebody overwrote it: delete the key, and the "
            "next sync rebuilds it from Git and the owner marks."
        ) from wrong


@dataclass(frozen=True, slots=True)
class Approval:
    """An approved set of deletes: (service path, CreateIndex of its anchor). `empty`: nothing at all may be left."""

    digest: str
    services: frozenset[tuple[str, int]]
    empty: bool = False
    by: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why a sync does not run. `until`: ISO 8601 UTC, "" for ever. `pinned`: the commit it is held at by `sync --rev`."""

    reason: str
    until: str = ""
    by: str = ""
    pinned: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """The applied revision, and what was left out of it: service path → outcome."""

    revision: str
    exceptions: Mapping[str, str]
    run: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class OwnerRecords:
    """What a sync keeps of itself in KV. The indexes are those of the keys (0: absent)."""

    lineage: str = ""
    lineage_index: int = 0
    applied: Applied | None = None
    applied_index: int = 0
    suspension: Suspension | None = None
    suspension_index: int = 0
    approvals: tuple[Approval, ...] = ()
    approvals_index: int = 0
    holders: Mapping[str, Mapping[str, Any]] | None = None
    """Session → the record of who opened it."""


def lineage_json(lineage: str) -> bytes:
    return dump({"schema": SCHEMA, "lineage": lineage})


def applied_json(applied: Applied) -> bytes:
    return dump(
        {
            "schema": SCHEMA,
            "revision": applied.revision,
            "exceptions": dict(applied.exceptions),
            "run": applied.run,
            "at": applied.at,
        }
    )


def suspension_json(suspension: Suspension) -> bytes:
    return dump(
        {
            "schema": SCHEMA,
            "reason": suspension.reason,
            "until": suspension.until,
            "by": suspension.by,
            "pinned": suspension.pinned,
        }
    )


def approvals_json(approvals: Iterable[Approval]) -> bytes:
    return dump(
        {
            "schema": SCHEMA,
            "approvals": [
                {
                    "digest": approval.digest,
                    "services": sorted([path, index] for path, index in approval.services),
                    "empty": approval.empty,
                    "by": approval.by,
                    "at": approval.at,
                }
                for approval in approvals
            ],
        }
    )


def parse_owner(of: Owner, pairs: Iterable[tuple[str, bytes, int]]) -> OwnerRecords:
    """The records of a sync from (key, value, ModifyIndex). Raises Rejected for a record that cannot be read."""
    prefix = owner(of)
    found: dict[str, Any] = {}
    holders: dict[str, Mapping[str, Any]] = {}
    for key, value, index in pairs:
        name = key.removeprefix(prefix)
        try:
            record = jsontext.parsed(value)
            match name:
                case "lineage":
                    found |= {"lineage": record["lineage"], "lineage_index": index}
                case "revision":
                    applied = Applied(
                        record["revision"], record["exceptions"], record.get("run", ""), record.get("at", "")
                    )
                    found |= {"applied": applied, "applied_index": index}
                case "suspended":
                    suspension = Suspension(record["reason"], record["until"], record["by"], record.get("pinned", ""))
                    found |= {"suspension": suspension, "suspension_index": index}
                case "approvals":
                    approvals = tuple(
                        Approval(
                            each["digest"],
                            frozenset((path, number) for path, number in each["services"]),
                            each["empty"],
                            each["by"],
                            each["at"],
                        )
                        for each in record["approvals"]
                    )
                    found |= {"approvals": approvals, "approvals_index": index}
                case _ if name.startswith("holders/"):
                    holders[name.removeprefix("holders/")] = record
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise Rejected(
                f"{key} is no record of gitsync's ({type(wrong).__name__}: {wrong}). Somebody overwrote it: put it back or delete the key."
            ) from wrong
    return OwnerRecords(holders=holders, **found)
