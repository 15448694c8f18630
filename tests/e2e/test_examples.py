"""Every example becomes what its comment promises on this Consul, and stays so: the plan after the sync is empty."""

from __future__ import annotations

import pytest

from gitsync.model.finding import Severity
from gitsync.model.plan import Verdict
from gitsync.model.run import Outcome, exit_code
from tests.examples import EXAMPLE_GATEWAYS, EXPECTED, FOLDER, VERSIONS, example_wanted
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, outcomes

ABOUT_THE_SURROUNDINGS = frozenset(
    {"gateway-has-no-instance", "check-unprobed", "destination-needs-tproxy", "intention-needed", "unknown-datacenter"}
)
"""What is said of a Consul with nothing else in it, whatever the spec."""


def gateways() -> dict[str, object]:
    return {
        name: {
            "default_ca_file": gateway.default_ca_file,
            "tls": [
                {"ca_file": each.ca_file, "cert_file": each.cert_file or None, "key_file": each.key_file or None}
                for each in gateway.tls
            ],
        }
        for name, gateway in EXAMPLE_GATEWAYS.items()
    }


@pytest.fixture
def examples(bench: Workbench) -> Workbench:
    bench.more = {"gateways": gateways(), "gateway": next(iter(EXAMPLE_GATEWAYS))}
    for file in FOLDER.glob("*.yaml"):
        bench.write(f"services/{file.name}", file.read_text())
    bench.commit("The examples")
    return bench


async def test_the_examples_sync_and_the_plan_after_it_is_empty(examples: Workbench, consul: ConsulServer) -> None:
    report = await examples.sync()
    look = await examples.plan()

    assert look.plan.empty, [(str(change.key), change.reason, change.diff) for change in look.plan.changes()]
    assert exit_code(report) in (0, 3), report
    stopped = {
        name: outcome
        for name, outcome in outcomes(report).items()
        if outcome not in (Outcome.APPLIED, Outcome.UNCHANGED)
    }
    assert set(stopped.values()) <= {Outcome.REFUSED}, report
    assert (await examples.sync()).counts.get(Outcome.APPLIED, 0) == 0


async def test_each_example_says_on_this_consul_what_the_table_says(examples: Workbench, consul: ConsulServer) -> None:
    if consul.version not in VERSIONS:
        pytest.fail(f"the examples have no expectation for Consul {consul.version}: add a column to tests/examples.py")
    files = {key: wanted.place.path for key, wanted in example_wanted().items()}

    look = await examples.plan()

    said: dict[str, set[tuple[Severity, str]]] = {file: set() for file in EXPECTED}
    stopped = set()
    for key, service in look.plan.services.items():
        said[files[key]] |= {(each.severity, each.code) for each in service.findings}
        stopped |= {files[key]} if service.verdict is Verdict.REFUSED else set()
    expected = {file: set(versions[consul.version].findings) for file, versions in EXPECTED.items()}
    assert {file: without_surroundings(each) for file, each in said.items()} == {
        file: without_surroundings(each) for file, each in expected.items()
    }
    assert stopped == {file for file, versions in EXPECTED.items() if versions[consul.version].exit_code == 3}


def without_surroundings(said: set[tuple[Severity, str]]) -> set[tuple[Severity, str]]:
    return {(severity, code) for severity, code in said if code not in ABOUT_THE_SURROUNDINGS}
