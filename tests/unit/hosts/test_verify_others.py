"""A delivery of GitLab, Bitbucket, Azure DevOps or anybody else is believed only with its proof, and one changed byte is none."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gitsync.hosts import PROVIDERS
from gitsync.model.host import SignatureError

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
BODY = '{"object_kind": "push", "title": "Straße"}'.encode()
SECRET, PREVIOUS = "Geheimnis ☃ 1", "before that"
KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_KEY = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
SIGNED = ("gitlab", "generic")
HOSTS = ("gitlab", "bitbucket-cloud", "bitbucket-datacenter", "azure-devops", "generic")


def accepted(kind: str, headers: Mapping[str, str], *secrets: str, raw: bytes = BODY, now: datetime = NOW) -> bool:
    try:
        PROVIDERS[kind].webhooks.verify(headers, raw, secrets, now)
    except SignatureError:
        return False
    return True


def standard(key: str = KEY, *, raw: bytes = BODY, at: datetime = NOW, id_: str = "msg_1") -> dict[str, str]:
    """The headers as the specification's own package signs them."""
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(key).sign(id_, at, raw.decode()),
    }


def hexed(secret: str, raw: bytes = BODY, algorithm: str = "sha256") -> str:
    return f"{algorithm}={hmac.new(secret.encode(), raw, algorithm).hexdigest()}"


