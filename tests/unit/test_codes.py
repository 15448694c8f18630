"""The codes of findings: every one that is said is declared, and every one that is declared is said."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsync.core import codes
from gitsync.core.codes import CODES, note
from gitsync.core.load_codes import LOAD_CODES
from gitsync.model.finding import Severity
from gitsync.model.key import ServiceKey

PACKAGE = Path(codes.__file__).resolve().parents[1]
DECLARING = {PACKAGE / "core" / "codes.py", PACKAGE / "core" / "load_codes.py"}
TREES = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if path not in DECLARING}
CALLS = {"note", "Finding", "Fault", "YamlError"}
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")


def said() -> Iterator[str]:
    """Every code that stands as the first argument of a call that makes a finding, or as its `code`."""
    for tree in TREES.values():
        for call in (each for each in ast.walk(tree) if isinstance(each, ast.Call)):
            if getattr(call.func, "id", "") in CALLS and call.args:
                yield from texts(call.args[0])
            yield from (text for keyword in call.keywords if keyword.arg == "code" for text in texts(keyword.value))


def texts(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and CODE.fullmatch(each.value):
            yield each.value


def test_every_code_that_is_said_is_declared():
    assert set(said()) - set(CODES) == set()


CONSTANTS = {text for tree in TREES.values() for text in texts(tree)}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_that_is_declared_is_said(code: str):
    assert code in CONSTANTS


def test_no_code_is_declared_twice():
    declared = Counter(re.findall(r'Code\(\s*"([a-z0-9-]+)"', "".join(path.read_text() for path in DECLARING)))

    assert [code for code, count in declared.items() if count > 1] == []
    assert set(declared) == set(CODES)
    assert {code.name for code in LOAD_CODES} < set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_reads_as_one(code: str):
    declared = CODES[code]

    assert CODE.fullmatch(code)
    assert declared.name == code
    assert declared.title
    assert not declared.title.endswith(".")
    assert not declared.since or re.search(r"\d+\.\d+\.\d+$", declared.since)


def test_a_note_has_the_severity_of_the_table_unless_the_case_has_its_own():
    usual = note("catalog-service-shadows", "It is.", service=ServiceKey("pay"), spec_path="name", hint="Do.")

    assert usual.severity is Severity.ERROR
    assert (usual.service, usual.spec_path, usual.hint) == (ServiceKey("pay"), "name", "Do.")
    assert note("catalog-service-shadows", "It is.", severity=Severity.WARNING).severity is Severity.WARNING


def test_a_code_that_is_not_declared_cannot_be_said():
    with pytest.raises(KeyError):
        note("no-such-code", "It is.")
