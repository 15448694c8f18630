"""The strategies by the name that `exposure.mode` gives them. A new one is its file and its line here."""

from __future__ import annotations

from collections.abc import Mapping

from gitsync.core.exposure import catalog_external, tgw_static
from gitsync.core.exposure.strategy import Strategy

STRATEGIES: Mapping[str, Strategy] = {
    "tgw_static": tgw_static,
    "catalog_external": catalog_external,
}
