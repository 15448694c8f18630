"""The guard holds what may be a mistake, an approval lets exactly that go, and references are kept whole."""

from __future__ import annotations

from gitsync.engine.errands import approve
from gitsync.model.run import Outcome, exit_code
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, codes, external, outcomes


async def fill(bench: Workbench, count: int) -> None:
    for number in range(count):
        bench.write(f"services/s{number}.yaml", external(f"s{number}", f"192.0.2.{number + 1}"))
    bench.commit()
    await bench.sync()


async def test_a_commit_that_removes_most_services_is_held_and_its_writes_go_on(
    bench: Workbench, consul: ConsulServer
) -> None:
    await fill(bench, 5)
    bench.remove(*(f"services/s{number}.yaml" for number in range(3)))
    bench.commit(new=external("new", "192.0.2.100"))

    report = await bench.sync()

    assert exit_code(report) == 4
    assert outcomes(report) == {"new": Outcome.APPLIED, "s0": Outcome.HELD, "s1": Outcome.HELD, "s2": Outcome.HELD}
    assert {entry["Name"] for entry in consul.entries("service-defaults")} == {"new", "s0", "s1", "s2", "s3", "s4"}


async def test_an_approved_hold_goes_with_the_next_run_and_only_that(bench: Workbench, consul: ConsulServer) -> None:
    await fill(bench, 5)
    bench.remove(*(f"services/s{number}.yaml" for number in range(3)))
    bench.commit()
    report = await bench.sync()
    async with bench.house() as house:
        room = house.room(bench.name)
        await approve(room.world, room.sync.owner, report.holds, report.holds[0].digest, empty=False, by="ada")
    bench.commit(another=external("another", "192.0.2.100"))  # a later commit does not void it

    report = await bench.sync()

    assert exit_code(report) == 0, report
    assert {entry["Name"] for entry in consul.entries("service-defaults")} == {"another", "s3", "s4"}


async def test_a_spec_that_comes_back_leaves_the_hold(bench: Workbench, consul: ConsulServer) -> None:
    await fill(bench, 4)
    bench.remove("services/s0.yaml", "services/s1.yaml")
    bench.commit()
    assert (await bench.sync()).holds
    bench.commit(s0=external("s0", "192.0.2.1"))

    report = await bench.sync()

    assert not report.holds
    assert {entry["Name"] for entry in consul.entries("service-defaults")} == {"s0", "s2", "s3"}


async def test_a_service_that_another_still_names_stays_whole(bench: Workbench, consul: ConsulServer) -> None:
    routes = "routes:\n  - { match: { path_prefix: /b }, destination: { service: books } }"
    bench.commit(
        pay=external("pay", router=routes), books=external("books", "192.0.2.11"), shop=external("shop", "192.0.2.12")
    )
    await bench.sync()
    before = consul.dump()
    bench.remove("services/books.yaml")
    bench.commit()

    report = await bench.sync()

    assert outcomes(report)["books"] is Outcome.REFUSED
    assert "still-referenced" in codes(report, "books")
    after = consul.dump()
    assert {key: value for key, value in after.items() if "revision" not in str(key)} == {
        key: value for key, value in before.items() if "revision" not in str(key)
    }


async def test_two_that_name_each_other_leave_together(bench: Workbench, consul: ConsulServer) -> None:
    routes = "routes:\n  - {{ match: {{ path_prefix: /b }}, destination: {{ service: {} }} }}"
    failover = 'failover: {{ "*": {{ service: {} }} }}'
    await fill(bench, 10)
    bench.commit(
        pay=external("pay", router=routes.format("books")),
        books=external("books", "192.0.2.111", resolver=failover.format("pay")),
    )
    await bench.sync()
    bench.remove("services/pay.yaml", "services/books.yaml")
    bench.commit()

    report = await bench.sync()

    assert exit_code(report) == 0, report
    assert not {entry["Name"] for entry in consul.entries("service-defaults")} & {"pay", "books"}


async def test_prune_never_protects_a_service(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay", metadata="prune: never"), books=external("books", "192.0.2.11"))
    await bench.sync()
    bench.remove("services/pay.yaml")
    bench.commit()

    report = await bench.sync()

    assert "prune-never" in codes(report, "pay")
    assert consul.entry("service-defaults", "pay")


async def test_a_file_that_is_no_spec_holds_no_delete(bench: Workbench, consul: ConsulServer) -> None:
    await fill(bench, 8)
    bench.write("services/linter.yaml", "rules:\n  line-length: disable\n")
    bench.remove("services/s0.yaml")
    bench.commit()

    report = await bench.sync()

    assert not report.holds
    assert consul.entry("service-defaults", "s0") is None


async def test_a_renamed_file_that_no_longer_parses_deletes_nothing(bench: Workbench, consul: ConsulServer) -> None:
    await fill(bench, 8)
    bench.remove("services/s0.yaml")
    bench.write("services/renamed.yaml", "name: [s0\n")
    bench.commit()

    report = await bench.sync()

    assert report.holds
    assert consul.entry("service-defaults", "s0")


async def test_the_last_spec_goes_once_its_hold_is_approved_although_its_folder_is_gone(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.remove("services/pay.yaml")
    bench.commit()
    report = await bench.sync()
    async with bench.house() as house:
        room = house.room(bench.name)
        await approve(room.world, room.sync.owner, report.holds, report.holds[0].digest, empty=True, by="ada")

    report = await bench.sync()

    assert exit_code(report) == 0, report
    assert consul.entry("service-defaults", "pay") is None
    assert (await bench.plan()).plan.empty
