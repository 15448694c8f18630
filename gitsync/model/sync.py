"""What a sync is told: its identity and policy from the configuration, and the options of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gitsync.model.context import GatewayFiles
from gitsync.model.key import Owner, ServiceKey


@dataclass(frozen=True, slots=True)
class Sync:
    """One repository + ref + path, reconciled into one Consul.

    lineage: the normalised repository, ref and path. pinned_ref: the ref is a full SHA, which is consent to an older commit.
    history: `stop` or `follow` when the repository's history was rewritten. drift: enforce, detect or off. lock_ttl: seconds.
    width: requests in flight inside a phase. redact: Metadata keys whose values are never shown outside Consul. require_reviewed:
    what was not reviewed on a request is held.
    """

    owner: Owner
    lineage: str
    pinned_ref: bool = False
    history: str = "stop"
    strict: bool = False
    adopt: bool = False
    drift: str = "enforce"
    max_count: int = 10
    max_fraction: float = 0.2
    lock_ttl: float = 15.0
    width: int = 48
    gateways: Mapping[str, GatewayFiles] = field(default_factory=dict)
    redact: frozenset[str] = frozenset()
    require_reviewed: bool = False

    @property
    def name(self) -> str:
        return self.owner.sync


@dataclass(frozen=True, slots=True)
class Options:
    """What one run was asked to do besides the usual.

    trigger: what woke it (schedule, cli, …). rev: roll to this commit and stay there. expect: go on only if the plan has this
    digest. accept_rewrite: the commit whose rewritten history is accepted. adopt: services to take over (all: every one),
    adopt_from: from whom. only: services to look at.
    """

    trigger: str = "cli"
    rev: str = ""
    expect: str = ""
    accept_rewrite: str = ""
    accept_lineage: bool = False
    adopt: frozenset[ServiceKey] = frozenset()
    adopt_all: bool = False
    adopt_from: str = ""
