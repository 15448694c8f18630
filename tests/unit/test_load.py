"""From a file to specs: what is read, and that a bad file hurts nobody else."""

from __future__ import annotations

import time

import pytest

from gitsync.core.accept import accept
from gitsync.core.load import accepts, parse_file
from gitsync.model.finding import Severity
from gitsync.model.key import ServiceKey
from gitsync.model.spec import SpecDefaults, spec_hash
from tests.unit.spec_examples import FIRST, SHORT, only_finding, parsed, spec_of, with_line

PAY = ServiceKey("pay")


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
    text = """\
name: pay
routing: { host: a.example, port: 443 }
connect:
  protocol: http
  router:
    routes:
      - destination: &slow { request_timeout: 10s, retries: { attempts: 1 } }
        match: { path_prefix: /a }
      - destination: { <<: *slow, request_timeout: 20s }
"""
    router = spec_of(text).connect.router

    assert router is not None
    first, second = (route.destination for route in router.routes)
    assert first is not None
    assert second is not None
    assert (str(first.request_timeout), str(second.request_timeout)) == ("10s", "20s")
    assert first.retries == second.retries


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


def test_a_service_whose_name_got_a_capital_by_mistake_keeps_what_it_has():
    desired = accept([parsed(SHORT.replace("pay\n", "Pay\n"))], {}, owner="i/s", revision="c1", enterprise=False)

    assert PAY in desired.refused
    assert desired.unreadable == frozenset()
    assert [finding.code for finding in desired.refused[PAY]] == ["name-invalid"]


def test_ten_thousand_small_files_take_seconds():
    text = FIRST.encode()
    began = time.monotonic()
    for _ in range(1_000):
        assert parse_file("a.json", text, SpecDefaults()).specs
    assert time.monotonic() - began < 3
