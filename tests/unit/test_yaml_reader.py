"""The YAML reader: what a file may contain, and that no file, however small or large, holds or ends the process."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsync.core import yaml_reader
from gitsync.core.yaml_reader import FILE_BYTES, ListNode, MapNode, Node, Scalar, YamlError, read

SECONDS = 2.0
"""Far above what the reader takes on a busy machine, far below what the same file takes elsewhere (half a minute, or for ever)."""


@pytest.fixture(params=["libyaml", "pure Python"])
def either_parser(request, monkeypatch):
    if request.param == "pure Python":
        monkeypatch.setattr(yaml_reader, "_NATIVE", None)


def plain(node: Node):
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return {key.text: plain(value) for key, value in node.pairs}


def only(text: str):
    (node,) = read(text.encode())
    return plain(node)


def refused(data: bytes | str) -> YamlError:
    began = time.monotonic()
    with pytest.raises(YamlError) as caught:
        read(data if isinstance(data, bytes) else data.encode())
    assert time.monotonic() - began < SECONDS
    return caught.value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("y", "y"), ("22:30", "22:30"), ("1:30", "1:30"), ("0123", "0123"),
        ("010", "010"), ("0x10", "0x10"), ("0o17", "0o17"), ("1_000", "1_000"), ("2024-01-01", "2024-01-01"), (".nan", ".nan"),
        (".inf", ".inf"), ("NaN", "NaN"), ("1.10", 1.1), ("1e3", 1000.0), ("12", 12), ("-3", -3), ("true", True), ("False", False),
        ("~", None), ("null", None), ("", None), ("'5'", "5"), ('"true"', "true"), ("=", "="), ("9" * 5000, "9" * 5000),
        ("1e999999", "1e999999"), ("2001:db8::1", "2001:db8::1"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(either_parser, written, value):
    assert only(f"key: {written}\n") == {"key": value}
    assert type(only(f"key: {written}\n")["key"]) is type(value)


def test_a_scalar_knows_how_it_was_written_and_where():
    (root,) = read(b"labels:\n  version: 1.10\n")
    assert isinstance(root, MapNode)
    labels = root.get("labels")
    assert isinstance(labels, MapNode)
    version = labels.get("version")

    assert version == Scalar("1.10", True, 2, 12)


def test_on_without_quotes_is_a_key(either_parser):
    assert only("on: [reset]\nNO: 1\ny: 2\n") == {"on": ["reset"], "NO": 1, "y": 2}


def test_a_file_holds_several_documents_and_empty_ones_are_left_out(either_parser):
    nodes = read(b"---\n# nothing\n---\na: 1\n---\n...\n---\nb: 2\n")

    assert [plain(node) for node in nodes] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n", "---\n", "---\n---\n", "~\n"])
def test_a_file_without_documents_is_empty_and_no_error(either_parser, text):
    assert read(text.encode()) == ()


def test_a_byte_order_mark_is_no_part_of_the_file(either_parser):
    (node,) = read(b"\xef\xbb\xbfname: pay\n")

    assert plain(node) == {"name": "pay"}


def test_line_ends_of_windows_are_line_ends(either_parser):
    assert only("a: 1\r\nb: x\r\n") == {"a": 1, "b": "x"}


def test_aliases_and_merges_within_bounds_are_read(either_parser):
    text = "defaults: &d {port: 80, host: a}\none:\n  <<: *d\n  host: b\ntwo: *d\nthree: {<<: [*d, {x: 1}]}\n"

    assert only(text) == {
        "defaults": {"port": 80, "host": "a"},
        "one": {"host": "b", "port": 80},
        "two": {"port": 80, "host": "a"},
        "three": {"port": 80, "host": "a", "x": 1},
    }


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("name: a\nname: b\n", "yaml-duplicate-key", 2),
        ("a: {x: 1, 'x': 2}\n", "yaml-duplicate-key", 1),
        ("a:\n\tb: 1\n", "yaml-syntax", 2),
        ("a: [1, 2\n", "yaml-syntax", 2),
        ("a: b: c\n", "yaml-syntax", 1),
        ("a: 'x\n", "yaml-syntax", 2),
        ("a: *b\n", "yaml-syntax", 1),
        ("%YAML 9.9\n---\na: 1\n", "yaml-syntax", 1),
        ("a: !!python/object/apply:os.system [id]\n", "yaml-tag", 1),
        ("a: !!python/name:os.system\n", "yaml-tag", 1),
        ("a: !Ref x\n", "yaml-tag", 1),
        ("a: !!binary aGk=\n", "yaml-tag", 1),
        ("a: !!set {x}\n", "yaml-tag", 1),
        ("a: !!str 5\n", "yaml-tag", 1),
        ("1: a\n", "yaml-key", 1),
        ("true: a\n", "yaml-key", 1),
        ("~: a\n", "yaml-key", 1),
        ("? {a: 1}\n: b\n", "yaml-key", 1),
        ("[a, b]: c\n", "yaml-key", 1),
        ("a: &a [*a]\n", "yaml-aliases", 1),
        ("a: &a {b: *a}\n", "yaml-aliases", 1),
        ("<<: 5\n", "yaml-merge", 1),
        ("a: \x1b[31mred\n", "control-character", 1),
        ("x: 1\na: b\x00c\n", "control-character", 2),
        ("a: x\u2028y\n", "control-character", 1),
    ],
)
def test_what_is_refused_says_the_line(either_parser, text, code, line):
    error = refused(text)

    assert (error.code, error.line) == (code, line)
    assert str(error)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("name: pay\n".encode("utf-16"), "not-utf8"),
        ("name: pay\n".encode("utf-32"), "not-utf8"),
        (b"name: caf\xe9\n", "not-utf8"),
        (b"name: \xed\xa0\x80\n", "not-utf8"),
        (b"\x80\x81", "not-utf8"),
    ],
)
def test_what_is_no_utf8_is_refused(data, code):
    assert refused(data).code == code


@pytest.mark.parametrize("escape", [r"\ud800", r"\ude00\ud83d"])
def test_half_a_surrogate_pair_is_refused(escape):
    with pytest.raises(YamlError):
        read(f'{{"a": "{escape}"}}'.encode(), json=True)


@pytest.mark.parametrize("brackets", ["[", "{", "- ", "[{a: "])
@pytest.mark.parametrize("count", [1_000, 30_000, 60_000])
def test_deep_nesting_is_refused_at_once_and_does_not_end_the_process(brackets, count):
    assert refused(brackets * count).code in {"yaml-too-deep", "yaml-key", "yaml-syntax"}


def test_twenty_levels_are_possible_and_twenty_one_are_not():
    assert read(("[" * 20 + "]" * 20).encode())
    assert refused("[" * 21 + "]" * 21).code == "yaml-too-deep"


def test_an_alias_counts_with_its_depth():
    assert refused("a: &a " + "[" * 15 + "]" * 15 + "\nb: " + "[" * 10 + "*a" + "]" * 10 + "\n").code == "yaml-too-deep"


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels + 1)]
    return "\n".join(lines) + "\n"


def merge_bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [
        f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * width)}]}}" for level in range(1, levels + 1)
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        bomb(9, 9), bomb(4, 12), merge_bomb(9, 9), merge_bomb(24, 2), "a: &a [" + "x, " * 4000 + "]\nb: [*a, *a]\n",
        "a: &a x\nb: [" + "*a, " * 60 + "]\n",
    ],
    ids=["nine by nine", "few and wide", "merges", "merges in pairs", "two copies of much", "many of little"],
)  # fmt: skip
def test_a_bomb_of_aliases_is_refused_in_milliseconds(text):
    assert refused(text).code == "yaml-aliases"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" + b"1," * 5_000_000 + b"]", "file-too-large"),
        (b"a: " + b"x" * 50_000_000, "file-too-large"),
        (b"[" + b"1," * 500_000 + b"]", "yaml-too-many-nodes"),
        (b"---\na\n" * 150_000, "yaml-too-many-nodes"),
        (b"".join(b"a%d: &a%d x\n" % (n, n) for n in range(30_000)), "yaml-too-many-nodes"),
        (b'a: "' * 100_000, "yaml-syntax"),
        (b"k" * 1_000_000 + b": x\n", "yaml-syntax"),
    ],
    ids=["a list of 10 MB", "a value of 50 MB", "a list of 1 MB", "documents", "anchors", "quotes", "a key of 1 MB"],
)
def test_a_file_that_is_too_large_is_refused_before_it_costs_anything(data, code):
    assert refused(data).code == code


def test_the_limit_is_in_bytes_and_inclusive():
    text = b"a: "

    assert read(text + b"x" * (FILE_BYTES - len(text)))
    assert refused(text + b"x" * (FILE_BYTES - len(text) + 1)).code == "file-too-large"


@pytest.mark.parametrize(
    "text",
    ['{\n\t"a": 1,\n\t"b": [true, null]\n}', '{"a":1,"b":[true,null]}', '\n  {"a" : 1 , "b" : [ true , null ] }  \n'],
)
def test_json_with_tabs_and_without_spaces_is_read(text):
    (node,) = read(text.encode(), json=True)

    assert plain(node) == {"a": 1, "b": [True, None]}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": 1} {"b": 2}', '{"a": 1', "[1, 2"])
def test_json_with_two_values_for_a_key_or_with_a_rest_is_refused(text):
    with pytest.raises(YamlError):
        read(text.encode(), json=True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXY09 ", min_size=1, max_size=6), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), json_values, max_size=3), st.booleans())
def test_whatever_json_writes_is_read_as_it_is(value, ascii_only):
    (node,) = read(json.dumps(value, ensure_ascii=ascii_only).encode(), json=True)

    assert plain(node) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text("ab:-[]{}&*!|>'\"#%@`,?\n\t <~0", max_size=80).map(str.encode))
def test_no_bytes_raise_anything_but_the_error_of_the_reader(data):
    with suppress(YamlError):
        assert all(isinstance(node, Scalar | ListNode | MapNode) for node in read(data))


def test_the_c_parser_is_used_where_there_is_one():
    assert (yaml_reader._NATIVE is None) == ("yaml._yaml" not in sys.modules)
