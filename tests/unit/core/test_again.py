"""What is made from the last result and what differs is what is made from everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitsync.core.accept import accept
from gitsync.core.accept_again import Accepted, accept_again
from gitsync.core.sight import Index, Sight
from gitsync.model.component import Entry, Found, Ledger, Origin
from gitsync.model.desired import ParsedFile, ParsedSpec
from gitsync.model.finding import Place
from gitsync.model.key import MANAGED_BY, OWNER_MARK, Kind, ServiceKey
from gitsync.model.spec import ServiceSpec

ME, OTHER = "prod/payments", "prod/cards"
NAMES = ("a", "b", "c", "d", "e")


# -- entries --------------------------------------------------------------------------------------------------------------


def entry(kind: Kind, name: str, target: str, owner: str, index: int) -> Entry:
    body: dict[str, object] = {"Kind": str(kind), "Name": name}
    if owner:
        body["Meta"] = {MANAGED_BY: "gitsync", OWNER_MARK: owner}
    match kind:
        case Kind.DEFAULTS:
            body["Destination"] = {"Addresses": [f"{target}.example"], "Port": 80}
        case Kind.ROUTER:
            body["Routes"] = [{"Destination": {"Service": target}}]
        case _:
            body["Redirect"] = {"Service": target}
    return Entry(str(kind), name, body, 1, index)


keys = st.tuples(st.sampled_from((Kind.DEFAULTS, Kind.ROUTER, Kind.RESOLVER)), st.sampled_from(NAMES))
states = st.dictionaries(keys, st.tuples(st.sampled_from(NAMES), st.sampled_from(("", ME, OTHER))), max_size=12)


def said(index: Index) -> tuple[object, ...]:
    return (
        {name: keys for name, keys in index.referrers.items() if keys},
        {host: names for host, names in index.hosts.items() if names},
        {owner: names for owner, names in index.marks.items() if names},
        index.shared_hosts,
    )


@given(st.lists(states, min_size=2, max_size=5))
def test_an_index_that_was_brought_up_to_date_is_one_that_was_made_anew(states: list[dict]):
    known: dict[tuple[object, ...], Entry] = {}
    index: Index | None = None
    # Most stay as they were, as in life: an index of which half is new is made anew.
    steady = {
        (kind, f"steady-{number}"): entry(kind, f"steady-{number}", "a", ME, 1)
        for kind in (Kind.DEFAULTS, Kind.ROUTER)
        for number in range(15)
    }
    for state in states:
        entries = dict(steady)
        for (kind, name), (target, owner) in state.items():
            # What did not change is the same object, as the adapter gives it.
            entries[kind, name] = known.setdefault((kind, name, target, owner), entry(kind, name, target, owner, 1))
        before = said(index) if index else None
        new = Index.of(entries, index)
        assert said(new) == said(Index.of(entries))
        if index:
            assert said(index) == before, "the last one is left as it was"
        index = new


@given(states, states)
def test_a_sight_made_from_the_last_one_knows_the_same_marks(one: dict, other: dict):
    found = [
        Found(entries={key: entry(*key, target, owner, 1) for key, (target, owner) in state.items()})
        for state in (one, other)
    ]
    last = Sight(found[0])
    last.marked(ME)

    assert Sight(found[1], last).marked(ME) == Sight(found[1]).marked(ME)
    assert Sight(found[1], last).marked_among(ME, {ServiceKey("a")}) == {
        key: marks for key, marks in Sight(found[1]).marked(ME).items() if key.name == "a"
    }


# -- files ----------------------------------------------------------------------------------------------------------------

SPECS = {
    (name, port): ServiceSpec.from_json({"name": name, "routing": {"host": "h.example", "port": port}})
    for name in NAMES
    for port in (80, 81)
}
files_of = st.dictionaries(
    st.sampled_from(("1.yaml", "2.yaml", "3.yaml", "4.yaml")),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from((80, 81))), max_size=2),
)
ledgers_of = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from((ME, OTHER)), st.sampled_from((80, 81)), st.sampled_from(("c1", "c2", ""))),
)


def parsed(path: str, specs: list[tuple[str, int]]) -> ParsedFile:
    return ParsedFile(
        path,
        tuple(ParsedSpec(SPECS[spec], f"{spec[0]}{spec[1]}", Place(path, 1 + at)) for at, spec in enumerate(specs)),
    )


@given(st.lists(st.tuples(files_of, ledgers_of), min_size=2, max_size=5))
def test_what_a_revision_wants_is_the_same_whatever_it_is_made_from(revisions: list):
    known: dict[object, ParsedFile] = {}
    last: Accepted | None = None
    for number, (texts, records) in enumerate(revisions):
        files = tuple(
            known.setdefault((path, tuple(specs)), parsed(path, specs)) for path, specs in sorted(texts.items())
        )
        ledgers = {
            ServiceKey(name): Ledger(
                ServiceKey(name), owner, "applied", {}, f"{name}{port}", 1, "svc", Origin("1.yaml", commit)
            )
            for name, (owner, port, commit) in records.items()
        }
        whole = accept(files, ledgers, owner=ME, revision=f"r{number}", enterprise=False)
        again = None
        if last:
            again = accept_again(last, files, ledgers, owner=ME, revision=f"r{number}", enterprise=False)
            assert again is None or again.desired == whole
            if not (whole.findings or whole.refused or last.desired.findings or last.desired.refused):
                assert again is not None, "nothing was in dispute"
        last = again or Accepted.whole(files, ledgers, whole)
