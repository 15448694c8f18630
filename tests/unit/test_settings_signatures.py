"""`signatures` of a sync: what is taken, and what could never trust anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitsync.model.errors import Invalid
from gitsync.settings import load_settings
from gitsync.settings.outside import SignatureMode, SignatureSettings
from gitsync.wire import signatures_of

ADA = "0123 4567 89AB CDEF 0123  4567 89ab cdef 0123 4567"


def signatures(tmp_path: Path, text: str) -> SignatureSettings:
    file = tmp_path / "gitsync.yaml"
    file.write_text(
        f"instance: a\nsyncs:\n  payments:\n    git: {{ url: https://h.example/a }}\n    signatures: {text}\n"
    )
    return load_settings(file, {}).syncs["payments"].signatures


def test_files_are_relative_to_the_configuration_and_fingerprints_lose_their_spaces(tmp_path: Path):
    found = signatures(
        tmp_path,
        f"{{ mode: range, allowed_signers_file: s, revoked_signers_file: r, gpg_keys_file: k, gpg_fingerprints: ['{ADA}'] }}",
    )

    assert found.mode is SignatureMode.RANGE
    files = (found.allowed_signers_file, found.revoked_signers_file, found.gpg_keys_file)
    assert files == (tmp_path / "s", tmp_path / "r", tmp_path / "k")
    assert found.gpg_fingerprints == ("0123456789ABCDEF0123456789ABCDEF01234567",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{ mode: head }", "no commit could be trusted"),
        (
            "{ mode: range, gpg_fingerprints: ['" + ADA + "'], allowed_signers_file: s }",
            "gpg_fingerprints is given without gpg_keys_file",
        ),
        (
            "{ mode: head, gpg_keys_file: k, revoked_signers_file: r }",
            "revoked_signers_file is given without allowed_signers_file",
        ),
        ("{ mode: head, gpg_keys_file: k, gpg_fingerprints: [89ABCDEF] }", "write all 40 hex digits"),
        ("{ mode: some, gpg_keys_file: k }", "mode: should be 'off', 'head' or 'range'"),
    ],
)
def test_what_could_not_work_is_refused(tmp_path: Path, text: str, says: str):
    with pytest.raises(Invalid, match=says):
        signatures(tmp_path, text)


@pytest.mark.parametrize(("mode", "asked"), [("off", False), ("head", True), ("range", True)])
def test_a_sync_asks_for_signatures_where_it_is_told_to(tmp_path: Path, mode: str, asked: bool):
    signatures(tmp_path, f"{{ mode: {mode}, gpg_keys_file: k }}")
    settings = load_settings(tmp_path / "gitsync.yaml", {})

    assert (signatures_of(settings, "payments") is not None) is asked
