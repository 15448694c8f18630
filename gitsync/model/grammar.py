"""The words that may stand in a spec: names, hosts, ports, paths, and what each of them refuses.

As narrow as Consul and Envoy need it: a name, an SNI, a host, a port or a balancer's size out of bounds is stored by Consul
without a word and takes down every service of the gateway at its next restart.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from gitsync.model.duration import UNITS, Duration
from gitsync.model.secret import secret_rule

Item = TypeVar("Item")
Path = tuple[str | int, ...]
"""Keys and positions, from a mapping of the spec downwards."""

Items = Annotated[tuple[Item, ...], Strict(strict=False)]
"""A list in the file, a tuple in the model."""

NAME = r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?"
TENANCY = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
SUBSET = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DATACENTER = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?"
HEADER = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}"

_NAME = re.compile(NAME)
_TENANCY = re.compile(TENANCY)
_SUBSET = re.compile(SUBSET)
_DATACENTER = re.compile(DATACENTER)
_HEADER = re.compile(HEADER)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BACKREFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]")
_LOOKAROUND = re.compile(r"(?<!\\)(?:\\\\)*\(\?(=|!|<=|<!|>|P=|\()")

RESERVED_NAMES = ("consul",)
"""Names that Consul gives to itself."""

HOST_LENGTH = 253
PATH_LENGTH = 1024
FILE_LENGTH = 512
"""A file's path is also a Meta value, and those have at most 512 bytes."""

METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
RETRY_CONDITIONS = (
    "5xx", "cancelled", "connect-failure", "deadline-exceeded", "envoy-ratelimited", "gateway-error", "internal",
    "refused-stream", "reset", "resource-exhausted", "retriable-4xx", "unavailable",
)  # fmt: skip
PROTOCOLS = ("tcp", "http", "http2", "grpc")
HTTP_LIKE = ("http", "http2", "grpc")
"""The protocols with which Consul permits routers, splitters and permissions."""

RING_SIZE = 8_388_608
"""The greatest ring that Envoy takes. A greater one takes down the gateway and its clients at their next restart."""

SHORTEST, LONGEST = Duration(UNITS["ms"]), Duration(24 * UNITS["h"])


def wrong(text: str, hint: str = "", *, code: str = "invalid-value", at: Path = ()) -> PydanticCustomError:
    """What a validator raises: *text* says what is wrong and *hint* what to write, *code* is the finding's.

    *at* leads from the validated value to the part that is meant, where that is not the value itself.
    """
    return PydanticCustomError(code, "{text}", {"text": text, "hint": hint, "at": at})


def shown(value: object) -> str:
    """*value* as a message may show it: quoted, cut, without control characters, and not at all if it looks like a secret."""
    text = value if isinstance(value, str) else str(value)
    if secret_rule("", text[:4096]):
        return "the value"
    cut = text if len(text) <= 60 else text[:57] + "..."
    return ascii(cut) if _CONTROL.search(cut) or not cut.isprintable() else f"'{cut}'"


def has_control(text: str) -> bool:
    """True if *text* has control characters other than line breaks and tabs."""
    return bool(_CONTROL.search(text))


def _name(text: str) -> str:
    if _NAME.fullmatch(text) and ".." not in text:
        if text in RESERVED_NAMES:
            raise wrong(f"the name '{text}' belongs to Consul itself", "choose another name", code="name-invalid")
        return text
    raise wrong(*_name_fault(text, text), code="name-invalid")


def _name_fault(text: str, folded: str) -> tuple[str, str]:
    """Why *text* is no name, and what to write."""
    if len(text) > 128:
        return f"a name of {len(text)} characters, at most 128 are possible", "shorten it"
    if text != folded.lower() and _NAME.fullmatch(text.lower()) and ".." not in text:
        return f"{shown(text)} has capitals, and Consul compares names without case", f"write '{text.lower()}'"
    rule = "a name is a-z, 0-9, '.', '_' and '-', begins and ends with a letter or digit, and has no '..'"
    return f"{shown(text)} is not a name", rule


def _reference(text: str) -> str:
    folded = text.lower()
    if text.isascii() and _NAME.fullmatch(folded) and ".." not in text:
        return text
    raise wrong(*_name_fault(text, folded), code="name-invalid")


def _source(text: str) -> str:
    return text if text == "*" else _reference(text)


