"""The words by which a repository is named: addresses, refs, paths, lineage; and what text from outside becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsync.model.errors import Invalid
from gitsync.model.revision import (
    RefKind,
    escaped,
    has_unseen,
    lineage,
    parse_address,
    parse_path,
    parse_ref,
    pointer_reason,
)


@pytest.mark.parametrize(
    ("url", "text", "origin"),
    [
        ("https://git.example/org/repo.git", "https://git.example/org/repo.git", "https://git.example/"),
        ("HTTPS://Git.Example:443/org/repo", "https://git.example:443/org/repo", "https://git.example/"),
        ("https://git.example:8443/r", "https://git.example:8443/r", "https://git.example:8443/"),
        ("https://[::1]:8443/r", "https://[::1]:8443/r", "https://[::1]:8443/"),
        ("http://127.0.0.1:3000/r", "http://127.0.0.1:3000/r", "http://127.0.0.1:3000/"),
        ("ssh://git@Git.Example:22/org/r", "ssh://git@git.example:22/org/r", "ssh://git.example/"),
        ("git@Git.Example:org/r.git", "git@git.example:org/r.git", "ssh://git.example/"),
        ("git.example:org/r.git", "git.example:org/r.git", "ssh://git.example/"),
        ("file:///srv/repo.git", "file:///srv/repo.git", "file:///"),
    ],
)
def test_an_address_is_what_git_gets_and_the_origin_is_where_credentials_go(url, text, origin):
    address = parse_address(url)

    assert (address.text, address.origin) == (text, origin)


@pytest.mark.parametrize(
    "url",
    [
        "", "repo", "/srv/repo", "./repo", "--upload-pack=touch x", "-oProxyCommand=x:y", "ext::sh -c x", "git://h/r", "ftp://h/r",
        "https://user:secret@h/r", "https://token@h/r", "ssh://user:secret@h/r", "ssh://-oProxyCommand=x/r", "https:///r",
        "https://h", "https://h/", "https://h/r?x=1", "https://h/r#x", "https://h/a b", "https://h/r\n", "https://h:0/r",
        "https://h:99999/r", "https://h:x/r", "file://host/r", "git@h:", "git@-h:r", "git@h:-r", "h\u202e:r", "transport::https://h/r",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_repository_is_refused(url):
    with pytest.raises(Invalid) as raised:
        parse_address(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("127.9.9.9", True), ("[::1]", True), ("127.0.0.1.evil.example", False)]
)
def test_only_this_machine_is_loopback(host, loopback):
    assert parse_address(f"https://{host}/r").loopback is loopback


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("main", RefKind.ANY, "main"),
        ("feature/a-b_c.d", RefKind.ANY, "feature/a-b_c.d"),
        ("refs/heads/main", RefKind.BRANCH, "main"),
        ("refs/tags/v1.0", RefKind.TAG, "v1.0"),
        ("A" * 40, RefKind.SHA, "a" * 40),
        ("a" * 39, RefKind.ANY, "a" * 39),
    ],
)
def test_a_ref_is_a_branch_a_tag_or_a_full_sha(text, kind, name):
    ref = parse_ref(text)

    assert (ref.kind, ref.name) == (kind, name)


@pytest.mark.parametrize(
    "text",
    [
        "", "--upload-pack=x", "-x", "HEAD", "a..b", "a//b", "/a", "a/", "a/.b", ".a", "a.lock", "a.lock/b", "a.", "a b", "a~1", "a^", "a:b",
        "a@{1}", "refs/pull/1/head", "refs/heads/", "refs/heads/-x", "refs/heads/refs/heads/x", "ä", "a\n", "a\x00", "a*", "x" * 201,
    ],
)  # fmt: skip
def test_what_could_be_an_option_or_an_expression_is_no_ref(text):
    with pytest.raises(Invalid, match="not usable"):
        parse_ref(text)


@given(st.text(max_size=60))
def test_whatever_is_a_ref_is_harmless_on_a_command_line(text):
    try:
        ref = parse_ref(text)
    except Invalid:
        return
    assert not ref.name.startswith("-")
    assert not set(ref.name) & set(" ~^:?*[\\\n\x00")


@pytest.mark.parametrize(("text", "path"), [("", ""), ("/", ""), (".", ""), ("/a/b/", "a/b"), ("a b", "a b")])
def test_a_path_is_a_folder_without_slashes_at_its_ends(text, path):
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["..", "a/../b", "a//b", "./a", "a/.", "a\nb", "a\u202eb", "x" * 1025])
def test_what_is_no_folder_of_a_repository_is_refused(text):
    with pytest.raises(Invalid, match="not a folder"):
        parse_path(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/org/repo",
        "https://git.example/org/repo.git",
        "https://GIT.example:443/org//repo/",
        "ssh://git@git.example/org/repo.git",
        "ssh://git@git.example:22/org/repo",
        "git@git.example:org/repo.git",
        "git@git.example:/org/repo",
        "https://git.example/org/%72epo",
    ],
)
@pytest.mark.parametrize(("ref", "path"), [("main", "services"), ("refs/heads/main", "/services/")])
def test_every_way_to_write_a_repository_has_one_lineage(url, ref, path):
    assert lineage(url, ref, path) == "git.example/org/repo@main:services"


def test_other_repositories_refs_paths_and_ports_have_other_lineages():
    lineages = [
        lineage("https://git.example/org/repo", "main", ""),
        lineage("https://git.example/org/repo2", "main", ""),
        lineage("https://git.example/Org/repo", "main", ""),
        lineage("https://other.example/org/repo", "main", ""),
        lineage("https://git.example:8443/org/repo", "main", ""),
        lineage("https://git.example/org/repo", "next", ""),
        lineage("https://git.example/org/repo", "main", "services"),
        lineage("file:///org/repo", "main", ""),
    ]

    assert len(set(lineages)) == len(lineages)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\u202e", "\u200b", "\ud800", "\u2028", "\x7f"])
def test_what_is_not_seen_is_written_out(text):
    assert has_unseen(text)
    assert not has_unseen(escaped(text))


@given(st.text(), st.integers(2, 50))
def test_escaped_text_is_seen_short_and_stable(text, length):
    short = escaped(text, length)

    assert not has_unseen(short)
    assert len(short) <= length
    assert escaped(short, length) == short


def test_ordinary_text_stays_as_it_is():
    assert escaped("Jörg hat „das“ gemacht 👍") == "Jörg hat „das“ gemacht 👍"


def test_an_lfs_pointer_is_known_by_its_first_line():
    assert pointer_reason(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert pointer_reason(b"name: version https://git-lfs.github.com/spec/v1") is None
    assert pointer_reason(b"") is None
