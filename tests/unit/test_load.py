"""From a file to specs: what is read, what is refused with which words, and that a bad file hurts nobody else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsync.core.codes import CODES
from gitsync.core.load import accepts, parse_file
from gitsync.core.load_codes import LOAD_CODES
from gitsync.core.spec_fields import SPEC_FIELDS, keys_at, pattern
from gitsync.model.desired import ParsedFile
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import ServiceKey
from gitsync.model.spec import LABELS, SpecDefaults, spec_hash
from tests.unit.spec_examples import EVERY_FIELD, FIRST, SHORT, spec_of

PAY = ServiceKey("pay")
KNOWN = {code.name for code in LOAD_CODES} | {"name-too-long"}


def parsed(text: str | bytes, path: str = "services/pay.yaml", **defaults: str) -> ParsedFile:
    return parse_file(path, text if isinstance(text, bytes) else text.encode(), SpecDefaults(**defaults))


def with_line(line: str) -> str:
    """A good spec with one more line."""
    return f"name: pay\nrouting:\n  host: a.example\n  port: 443\n{line}\n"


def only_finding(text: str | bytes, path: str = "services/pay.yaml") -> Finding:
    file = parsed(text, path)
    assert len(file.findings) == 1, "\n".join(map(str, file.findings))
    (finding,) = file.findings
    assert finding.code in KNOWN
    assert finding.message.endswith((".", "?"))
    return finding


# -- good files


@pytest.mark.parametrize("path", ["first.json", "first.yaml"])
def test_the_first_example_is_read_as_json_and_as_yaml(path):
    spec = spec_of(FIRST, path=path)

    assert spec.key == ServiceKey("dev.credit.open-build")
    assert (spec.routing.host, spec.routing.port) == ("ggdgsswpo350.foodc.emea.bank.com", 49519)
    assert spec.metadata == {"owner": "payments-platform", "pii": "false", "cost_center": "FIN-1234"}
    assert str(spec.connect.mesh_policy.timeouts.idle) == "1m0s"


def test_the_first_example_with_its_comments_says_what_to_do_with_them():
    finding = only_finding(FIRST.replace('"tgw_static",', '"tgw_static",      // or "catalog_external"'), "first.json")

    assert finding.code == "yaml-syntax"
    assert "//" in finding.hint


def test_a_file_holds_several_services_and_each_knows_its_line():
    file = parsed(f"# two\n{SHORT}---\n{SHORT.replace('pay', 'bill')}")

    assert [(spec.key.name, spec.place.line) for spec in file.specs] == [("pay", 2), ("bill", 5)]
    assert file.findings == ()


def test_what_the_configuration_says_fills_in_what_a_spec_leaves_out():
    spec = spec_of(SHORT, SpecDefaults(partition="p1", namespace="n1", gateway="tgw-1"))

    assert spec.key == ServiceKey("pay", "n1", "p1")
    assert spec.exposure.terminating_gateway is not None
    assert spec.exposure.terminating_gateway.service == "tgw-1"


def test_what_a_spec_says_beats_the_configuration():
    text = SHORT + "partition: p2\nnamespace: n2\nexposure: { terminating_gateway: { service: tgw-2 } }\n"
    spec = spec_of(text, SpecDefaults(partition="p1", namespace="n1", gateway="tgw-1"))

    assert spec.key == ServiceKey("pay", "n2", "p2")
    assert spec.exposure.terminating_gateway is not None
    assert spec.exposure.terminating_gateway.service == "tgw-2"


@pytest.mark.parametrize("null", ["null", "~", ""])
def test_an_explicit_null_opts_out_of_the_default_gateway(null):
    text = SHORT + f"exposure:\n  terminating_gateway: {null}\n"

    assert spec_of(text, SpecDefaults(gateway="tgw-1")).exposure.terminating_gateway is None


def test_a_document_without_a_name_takes_the_one_that_is_known_from_elsewhere():
    file = parse_file("request.json", b'{"routing": {"host": "a.example", "port": 80}}', SpecDefaults(), name="pay")

    assert [spec.key for spec in file.specs] == [PAY]


@pytest.mark.parametrize(
    "older",
    [
        "connect: { protocol: http }\nrouter: { prefix: /v1/ }",
        "connect:\n  protocol: http\n  mesh_policy:\nrouter: { prefix: /v1/ }",
        "router: { prefix: /v1/ }\nconnect: { mesh_policy: { protocol: http } }",
        "connect: { protocol: http, router: { prefix: /v1/ } }",
    ],
)
def test_both_spellings_of_one_meaning_have_one_hash(older):
    canonical = SHORT + "connect: { mesh_policy: { protocol: http }, router: { prefix: /v1/ } }\n"

    assert spec_hash(spec_of(SHORT + older)) == spec_hash(spec_of(canonical))


def test_older_timeouts_and_a_router_without_connect_are_moved():
    spec = spec_of(SHORT + "connect: { protocol: http, timeouts: { connect: 2s, request: 5s } }\n")

    assert str(spec.connect.mesh_policy.timeouts.request) == "5s"
    file = parsed(SHORT + "router: { prefix: /v1/ }\n")
    assert [finding.code for finding in file.findings] == ["protocol-mismatch"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("connect: { protocol: http, mesh_policy: { protocol: http } }", "connect.mesh_policy.protocol"),
        ("connect: { timeouts: { request: 1s }, mesh_policy: { timeouts: { idle: 1s } } }", "connect.mesh_policy.timeouts"),
        ("connect: { protocol: http, router: { prefix: / } }\nrouter: { prefix: / }", "connect.router"),
    ],
)  # fmt: skip
def test_one_thing_in_both_spellings_is_refused(text, path):
    finding = only_finding(SHORT + text)

    assert (finding.code, finding.spec_path) == ("invalid-combination", path)


def test_an_error_in_the_older_spelling_is_shown_where_it_was_written():
    finding = only_finding(with_line("connect:\n  timeouts: { request: soon }"))

    assert finding.spec_path == "connect.timeouts.request"
    assert finding.place is not None
    assert (finding.place.line, finding.place.column) == (6, 24)


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("0123", "0123"), ("NO", "NO"), ("1.10", "1.10"), ("22:30", "22:30"), ("false", "false"), ("True", "True"), ("0x1F", "0x1F"),
        ("2024-01-01", "2024-01-01"), ("1e3", "1e3"), ("'5'", "5"), ('""', ""), ("a b: c", None), ("Überweisung №1", "Überweisung №1"),
        (".nan", ".nan"), ("-0", "-0"), ("+1", "+1"), ("|\n    two\n    lines", "two\nlines\n"),
    ],
)  # fmt: skip
def test_a_label_is_what_stands_in_the_file(written, label):
    text = with_line(f"metadata:\n  x: {written}")
    if label is None:
        assert parsed(text).unreadable
    else:
        assert spec_of(text).metadata == {"x": label}


def test_json_labels_stand_as_they_are_too():
    text = '{"name": "pay", "routing": {"host": "a.example", "port": 1}, "metadata": {"a": 1.10, "b": true, "c": 1e2, "d": "x"}}'

    assert spec_of(text, path="a.json").metadata == {"a": "1.10", "b": "true", "c": "1e2", "d": "x"}


def test_on_without_quotes_stays_a_key():
    text = SHORT + "connect: { protocol: http, router: { prefix: /, retries: { attempts: 1, on: [reset] } } }"
    router = spec_of(text).connect.router

    assert router is not None
    assert router.retries is not None
    assert router.retries.on == ("reset",)


def test_a_key_without_a_value_is_absent():
    spec = spec_of(SHORT + "connect:\n  router:\n  splitter:\n  intentions:\nmetadata:\n")

    assert spec == spec_of(SHORT)


def test_a_subset_without_a_value_is_all_instances():
    spec = spec_of(SHORT + "connect:\n  resolver:\n    subsets:\n      v1:\n")

    assert spec.connect.resolver is not None
    assert list(spec.connect.resolver.subsets) == ["v1"]


def test_merges_and_aliases_work_inside_a_document():
    text = "name: pay\nrouting: &r { host: a.example, port: 443 }\nmetadata: &m { a: x }\nconnect: {}\n"

    assert spec_of(text).metadata == {"a": "x"}


# -- a bad file isolates itself


def test_a_file_that_does_not_parse_is_unreadable_and_names_nothing():
    file = parsed(f"{SHORT}---\nname: [\n")

    assert file.unreadable
    assert (file.specs, file.named, file.unnamed) == ((), (), 0)


def test_a_document_in_error_leaves_the_others_of_its_file_alone():
    file = parsed(
        f"{SHORT}---\nname: bill\nrouting: {{ host: a.example, port: 0 }}\n---\n{SHORT.replace('pay', 'cash')}"
    )

    assert [spec.key.name for spec in file.specs] == ["pay", "cash"]
    assert file.named == (ServiceKey("bill"),)
    assert (file.unnamed, file.unreadable) == (0, False)
    assert [finding.service for finding in file.findings] == [ServiceKey("bill")]


@pytest.mark.parametrize(
    "text",
    [
        "routing: { host: a.example, port: 443 }", "name: ../x\nrouting: { host: a.example, port: 443 }", "name: 5\nrouting: {}",
        "name: [a]\nrouting: {}", "name: pay\nnamespace: A/B\nrouting: {}", "name: pay\npartition: 7\nrouting: {}", "- a", "just text",
        "rules: {}",
    ],
)  # fmt: skip
def test_a_document_without_a_readable_name_is_counted(text):
    file = parsed(text)

    assert (file.named, file.unnamed, file.unreadable) == ((), 1, False)
    assert all(finding.severity is Severity.ERROR for finding in file.findings)


def test_a_document_in_error_is_named_with_the_defaults_of_the_configuration():
    assert parsed("name: pay\nrouting: {}", namespace="n1", partition="p1").named == (ServiceKey("pay", "n1", "p1"),)


def test_a_name_with_a_capital_is_an_error_of_that_document_and_protects_the_service_it_may_have_been():
    file = parsed(SHORT.replace("pay\n", "Pay\n"))

    assert file.named == (PAY,)
    assert (file.unnamed, file.unreadable) == (0, False)
    (finding,) = file.findings
    assert (finding.code, finding.service, finding.spec_path) == ("name-invalid", PAY, "name")
    assert "'pay'" in finding.hint


def test_a_name_with_a_capital_does_not_contest_the_good_document_beside_it():
    file = parsed(f"{SHORT.replace('pay', 'Pay')}---\n{SHORT}")

    assert [spec.key for spec in file.specs] == [PAY]
    assert (file.named, file.unnamed) == ((), 0)


def test_a_second_document_in_error_for_another_reason_does_contest_it():
    file = parsed(f"{SHORT}---\nname: pay\nrouting: {{}}\n")

    assert file.named == (PAY,)


@pytest.mark.parametrize(
    "text",
    ["extends: default\nrules: {}\n", "- id: ruff\n", "apiVersion: v1\nkind: Service\nmetadata: { name: x }\n", "{}"],
)
def test_yaml_of_something_else_is_an_error_that_says_how_to_exclude_it(text):
    finding = only_finding(text, "services/.lint/config.yaml".replace(".lint", "lint"))

    assert finding.code == "not-a-spec"
    assert finding.severity is Severity.ERROR
    assert "'services/lint/config.yaml' to git.exclude" in finding.hint
    assert accepts("services/lint/config.yaml", (), ("services/lint/config.yaml",)) is not None


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n", "---\n"])
def test_an_empty_file_is_a_note(text):
    file = parsed(text)

    assert [(finding.code, finding.severity) for finding in file.findings] == [("empty-file", Severity.NOTE)]
    assert (file.specs, file.named, file.unnamed, file.unreadable) == ((), (), 0, False)


def test_a_git_lfs_pointer_is_called_by_its_name():
    file = parsed("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n")

    assert file.unreadable
    assert file.findings[0].code == "lfs-pointer"


def test_a_merge_conflict_is_called_by_its_name():
    finding = only_finding("<<<<<<< HEAD\nname: pay\n=======\nname: bill\n>>>>>>> other\n")

    assert "merge conflict" in finding.hint


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"name: pay\nname: pay\n", "yaml-duplicate-key"), (b"[" * 60_000, "yaml-too-deep"), (b"name: !Ref x\n", "yaml-tag"),
        (b"name: pay\x00\n", "control-character"), (b"a: " + b"x" * 5_000_000, "file-too-large"), ("name: a".encode("utf-16"), "not-utf8"),
        (b"a: &a [*a]\n", "yaml-aliases"), (b"1: x\n", "yaml-key"),
    ],
)  # fmt: skip
def test_what_the_reader_refuses_makes_the_file_unreadable(data, code):
    file = parsed(data)

    assert file.unreadable
    assert [finding.code for finding in file.findings] == [code]
    assert str(file.findings[0].place).startswith("services/pay.yaml")


# -- what is wrong, in words


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
        assert finding.code in KNOWN
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
    assert all(finding.code in KNOWN for finding in file.findings)


# -- which files


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