def login(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


PROOFS: list[tuple[str, str, Callable[[str], dict[str, str]]]] = [
    ("gitlab", SECRET, lambda secret: {"x-gitlab-token": secret}),
    ("gitlab", KEY, standard),
    ("bitbucket-cloud", SECRET, lambda secret: {"x-hub-signature": hexed(secret)}),
    ("bitbucket-datacenter", SECRET, lambda secret: {"x-hub-signature": hexed(secret)}),
    ("azure-devops", "bot:pass:word", login),
    ("azure-devops", "pässword", lambda secret: login(f"anybody:{secret}")),
    ("generic", SECRET, lambda secret: {"x-signature": hexed(secret)}),
    ("generic", SECRET, lambda secret: {"x-signature": hexed(secret, algorithm="sha512")}),
    ("generic", KEY, standard),
]
ALL = pytest.mark.parametrize(("kind", "secret", "proof"), PROOFS)


@ALL
def test_a_proof_by_the_current_or_the_previous_secret_is_accepted(kind, secret, proof):
    other = OLD_KEY if secret == KEY else PREVIOUS

    assert accepted(kind, proof(secret), secret)
    assert accepted(kind, proof(secret), secret, other)
    assert accepted(kind, proof(secret), other, secret)
    assert not accepted(kind, proof(secret), other)


@ALL
def test_without_a_secret_nothing_is_accepted(kind, secret, proof):
    for none in ((), ("",), (" ", "\n"), ("whsec_",)):
        assert not accepted(kind, proof(secret), *none)
        assert not accepted(kind, {}, *none)
        for name in proof(secret):
            assert not accepted(kind, {name: ""}, *none)


@ALL
def test_a_proof_that_is_missing_or_empty_is_refused(kind, secret, proof):
    assert not accepted(kind, {}, secret)
    for name in proof(secret):
        assert not accepted(kind, proof(secret) | {name: ""}, secret)
        assert not accepted(kind, proof(secret) | {name: "sha256="}, secret)


@ALL
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_one_changed_character_of_a_proof_is_refused(kind, secret, proof, data):
    headers = proof(secret)
    name = data.draw(st.sampled_from(sorted(headers)))
    position = data.draw(st.integers(0, len(headers[name]) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = headers[name][:position] + other + headers[name][position + 1 :]
    if name == "authorization" and changed.lower().startswith("basic "):
        headers[name] = "Basic" + headers[name][5:]  # the scheme's case means nothing
        changed = "Basic" + changed[5:]
    user_alone = "authorization" in headers and _password(changed) == _password(headers[name]) is not None

    assert accepted(kind, headers | {name: changed}, secret) == (changed == headers[name] or user_alone)


def _password(header: str) -> bytes | None:
    """The password of a login whose user does not matter, if it is in base64's one spelling."""
    text = header.removeprefix("Basic ")
    try:
        pair = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    if base64.b64encode(pair).decode() != text:
        return None
    user, colon, password = pair.partition(b":")
    return password if colon and user != b"bot" and password == "pässword".encode() else None


@pytest.mark.parametrize(
    ("kind", "secret", "proof"),
    [case for case in PROOFS if case[0] != "azure-devops" and case[2](KEY).keys() != {"x-gitlab-token"}],
)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_one_changed_bit_of_the_body_is_refused(kind, secret, proof, data):
    bit = data.draw(st.integers(0, len(BODY) * 8 - 1))
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8

    assert not accepted(kind, proof(secret), secret, raw=bytes(changed))
    assert not accepted(kind, proof(secret), secret, raw=BODY + b" ")
    assert not accepted(kind, proof(secret), secret, raw=b"\xef\xbb\xbf" + BODY)


# -- Standard Webhooks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize(
    ("seconds", "fresh"), [(0, True), (299, True), (-299, True), (301, False), (-301, False), (600, False)]
)
def test_a_signed_delivery_gets_old_in_five_minutes(kind, seconds, fresh):
    assert accepted(kind, standard(), KEY, now=NOW + timedelta(seconds=seconds)) is fresh


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize("timestamp", ["", "0", "-1", "1e9", "nan", "١٢٣", "9" * 400, f" {int(NOW.timestamp())}"])
def test_a_time_that_is_no_number_of_seconds_is_refused(kind, timestamp):
    message = b"msg_1." + timestamp.encode() + b"." + BODY
    signature = "v1," + base64.b64encode(hmac.new(bytes(range(32)), message, hashlib.sha256).digest()).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": signature}

    assert not accepted(kind, headers, KEY)


@pytest.mark.parametrize("kind", SIGNED)
def test_another_id_or_time_than_the_signed_one_is_refused(kind):
    later = str(int(NOW.timestamp()) + 1)

    assert not accepted(kind, standard() | {"webhook-id": "msg_2"}, KEY)
    assert not accepted(kind, standard() | {"webhook-timestamp": later}, KEY)


@pytest.mark.parametrize("kind", SIGNED)
def test_one_of_two_signatures_is_enough_while_a_sender_changes_its_key(kind):
    old, new = standard(OLD_KEY)["webhook-signature"], standard(KEY)["webhook-signature"]
    both = standard() | {"webhook-signature": f"{old} {new}"}

    assert accepted(kind, both, KEY)
    assert accepted(kind, both, OLD_KEY)
    assert not accepted(kind, both, "whsec_" + base64.b64encode(b"x" * 32).decode())
    assert not accepted(kind, standard() | {"webhook-signature": f"v2{new[2:]} v1a{new[2:]}"}, KEY)


def test_with_a_signing_token_gitlabs_secret_token_is_not_enough():
    token = {"x-gitlab-token": SECRET}

    assert accepted("gitlab", token, SECRET)
    assert not accepted("gitlab", token, SECRET, KEY)
    assert not accepted("gitlab", {"x-gitlab-token": KEY}, KEY)
    assert accepted("gitlab", token | standard(), KEY, SECRET)


@pytest.mark.parametrize("kind", HOSTS)
def test_a_refusal_says_nothing_that_helps_who_guesses(kind):
    for headers in ({}, {"x-gitlab-token": "x"}, {"x-hub-signature": hexed("x")}, standard(OLD_KEY), login("a:b")):
        with pytest.raises(SignatureError, match=r"^the delivery does not prove that the host sent it$"):
            PROVIDERS[kind].webhooks.verify(headers, BODY, [SECRET, KEY], NOW)


def test_a_secret_token_is_compared_whole():
    for near in (SECRET[:-1], SECRET + " ", SECRET.upper(), "x" + SECRET):
        assert not accepted("gitlab", {"x-gitlab-token": near}, SECRET)


def test_a_generic_sender_that_says_when_is_held_to_it():
    """With the headers of Standard Webhooks there, a signature that never gets old does not count."""
    timeless = {"x-signature": hexed(KEY)}

    assert accepted("generic", timeless, KEY)
    assert not accepted("generic", timeless | {"webhook-timestamp": "1"}, KEY)
    assert not accepted("generic", timeless | standard(at=NOW - timedelta(hours=1)), KEY)


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha384"])
def test_a_generic_signature_by_another_hash_is_refused(algorithm):
    assert not accepted("generic", {"x-signature": hexed(SECRET, algorithm=algorithm)}, SECRET)


# -- the others -----------------------------------------------------------------------------------------------------------


def test_azure_takes_user_and_password_or_a_password_alone():
    assert accepted("azure-devops", login("bot:secret"), "bot:secret")
    assert not accepted("azure-devops", login("eve:secret"), "bot:secret")
    assert accepted("azure-devops", login(":secret"), "secret")
    assert not accepted("azure-devops", login("secret"), "secret")
    assert not accepted("azure-devops", login("bot:secret\n"), "bot:secret")
    assert not accepted("azure-devops", {"authorization": "Bearer secret"}, "secret")
    assert not accepted("azure-devops", {"authorization": "Basic"}, "secret")


def test_the_ping_of_bitbucket_proves_nothing():
    """It is answered before anybody asks for a proof, and never taken for one."""
    assert not accepted("bitbucket-datacenter", {"x-event-key": "diagnostics:ping"}, SECRET)


@pytest.mark.parametrize("kind", ["bitbucket-cloud", "bitbucket-datacenter"])
def test_bitbuckets_signature_is_in_one_header_only(kind):
    for name in ("x-hub-signature-256", "x-signature", "x-gitea-signature", "x-gitlab-token"):
        assert not accepted(kind, {name: hexed(SECRET)}, SECRET)
    assert not accepted(kind, {"x-hub-signature": hexed(SECRET).removeprefix("sha256=")}, SECRET)
    assert not accepted(kind, {"x-hub-signature": hexed(SECRET).upper()}, SECRET)


@pytest.mark.parametrize("kind", HOSTS)
def test_headers_of_any_text_are_refused_and_never_raise(kind):
    for text in ("\ud800", "ü☃", "\0", "v1," * 5000, "sha256=" + "ä" * 64, "Basic " + "=" * 70_000):
        names = ("x-gitlab-token", "x-hub-signature", "x-signature", "authorization", "webhook-signature")
        assert not accepted(kind, dict.fromkeys(names, text), SECRET)
        assert not accepted(kind, standard() | dict.fromkeys(names, text), KEY, SECRET)
