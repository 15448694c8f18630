"""Which files of a tree are spec files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsync.core.paths import accepts


@pytest.mark.parametrize(
    ("path", "include", "exclude", "reason"),
    [
        ("pay.yaml", (), (), None),
        ("a/b/pay.yml", (), (), None),
        ("pay.json", (), (), None),
        ("pay.YAML", (), (), "not *.yaml, *.yml or *.json"),
        ("README.md", (), (), "not *.yaml, *.yml or *.json"),
        ("yaml", (), (), "not *.yaml, *.yml or *.json"),
        (".github/ci.yaml", (), (), "hidden"),
        ("a/.pre-commit-config.yaml", (), (), "hidden"),
        (".yaml", (), (), "hidden"),
        ("a/.b/c/pay.yaml", ("**",), (), "hidden"),
        ("a..b/pay.yaml", (), (), None),
        ("pay.yml", ("**/*.yaml",), (), "not included by **/*.yaml"),
        ("pay.yaml", ("**/*.yaml",), (), None),
        ("a/b/pay.yaml", ("**/*.yaml",), (), None),
        ("a/b/pay.yaml", ("*.yaml",), (), None),
        ("a/b/pay.yaml", ("a/*.yaml",), (), "not included by a/*.yaml"),
        ("a/b/pay.yaml", ("a/**",), (), None),
        ("a/b/pay.yaml", ("a",), (), None),
        ("ab/pay.yaml", ("a",), (), "not included by a"),
        ("b/pay.yaml", ("a", "b"), (), None),
        ("mkdocs.yml", (), ("mkdocs.yml",), "excluded by mkdocs.yml"),
        ("docs/mkdocs.yml", (), ("mkdocs.yml",), "excluded by mkdocs.yml"),
        ("docs/mkdocs.yml", (), ("/mkdocs.yml",), None),
        ("a/test/pay.yaml", (), ("test/",), "excluded by test/"),
        ("a/test.yaml", (), ("test.yaml/",), None),
        ("a/b/c/pay.yaml", (), ("a/**/pay.yaml",), "excluded by a/**/pay.yaml"),
        ("a/pay.yaml", (), ("a/**/pay.yaml",), "excluded by a/**/pay.yaml"),
        ("a/pay.yaml", (), ("**/a/",), "excluded by **/a/"),
        ("x1.yaml", (), ("x[0-9].yaml",), "excluded by x[0-9].yaml"),
        ("xa.yaml", (), ("x[!0-9].yaml",), "excluded by x[!0-9].yaml"),
        ("x1.yaml", (), ("x[!0-9].yaml",), None),
        ("x/a.yaml", (), ("x[!0-9]a.yaml",), None),
        ("x].yaml", (), ("x[]].yaml",), "excluded by x[]].yaml"),
        ("x[.yaml", (), ("x[.yaml",), "excluded by x[.yaml"),
        ("x*.yaml", (), (r"x\*.yaml",), r"excluded by x\*.yaml"),
        ("xy.yaml", (), (r"x\*.yaml",), None),
        ("xy.yaml", (), ("x?.yaml",), "excluded by x?.yaml"),
        ("x/.yaml".replace("/.", "."), (), ("x?.yaml",), None),
        ("t/a.yaml", (), ("t/*", "!t/a.yaml"), None),
        ("t/b.yaml", (), ("t/*", "!t/a.yaml"), "excluded by t/*"),
        ("t/a.yaml", (), ("!t/a.yaml", "t/*"), "excluded by t/*"),
        ("a.b.yaml", (), ("a?b.yaml", "x"), "excluded by a?b.yaml"),
        ("axb.yaml", (), ("a.b.yaml",), None),
        ("a/b.yaml", (), ("a?b.yaml",), None),
        ("z-a.yaml", (), ("[z-a].yaml",), None),
    ],
)  # fmt: skip
def test_which_files_are_spec_files_and_why_the_others_are_not(path, include, exclude, reason):
    assert accepts(path, include, exclude) == reason


@settings(deadline=None)
@given(st.text("ab*?[]!^\\-/.&|~", max_size=12), st.text("ab/.", max_size=8))
def test_no_glob_is_more_than_a_glob(glob, path):
    assert accepts(f"a{path}b.yaml", (), (glob or "x",)) in (None, "hidden", f"excluded by {glob or 'x'}")
