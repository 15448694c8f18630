"""The spec: its canonical form, its hash, its schema, and the rules that keep a neighbour from harm."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gitsync.core.spec_fields import SPEC_FIELDS
from gitsync.model.duration import Duration, DurationError
from gitsync.model.key import ServiceKey
from gitsync.model.spec import SNI_LENGTH, ServiceSpec, SpecDefaults, json_schema, sni_length, spec_hash
from tests.unit.spec_examples import EVERY_FIELD, FIRST, SHORT, spec_of

EXAMPLES = (FIRST, SHORT, *EVERY_FIELD)


def minimal(**more: Any) -> dict[str, Any]:
    return {"name": "pay", "routing": {"host": "pay.example.com", "port": 443}, **more}


# -- the canonical form


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_canonical_form_is_plain_json_and_reads_back_as_the_same_spec(text):
    spec = spec_of(text)
    document = json.loads(json.dumps(spec.to_json()))

    assert ServiceSpec.from_json(document) == spec
    assert ServiceSpec.from_json(document).to_json() == spec.to_json()


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_canonical_form_is_itself_a_file_of_the_same_hash(text):
    spec = spec_of(text)
    again = spec_of(json.dumps(spec.to_json()), SpecDefaults(gateway="another", namespace="other"), path="base.json")

    assert spec_hash(again) == spec_hash(spec)


def test_the_canonical_form_spells_defaults_out_and_leaves_out_what_is_absent():
    assert spec_of(SHORT).to_json() == {
        "name": "pay",
        "partition": "default",
        "namespace": "default",
        "routing": {"host": "pay.example.com", "port": 443, "preserve_host": False},
        "exposure": {"mode": "tgw_static", "terminating_gateway": None},
        "connect": {"mesh_policy": {"protocol": "tcp"}},
    }


def paths_in(document: object, prefix: str = "") -> Iterator[str]:
    if isinstance(document, list):
        for item in document:
            yield from paths_in(item, f"{prefix}[]")
    elif isinstance(document, dict):
        for name, value in document.items():
            path = f"{prefix}.{name}" if prefix else name
            if path not in SPEC_FIELDS and f"{prefix}.*" in {field.rpartition(".")[0] for field in SPEC_FIELDS}:
                path = f"{prefix}.*"
            yield path
            yield from paths_in(value, path)


def test_the_examples_have_every_field_and_none_is_lost_on_the_way():
    found = {path for text in EVERY_FIELD for path in paths_in(spec_of(text).to_json())}

    assert set(SPEC_FIELDS) - found == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("metadata: { a: x, b: y }", "metadata: { b: y, a: x }"),
        ("connect: { timeouts: { request: 60s } }", "connect: { mesh_policy: { timeouts: { request: 1m0s } } }"),
        ("connect: { timeouts: { request: 1.5s } }", "connect: { timeouts: { request: 1500ms } }"),
        ("connect: { resolver: {} }", "connect: {}"),
        ("connect: { mesh_policy: { protocol: tcp, timeouts: {} } }", ""),
        ("connect: { splitter: [] }", ""),
        ("partition: default\nnamespace: default", ""),
        ("exposure: { mode: tgw_static, terminating_gateway: null }", ""),
        ("metadata: { a: 1 }", "metadata: { a: '1' }"),
        ("connect: { intentions: [ { source: a, action: allow }, { source: b, action: deny } ] }",
         "connect: { intentions: [ { source: b, action: deny }, { source: a, action: allow } ] }"),
        ("connect: { protocol: http, router: { routes: [ { match: { methods: [get, PUT] } } ] } }",
         "connect: { protocol: http, router: { routes: [ { match: { methods: [PUT, GET] } } ] } }"),
        ("connect: { protocol: http, splitter: [ { weight: 100 } ] }", "connect: { protocol: http, splitter: [ { weight: 100.0 } ] }"),
    ],
)  # fmt: skip
def test_equal_meaning_has_an_equal_hash(one, other):
    assert spec_hash(spec_of(f"{SHORT}{one}\n")) == spec_hash(spec_of(f"{SHORT}{other}\n"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("metadata: { a: 1.10 }", "metadata: { a: 1.1 }"),
        ("connect: { intentions: [] }", ""),
        ("connect: { protocol: http }", ""),
        ("exposure: { terminating_gateway: { service: a } }", ""),
        ("connect: { protocol: http, router: { routes: [ { match: { path_prefix: /a } }, {} ] } }",
         "connect: { protocol: http, router: { routes: [ {}, { match: { path_prefix: /a } } ] } }"),
        ("connect: { protocol: http, router: { prefix: /, retries: { attempts: 1, status_codes: [503], on: [] } } }",
         "connect: { protocol: http, router: { prefix: /, retries: { attempts: 1, status_codes: [503] } } }"),
    ],
)  # fmt: skip
def test_another_meaning_has_another_hash(one, other):
    assert spec_hash(spec_of(f"{SHORT}{one}\n")) != spec_hash(spec_of(f"{SHORT}{other}\n"))


def test_a_host_has_one_spelling():
    names = {
        spec_of(f"name: a\nrouting: {{ host: '{host}', port: 1 }}").routing.host
        for host in ("2001:DB8:0::1", "2001:db8::1")
    }

    assert names == {"2001:db8::1"}
    assert spec_of("name: a\nrouting: { host: Pay.Example.COM, port: 1 }").routing.host == "pay.example.com"


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        pairs = list(value.items())
        order.shuffle(pairs)
        return {key: shuffled(inner, order) for key, inner in pairs}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([text for text in EXAMPLES if text != FIRST]), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_the_hash(text, order):
    document = shuffled(yaml.load(text, yaml.BaseLoader), order)
    other = yaml.dump(document, sort_keys=False, default_style=None)

    assert spec_hash(spec_of(_unquoted(other))) == spec_hash(spec_of(text))


def _unquoted(text: str) -> str:
    """BaseLoader reads everything as text, and `dump` then quotes what is none."""
    return re.sub(r"(: |- )'([0-9.]+|true|false)'$", r"\1\2", text, flags=re.MULTILINE)


def test_the_hash_of_the_first_example_is_what_it_was():
    """It is in ledgers: a change of the canonical form rewrites every service once, and must be meant."""
    assert spec_hash(spec_of(FIRST)) == "1704d541955ae7f262493874b72d4b911844e77b46f2ab52d4946d00d74d3315"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("routing", "port"), "443"), (("routing", "port"), 443.0), (("routing", "port"), True), (("routing", "preserve_host"), 1),
        (("routing", "preserve_host"), "true"), (("name",), 5), (("metadata",), {"a": 1}), (("metadata",), {"a": False}),
        (("connect", "mesh_policy", "timeouts", "request"), 5), (("connect", "splitter"), "x"), (("extra",), 1),
        (("routing", "extra"), 1), (("connect", "protocol"), "http"),
    ],
)  # fmt: skip
def test_the_model_is_strict_and_knows_one_spelling(path, value):
    document: dict[str, Any] = minimal()
    inner = document
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    inner[path[-1]] = value

    with pytest.raises(ValidationError):
        ServiceSpec.from_json(document)


def test_a_spec_does_not_change():
    with pytest.raises(ValidationError):
        spec_of(SHORT).name = "other"


def test_a_spec_has_the_key_of_its_service():
    assert ServiceSpec.from_json(minimal(namespace="n1", partition="p1")).key == ServiceKey("pay", "n1", "p1")


# -- names


@pytest.mark.parametrize("name", ["a", "1", "dev.credit.open-build", "a_b", "a" * 128, "a-.b", "a__b"])
def test_names_in_lower_case_are_names(name):
    assert ServiceSpec.from_json(minimal(name=name, exposure={"mode": "catalog_external"})).name == name


def test_the_longest_name_of_the_mesh_counts_subsets_tenancy_and_for_tgw_static_the_host():
    def length(**more: Any) -> int:
        return sni_length(ServiceSpec.from_json(minimal(**more)), 3)

    plain = length(exposure={"mode": "catalog_external"})
    assert plain == len("pay") + 63 + 3
    assert length() == plain + len("destination.pay.example.com") + 1
    assert length(exposure={"mode": "catalog_external"}, namespace="n1", partition="p12") == plain + 3 + 4
    subsets = {"connect": {"resolver": {"subsets": {"v1": {}, "canary": {}}}}}
    assert length(exposure={"mode": "catalog_external"}, **subsets) == plain + len("canary") + 1


@pytest.mark.parametrize(("host_length", "possible"), [(175, True), (176, False)])
def test_a_name_that_the_mesh_cannot_carry_is_refused(host_length, possible):
    labels = ".".join(["a" * 47] * 4)
    host = labels[: host_length - 1] + "b"
    document = minimal(routing={"host": host, "port": 1})
    assert sni_length(ServiceSpec.from_json(minimal()), 1) - len("pay.example.com") + host_length == SNI_LENGTH + (
        not possible
    )

    if possible:
        assert ServiceSpec.from_json(document)
    else:
        with pytest.raises(ValidationError, match="256 characters"):
            ServiceSpec.from_json(document)


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "localhost",
        "a.b-c.example",
        "_srv.example.com",
        "xn--mnchen-3ya.de",
        "192.0.2.1",
        "2001:db8::1",
        "::1",
        "1.2.3.a4",
        "a" * 63,
    ],
)
def test_dns_names_and_addresses_are_hosts(host):
    assert ServiceSpec.from_json(minimal(routing={"host": host, "port": 1})).routing.host == host


# -- durations


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("5s", "5s"), ("60s", "1m0s"), ("1h", "1h0m0s"), ("1.5h", "1h30m0s"), ("250ms", "250ms"), ("1500ms", "1.5s"), ("1m30s", "1m30s"),
        ("100us", "100µs"), ("100µs", "100µs"), ("100μs", "100µs"), ("1ns", "1ns"), ("0", "0s"), ("+5s", "5s"), ("-5s", "-5s"),
        (".5s", "500ms"), ("5.s", "5s"), ("1s1s", "2s"), ("1h1ms", "1h0m0.001s"),
    ],
)  # fmt: skip
def test_durations_are_read_and_printed_as_go_does_it(written, printed):
    assert str(Duration.parse(written)) == printed


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "5S", "1d", "1 s", " 1s", "1s ", "1e3s", "--1s", ".s", "٥s", "999999999h", "1s" * 40, "-", "1.1.1s"],
)
def test_what_go_does_not_read_is_no_duration(text):
    with pytest.raises(DurationError):
        Duration.parse(text)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_a_printed_duration_is_read_back(ns):
    assert Duration.parse(str(Duration(ns))) == Duration(ns)


# -- the schema


def violations(value: object, schema: Mapping[str, Any], root: Mapping[str, Any], path: str = "$") -> list[str]:  # noqa: PLR0911
    """What of *value* a JSON Schema forbids; of the keywords that ours uses, and an unknown one is a failure."""
    known = {
        "$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default", "deprecated", "description", "enum",
        "examples", "items", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minimum", "pattern",
        "patternProperties", "properties", "propertyNames", "required", "title", "type",
    }  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        return violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, path)
    if "anyOf" in schema:
        found = [violations(value, each, root, path) for each in schema["anyOf"]]
        return [] if [] in found else found[0]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    if kinds and not any(
        isinstance(value, types[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds
    ):
        return [f"{path} is no {kinds}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path} is not one of {schema['enum']}"]
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{path} does not match"]
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return [f"{path} is out of bounds"]
    if isinstance(value, list):
        return [each for item in value for each in violations(item, schema.get("items", {}), root, f"{path}[]")]
    if not isinstance(value, dict):
        return []
    found = [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, inner in value.items():
        named = [each for pattern, each in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
        own = schema.get("properties", {}).get(name, (named or [schema.get("additionalProperties", {})])[0])
        found += [f"{path}.{name} is unknown"] if own is False else violations(inner, own, root, f"{path}.{name}")
    return found


def as_an_editor_reads_it(text: str) -> Any:
    return yaml.load(text, yaml.SafeLoader)


@pytest.mark.parametrize(
    "text", [*EXAMPLES, SHORT + "connect: { protocol: http, timeouts: { request: 1s } }\nrouter: { prefix: /a }\n"]
)
def test_the_json_schema_accepts_every_example_in_both_spellings(text):
    schema = json_schema()
    document = as_an_editor_reads_it(text.replace(" on: ", ' "on": '))

    assert spec_of(text)
    assert violations(document, schema, schema) == []


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_json_schema_accepts_the_canonical_form(text):
    schema = json_schema()

    assert violations(spec_of(text).to_json(), schema, schema) == []


@pytest.mark.parametrize(
    "text",
    [
        "name: pay", "name: Pay\nrouting: { host: a, port: 1 }", SHORT + "potr: 1", SHORT + "connect: { timeouts: { request: 5 } }",
        "name: pay\nrouting: { host: a, port: 0 }", "name: pay\nrouting: { host: a, port: '1' }", SHORT + "exposure: { mode: x }",
        SHORT + "metadata: { a: [] }", SHORT + "connect: { timeouts: { request: 5x } }",
        SHORT + "connect: { resolver: { subsets: { V1: {} } } }",
    ],
)  # fmt: skip
def test_the_json_schema_refuses_what_an_editor_should_underline(text):
    schema = json_schema()

    assert violations(as_an_editor_reads_it(text), schema, schema)


def test_the_json_schema_describes_every_field():
    schema = json_schema()

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    parts = [schema, *schema["$defs"].values()]
    fields = [(name, field) for part in parts for name, field in part.get("properties", {}).items()]
    for name, field in fields:
        part = schema["$defs"].get(field.get("$ref", "").removeprefix("#/$defs/"), {})
        assert field.get("description") or part.get("description"), name
    assert json.loads(json.dumps(schema)) == schema