def _matches(pattern: re.Pattern[str], what: str, *, code: str = "invalid-value") -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise wrong(f"{shown(text)} is not {what}", f"it has to match {pattern.pattern}", code=code)
        return text

    return check


def host_fault(text: str) -> str | None:  # noqa: PLR0911 (a list of rules reads best as a list)
    """Why *text* is no host, None if it is a DNS name or a plain IP address.

    What getaddrinfo takes for an address although it does not look like one (`127.1`, `0x7f.1`, `2852039166`) is refused.
    """
    if not text:
        return "it is empty"
    if not text.isascii():
        return "it has characters beyond ASCII; write an international name in its xn-- form"
    if any(character <= " " or character == "\x7f" for character in text):
        return "it has spaces or control characters"
    if "://" in text:
        return "it is a URL; only the host belongs here"
    if text[0] == "[" or text[-1] == "]":
        return "it has brackets; write an IPv6 address without them"
    if "%" in text:
        return "it has a zone (the part from '%'), which means nothing on another machine"
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _dns_fault(text.lower())
    return None


def _dns_fault(text: str) -> str | None:  # noqa: PLR0911 (the same)
    if len(text) > HOST_LENGTH:
        return f"it has {len(text)} characters, at most {HOST_LENGTH} are possible"
    if text.count(":") == 1:
        return "it has a port; write that as 'port'"
    if ":" in text:
        return "it is no IPv6 address"
    if text.endswith("."):
        return "it ends with a dot"
    labels = text.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        return "its last part is a number, and it is no IPv4 address of four decimal numbers from 0 to 255"
    for label in labels:
        if len(label) > 63:
            return "a part between two dots has more than 63 characters"
        if not _LABEL.fullmatch(label) or not label.strip("_-"):
            return "a part between two dots is not made of letters, digits and '-'"
    if "_" in labels[-1]:
        return "its last part has an underscore"
    return None


def is_address(host: str) -> bool:
    """True for an IP address, False for a DNS name. *host* is a valid host."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def normal_host(text: str) -> str:
    """A valid host in one spelling: lower case, IPv6 compressed."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text.lower()


def _host(text: str) -> str:
    fault = host_fault(text)
    if fault:
        raise wrong(f"{shown(text)} is neither a DNS name nor an IP address: {fault}", code="host-invalid")
    return normal_host(text)


def _port(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    hint = f"write {value} without quotes" if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,4}", value) else ""
    raise wrong("a port is a whole number from 1 to 65535", hint)


