"""Every example becomes what its comment promises on this Consul, and stays so: the plan after the sync is empty."""

from __future__ import annotations

import pytest

from gitsync.engine.look import Look
from gitsync.model.plan import Verdict
from gitsync.model.run import Outcome, exit_code
from tests.examples import EXAMPLE_GATEWAYS, EXPECTED, FOLDER, VERSIONS
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


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.yaml")))
async def test_an_example_says_on_this_consul_what_the_table_says(
    bench: Workbench, consul: ConsulServer, file: str
) -> None:
    if consul.version not in VERSIONS:
        pytest.fail(f"the examples have no expectation for Consul {consul.version}: add a column to tests/examples.py")
    bench.more = {"gateways": gateways(), "gateway": next(iter(EXAMPLE_GATEWAYS))}
    bench.write(f"services/{file}", (FOLDER / file).read_text())
    bench.commit()

    look = await bench.plan()

    said = {
        (finding.severity, finding.code)
        for findings in (look.plan.findings, *(service.findings for service in look.plan.services.values()))
        for finding in findings
        if finding.code not in ABOUT_THE_SURROUNDINGS
    }
    expected = {
        (severity, code)
        for severity, code in EXPECTED[file][consul.version].findings
        if code not in ABOUT_THE_SURROUNDINGS
    }
    assert said == expected
    assert exit_code_of(look) == EXPECTED[file][consul.version].exit_code


def exit_code_of(look: Look) -> int:
    """2 for changes, 3 where a spec is refused."""
    refused = any(service.verdict is Verdict.REFUSED for service in look.plan.services.values())
    return 3 if refused else 2 if not look.plan.empty else 0
