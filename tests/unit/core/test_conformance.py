"""What the design says of plans and renderings, sentence by sentence, where no other test has its own place for it."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Any

import pytest

from gitsync.core.accept import accept
from gitsync.core.digest import plan_digest, service_digest
from gitsync.core.load import parse_file
from gitsync.core.neighbours import judge
from gitsync.core.plan import Policy, make_plan
from gitsync.core.render import render
from gitsync.core.sight import hosts_of
from gitsync.model.component import Entry, Ledger, Origin
from gitsync.model.context import GatewayFiles, RenderContext, TlsFiles
from gitsync.model.desired import Desired, ParsedFile
from gitsync.model.features import Features, Version
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Plan
from gitsync.model.spec import LABELS, ServiceSpec, SpecDefaults, sni_length
from tests.unit.worlds import ME, PRUNE, Wish, World, adopting, approved, codes, plan, run, settled, verdicts

OLD, NEW = (1, 8, 7), (1, 21, 4)
A, B = "tgw_static", "catalog_external"
MODES = pytest.mark.parametrize("mode", [A, B])
PAY = ServiceKey("pay")
FILES = {"tgw": GatewayFiles(tls=(TlsFiles("/c/ca.pem", "/c/a.pem", "/c/a.key"), TlsFiles("/c/ca.pem")))}


def context(version: Version = NEW, datacenter: str = "dc1") -> RenderContext:
    return RenderContext(ME, Features(version, datacenter, datacenter), FILES, datacenter)


def text(name: str = "pay", mode: str = B, **parts: str) -> str:
    """A spec as it stands in a file. *parts*: YAML below routing, connect or at the top."""
    host = "pay.example.org" if mode == A else "192.0.2.10"
    lines = [f"name: {name}", f"exposure: {{mode: {mode}, terminating_gateway: {{service: tgw}}}}", "connect:"]
    lines += ["  mesh_policy: {protocol: " + parts.pop("protocol", "http") + "}"]
    for key in ("router", "resolver", "splitter", "intentions"):
        if key in parts:
            lines += [f"  {key}:", textwrap.indent(textwrap.dedent(parts.pop(key)).strip(), "    ")]
    lines += [f"routing: {{{parts.pop('routing', f'host: {host}, port: 80')}}}"]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in parts.items())]) + "\n"


def read(written: str, path: str = "pay.yaml") -> ParsedFile:
    return parse_file(path, written.encode(), SpecDefaults())


def wants(*texts: str, ledgers: dict[ServiceKey, Ledger] | None = None) -> Desired:
    files = [read(each, f"f{at}.yaml") for at, each in enumerate(texts)]
    assert all(file.specs for file in files), files
    return accept(files, ledgers or {}, owner=ME, revision="r1", enterprise=False)


def planned(world: World, *texts: str, version: Version = NEW) -> Plan:
    desired, ground = wants(*texts, ledgers=world.ledgers), context(version)
    found = world.found()
    rendered = {key: render(each.spec, each.place, ground) for key, each in desired.services.items()}
    judged = judge({key: (each, rendered[key]) for key, each in desired.services.items()}, found, ground)
    return make_plan(desired, rendered, judged, found, owner=ME, policy=PRUNE)


def of(made: Plan, code: str, key: ServiceKey = PAY) -> Finding:
    return next(finding for finding in made.services[key].findings if finding.code == code)


# -- whose intentions


def foreign_intentions() -> World:
    world = settled([])
    world.put(Kind.INTENTIONS, "pay", Sources=[{"Name": "web", "Action": "allow"}])
    return world


@pytest.mark.parametrize("listed", ["[]", "[{source: web, action: allow}]"])
def test_where_a_spec_has_intentions_also_none_somebody_elses_are_a_conflict(listed: str):
    made = planned(foreign_intentions(), text(intentions=listed))

    assert verdicts(made) == {"pay": "conflict"}
    assert "service-intentions/pay" in of(made, "foreign-component").message
    assert not list(made.changes())


def test_without_intentions_in_the_spec_they_are_none_of_our_business():
    made = planned(foreign_intentions(), text())

    assert verdicts(made) == {"pay": "create"}
    assert Kind.INTENTIONS not in {change.key.kind for change in made.changes()}


def test_adopted_by_a_spec_that_wants_none_they_go():
    world, written = foreign_intentions(), text(intentions="[]")
    desired, ground = wants(written), context()
    rendered = {PAY: render(desired.services[PAY].spec, desired.services[PAY].place, ground)}
    made = make_plan(desired, rendered, {}, world.found(), owner=ME, policy=adopting("pay"))

    gone = [change for change in made.changes() if change.key.kind is Kind.INTENTIONS]
    assert [(change.action, change.take) for change in gone] == [("delete", True)]


# -- what cannot be read


@pytest.mark.parametrize("folder", ["vendor/", "vendor", "vendor/deep/"])
def test_a_submodule_or_a_link_in_a_folders_place_protects_what_was_read_in_it(folder: str):
    world = settled([Wish("a", path="vendor/deep/a.yaml"), Wish("b"), Wish("c")])
    made = plan(world, [Wish("c")], unreadable=frozenset({folder}), unparsed=frozenset({folder}))

    assert verdicts(made)["a"] == "refused"
    assert folder in of(made, "file-unreadable", ServiceKey("a")).message


def test_a_folder_protects_nothing_beside_it():
    made = plan(settled([Wish("a", path="vendors/a.yaml"), Wish("c")]), [Wish("c")], unreadable=frozenset({"vendor/"}))

    assert verdicts(made)["a"] == "delete"


def test_what_is_wanted_and_was_not_rendered_is_never_taken_for_unwanted():
    world = settled([Wish("a")])
    desired = Desired("r2", services={ServiceKey("a"): Wish("a").wanted()})

    with pytest.raises(KeyError):
        make_plan(desired, {}, {}, world.found(), owner=ME, policy=PRUNE)


# -- what leads nowhere


LEADS = {
    "router": "routes: [{match: {path_prefix: /b}, destination: {service: books}}]",
    "splitter": "[{weight: 50}, {weight: 50, service: books}]",
    "resolver": 'failover: {"*": {service: books}}',
}


@pytest.mark.parametrize("part", LEADS)
def test_what_newly_leads_to_nothing_is_refused_before_half_of_it_is_written(part: str):
    made = planned(settled([]), text(**{part: LEADS[part]}), text("shop"))

    finding = of(made, "reference-missing")
    assert verdicts(made) == {"pay": "refused", "shop": "create"}
    assert "books" in finding.message
    assert (finding.spec_path, finding.severity) == (f"connect.{part}", Severity.ERROR)
    assert finding.place
    assert finding.place.line > 1


@pytest.mark.parametrize("part", LEADS)
def test_the_commit_that_brings_it_heals_it(part: str):
    made = planned(settled([]), text(**{part: LEADS[part]}), text("books"))

    assert verdicts(made) == {"pay": "create", "books": "create"}
    assert "reference-missing" not in codes(made, "pay")


@pytest.mark.parametrize("part", LEADS)
def test_what_somebody_described_or_registered_is_there(part: str):
    world = settled([])
    world.put(Kind.RESOLVER, "books")
    assert verdicts(planned(world, text(**{part: LEADS[part]}))) == {"pay": "create"}

    found = replace(settled([]).found(), services=frozenset({"books"}))
    desired, ground = wants(text(**{part: LEADS[part]})), context()
    rendered = {PAY: render(desired.services[PAY].spec, desired.services[PAY].place, ground)}
    assert verdicts(make_plan(desired, rendered, {}, found, owner=ME, policy=PRUNE)) == {"pay": "create"}


def test_what_consul_takes_all_the_same_is_said():
    made = planned(settled([]), text(protocol="tcp", resolver=LEADS["resolver"]))

    assert verdicts(made) == {"pay": "create"}
    assert of(made, "reference-missing").severity is Severity.WARNING
    assert "503" in of(made, "reference-missing").message


def test_what_consul_took_once_goes_on_when_the_other_one_is_gone():
    world, written = settled([]), text(router=LEADS["router"])
    world.put(Kind.DEFAULTS, "books", Protocol="http")
    desired, ground = wants(written), context()
    rendered = {PAY: render(desired.services[PAY].spec, desired.services[PAY].place, ground)}
    for change in make_plan(desired, rendered, {}, world.found(), owner=ME, policy=PRUNE).changes():
        world.apply([change])
    del world.entries[(Kind.DEFAULTS, "books")]

    changed = planned(world, written.replace("/b}", "/c}"))
    assert verdicts(changed) == {"pay": "update"}
    assert of(changed, "reference-missing").severity is Severity.WARNING


def test_another_datacenters_services_are_not_called_missing():
    resolver = 'failover: {"*": {service: books, datacenters: [west]}}'

    assert "reference-missing" not in codes(planned(settled([]), text(resolver=resolver)), "pay")


def test_a_subset_that_the_other_one_does_not_have_is_missing_too():
    router = "routes: [{destination: {service: books, subset: v9}}]"
    made = planned(settled([]), text(router=router), text("books"))

    assert verdicts(made) == {"pay": "refused", "books": "create"}
    assert "books:v9" in of(made, "reference-missing").message


@pytest.mark.parametrize("router", [LEADS["router"], "routes: [{destination: {service: books, subset: v1}}]"])
def test_after_the_locks_what_git_brings_is_not_missing_although_it_is_not_looked_at(router: str):
    books = text("books", resolver="subsets: {v1: {only_passing: true}}")
    desired, ground = wants(text(router=router), books), context()
    rendered = {key: render(each.spec, each.place, ground) for key, each in desired.services.items()}
    made = make_plan(desired, rendered, {}, settled([]).found(), owner=ME, policy=PRUNE, only=frozenset({PAY}))

    assert verdicts(made) == {"pay": "create"}


# -- labels


def test_with_the_ledger_lost_a_label_that_left_stays_and_is_said_once():
    world = settled([Wish("a", labels=(("team", "blue"),))])
    world.ledgers.clear()
    made = run(world, [Wish("a")])

    assert of(made, "label-kept", ServiceKey("a")).severity is Severity.NOTE
    assert "team" in of(made, "label-kept", ServiceKey("a")).message
    assert codes(plan(world, [Wish("a")]), "a") == set()


def test_more_labels_than_fit_beside_those_of_others_are_refused_before_anything_is_written():
    world = settled([Wish("a")])
    body = world.body(Kind.DEFAULTS, "a")
    world.put(Kind.DEFAULTS, "a", **{**body, "Meta": {**body["Meta"], **{f"theirs-{at}": "x" for at in range(40)}}})
    many = tuple((f"ours-{at}", "x") for at in range(23))

    assert verdicts(plan(world, [Wish("a", labels=many[:22])])) == {"a": "update"}
    made = plan(world, [Wish("a", labels=many)])
    assert verdicts(made) == {"a": "refused"}
    assert "65 pairs" in of(made, "too-many-labels", ServiceKey("a")).message


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        ({f"l{at}": "x" for at in range(LABELS)}, None),
        ({f"l{at}": "x" for at in range(LABELS + 1)}, "too-many-labels"),
        ({"k" * 128: "v" * 512}, None),
        ({"k" * 129: "v"}, "invalid-value"),
        ({"ü" * 65: "v"}, "invalid-value"),
        ({"k": "v" * 513}, "invalid-value"),
        ({"k": "ü" * 257}, "invalid-value"),
        ({"a.b/c d": "ü"}, None),
        ({"Managed-By": "me"}, "label-reserved"),
        ({"external-source": "me"}, "label-reserved"),
        ({"routing-host": "me"}, "label-reserved"),
    ],
)
def test_labels_fit_into_consuls_meta_or_are_refused_by_name(labels: dict[str, str], code: str | None):
    file = read(text() + "metadata:\n" + "".join(f'  "{key}": "{value}"\n' for key, value in labels.items()))

    assert {finding.code for finding in file.findings} == ({code} if code else set())
    for spec in (parsed.spec for parsed in file.specs):
        meta = render(spec, Place("pay.yaml"), context()).components
        assert all(len(dict(component.body.get("Meta") or {})) <= 64 for component in meta)


@MODES
def test_labels_stand_in_the_service_defaults_and_nowhere_else(mode: str):
    (parsed,) = read(text(mode=mode, metadata='{"a.b": "c"}', splitter="[{weight: 100}]")).specs
    rendered = render(parsed.spec, parsed.place, context())

    bodies: list[Any] = [(component.key.kind, component.body) for component in rendered.components]
    assert {kind for kind, body in bodies if "a.b" in repr(body)} == {Kind.DEFAULTS}


# -- poison: what takes the neighbours down, on both strategies


POISON = {
    "a CA that is not listed": {"routing": "host: HOST, port: 80, tls: {sni: a.b, ca_file: /c/other.pem}"},
    "a CA that is listed with a key only": {
        "routing": "host: HOST, port: 80, tls: {ca_file: /c/ca.pem, cert_file: /c/a.pem, key_file: /c/b.key}"
    },
    "a key without a CA": {"routing": "host: HOST, port: 80, tls: {cert_file: /c/a.pem, key_file: /c/a.key}"},
    "an SNI of 260": {"routing": f"host: HOST, port: 80, tls: {{sni: {'.'.join(['a' * 51] * 5)}, ca_file: /c/ca.pem}}"},
    "a host of 254": {"routing": f"host: {'.'.join(['a' * 50] * 5)}, port: 80"},
    "a host with a port": {"routing": "host: 'db.example.org:80', port: 80"},
    "port -1": {"routing": "host: HOST, port: -1"},
    "port 0": {"routing": "host: HOST, port: 0"},
    "port 65536": {"routing": "host: HOST, port: 65536"},
    "port 70000": {"routing": "host: HOST, port: 70000"},
    "a name of 200": {"name": "p" * 200},
    "a name that is too long with its subset": {
        "name": "p" * 128,
        "resolver": f"subsets: {{{'s' * 63}: {{only_passing: true}}}}",
    },
    "a target that is too long with its subset": {
        "router": f"routes: [{{destination: {{service: {'b' * 128}, subset: {'s' * 63}}}}}]"
    },
    "a failover that is too long with its subset": {
        "resolver": f'failover: {{"*": {{targets: [{{service: {"b" * 128}, subset: {"s" * 63}}}]}}}}'
    },
    "a ring of 8388609": {"resolver": "load_balancer: {policy: ring_hash, ring_hash: {maximum: 8388609}}"},
    "a least ring of 8388609": {"resolver": "load_balancer: {policy: ring_hash, ring_hash: {minimum: 8388609}}"},
    "one choice": {"resolver": "load_balancer: {policy: least_request, least_request: {choice_count: 1}}"},
    "no choice": {"resolver": "load_balancer: {policy: least_request, least_request: {choice_count: 0}}"},
    "an empty least_request": {"resolver": "load_balancer: {policy: least_request, least_request: {}}"},
    "a filter that nobody can evaluate": {"resolver": "subsets: {v1: {filter: 'Service.Nope == 1'}}"},
    "an expression in a permission that is too large": {
        "intentions": "[{source: web, permissions: [{action: allow, http: {path_regex: '(abcdefghij){50}'}}]}]"
    },
}


@MODES
@pytest.mark.parametrize("version", [OLD, NEW], ids=["1.8.7", "1.21.4"])
@pytest.mark.parametrize("poison", POISON)
def test_nothing_that_takes_the_neighbours_down_is_ever_written(poison: str, version: Version, mode: str):
    host = "pay.example.org" if mode == A else "192.0.2.10"
    parts = {key: value.replace("HOST", host) for key, value in POISON[poison].items()}
    file = read(text(mode=mode, **parts))
    refused = [render(each.spec, each.place, context(version)).refused for each in file.specs]

    assert file.specs or any(finding.severity is Severity.ERROR for finding in file.findings)
    if poison == "an expression in a permission that is too large" and version == OLD:
        refused = refused[:0]  # before service-intentions nothing of it is written at all
    assert all(refused)


@MODES
@pytest.mark.parametrize("version", [OLD, NEW], ids=["1.8.7", "1.21.4"])
def test_without_poison_the_same_spec_is_written(version: Version, mode: str):
    host = "pay.example.org" if mode == A else "192.0.2.10"
    tls = f"host: {host}, port: 80, tls: {{sni: a.b, ca_file: /c/ca.pem, cert_file: /c/a.pem, key_file: /c/a.key}}"
    balancer = "load_balancer: {policy: ring_hash, ring_hash: {maximum: 8388608}}"
    (parsed,) = read(text("p" * 128, mode=mode, routing=tls, resolver=balancer)).specs

    assert not render(parsed.spec, parsed.place, context(version)).refused


@MODES
def test_a_longer_datacenter_counts_also_for_what_a_spec_leads_to(mode: str):
    (parsed,) = read(text("p" * 100, mode=mode, routing="host: 192.0.2.1, port: 80")).specs
    leads = ServiceSpec.from_json(
        {
            **parsed.spec.to_json(),
            "name": "p",
            "connect": {"splitter": [{"weight": 100, "service": "b" * 100, "subset": "v1"}], "mesh_policy": {"protocol": "http"}},
        }
    )  # fmt: skip

    assert sni_length(leads, 3) == sni_length(parsed.spec, 3) + len("v1.")


def test_a_foreign_destination_in_another_spelling_is_the_same_host():
    destination = {"Addresses": ["2001:0DB8::0001", "A.example.ORG"], "Port": 80}

    assert hosts_of({"Destination": destination}) == {("2001:db8::1", 80), ("a.example.org", 80)}


def test_a_host_that_somebody_else_takes_later_is_said_and_ours_stays():
    world = settled([Wish("a", external=False, host="one")])
    world.put(Kind.DEFAULTS, "foreign", check=False, Protocol="http", Destination={"Addresses": ["One"], "Port": 80})
    made = plan(world, [Wish("a", external=False, host="one")])

    assert made.empty
    assert verdicts(made) == {"a": "unchanged"}
    assert of(made, "destination-taken", ServiceKey("a")).severity is Severity.WARNING
    assert "foreign" in of(made, "destination-taken", ServiceKey("a")).message


# -- checks of several servers


@pytest.mark.parametrize(
    ("check", "first", "second"),
    [
        ("tcp: '10.0.0.1:80'", "10.0.0.1:80", "10.0.0.2:81"),
        ("tcp: '10.0.0.2:9000'", "10.0.0.1:9000", "10.0.0.2:9000"),
        ("http: 'https://10.0.0.1/health?x=1'", "https://10.0.0.1/health?x=1", "https://10.0.0.2:443/health?x=1"),
        ("http: 'http://10.0.0.2:81/'", "http://10.0.0.1:80/", "http://10.0.0.2:81/"),
        ("tcp: 'balancer.example.org:80'", "balancer.example.org:80", "balancer.example.org:80"),
    ],
)
def test_a_check_that_names_one_of_several_servers_asks_each_itself(check: str, first: str, second: str):
    written = text(routing="endpoints: [{host: 10.0.0.1, port: 80}, {host: 10.0.0.2, port: 81}]")
    (parsed,) = read(written.replace("exposure: {", f"exposure: {{check: {{{check}}}, ")).specs
    rendered = render(parsed.spec, parsed.place, context())
    nodes = [component.body for component in rendered.components if component.key.kind is Kind.CATALOG]
    asked = {
        node["Address"]: node["Check"]["Definition"].get("TCP") or node["Check"]["Definition"].get("HTTP") for node in nodes
    }  # fmt: skip

    assert asked == {"10.0.0.1": first, "10.0.0.2": second}
    assert {node["Check"]["CheckID"] for node in nodes} == {"gitsync:pay"}


def test_a_check_of_ipv6_servers_has_its_brackets():
    written = text(routing="endpoints: [{host: '2001:db8::1', port: 80}, {host: '2001:db8::2', port: 80}]")
    (parsed,) = read(written.replace("exposure: {", "exposure: {check: {tcp: '[2001:DB8::1]:80'}, ")).specs
    rendered = render(parsed.spec, parsed.place, context())
    nodes = [component.body for component in rendered.components if component.key.kind is Kind.CATALOG]

    assert {node["Check"]["Definition"]["TCP"] for node in nodes} == {"[2001:DB8::1]:80", "[2001:db8::2]:80"}


@pytest.mark.parametrize("check", ["tcp: 'db.example.org:9000'", "http: 'https://db.example.org/health'"])
def test_the_check_of_one_server_is_as_it_is_written(check: str):
    written = text(routing="host: db.example.org, port: 80").replace("exposure: {", f"exposure: {{check: {{{check}}}, ")
    (parsed,) = read(written).specs
    node = render(parsed.spec, parsed.place, context()).components[0].body

    assert check.split("'")[1] in node["Check"]["Definition"].values()


# -- where a finding stands


PLACED = """\
# a comment
name: pay
exposure:
  mode: catalog_external
  terminating_gateway:
    service: tgw
