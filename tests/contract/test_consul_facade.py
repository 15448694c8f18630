"""The Consul that the engine is given is the one that it asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from gitsync.consul import facade, gateways, leases, records, txn
from gitsync.engine import ports

METHODS = sorted(name for name, each in vars(ports.Consul).items() if inspect.isfunction(each) and name[0] != "_")


def satisfies(consul: facade.Consul) -> ports.Consul:
    """For the type checker: this is the proof; what follows says the same at run time."""
    return consul


def shape(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    return [(each.name, each.kind) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_the_engine_calls_is_there_and_is_called_alike(name: str):
    asked, given = getattr(ports.Consul, name), getattr(facade.Consul, name)

    assert shape(given) == shape(asked)
    assert inspect.iscoroutinefunction(given) == inspect.iscoroutinefunction(asked)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (ports.Pair, records.Pair),
        (ports.Failure, txn.Failure),
        (ports.GatewayOutcome, gateways.GatewayOutcome),
        (ports.Lease, leases.Lease),
    ],
    ids=["Pair", "Failure", "GatewayOutcome", "Lease"],
)
def test_what_the_methods_answer_has_what_the_engine_reads(asked: type, given: type):
    wanted = {name for name in vars(asked) if name[0] != "_"}
    annotations = {name for each in given.__mro__ for name in getattr(each, "__annotations__", {})}

    assert wanted <= set(dir(given)) | annotations | ({"id"} if given is leases.Lease else set())
