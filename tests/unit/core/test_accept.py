"""From files to what is wanted: names that stand twice, documents that are broken, files that cannot be read."""

from __future__ import annotations

from gitsync.core.accept import accept
from gitsync.model.component import Ledger, Origin
from gitsync.model.desired import ParsedFile, ParsedSpec
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.key import ServiceKey
from gitsync.model.spec import ServiceSpec

ME = "prod/payments"
PAY = ServiceKey("pay")


def spec(name: str, path: str, line: int = 1, *, hash_: str = "h1", namespace: str = "default") -> ParsedSpec:
    document = {"name": name, "namespace": namespace, "routing": {"host": "h.example", "port": 80}}
    return ParsedSpec(ServiceSpec.from_json(document), hash_, Place(path, line))


def ledger(path: str, *, owner: str = ME, hash_: str = "h1", commit: str = "old") -> dict[ServiceKey, Ledger]:
    return {PAY: Ledger(PAY, owner, "applied", {}, hash_, 1, "svc_1", Origin(path, commit))}


def accepted(*files: ParsedFile, ledgers=None, enterprise: bool = False):
    return accept(files, ledgers or {}, owner=ME, revision="new", enterprise=enterprise)


def file(path: str, *specs: ParsedSpec, **more) -> ParsedFile:
    return ParsedFile(path, specs, **more)


def broken(path: str) -> ParsedFile:
    error = Finding("invalid-value", Severity.ERROR, "wrong", service=PAY, place=Place(path, 3))
    return ParsedFile(path, (), (error,), named=(PAY,))


def test_each_document_is_wanted_with_where_it_came_from():
    desired = accepted(file("a.yaml", spec("pay", "a.yaml"), spec("card", "a.yaml", 9)))

    assert {key.name for key in desired.services} == {"pay", "card"}
    assert desired.services[PAY].origin == Origin("a.yaml", "new")
    assert desired.services[PAY].place == Place("a.yaml", 1)
    assert desired.paths == {"a.yaml"}
    assert desired.revision == "new"


def test_the_commit_that_last_changed_a_service_is_carried_over_while_its_spec_is_the_same():
    same = accepted(file("a.yaml", spec("pay", "a.yaml")), ledgers=ledger("a.yaml"))
    moved = accepted(file("b.yaml", spec("pay", "b.yaml")), ledgers=ledger("a.yaml"))
    changed = accepted(file("a.yaml", spec("pay", "a.yaml", hash_="h2")), ledgers=ledger("a.yaml"))
    unknown = accepted(file("a.yaml", spec("pay", "a.yaml")), ledgers=ledger("a.yaml", commit=""))

    assert same.services[PAY].origin == Origin("a.yaml", "old")
    assert moved.services[PAY].origin == Origin("b.yaml", "old")
    assert changed.services[PAY].origin == Origin("a.yaml", "new")
    assert unknown.services[PAY].origin == Origin("a.yaml", "new")


def test_of_two_documents_the_recorded_file_keeps_the_service():
    desired = accepted(
        file("a.yaml", spec("pay", "a.yaml")), file("b.yaml", spec("pay", "b.yaml", 7)), ledgers=ledger("b.yaml")
    )

    assert desired.services[PAY].place == Place("b.yaml", 7)
    [error] = desired.findings
    assert (error.code, error.place, error.severity) == ("duplicate-service", Place("a.yaml", 1), Severity.ERROR)
    assert "b.yaml:7" in error.message
    assert not desired.refused


def test_of_two_documents_neither_is_taken_where_none_is_recorded():
    for ledgers in ({}, ledger("c.yaml"), ledger("a.yaml", owner="x/y")):
        desired = accepted(
            file("a.yaml", spec("pay", "a.yaml")), file("b.yaml", spec("pay", "b.yaml")), ledgers=ledgers
        )

        assert PAY not in desired.services
        assert len(desired.refused[PAY]) == 2


def test_one_file_that_names_a_service_twice_is_no_origin():
    desired = accepted(file("a.yaml", spec("pay", "a.yaml", 1), spec("pay", "a.yaml", 9)), ledgers=ledger("a.yaml"))

    assert {finding.place for finding in desired.refused[PAY]} == {Place("a.yaml", 1), Place("a.yaml", 9)}


def test_a_broken_document_refuses_its_service_and_only_it():
    desired = accepted(broken("a.yaml"), file("b.yaml", spec("card", "b.yaml")))

    assert set(desired.services) == {ServiceKey("card")}
    assert [finding.code for finding in desired.refused[PAY]] == ["invalid-value"]


def test_a_broken_document_does_not_take_the_service_from_the_recorded_file():
    kept = accepted(broken("a.yaml"), file("b.yaml", spec("pay", "b.yaml")), ledgers=ledger("b.yaml"))
    lost = accepted(broken("a.yaml"), file("b.yaml", spec("pay", "b.yaml")), ledgers=ledger("a.yaml"))

    assert kept.services[PAY].place.path == "b.yaml"
    assert PAY in lost.refused


def test_files_that_cannot_be_read_and_documents_without_a_name_protect_their_path():
    desired = accepted(ParsedFile("a.yaml", unreadable=True), ParsedFile("b.yaml", unnamed=1), file("c.yaml"))

    assert desired.unreadable == {"a.yaml", "b.yaml"}
    assert desired.unparsed == {"a.yaml"}
    assert desired.paths == {"a.yaml", "b.yaml", "c.yaml"}


def test_a_document_that_means_another_name_takes_nobodys_place():
    capital = Finding("name-invalid", Severity.ERROR, "write it small", service=PAY, place=Place("b.yaml", 1))
    desired = accepted(file("a.yaml", spec("pay", "a.yaml")), ParsedFile("b.yaml", (), (capital,), named=(PAY,)))

    assert desired.services[PAY].place.path == "a.yaml"
    assert not desired.refused


def test_a_namespace_needs_enterprise():
    wanted = file("a.yaml", spec("pay", "a.yaml", namespace="team"))
    key = ServiceKey("pay", "team")

    assert [finding.code for finding in accepted(wanted).refused[key]] == ["enterprise-only"]
    assert key in accepted(wanted, enterprise=True).services
