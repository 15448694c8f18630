"""The retries of one route."""

from __future__ import annotations

from typing import Any

from gitsync.core.codes import note
from gitsync.core.entries.entry import Fields, filled
from gitsync.model.connect import Retries
from gitsync.model.features import Feature, Features
from gitsync.model.finding import Finding

SAFE = ("cancelled", "connect-failure", "refused-stream", "unavailable")
"""What `on` is where the spec says nothing: the server never saw the request, so any method may be sent again."""


def retry_fields(retries: Retries | None, features: Features, spec_path: str) -> Fields:
    """The retry fields of a route's Destination.

    `attempts: 0` gives none at all, because a condition alone retries once. A number alone would retry nothing, so there is
    always a condition beside it.
    """
    if retries is None:
        return {}, []
    findings: list[Finding] = []
    if retries.per_try_timeout:
        findings.append(
            note(
                "per-try-timeout",
                f"A try that hangs for longer than {retries.per_try_timeout} is neither ended nor tried again, because no "
                "Consul has a timeout for each try: only the request timeout ends it, retries included.",
                hint="Remove per_try_timeout, and set mesh_policy.timeouts.request to what a client should wait at most.",
                spec_path=f"{spec_path}.per_try_timeout",
            )
        )
    if not retries.attempts:
        return {}, findings
    conditions = SAFE if retries.on is None else retries.on
    fields: dict[str, Any] = filled(NumRetries=retries.attempts, RetryOnStatusCodes=list(retries.status_codes))
    if features.has(Feature.RETRY_ON):
        return fields | filled(RetryOn=list(conditions)), findings
    connect = "connect-failure" in conditions
    lost = [condition for condition in conditions if condition != "connect-failure"]
    if retries.on is not None and lost:
        findings.append(
            note(
                "retry-on-unsupported",
                f"Clients get the first answer on {', '.join(lost)} without a retry, because Consul {features.version_text} "
                "knows only connect-failure and status codes.",
                hint=f"Write retries.status_codes instead, or update Consul to {Feature.RETRY_ON.since}.",
                spec_path=f"{spec_path}.on",
            )
        )
    if not connect and not retries.status_codes:
        return {}, findings
    return fields | filled(RetryOnConnectFailure=connect), findings
