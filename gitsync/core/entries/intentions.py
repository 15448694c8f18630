"""service-intentions: who may call the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gitsync.core.codes import note
from gitsync.core.entries.entry import Made, entry, filled
from gitsync.core.entries.patterns import pattern_fault
from gitsync.core.entries.requests import http_match, patterns
from gitsync.model.connect import Intention, Permission, PermissionHttp
from gitsync.model.context import RenderContext
from gitsync.model.features import Feature
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import Kind
from gitsync.model.spec import ServiceSpec


def intentions(spec: ServiceSpec, context: RenderContext) -> Made:
    """The service-intentions; none where the spec has none, and none for an empty list, since Consul stores no empty ones."""
    wanted = spec.connect.intentions
    if not wanted:
        return None, []
    if not context.features.has(Feature.INTENTIONS_ENTRY):
        return None, [_unsupported(wanted, context)]
    fields = {"Sources": [_source(intention) for intention in wanted]}
    return entry(Kind.INTENTIONS, spec, context, fields), list(_permissions(wanted))


def _source(intention: Intention) -> dict[str, Any]:
    return filled(
        Name=intention.source,
        Action=intention.action,
        Permissions=[
            {"Action": permission.action, "HTTP": http_match(permission.http)} for permission in intention.permissions
        ],
    )


def _unsupported(wanted: tuple[Intention, ...], context: RenderContext) -> Finding:
    allowing = all(intention.action == "allow" for intention in wanted)
    version = context.features.version_text
    return note(
        "intentions-unsupported",
        f"Callers that are to be allowed get 403 where Consul denies by default, because Consul {version} has no service-intentions."
        if allowing
        else f"Nothing is written, because Consul {version} has no service-intentions: callers that are to be denied would get in.",
        hint="Write them with `consul intention create` and leave connect.intentions out, or update Consul to "
        f"{Feature.INTENTIONS_ENTRY.since}.",
        spec_path="connect.intentions",
        severity=Severity.WARNING if allowing else None,
    )


def _permissions(wanted: tuple[Intention, ...]) -> Iterator[Finding]:
    for at, intention in enumerate(wanted):
        for number, permission in enumerate(intention.permissions):
            path = f"connect.intentions[{at}].permissions[{number}]"
            yield from _patterns(permission.http, f"{path}.http")
            if _passed_by_spelling(permission):
                yield note(
                    "l7-path-bypass",
                    f"Requests of {intention.source} get past this deny with another spelling of the path, such as // or %2e, because gateways do "
                    "not normalise paths.",
                    hint="List what is allowed instead: permissions with action allow and path_exact, and last one with action deny "
                    "and path_prefix /.",
                    spec_path=path,
                )
            if _passed_without_header(permission):
                yield note(
                    "inverted-header",
                    f"Requests of {intention.source} that leave the header out get past this deny, because an inverted value does not match "
                    "where the header is absent.",
                    hint="Add a second permission with action deny and headers: [{name: NAME, present: true, invert: true}].",
                    spec_path=path,
                )


def _passed_without_header(permission: Permission) -> bool:
    """Measured with Envoy 1.36: an inverted value does not match a request that lacks the header; inverted presence does."""
    return permission.action == "deny" and any(
        header.invert and not header.present for header in permission.http.headers
    )


def _passed_by_spelling(permission: Permission) -> bool:
    http = permission.http
    return permission.action == "deny" and any((http.path_exact, http.path_prefix not in (None, "/"), http.path_regex))


def _patterns(http: PermissionHttp, path: str) -> Iterator[Finding]:
    """An error, unlike on a route: permissions are loaded by the gateway, in the one listener of all its services."""
    for at, pattern in patterns(http):
        fault = pattern_fault(pattern)
        if fault:
            yield note(
                "regex-unsafe",
                f"Nothing is written, because {fault}: could the gateway's Envoy not load it, every service of that gateway would be "
                "down after its next restart.",
                hint="Write path_exact, path_prefix, prefix or exact, or a shorter expression.",
                spec_path=f"{path}.{at}",
            )
