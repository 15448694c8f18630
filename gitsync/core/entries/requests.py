"""Which requests: paths, methods, headers and query parameters, as routes and permissions name them."""

from __future__ import annotations

from typing import Any

from gitsync.core.entries.entry import filled
from gitsync.model.connect import HeaderMatch, Match, PermissionHttp, QueryMatch


def http_match(match: Match | PermissionHttp) -> dict[str, Any]:
    """The `HTTP` of a route's Match or of an intention's permission."""
    query = match.query if isinstance(match, Match) else ()
    return filled(
        PathExact=match.path_exact,
        PathPrefix=match.path_prefix,
        PathRegex=match.path_regex,
        Methods=list(match.methods),
        Header=[_header(header) for header in match.headers],
        QueryParam=[_query(parameter) for parameter in query],
    )


def _header(header: HeaderMatch) -> dict[str, Any]:
    return filled(
        Name=header.name,
        Present=header.present,
        Exact=header.exact,
        Prefix=header.prefix,
        Suffix=header.suffix,
        Regex=header.regex,
        Invert=header.invert,
    )


def _query(parameter: QueryMatch) -> dict[str, Any]:
    return filled(Name=parameter.name, Present=parameter.present, Exact=parameter.exact, Regex=parameter.regex)


def patterns(match: Match | PermissionHttp) -> list[tuple[str, str]]:
    """Every regular expression in *match*, with its path inside it."""
    found = [("path_regex", match.path_regex)]
    found += [(f"headers[{at}].regex", header.regex) for at, header in enumerate(match.headers)]
    if isinstance(match, Match):
        found += [(f"query[{at}].regex", parameter.regex) for at, parameter in enumerate(match.query)]
    return [(path, pattern) for path, pattern in found if pattern]
