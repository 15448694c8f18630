"""service-splitter: shares of the requests."""

from __future__ import annotations

from gitsync.core.entries.entry import Made, entry, filled
from gitsync.model.context import RenderContext
from gitsync.model.key import Kind
from gitsync.model.spec import ServiceSpec


def splitter(spec: ServiceSpec, context: RenderContext) -> Made:
    """The service-splitter, none where the spec has none."""
    if not spec.connect.splitter:
        return None, []
    splits = [
        {"Weight": split.weight, **filled(Service=split.service, ServiceSubset=split.subset)}
        for split in spec.connect.splitter
    ]
    return entry(Kind.SPLITTER, spec, context, {"Splits": splits}), []
