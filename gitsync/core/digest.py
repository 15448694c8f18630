"""The digest of a plan: what was reviewed is what is applied, whatever happened to indexes and clocks between. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from gitsync.core.normalize import canonical_json, content_hash
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Change, ServicePlan


def service_digest(plan: ServicePlan) -> str:
    """SHA-256 (hex) over the service's changes in their order: component, action, the content hashes of before and after.

    No index, time, revision or reason, and whether it is held is no part of it. Bridges are changes like the others.
    """
    changes = sorted(plan.changes, key=lambda change: (change.phase, change.rank, change.key))
    return hashlib.sha256(canonical_json([plan.key.path, [_step(change) for change in changes]])).hexdigest()


def plan_digest(digests: Mapping[ServiceKey, str]) -> str:
    """SHA-256 (hex) over the digests of the services that have changes, whatever order they come in."""
    return hashlib.sha256(canonical_json(sorted([key.path, digest] for key, digest in digests.items()))).hexdigest()


def _step(change: Change) -> list[object]:
    kind = change.key.kind
    before = None if change.before is None else content_hash(kind, change.before)
    after = None if change.after is None else change.after_hash or content_hash(kind, change.after)
    return [str(kind), change.key.at, str(change.action), before, after]
