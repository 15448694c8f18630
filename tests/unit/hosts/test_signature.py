"""A delivery counts only if one of the secrets proves it: published vectors, foreign signers, and what a real Gitea sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from gitsync.hosts import signature
from gitsync.hosts.gitea import Gitea
from gitsync.hosts.github import GitHub
from gitsync.model.errors import Invalid
from gitsync.model.host import SignatureError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CAPTURES = sorted((Path(__file__).parents[2] / "contract/hosts/payloads/gitea-captures").glob("*.json"))
KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()

secrets = st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and text.isprintable())


def hexed(secret: str, raw: bytes, prefix: str = "sha256=") -> str:
    return prefix + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def standard(raw: bytes, *, key: str = KEY, at: datetime = NOW, identity: str = "msg_1") -> dict[str, str]:
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(key).sign(identity, at, raw.decode()),
    }


def refused(check, *args, **kwargs) -> bool:
    with pytest.raises(SignatureError) as caught:
        check(*args, **kwargs)
    return str(caught.value) == "the delivery does not prove that the host sent it"


# -- the body, signed --


def test_the_vector_that_github_publishes_fits():
    headers = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    }

    GitHub.webhooks.verify(headers, b"Hello, World!", ["It's a Secret to Everybody"], NOW)

    assert refused(GitHub.webhooks.verify, headers, b"Hello, World?", ["It's a Secret to Everybody"], NOW)


def test_githubs_old_signature_alone_is_not_enough():
    old = "sha1=" + hmac.new(b"s", b"{}", hashlib.sha1).hexdigest()

    assert refused(GitHub.webhooks.verify, {"x-hub-signature": old}, b"{}", ["s"], NOW)


@pytest.mark.parametrize("name", [path.name for path in CAPTURES])
def test_what_a_real_gitea_sent_fits_its_secret_and_a_form_does_not(name):
    capture = json.loads(next(path for path in CAPTURES if path.name == name).read_text())
    headers = {key.lower(): value for key, value in capture["headers"]}
    secret, raw = capture["note"].rpartition("webhook secret: ")[2], capture["body"].encode()
    is_form = headers["content-type"] != "application/json"

    if is_form:  # signed is the JSON inside the form, not what was sent
        assert refused(Gitea.webhooks.verify, headers, raw, [secret], NOW)
        with pytest.raises(Invalid):
            Gitea.webhooks.parse(headers, raw)
    else:
        Gitea.webhooks.verify(headers, raw, ["the new one", secret], NOW)
        assert refused(Gitea.webhooks.verify, headers, raw, ["another"], NOW)
        assert refused(Gitea.webhooks.verify, headers, raw.replace(b"r", b"R", 1), [secret], NOW)
        assert refused(GitHub.webhooks.verify, headers, raw, ["another"], NOW)


def test_forgejos_own_header_counts_where_giteas_is_not_there():
    raw = b"{}"
    fits = hexed("s", raw, "")

    Gitea.webhooks.verify({"x-forgejo-signature": fits}, raw, ["s"], NOW)

    assert refused(Gitea.webhooks.verify, {"x-gitea-signature": "", "x-forgejo-signature": fits}, raw, ["s"], NOW)


@pytest.mark.parametrize("given", [None, "", "sha256=", "sha256", "="])
def test_an_empty_signature_proves_nothing(given):
    assert refused(signature.signed_body, given, b"{}", ["s"])
    assert refused(signature.signed_body, given, b"{}", [""])
    assert refused(signature.signed_body, given, b"{}", [])
    assert refused(signature.signed_body, given, b"{}", [""], prefix="")


@pytest.mark.parametrize("secret", ["", " ", "\n", "\t "])
def test_a_secret_that_is_empty_proves_nothing_although_the_signature_fits_it(secret):
    raw = b"{}"
    pair = "Basic " + base64.b64encode(f"user:{secret}".encode()).decode()
    empty = hmac.new(b"", b"1.1." + raw, hashlib.sha256).digest()
    timestamp = str(int(NOW.timestamp()))
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(empty).decode(),
    }

    assert refused(signature.signed_body, hexed(secret, raw), raw, [secret])
    assert refused(signature.secret_token, secret, [secret])
    assert refused(signature.basic, pair, [secret])
    assert refused(signature.signed_message, headers, raw, [secret, "whsec_" + secret], NOW)


@given(secrets, secrets, st.binary(max_size=200))
def test_the_current_and_the_previous_secret_both_count(current, previous, raw):
    signature.signed_body(hexed(current, raw), raw, [current, previous])
    signature.signed_body(hexed(previous, raw), raw, [current, previous])
    signature.signed_body(hexed(current, raw, ""), raw, [current], prefix="")


@given(st.data(), secrets, st.binary(min_size=1, max_size=200))
def test_no_flipped_bit_passes(data, secret, raw):
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    fits = hexed(secret, raw)
    place = data.draw(st.integers(0, len(fits) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda char: char != fits[place]))

    signature.signed_body(fits, raw, [secret])
    assert refused(signature.signed_body, fits, bytes(changed), [secret])
    assert refused(signature.signed_body, fits[:place] + other + fits[place + 1 :], raw, [secret])
    assert refused(signature.signed_body, fits[:-1], raw, [secret])
    assert refused(signature.signed_body, fits + "0", raw, [secret])


@given(st.text(max_size=100), st.binary(max_size=50))
def test_no_signature_that_somebody_makes_up_raises_anything_else(given_, raw):
    assert refused(signature.signed_body, given_, raw, ["s"])
    assert refused(signature.secret_token, given_ + "!", ["s"])
    assert refused(signature.basic, given_, ["s"])
    headers = {"webhook-id": given_, "webhook-timestamp": given_, "webhook-signature": given_}
    assert refused(signature.signed_message, headers, raw, [KEY], NOW)


def test_sha512_is_another_algorithm():
    fits = "sha512=" + hmac.new(b"s", b"{}", hashlib.sha512).hexdigest()

    signature.signed_body(fits, b"{}", ["s"], prefix="sha512=", algorithm="sha512")

    assert refused(signature.signed_body, fits, b"{}", ["s"])


# -- Standard Webhooks --


@given(st.text(max_size=100).map(lambda text: json.dumps({"x": text}).encode()))
def test_what_the_standards_own_library_signed_fits(raw):
    signature.signed_message(standard(raw), raw, [KEY], NOW)
    signature.signed_message(standard(raw), raw, [OTHER, KEY], NOW)


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=64))
def test_the_standards_own_library_takes_what_we_sign(raw, key):
    raw = json.dumps({"x": raw.hex()}).encode()
    secret = "whsec_" + base64.b64encode(key).decode()
    timestamp = str(int(datetime.now(UTC).timestamp()))
    value = signature.standard_signature("msg_1", timestamp, raw, signature.standard_key(secret))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": value}

    assert Webhook(secret).verify(raw, headers) == json.loads(raw)


@pytest.mark.parametrize("seconds", [-301, 301, 600, -86400])
def test_a_message_from_another_time_is_refused(seconds):
    raw = b"{}"

    assert refused(signature.signed_message, standard(raw, at=NOW + timedelta(seconds=seconds)), raw, [KEY], NOW)
    signature.signed_message(standard(raw, at=NOW + timedelta(seconds=299 if seconds > 0 else -299)), raw, [KEY], NOW)


def test_of_several_signatures_one_that_fits_is_enough():
    raw = b"{}"
    headers = standard(raw)
    other = standard(raw, key=OTHER)["webhook-signature"]

    signature.signed_message(
        {**headers, "webhook-signature": f"v1a,xyz {other} {headers['webhook-signature']}"}, raw, [KEY], NOW
    )

    assert refused(signature.signed_message, {**headers, "webhook-signature": f"v1a,xyz {other}"}, raw, [KEY], NOW)
    version_2 = "v2," + headers["webhook-signature"].partition(",")[2]
    assert refused(signature.signed_message, {**headers, "webhook-signature": version_2}, raw, [KEY], NOW)


@given(st.data())
def test_no_changed_part_of_a_message_passes(data):
    raw = b'{"ref":"refs/heads/main"}'
    headers = standard(raw)
    name = data.draw(st.sampled_from(sorted(headers)))
    value = headers[name]
    place = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda char: char != value[place]))

    assert refused(
        signature.signed_message,
        {**headers, name: value[:place] + other + value[place + 1 :]},
        raw,
        [KEY],
        NOW,
        tolerance=10**12,
    )
    assert refused(signature.signed_message, {**headers, name: ""}, raw, [KEY], NOW)
    assert refused(
        signature.signed_message, {key: kept for key, kept in headers.items() if key != name}, raw, [KEY], NOW
    )


@pytest.mark.parametrize("secret", ["whsec_", "whsec_%%%", "whsec_a", "plain", base64.b64encode(b"plain").decode()])
def test_a_secret_that_is_none_of_the_standard_never_fits(secret):
    raw = b"{}"
    key = signature.standard_key(secret)

    assert key == b""
    assert refused(signature.signed_message, standard(raw), raw, [secret], NOW)


# -- the secret itself --


@given(secrets, secrets)
def test_a_token_counts_if_it_is_one_of_the_secrets(current, previous):
    signature.secret_token(current, [current, previous])
    signature.secret_token(previous, [current, previous])

    assert refused(signature.secret_token, current + "x", [current])
    assert refused(signature.secret_token, None, [current])


def test_basic_authentication_is_a_user_and_a_password_or_a_password_alone():
    def header(pair: str) -> str:
        return "Basic " + base64.b64encode(pair.encode()).decode()

    signature.basic(header("hook:pä:ss"), ["hook:pä:ss"])
    signature.basic(header("hook:pass"), ["the new one", "pass"])
    signature.basic("basic " + header("anybody:pass").partition(" ")[2], ["pass"])

    assert refused(signature.basic, header("hook:pas"), ["hook:pass"])
    assert refused(signature.basic, header("hooks:pass"), ["hook:pass"])
    assert refused(signature.basic, header("pass"), ["pass"])
    assert refused(signature.basic, header(":"), ["pass", ""])
    assert refused(signature.basic, "Bearer " + header("hook:pass").partition(" ")[2], ["pass"])
    assert refused(signature.basic, None, ["pass"])


@given(st.data())
def test_no_changed_character_of_basic_authentication_passes(data):
    value = "Basic " + base64.b64encode(b"hook:password").decode()
    place = data.draw(st.integers(6, len(value) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda char: char != value[place]))

    assert refused(signature.basic, value[:place] + other + value[place + 1 :], ["hook:password"])
