"""The envelope that all config entries share: kind, name, tenancy and whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitsync.core.normalize import content_hash
from gitsync.model.component import Body, Component
from gitsync.model.context import RenderContext
from gitsync.model.finding import Finding
from gitsync.model.key import DEFAULT, MANAGED_BY, OWNER_MARK, ComponentKey, Kind
from gitsync.model.spec import ServiceSpec

Made = tuple[Component | None, list[Finding]]
"""A component, or none, and the findings that its making brought up (without service and place: `render` adds them)."""

Fields = tuple[dict[str, Any], list[Finding]]
"""Fields of a body, and findings likewise."""


def marks(context: RenderContext) -> dict[str, str]:
    """The Meta that says whose a thing is. Never a commit: it would rewrite everything on every commit."""
    return {MANAGED_BY: "gitsync", OWNER_MARK: context.owner}


def entry(
    kind: Kind,
    spec: ServiceSpec,
    context: RenderContext,
    fields: Mapping[str, Any],
    *,
    meta: Mapping[str, str] | None = None,
) -> Component:
    """A config entry of the service's own name, as PUT /v1/config takes it. *meta* is added beside the marks."""
    body = {"Kind": str(kind), "Name": spec.name, **tenancy(spec, context), **fields}
    return component(ComponentKey(spec.key, kind), {**body, "Meta": {**(meta or {}), **marks(context)}})


def component(key: ComponentKey, body: Body) -> Component:
    """*body* with its content hash: ledgers, records and digests all need it, and it is the dearest thing about them."""
    return Component(key, body, content_hash(key.kind, body))


def tenancy(spec: ServiceSpec, context: RenderContext) -> dict[str, str]:
    """Namespace and Partition where they are not default. Community Edition answers 400 to either key, whatever its value."""
    if not context.features.enterprise:
        return {}
    named = {"Namespace": spec.namespace, "Partition": spec.partition}
    return {key: value for key, value in named.items() if value != DEFAULT}


def filled(**fields: Any) -> dict[str, Any]:
    """*fields* without those that are empty: Consul leaves them out of what it answers, too."""
    return {key: value for key, value in fields.items() if value not in (None, "", (), [], {}, False, 0)}
