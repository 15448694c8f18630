"""What looks like a secret, and must therefore not be stored where everybody reads it.

A finding names the rule, never the value.
"""

from __future__ import annotations

import re

_VALUES = (
    ("pem-block", re.compile(r"-----BEGIN [A-Z0-9 ]+-----")),
    ("vault-token", re.compile(r"(?<![A-Za-z0-9])hv[sbr]\.[A-Za-z0-9_-]{4,}")),
    ("github-token", re.compile(r"(?<![A-Za-z0-9])(gh[pousr]_[A-Za-z0-9]{4,}|github_pat_[A-Za-z0-9_]{4,})")),
    ("gitlab-token", re.compile(r"(?<![A-Za-z0-9])gl(pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{4,}")),
    ("aws-access-key", re.compile(r"(?<![A-Za-z0-9])A(KIA|SIA)[A-Z0-9]{12,}")),
    ("slack-token", re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{8,}")),
    ("json-web-token", re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.")),
    ("password-in-url", re.compile(r"[a-z][a-z0-9+.-]{0,20}://[^/\s:@]{0,200}:[^/\s@]{1,200}@")),
)
_KEY = re.compile(
    r"(^|[^a-z])(password|passwd|pwd|passphrase|secret|token|api[ _.-]?key|private[ _.-]?key|secret[ _.-]?key|credentials?)$"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HARMLESS = frozenset(("", "true", "false", "yes", "no", "none", "null"))


def secret_rule(key: str, value: str) -> str | None:
    """The rule by which *value* looks like a secret (or *key* announces one), None if it does not."""
    for rule, pattern in _VALUES:
        if pattern.search(value):
            return rule
    if key and value.strip().lower() not in _HARMLESS and _KEY.search(_CAMEL.sub("-", key).lower()):
        return "key-names-a-secret"
    return None
