"""Revisions that Consul would take as a whole: any of them may follow any other."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from gitsync.model.key import Kind
from tests.unit.worlds import Refused, Wish, World

LEADING = ("route", "split", "redirect", "failover")
NAMES = ("a", "b", "c", "d")
targets = st.tuples(st.sampled_from(NAMES), st.sampled_from(("", "v1", "v2")))
wish_of = {
    name: st.builds(
        Wish,
        name=st.just(name),
        protocol=st.sampled_from(("tcp", "http", "http", "grpc")),
        external=st.booleans(),
        host=st.sampled_from(("h1.example", "h2.example", "h3.example", "h4.example")),
        gateways=st.sampled_from(((), ("tgw",), ("tgw-2",), ("tgw", "tgw-2"))),
        subsets=st.sampled_from(((), ("v1",), ("v2",), ("v1", "v2"))),
        route=st.none() | targets,
        split=st.none() | targets,
        redirect=st.none() | targets,
        failover=st.none() | targets,
        intentions=st.sampled_from(("", "allow", "deny", "by-request")),
    )
    for name in NAMES
}


def sane(wishes: list[Wish]) -> list[Wish]:
    """What Consul would take as a whole: references are taken out of the services that are the trouble."""
    result: list[Wish] = []
    hosts: set[str] = set()
    for wish in wishes:
        if wish.host in hosts and not wish.external:
            wish = replace(wish, external=True)
        hosts |= set() if wish.external else {wish.host}
        wish = replace(wish, **{each: _there(getattr(wish, each), wishes) for each in LEADING})
        result.append(replace(wish, split=None) if wish.split == (wish.name, "") else wish)  # one target twice
    for calm in (("redirect",), ("failover",), ("route", "split"), LEADING):
        for at, wish in enumerate(result):
            if not _taken(result, wish.name):
                result[at] = replace(wish, **dict.fromkeys(calm, None), intentions=wish.intentions and "allow")
    if _taken(result, None):
        return result
    return [replace(each, **dict.fromkeys(LEADING, None), intentions="") for each in result]


def _there(target: tuple[str, str] | None, wishes: list[Wish]) -> tuple[str, str] | None:
    """A target that is wanted too, and a subset that it has."""
    name, subset = target or ("", "")
    subsets = next((wish.subsets for wish in wishes if wish.name == name), None)
    return None if subsets is None else (name, subset if subset in subsets else "")


def _taken(wishes: list[Wish], name: str | None) -> bool:
    world = World()
    for wish in wishes:
        for component in wish.components():
            if component.key.kind not in (Kind.GATEWAY_ROW, Kind.CATALOG):
                world._store(component.key.kind, component.body)
    try:
        if name is None:
            world.check()
        else:
            world._check_chain(name)
            if (
                wishes[[wish.name for wish in wishes].index(name)].intentions == "by-request"
                and world.protocol(name) == "tcp"
            ):
                return False
    except Refused:
        return False
    return True


@st.composite
def revisions(draw: st.DrawFn) -> list[Wish]:
    names = draw(st.sets(st.sampled_from(NAMES), min_size=1))
    return sane([draw(wish_of[name]) for name in sorted(names)])


seeds = st.integers(0, 2**16)
