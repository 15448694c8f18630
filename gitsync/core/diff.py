"""What differs between a component as it is and as it should be, field by field. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gitsync.core.merge import joined, label
from gitsync.core.normalize import TOP, canonical_value, complete, scope_of
from gitsync.core.schema import SCHEMA, Items, Labels, Named, Shape, Struct, Tenancy
from gitsync.model.component import Body
from gitsync.model.key import Kind
from gitsync.model.plan import FieldDiff


def differs(kind: Kind, sent: Body, found: Body) -> bool:
    """Whether *sent*, the result of `merged`, means anything else than *found*. The whole Meta of both counts.

    The same as comparing `canonical` of both, but a field that is equal as it stands costs one comparison.
    """
    inner = scope_of(sent)
    for name, shape in SCHEMA[kind].fields.items():
        ours, theirs = sent.get(name), found.get(name)
        if ours == theirs:
            continue
        scope = TOP if isinstance(shape, Tenancy) else inner
        if _present(shape, ours, scope) != _present(shape, theirs, scope):
            return True
    return False


def field_diffs(kind: Kind, before: Body | None, after: Body | None) -> tuple[FieldDiff, ...]:
    """Every field that differs, with its path, sorted; values in their one spelling, None where absent.

    Paths: `Destination.Port`, `Routes[0].Destination.NumRetries`, `Subsets.v1.Filter`, `Sources[web].Action`,
    `Splits[pay:v1].Weight`, `Meta.<key>`. An index is the position in the list that has the element. Fields that gitsync does not
    manage are shown where they come or go; what says which object it is (Name) only where it differs.
    """
    shape = SCHEMA[kind]
    old = None if before is None else complete(kind, before)
    new = None if after is None else complete(kind, after)
    if old is None or new is None:
        for body in (old, new):
            for name in shape.identity:
                (body or {}).pop(name, None)
    out: list[FieldDiff] = []
    _struct(shape, old or {}, new or {}, "", out)
    return tuple(out)


def _present(shape: Shape, value: Any, scope: tuple[str, str]) -> Any:
    """The canonical value, None where that is the same as absent."""
    result = canonical_value(shape, value, scope)
    if result or (result is not None and isinstance(shape, Struct) and shape.kept):
        return result
    return None


def _struct(
    shape: Struct, before: Mapping[str, Any], after: Mapping[str, Any], path: str, out: list[FieldDiff]
) -> None:
    # Lists that are appended to: a generator in a generator for each field of ten thousand services was a tenth of a plan.
    for name in sorted(before.keys() | after.keys() if before and after else before or after):
        _field(shape.fields.get(name), before.get(name), after.get(name), joined(path, name), out)


def _field(shape: Shape | None, before: Any, after: Any, path: str, out: list[FieldDiff]) -> None:
    if before == after:
        return
    match shape:
        case Struct() if before or after:
            _struct(shape, before or {}, after or {}, path, out)
        case Labels():
            for key in sorted({*(before or {}), *(after or {})}):
                _field(None, (before or {}).get(key), (after or {}).get(key), joined(path, key), out)
        case Named():
            for name in sorted({*(before or {}), *(after or {})}):
                _field(shape.item, (before or {}).get(name), (after or {}).get(name), joined(path, name), out)
        case Items() if shape.ordered:
            _ordered(shape, before or [], after or [], path, out)
        case Items():
            _keyed(shape, before or [], after or [], path, out)
        case _:
            out.append(FieldDiff(path, before, after))


def _ordered(shape: Items, before: Sequence[Any], after: Sequence[Any], path: str, out: list[FieldDiff]) -> None:
    """By position, after what is equal at the beginning and at the end: a route put first does not change all the others."""
    least = min(len(before), len(after))
    head = next((at for at in range(least) if before[at] != after[at]), least)
    tail = next((at for at in range(least - head) if before[-1 - at] != after[-1 - at]), least - head)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    for at in range(max(len(old), len(new))):
        one, two = (old[at] if at < len(old) else None), (new[at] if at < len(new) else None)
        _field(shape.item, one, two, f"{path}[{head + at}]", out)


def _keyed(shape: Items, before: Sequence[Any], after: Sequence[Any], path: str, out: list[FieldDiff]) -> None:
    old, new = _by_label(shape, before), _by_label(shape, after)
    for name in sorted({*old, *new}):
        _field(shape.item, old.get(name), new.get(name), path + name, out)


def _by_label(shape: Items, elements: Sequence[Any]) -> dict[str, Any]:
    seen: Counter[str] = Counter()
    out = {}
    for element in elements:
        name = label(shape, element, 0)
        seen[name] += 1
        out[name if seen[name] == 1 else f"{name}#{seen[name]}"] = element
    return out