def whole(least: int, most: int) -> Callable[[Any], int]:
    """A check for a whole number within bounds. `true` and `5.0` are none."""

    def check(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise wrong(f"has to be a whole number from {least} to {most}")

    return check


def _weight(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100:
        return float(Decimal(repr(value)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))
    raise wrong("a weight is a number from 0 to 100")


def _period(duration: Duration) -> Duration:
    if SHORTEST <= duration <= LONGEST:
        return duration
    raise wrong(f"{duration} is out of bounds", "write a duration from 1ms to 24h")


def _plain(text: str) -> str:
    if _CONTROL.search(text) or "\n" in text or "\t" in text:
        raise wrong("has control characters or line breaks")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise wrong(f"{shown(text)} does not begin with '/'", f"write {shown('/' + text)}")
    if len(text) > PATH_LENGTH:
        raise wrong(f"a path of {len(text)} characters, at most {PATH_LENGTH} are possible")
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise wrong(f"{shown(text)} has spaces, control characters or characters beyond ASCII", "percent-encode them")
    if "?" in text or "#" in text:
        raise wrong(
            f"{shown(text)} has a query or a fragment, which a path never matches", "match the query with 'query'"
        )
    if "//" in text or {".", ".."} & set(text.split("/")):
        raise wrong(f"{shown(text)} has an empty part, '.' or '..'", "write the path as it is after normalisation")
    return text


def _regex(text: str) -> str:
    if not text or len(text) > PATH_LENGTH:
        raise wrong(f"a regular expression has 1 to {PATH_LENGTH} characters, this one {len(text)}")
    if _LOOKAROUND.search(text) or _BACKREFERENCE.search(text):
        raise wrong("RE2, which Envoy uses, has no look-around and no back-references", "write it without them")
    if not _balanced(text):
        raise wrong("a bracket of this regular expression is not closed, or was never opened")
    return _plain(text)


def _balanced(text: str) -> bool:
    """Whether parentheses and classes close. The full grammar of RE2 is not checked."""
    depth, in_class, at = 0, False, 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            if at + 1 == len(text):
                return False
            at += 2
            continue
        if in_class:
            in_class = character != "]" or text[at - 1] == "[" or text[at - 2 : at] == "[^"
        elif character == "[":
            in_class = True
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth < 0:
                return False
        at += 1
    return not depth and not in_class


def _file(text: str) -> str:
    if not text.startswith("/"):
        raise wrong(f"{shown(text)} is not an absolute path", "write the path as it is on the gateway's own host")
    if len(text.encode()) > FILE_LENGTH:
        raise wrong(f"a path of more than {FILE_LENGTH} bytes")
    return _plain(text)


def _methods(methods: tuple[str, ...]) -> tuple[str, ...]:
    upper = {method.upper() for method in methods}
    for method in methods:
        if method.upper() not in METHODS:
            raise wrong(f"{shown(method)} is not an HTTP method", "one of " + ", ".join(METHODS))
    return tuple(sorted(upper))


def _conditions(conditions: tuple[str, ...]) -> tuple[str, ...]:
    for condition in conditions:
        if condition not in RETRY_CONDITIONS:
            raise wrong(f"{shown(condition)} is not a condition to retry on", "one of " + ", ".join(RETRY_CONDITIONS))
    return tuple(sorted(set(conditions)))


def _sorted(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(numbers)))


def one_of(*choices: str) -> BeforeValidator:
    """A check, before a Literal's own, that says which of *choices* was probably meant."""

    def check(value: Any) -> Any:
        if value in choices:
            return value
        near = next((choice for choice in choices if choice == str(value).strip().lower().replace("-", "_")), "")
        raise wrong(
            f"{shown(value)} is not possible here", f"write '{near}'" if near else "one of " + ", ".join(choices)
        )

    return BeforeValidator(check)


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{NAME}$"})]
Reference = Annotated[
    str, AfterValidator(_reference), Field(json_schema_extra={"pattern": f"^{NAME.replace('a-z', 'A-Za-z')}$"})
]
Source = Annotated[str, AfterValidator(_source)]
Tenancy = Annotated[
    str,
    AfterValidator(_matches(_TENANCY, "the name of a namespace or a partition", code="name-invalid")),
    Field(json_schema_extra={"pattern": f"^{TENANCY}$"}),
]
SubsetName = Annotated[
    str,
    AfterValidator(_matches(_SUBSET, "the name of a subset", code="name-invalid")),
    Field(json_schema_extra={"pattern": f"^{SUBSET}$"}),
]
Datacenter = Annotated[
    str,
    AfterValidator(_matches(_DATACENTER, "the name of a datacenter", code="name-invalid")),
    AfterValidator(str.lower),
    Field(json_schema_extra={"pattern": f"^{DATACENTER}$"}),
]
Host = Annotated[str, AfterValidator(_host), Field(json_schema_extra={"maxLength": HOST_LENGTH})]
Port = Annotated[int, BeforeValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]
Weight = Annotated[float, BeforeValidator(_weight), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100})]
Period = Annotated[Duration, AfterValidator(_period)]
Text = Annotated[str, AfterValidator(_plain)]
Word = Annotated[Text, Field(min_length=1)]
UrlPath = Annotated[str, AfterValidator(_path), Field(json_schema_extra={"pattern": "^/"})]
Regex = Annotated[str, AfterValidator(_regex)]
FilePath = Annotated[str, AfterValidator(_file), Field(json_schema_extra={"pattern": "^/"})]
HeaderName = Annotated[str, AfterValidator(_matches(_HEADER, "the name of a header"))]
Methods = Annotated[
    Items[str],
    AfterValidator(_methods),
    WithJsonSchema({"type": "array", "items": {"enum": [*METHODS, *map(str.lower, METHODS)]}}),
]
Conditions = Annotated[
    Items[str],
    AfterValidator(_conditions),
    WithJsonSchema({"type": "array", "items": {"enum": list(RETRY_CONDITIONS)}}),
]
Status = Annotated[
    int, BeforeValidator(whole(100, 599)), WithJsonSchema({"type": "integer", "minimum": 100, "maximum": 599})
]
Statuses = Annotated[Items[Status], AfterValidator(_sorted)]
Protocol = Annotated[Literal["tcp", "http", "http2", "grpc"], one_of(*PROTOCOLS)]