connect:
  protocol: http
  timeouts:
    request: 1h
  intentions:
    - source: web
      permissions:
        - action: deny
          http: { path_prefix: /admin }
    - source: app
      permissions:
        - action: allow
          http: { path_exact: / }
routing:
  host: db.example.org
  port: 8443
router:
  routes:
    - match: { path_prefix: /a }
      destination: { prefix_rewrite: /b/ }
    - match:
        path_prefix: /c
      destination:
        retries:
          attempts: 2
          per_try_timeout: 1s
"""


def test_a_finding_names_the_line_of_the_field_it_is_about_in_either_spelling():
    (parsed,) = read(PLACED).specs
    rendered = render(parsed.spec, parsed.place, context())
    lines = PLACED.splitlines()
    places = {finding.code: finding.place for finding in rendered.findings}

    assert (parsed.place.line, parsed.place.column) == (2, 1)
    for code, line in {
        "rewrite-without-slash": "      destination: { prefix_rewrite: /b/ }",
        "rewrite-double-slash": "      destination: { prefix_rewrite: /b/ }",
        "per-try-timeout": "          per_try_timeout: 1s",
        "l7-path-bypass": "        - action: deny",
        "http-without-tls": "routing:",
    }.items():
        if code in places:
            place = places[code]
            assert place
            assert lines[place.line - 1] == line, code
            assert place.fields == ""
    assert {"per-try-timeout", "l7-path-bypass", "http-without-tls"} <= places.keys()


def test_the_findings_of_a_plan_and_of_the_neighbours_have_their_line_too():
    written = text(router="routes:\n  - destination:\n      service: books\n")
    found = replace(settled([]).found(), services=frozenset({"pay"}), shadows={"pay": ("other",)})
    desired, ground = wants("# above\n" + written), context()
    wanted = desired.services[PAY]
    rendered = {PAY: render(wanted.spec, wanted.place, ground)}
    judged = judge({PAY: (wanted, rendered[PAY])}, found, ground)
    made = make_plan(desired, rendered, judged, found, owner=ME, policy=PRUNE)

    assert of(made, "catalog-service-shadows").place == Place("f0.yaml", 2, 1)
    missing = of(made, "reference-missing").place
    assert missing
    assert written.splitlines()[missing.line - 2] == "  router:"


def test_a_place_has_no_field_on_the_line_of_what_surrounds_it():
    (parsed,) = read(text(mode=B)).specs

    assert parsed.place.fields.splitlines() == ["exposure 2 1", "connect 3 1", "connect.mesh_policy 4 3", "routing 5 1"]


def test_labels_and_other_keys_with_spaces_are_no_places():
    (parsed,) = read(text() + 'metadata:\n  "a b": c\n').specs

    assert parsed.place.at("metadata.a b").line == 6
    assert all(line.count(" ") == 2 for line in parsed.place.fields.splitlines())


# -- what was reviewed


def test_the_digest_is_over_keys_actions_and_canonical_bodies_and_nothing_else():
    world = settled([Wish("a"), Wish("gone")])
    wishes = [Wish("a", port=81)]
    first = plan(world, wishes)
    later = world.copy()
    later.index += 1000
    for key, entry in list(later.entries.items()):
        later.entries[key] = Entry(entry.kind, entry.name, {**entry.body, "EnvoyExtensions": []}, 7, later.index)
    again = replace(plan(later, wishes), revision="another")

    assert again.digest == first.digest
    assert again.digests == first.digests
    for key, service in first.services.items():
        changes = tuple(
            replace(change, index=99, reason="because", diff=(), take=True, interrupts=True)
            for change in reversed(service.changes)
        )
        other = replace(service, changes=changes, findings=(), records=not service.records, ledger=None, drift=True)
        assert service_digest(other) == service_digest(service), key
    assert plan_digest(dict(reversed(first.digests.items()))) == first.digest


def test_approving_a_delete_does_not_change_the_plan_that_was_reviewed():
    world = settled([Wish("a"), Wish("b")])
    held = plan(world, [])

    assert verdicts(held) == {"a": "held", "b": "held"}
    assert plan(world, [], policy=approved(held)).digest == held.digest


def test_a_path_is_hidden_by_itself_or_by_a_folder_above_it():
    assert Desired("r", unreadable=frozenset({"a.yaml"})).hidden_by("a.yaml/b.yaml") == "a.yaml"
    assert Desired("r", unreadable=frozenset({"a.yaml"})).hidden_by("b/a.yaml") == ""


def test_an_approval_makes_no_room_for_deletes_beside_its_own():
    world = settled([Wish(f"s{number}") for number in range(10)])
    policy = Policy()
    approval = approved(plan(world, [Wish(f"s{number}") for number in range(3, 10)], policy=policy), policy)
    made = plan(world, [Wish(f"s{number}") for number in range(4, 10)], policy=approval)

    assert [name for name, verdict in verdicts(made).items() if verdict == "delete"] == ["s0", "s1", "s2"]
    assert [[key.name for key, _ in hold.services] for hold in made.holds] == [["s3"]]


# -- a file that cannot be read keeps its services


@pytest.mark.parametrize(
    "recorded", ["pay.yaml: [", "name: shop\nrouting: {host: h.example, port: 80}\n---\nrules: {line-length: 120}\n"]
)
def test_no_other_file_takes_a_service_whose_own_file_cannot_be_wholly_read(recorded: str):
    ledgers = {PAY: Ledger(PAY, ME, "applied", {}, "h", 1, "svc_1", Origin("old.yaml", "c1"))}
    files = [read(recorded, "old.yaml"), read(text(), "new.yaml")]
    desired = accept(files, ledgers, owner=ME, revision="r2", enterprise=False)

    assert PAY not in desired.services
    assert [(each.code, each.place) for each in desired.refused[PAY]] == [("file-unreadable", Place("new.yaml", 1, 1))]
    assert "old.yaml" in desired.refused[PAY][0].message

    gone = accept(files[1:], ledgers, owner=ME, revision="r2", enterprise=False)
    assert gone.services[PAY].origin == Origin("new.yaml", "r2")


def test_under_default_deny_an_empty_list_says_that_nobody_may_call():
    (parsed,) = read(text(intentions="[]")).specs
    desired, ground = wants(text(intentions="[]")), context()
    denying = replace(ground, features=replace(ground.features, default_deny=True))
    wanted = desired.services[PAY]
    judged = judge({PAY: (wanted, render(parsed.spec, parsed.place, denying))}, settled([]).found(), denying)

    assert "intention-needed" in {finding.code for finding in judged[PAY]}
