"""Bad specs: what is refused, at which place, and with which words."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsync.core.codes import CODES
from gitsync.core.load_codes import LOAD_CODES
from gitsync.core.spec_fields import SPEC_FIELDS, keys_at, pattern
from gitsync.model.spec import LABELS
from tests.unit.spec_examples import EVERY_FIELD, FILE_CODES, SHORT, only_finding, parsed, spec_of, with_line


@pytest.mark.parametrize(
    ("line", "path", "key", "meant"),
    [
        ("  potr: 1", "routing.potr", "potr", "'port'"),
        ("  preserveHost: true", "routing.preserveHost", "preserveHost", "preserve_host"),
        ("  preserve-host: true", "routing.preserve-host", "preserve-host", "'preserve_host'"),
        ("  address: a", "routing.address", "address", "'host'"),
        ("metdata: {}", "metdata", "metdata", "'metadata'"),
        ("labels: {}", "labels", "labels", "'metadata'"),
        ("timeouts: {}", "timeouts", "timeouts", "connect.mesh_policy.timeouts"),
        ("timeout: 5s", "timeout", "timeout", "connect.mesh_policy.timeouts"),
        ("port: 5", "port", "port", "routing.port"),
        ("subsets: {}", "subsets", "subsets", "connect.resolver.subsets"),
        ("Name: x", "Name", "Name", "'name'"),
        ("zzz: 1", "zzz", "zzz", "name, partition, namespace, routing"),
        ("connect: { resolver: { subsets: { v1: { fliter: x } } } }", "connect.resolver.subsets.v1.fliter", "fliter", "'filter'"),
    ],
)  # fmt: skip
def test_an_unknown_key_says_what_was_probably_meant(line, path, key, meant):
    finding = only_finding(with_line(line))

    assert (finding.code, finding.spec_path) == ("unknown-key", path)
    assert key in finding.message
    assert meant in finding.hint
    assert finding.place is not None
    assert finding.place.line == 5


BAD = [
    # name
    ("name: ../x", "name-invalid", "name"),
    ("name: a/b", "name-invalid", "name"),
    ("name: .", "name-invalid", "name"),
    ("name: ..", "name-invalid", "name"),
    ("name: a..b", "name-invalid", "name"),
    ("name: a%2Fb", "name-invalid", "name"),
    ("name: a?b", "name-invalid", "name"),
    ("name: a&cas=0", "name-invalid", "name"),
    ("name: '*'", "name-invalid", "name"),
    ("name: consul", "name-invalid", "name"),
    ("name: Pay", "name-invalid", "name"),
    ("name: café", "name-invalid", "name"),
    ("name: pаypal", "name-invalid", "name"),
    ('name: "pay\\u200b"', "name-invalid", "name"),
    ('name: "pay\\u202e"', "name-invalid", "name"),
    ('name: "pay\\n"', "name-invalid", "name"),
    ('name: "p\\u0000"', "name-invalid", "name"),
    (f"name: {'a' * 129}", "name-invalid", "name"),
    (f"name: {'a' * 10_000}", "name-invalid", "name"),
    ("name: ''", "name-invalid", "name"),
    ("name: -a", "name-invalid", "name"),
    ("name: 5", "wrong-type", "name"),
    ("name:", "missing-field", "name"),
    ("namespace: A", "name-invalid", "namespace"),
    ("partition: a_b", "name-invalid", "partition"),
    # host
    *[(f"routing: {{ host: {host}, port: 1 }}", "host-invalid", "routing.host") for host in (
        "'2852039166'", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "0x7f.1", "'127.1'", "'0'", "①②⑦.0.0.1",
        "１２７.0.0.1", "127。0。0。1", "'[::1]'", "fe80::1%eth0", "a.example:80", "http://a.example", "a@b",
        "a/b", "'a b'", '"a\\r\\nb"', '"a\\0b"', "a..b", "-a.example", "a_.b_", f"{'a' * 64}.example", f"{'a.' * 127}example", "''",
        "10.0.0.999", "a.example.",
    )],
    ("routing: { host: 2852039166, port: 1 }", "wrong-type", "routing.host"),
    ('routing: { host: "[2001:db8::1]:80", port: 1 }', "host-invalid", "routing.host"),
    # port
    *[(f"routing: {{ host: a.example, port: {port} }}", "invalid-value", "routing.port") for port in (
        "0", "65536", "-1", "70000", "'443'", "443.0", "true", "0x1bb", "9" * 5000, "[1]", "1e3",
    )],
    ("routing: { host: a.example }", "missing-field", "routing"),
    ("routing: { port: 1 }", "missing-field", "routing"),
    ("routing:", "missing-field", "routing"),
    ("routing: a.example", "wrong-type", "routing"),
    ("routing: { endpoints: [] }", "invalid-value", "routing.endpoints"),
    ("routing: { endpoints: [ { host: 10.0.0.1, port: 1 } ] }", "invalid-combination", "routing.endpoints"),
    ("routing: { host: a.example, port: 1, tls: { cert_file: /c } }", "missing-field", "routing.tls"),
    ("routing: { host: a.example, port: 1, tls: { ca_file: c } }", "invalid-value", "routing.tls.ca_file"),
    (f"routing: {{ host: a.example, port: 1, tls: {{ sni: {'a.' * 127}example }} }}", "host-invalid", "routing.tls.sni"),
    ("routing: { host: a.example, port: 1, preserve_host: yes }", "wrong-type", "routing.preserve_host"),
    # durations
    *[(f"connect: {{ timeouts: {{ request: {period} }} }}", "invalid-value", "connect.timeouts.request") for period in (
        "-5s", "0s", "'0'", "5", "5.5", "1e9s", "99999999h", "2562047h47m16.8s", "1d", "5 s", "1H", "s", "'5'", "999ns", "24h1ns", "true",
        "[]", "５s",
    )],
    # exposure
    ("exposure: { mode: tgw-static }", "invalid-value", "exposure.mode"),
    ("exposure: { mode: other }", "invalid-value", "exposure.mode"),
    ("exposure: { terminating_gateway: tgw-1 }", "wrong-type", "exposure.terminating_gateway"),
    ("exposure: { check: { tcp: 'a:1' } }", "invalid-combination", "exposure.check"),
    ("exposure: { mode: catalog_external, check: {} }", "invalid-combination", "exposure.check"),
    ("exposure: { mode: catalog_external, check: { tcp: a } }", "invalid-value", "exposure.check.tcp"),
    ("exposure: { mode: catalog_external, check: { http: 'ftp://a' } }", "invalid-value", "exposure.check.http"),
    ("exposure: { mode: catalog_external, check: { http: 'http://u:p@a.example' } }", "secret-value", "exposure.check.http"),
    ("exposure: { dc: dc1, terminating_gateway: { service: t, dc: dc2 } }", "invalid-combination", "exposure.dc"),
    # connect
    ("connect: { protocol: bogus }", "invalid-value", "connect.protocol"),
    ("connect: { protocol: HTTP }", "invalid-value", "connect.protocol"),
    ("connect: { router: { prefix: / } }", "protocol-mismatch", "connect.router"),
    ("connect: { protocol: http, router: { prefix: noslash } }", "invalid-value", "connect.router.prefix"),
    ("connect: { protocol: http, router: { prefix: //a } }", "invalid-value", "connect.router.prefix"),
    ("connect: { protocol: http, router: { prefix: /../a } }", "invalid-value", "connect.router.prefix"),
    ("connect: { protocol: http, router: { prefix: '/a?b' } }", "invalid-value", "connect.router.prefix"),
    ("connect: { protocol: http, router: {} }", "invalid-combination", "connect.router"),
    ("connect: { protocol: http, router: { prefix: /, routes: [ {} ] } }", "invalid-combination", "connect.router"),
    (f"connect: {{ protocol: http, router: {{ routes: [{'{}, ' * 101}] }} }}", "invalid-value", "connect.router.routes"),
    ("connect: { protocol: http, router: { prefix: /, retries: { attempts: 101 } } }", "invalid-value", "connect.router.retries.attempts"),
    ("connect: { protocol: http, router: { prefix: /, retries: { attempts: 1, on: [x] } } }", "invalid-value", "connect.router.retries.on"),
    ("connect: { protocol: http, router: { prefix: /, retries: { attempts: 1, on: reset } } }", "wrong-type", "connect.router.retries.on"),
    ("connect: { protocol: http, router: { prefix: /, retries: { attempts: 1, status_codes: [99] } } }", "invalid-value",
     "connect.router.retries.status_codes[0]"),
    ("connect: { protocol: http, router: { routes: [ { match: { methods: [BREW] } } ] } }", "invalid-value",
     "connect.router.routes[0].match.methods"),
    ("connect: { protocol: http, router: { routes: [ { match: { path_regex: '(a' } } ] } }", "invalid-value",
     "connect.router.routes[0].match.path_regex"),
    ("connect: { protocol: http, router: { routes: [ { match: { path_regex: '(?=a)' } } ] } }", "invalid-value",
     "connect.router.routes[0].match.path_regex"),
    ("connect: { protocol: http, router: { routes: [ { match: { path_exact: /a, path_prefix: /b } } ] } }", "invalid-combination",
     "connect.router.routes[0].match"),
    ("connect: { protocol: http, router: { routes: [ { match: { headers: [ { name: 'a b', present: true } ] } } ] } }", "invalid-value",
     "connect.router.routes[0].match.headers[0].name"),
    ("connect: { protocol: http, router: { routes: [ { match: { headers: [ { name: a, exact: '' } ] } } ] } }", "invalid-value",
     "connect.router.routes[0].match.headers[0].exact"),
    ("connect: { protocol: http, router: { routes: [ { destination: { prefix_rewrite: / } } ] } }", "invalid-combination",
     "connect.router.routes[0].destination.prefix_rewrite"),
    ("connect: { resolver: { subsets: { V1: {} } } }", "name-invalid", "connect.resolver.subsets.V1"),
    ("connect: { resolver: { default_subset: v1 } }", "invalid-value", "connect.resolver.default_subset"),
    ("connect: { resolver: { failover: { v9: { service: x } } } }", "invalid-value", "connect.resolver.failover.v9"),
    ("connect: { resolver: { failover: { '*': {} } } }", "missing-field", "connect.resolver.failover.*"),
    ("connect: { resolver: { redirect: { service: pay } } }", "invalid-value", "connect.resolver.redirect"),
    ("connect: { resolver: { load_balancer: { policy: ring_hash, ring_hash: { maximum: 8388609 } } } }", "invalid-value",
     "connect.resolver.load_balancer.ring_hash.maximum"),
    ("connect: { resolver: { load_balancer: { policy: least_request, least_request: { choice_count: 1 } } } }", "invalid-value",
     "connect.resolver.load_balancer.least_request.choice_count"),
    ("connect: { resolver: { load_balancer: { policy: least_request, least_request: {} } } }", "missing-field",
     "connect.resolver.load_balancer.least_request.choice_count"),
    ("connect: { protocol: http, splitter: [ { weight: 99 } ] }", "invalid-value", "connect.splitter"),
    ("connect: { protocol: http, splitter: [ { weight: -1 }, { weight: 101, service: x } ] }", "invalid-value", None),
    ("connect: { protocol: http, splitter: [ { weight: .nan } ] }", "invalid-value", "connect.splitter[0].weight"),
    ("connect: { protocol: http, splitter: [ { weight: 50 }, { weight: 50, service: PAY } ] }", "invalid-value", "connect.splitter[1]"),
    ("connect: { protocol: http, splitter: [ { weight: 100, subset: v1 } ] }", "invalid-value", "connect.splitter[0].subset"),
    ("connect: { intentions: [ { source: web } ] }", "invalid-combination", "connect.intentions[0]"),
    ("connect: { intentions: [ { source: web, action: maybe } ] }", "invalid-value", "connect.intentions[0].action"),
    ("connect: { intentions: [ { source: a, action: allow }, { source: A, action: deny } ] }", "invalid-value", "connect.intentions"),
    # labels
    ("metadata: { managed-by: me }", "label-reserved", "metadata.managed-by"),
    ("metadata: { External-Source: me }", "label-reserved", "metadata.External-Source"),
    ("metadata: { routing-host: me }", "label-reserved", "metadata.routing-host"),
    ("metadata: { '': x }", "invalid-value", "metadata.''"),
    (f"metadata: {{ {'k' * 129}: x }}", "invalid-value", None),
    (f"metadata: {{ k: {'v' * 513} }}", "invalid-value", "metadata.k"),
    (f"metadata: {{ k: {'ü' * 257} }}", "invalid-value", "metadata.k"),
    ('metadata: { k: "a\\u001b[31m" }', "invalid-value", "metadata.k"),
    ("metadata: { k: }", "wrong-type", "metadata.k"),
    ("metadata: { k: [a] }", "wrong-type", "metadata.k"),
    ("metadata: { k: { a: b } }", "wrong-type", "metadata.k"),
    ("metadata: [a]", "wrong-type", "metadata"),
    (f"metadata: {{ {', '.join(f'k{n}: x' for n in range(55))} }}", "too-many-labels", "metadata"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code", "path"), BAD, ids=[line[:60] for line, _, _ in BAD])
def test_what_is_not_possible_is_refused_with_its_place(line, code, path):
    field = line.partition(":")[0]
    good = {"name": "name: pay", "routing": "routing: { host: a.example, port: 443 }"}
    file = parsed("\n".join([*(text for key, text in good.items() if key != field), line]) + "\n")

    assert file.specs == ()
    assert not file.unreadable, file.findings
    if path is not None:
        (finding,) = file.findings
        assert (finding.code, finding.spec_path) == (code, path)
    for finding in file.findings:
        assert finding.code in FILE_CODES
        assert finding.place is not None
        assert finding.place.line > 0
        assert len(finding.message) < 400
        assert finding.message.isprintable()


@pytest.mark.parametrize(
    "label",
    [
        "password: hunter2", "dbPassword: hunter2", "api_key: abc", "x: hvs.CAESIJ", "x: ghp_abcdefghijkl", "x: glpat-abcdefgh",
        "x: AKIAABCDEFGHIJKLMNOP", "x: 'postgres://u:hunter2@db'", "x: '-----BEGIN RSA PRIVATE KEY-----'",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_refused_and_never_repeated(label):
    finding = only_finding(with_line(f"metadata: {{ {label} }}"))

    assert finding.code == "secret-value"
    value = label.partition(": ")[2].strip("'")
    assert value not in str(finding)


@pytest.mark.parametrize(
    "label", ["owner: hunter2", "password_policy: strict", "secret: none", "token: false", "keyboard: de"]
)
def test_what_only_sounds_like_a_secret_is_a_label(label):
    assert spec_of(with_line(f"metadata: {{ {label} }}")).metadata


def test_as_many_labels_as_fit_are_possible():
    assert len(spec_of(with_line(f"metadata: {{ {', '.join(f'k{n}: x' for n in range(LABELS))} }}")).metadata) == LABELS


def test_all_errors_of_a_document_are_told_at_once_in_the_order_of_the_file():
    file = parsed("name: pay\nrouting:\n  host: a b\n  port: 0\nexposure: { mode: x }\nmetadata: { a: [] }\n")

    assert [finding.spec_path for finding in file.findings] == [
        "routing.host",
        "routing.port",
        "exposure.mode",
        "metadata.a",
    ]
    assert [finding.place.line for finding in file.findings if finding.place] == [3, 4, 5, 6]


def test_a_flood_of_errors_is_cut():
    document = parsed(SHORT + "".join(f"k{n}: 1\n" for n in range(500)))
    file = parsed("---\n- a\n" * 500)

    assert len(document.findings) == 21
    assert document.findings[-1].code == "more-findings"
    assert "480" in document.findings[-1].message
    assert len(file.findings) == 101
    assert file.unnamed == 500


@pytest.mark.parametrize(
    "text",
    [
        f"metadata: {{ x: {'-eyJ' * 250_000} }}", f"metadata: {{ {'-token' * 100_000}: x }}", f"routing: {{ host: {'a.' * 500_000}b, port: 1 }}",
        "".join(f"k{n}: 1\n" for n in range(24_000)), f"connect: {{ splitter: [{'{weight: 1}, ' * 12_000}] }}", f"name: {'a.' * 500_000}",
        "metadata:\n" + "".join(f"  k{n}: 1\n" for n in range(24_000)), "---\nname: a\n" * 10_000,
    ],
    ids=["half tokens", "a long label", "a long host", "many keys", "many splits", "a long name", "many labels", "many documents"],
)  # fmt: skip
def test_a_bad_spec_of_any_size_is_answered_soon(text):
    began = time.monotonic()
    file = parsed(text if text.startswith(("name", "---")) else f"name: pay\n{text}")

    assert file.specs == ()
    assert len(file.findings) <= 101
    assert time.monotonic() - began < 10


def test_every_code_of_a_file_is_declared_once():
    names = [code.name for code in LOAD_CODES]

    assert len(names) == len(set(names))
    assert "name-too-long" in CODES


def test_every_field_of_the_examples_is_known_to_the_table_and_every_field_of_the_table_has_words():
    assert all(field.description for field in SPEC_FIELDS.values())
    assert pattern(("routing", "endpoints", 0, "host")) == "routing.endpoints[].host"
    assert pattern(("connect", "resolver", "subsets", "v1", "filter")) == "connect.resolver.subsets.*.filter"
    assert keys_at("connect.mesh_policy.timeouts") == ("connect", "request", "idle")
    assert all(spec_of(text) for text in EVERY_FIELD)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60) | st.integers() | st.none() | st.booleans() | st.lists(st.text(), max_size=2),
    st.sampled_from(sorted(SPEC_FIELDS)),
)
def test_whatever_stands_in_a_field_the_file_gives_an_answer(value, path):
    document: object = value
    for name in reversed(path.replace("[]", ".[]").split(".")):
        document = [document] if name == "[]" else {"v1" if name == "*" else name: document}
    assert isinstance(document, dict)
    file = parsed(json.dumps({"name": "pay", **document}), "a.json")

    assert file.specs or file.named or file.unnamed
    assert all(finding.code in FILE_CODES for finding in file.findings)
