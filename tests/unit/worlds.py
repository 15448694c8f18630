"""A model of Consul for tests of the core: it holds entries, rows and nodes, and refuses what a real one refuses.

The refusals are those that a real 1.8.7, 1.12.9 and 1.21.4 gave when they were asked (protocols of a chain, subsets, circles,
permissions by request), and one of our own: never two Destinations with one host and port. They are checked after every write.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gitsync.core.bridge import HTTP_LIKE
from gitsync.core.entries.entry import component
from gitsync.core.guard import PruneLimits
from gitsync.core.normalize import content_hash
from gitsync.core.ownership import Adoption
from gitsync.core.plan import Policy, make_plan
from gitsync.core.sight import Sight, hosts_of, permissions, protocol
from gitsync.engine.ledger import applied, applying, deleting, standing
from gitsync.model.component import CatalogCheck, CatalogNode, CatalogService, Component, Entry, Found, Ledger, Origin
from gitsync.model.context import Rendered
from gitsync.model.desired import Desired, Wanted
from gitsync.model.duration import Duration
from gitsync.model.finding import Finding, Place
from gitsync.model.key import MANAGED_BY, OWNER_MARK, SERVICE_MARK, ComponentKey, Kind, ServiceKey
from gitsync.model.kv import Approval
from gitsync.model.plan import Action, Change, Phase, Plan
from gitsync.model.spec import ServiceSpec

ME = "prod/payments"
OTHER = "prod/cards"
DC = "dc1"


class Refused(Exception):
    """Consul's 500."""


class Lost(Exception):
    """A lost compare-and-set: the plan and the world are not of one mind."""


# -- what a service wants ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """A service in few words. route, split, redirect, failover: (service, subset) that it leads to."""

    name: str
    protocol: str = "http"
    external: bool = True
    host: str = ""
    port: int = 80
    gateways: tuple[str, ...] = ("tgw",)
    subsets: tuple[str, ...] = ()
    route: tuple[str, str] | None = None
    split: tuple[str, str] | None = None
    redirect: tuple[str, str] | None = None
    failover: tuple[str, str] | None = None
    intentions: str = ""  # "", allow, deny or by-request
    labels: tuple[tuple[str, str], ...] = ()
    path: str = ""

    @property
    def key(self) -> ServiceKey:
        return ServiceKey(self.name)

    @property
    def file(self) -> str:
        return self.path or f"{self.name}.yaml"

    def components(self, owner: str = ME) -> tuple[Component, ...]:
        marks = {MANAGED_BY: "gitsync", OWNER_MARK: owner}
        made = []

        def entry(kind: Kind, **fields: Any) -> None:
            body = {"Kind": str(kind), "Name": self.name, **fields}
            meta = {**(dict(self.labels) if kind is Kind.DEFAULTS else {}), **marks}
            made.append(component(ComponentKey(self.key, kind), {**body, "Meta": meta}))

        host = self.host or f"{self.name}.example"
        where = {} if self.external else {"Destination": {"Addresses": [host], "Port": self.port}}
        entry(Kind.DEFAULTS, Protocol=self.protocol, **where)
        resolver: dict[str, Any] = {"ConnectTimeout": "1500ms"}
        if self.subsets:
            resolver["Subsets"] = {name: {"Filter": f"Service.Meta.version == {name}"} for name in self.subsets}
        if self.redirect:
            resolver["Redirect"] = _target(self.redirect)
        elif self.failover:
            resolver["Failover"] = {"*": _target(self.failover)}
        entry(Kind.RESOLVER, **resolver)
        if self.split:
            there = {"Weight": 40, **_target(self.split)}
            entry(Kind.SPLITTER, Splits=[{"Weight": 60}, there])
        if self.route:
            match = {"HTTP": {"PathPrefix": "/x/"}}
            entry(Kind.ROUTER, Routes=[{"Match": match, "Destination": {**_target(self.route), "NumRetries": 2}}])
        if self.intentions:
            source: dict[str, Any] = {"Name": "web"}
            if self.intentions == "by-request":
                source["Permissions"] = [{"Action": "allow", "HTTP": {"PathPrefix": "/"}}]
            else:
                source["Action"] = self.intentions
            entry(Kind.INTENTIONS, Sources=[source])
        made += [
            component(ComponentKey(self.key, Kind.GATEWAY_ROW, name), {"Name": self.name}) for name in self.gateways
        ]
        if self.external:
            node = f"ext-{self.name}"
            body = {
                "Node": node,
                "Datacenter": DC,
                "Address": host,
                "NodeMeta": {"external-node": "true", "external-probe": "false", **marks, SERVICE_MARK: self.key.path},
                "Service": {
                    "ID": self.name, "Service": self.name, "Address": host, "Port": self.port, "Meta": dict(marks),
                },
            }  # fmt: skip
            made.append(component(ComponentKey(self.key, Kind.CATALOG, f"{DC}/{node}"), body))
        return tuple(made)

    def wanted(self, revision: str = "r1", ledger: Ledger | None = None) -> Wanted:
        place = Place(self.file, 1)
        spec = ServiceSpec.from_json({
            "name": self.name,
            "routing": {"host": "h.example", "port": 80},
            "metadata": dict(self.labels),
        })  # fmt: skip
        told = repr(replace(self, path=""))
        commit = ledger.origin.commit if ledger and ledger.spec_hash == told else revision
        return Wanted(spec, told, Origin(place.path, commit), place)


def _target(target: tuple[str, str]) -> dict[str, str]:
    service, subset = target
    return {"Service": service} | ({"ServiceSubset": subset} if subset else {})


# -- Consul -----------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """What Consul holds. Every write answers as Consul does: with its own spelling, or with Refused."""

    entries: dict[tuple[Kind, str], Entry] = field(default_factory=dict)
    gateways: dict[str, Entry] = field(default_factory=dict)
    nodes: dict[tuple[str, str], CatalogNode] = field(default_factory=dict)
    ledgers: dict[ServiceKey, Ledger] = field(default_factory=dict)
    index: int = 10
    log: list[str] = field(default_factory=list)

    def copy(self) -> World:
        return World(dict(self.entries), dict(self.gateways), dict(self.nodes), dict(self.ledgers), self.index)

    def found(self) -> Found:
        return Found(
            entries=dict(self.entries),
            gateways=dict(self.gateways),
            nodes=dict(self.nodes),
            services=frozenset(service.name for node in self.nodes.values() for service in node.services),
            datacenters=(DC,),
            ledgers=dict(self.ledgers),
        )

    def state(self) -> dict[str, Any]:
        """Everything but indexes and ledgers."""
        return {
            **{f"{kind}/{name}": entry.body for (kind, name), entry in self.entries.items()},
            **{f"gateway/{name}": entry.body for name, entry in self.gateways.items()},
            **{
                f"node/{node}": (node_.address, dict(node_.meta), [service.body for service in node_.services])
                for (_, node), node_ in self.nodes.items()
            },
        }

    # -- writes by others

    def put(self, kind: Kind, name: str, *, check: bool = True, **fields: Any) -> None:
        """Somebody writes an entry."""
        self._store(kind, {"Kind": str(kind), "Name": name, **fields})
        if check:
            self.check()

    def drop(self, kind: Kind, name: str) -> None:
        """Somebody deletes an entry."""
        del self.entries[(kind, name)]

    def link(self, gateway: str, **row: Any) -> None:
        """Somebody adds a row."""
        rows = self.gateways[gateway].body["Services"] if gateway in self.gateways else []
        self._gateway(gateway, [*rows, row])

    # -- ours

    def apply(self, changes: Iterable[Change]) -> None:
        """One write: of one component, or of all rows of a gateway that change in one phase."""
        for change in changes:
            self.log.append(f"{change.phase.name} {change.action} {change.key}")
            if change.key.kind is Kind.GATEWAY_ROW:
                gateway = self.gateways.get(change.key.at)
                rows = [
                    row
                    for row in (gateway.body["Services"] if gateway else [])
                    if row["Name"] != change.key.service.name
                ]
                self._gateway(change.key.at, rows + ([change.after] if change.after else []))
            elif change.key.kind is Kind.CATALOG:
                self._node(change)
            elif change.after is None:
                del self.entries[(change.key.kind, change.key.service.name)]
            else:
                here = (change.key.kind, change.key.service.name) in self.entries
                if here != (change.action is Action.UPDATE):
                    raise Lost(f"{change.action} of {change.key}, which is {'there' if here else 'absent'}")
                self._store(change.key.kind, change.after)
        self.check()

    def _store(self, kind: Kind, body: Mapping[str, Any]) -> None:
        self.index += 1
        key = (kind, str(body["Name"]).lower())
        created = self.entries[key].create_index if key in self.entries else self.index
        spelled = _spelled(body)
        extra: dict[str, Any] = {"MeshGateway": {}, "Expose": {}} if kind is Kind.DEFAULTS else {}
        if kind is Kind.INTENTIONS:
            sources = [{**source, "Precedence": 9, "Type": "consul"} for source in spelled["Sources"]]
            extra = {"Sources": sorted(sources, key=lambda source: source["Name"], reverse=True)}
        self.entries[key] = Entry(str(kind), str(body["Name"]), {**spelled, **extra}, created, self.index)

    def _gateway(self, name: str, rows: list[Any]) -> None:
        self.index += 1
        old = self.gateways.get(name)
        body = {"Kind": "terminating-gateway", "Name": name, "Services": rows}
        self.gateways[name] = Entry(
            "terminating-gateway", name, body, old.create_index if old else self.index, self.index
        )

    def _node(self, change: Change) -> None:
        self.index += 1
        key = (change.key.datacenter, change.key.node)
        old = self.nodes.get(key)
        name = change.key.service.name
        others = tuple(service for service in (old.services if old else ()) if service.id != name)
        if change.after is None:
            if others and old:
                self.nodes[key] = replace(old, services=others, checks=())
            else:
                del self.nodes[key]
            return
        body = change.after
        served = CatalogService(name, name, {**body["Service"], "Weights": {"Passing": 1}, "Proxy": {}}, self.index)
        check = body.get("Check")
        checks = (CatalogCheck(check["CheckID"], name, {**check, "Status": "passing"}, self.index),) if check else ()
        created = old.create_index if old else self.index
        self.nodes[key] = CatalogNode(
            *key, body["Address"], body["NodeMeta"], created, self.index, (served, *others), checks
        )

    # -- what Consul checks

    def protocol(self, name: str) -> str:
        entry = self.entries.get((Kind.DEFAULTS, name))
        return protocol(entry.body if entry else None)

    def body(self, kind: Kind, name: str) -> Mapping[str, Any]:
        entry = self.entries.get((kind, name))
        return entry.body if entry else {}

    def check(self) -> None:
        """Raise Refused if what is held now is not what Consul would have taken."""
        for name in {name for kind, name in self.entries if kind in (Kind.ROUTER, Kind.SPLITTER, Kind.RESOLVER)}:
            self._check_chain(name)
        for (kind, name), entry in self.entries.items():
            if kind is Kind.INTENTIONS and permissions(entry.body) and self.protocol(name) not in HTTP_LIKE:
                raise Refused(
                    f"service {name} has protocol {self.protocol(name)}, incompatible with L7 intentions permissions"
                )
        taken: dict[tuple[str, int], str] = {}
        for (kind, name), entry in self.entries.items():
            for host in hosts_of(entry.body) if kind is Kind.DEFAULTS else ():
                if host in taken:
                    raise Refused(f"two Destinations with {host}: {name} and {taken[host]}")
                taken[host] = name

    def _check_chain(self, name: str) -> None:
        seen = {name}
        routes = self.body(Kind.ROUTER, name).get("Routes") or []
        advanced = bool(routes) or (Kind.SPLITTER, name) in self.entries
        for route in routes:
            to = route.get("Destination") or {}
            self._split(to.get("Service") or name, to.get("ServiceSubset") or "", seen, ())
        self._split(name, "", seen, ())
        protocols = {self.protocol(each) for each in seen}
        if len(protocols) > 1:
            raise Refused(f"discovery chain {name} uses inconsistent protocols: {sorted(seen)} {sorted(protocols)}")
        if advanced and not protocols <= HTTP_LIKE:
            raise Refused(f"discovery chain {name} uses a protocol {protocols} that does not permit advanced routing")

    def _split(self, name: str, subset: str, seen: set[str], path: tuple[str, ...]) -> None:
        if name in path:
            raise Refused(f"detected circular reference: {path} {name}")
        splits = self.body(Kind.SPLITTER, name).get("Splits") or []
        seen.add(name)
        if subset or not splits:
            self._resolve(name, subset, seen, ())
        for split in splits if not subset else ():
            to = split.get("Service") or name
            if to == name:
                self._resolve(to, split.get("ServiceSubset") or "", seen, ())
            else:
                self._split(to, split.get("ServiceSubset") or "", seen, (*path, name))

    def _resolve(self, name: str, subset: str, seen: set[str], path: tuple[str, ...], *, over: bool = False) -> None:
        if name in path:
            raise Refused(f"detected circular resolver redirect: {path} {name}")
        seen.add(name)
        resolver = self.body(Kind.RESOLVER, name)
        subsets = resolver.get("Subsets") or {}
        if redirect := resolver.get("Redirect"):
            to = redirect.get("Service") or name
            self._resolve(to, redirect.get("ServiceSubset") or "", seen, (*path, name), over=over)
            return
        if subset and subset not in subsets:
            raise Refused(f"service {name} does not have a subset named {subset}")
        for which, failover in (resolver.get("Failover") or {}).items():
            if which != "*" and which not in subsets:
                raise Refused(f"Bad Failover[{which}]: not a valid subset")
            if not over:
                self._resolve(failover.get("Service") or name, failover.get("ServiceSubset") or "", seen, (), over=True)


def _spelled(value: Any) -> Any:
    """As Consul answers: durations as Go prints them, no zero values in objects."""
    if isinstance(value, Mapping):
        pairs = {name: _spelled(each) for name, each in value.items()}
        return {name: each for name, each in pairs.items() if each not in ("", 0, False, None)}
    if isinstance(value, list):
        return [_spelled(each) for each in value]
    if isinstance(value, str) and value.endswith(("ms", "s")) and value[:1].isdigit():
        return str(Duration.parse(value))
    return value


# -- runs -------------------------------------------------------------------------------------------------------------


def desire(world: World, wishes: Iterable[Wish], **others: Any) -> Desired:
    services = {wish.key: wish.wanted(ledger=world.ledgers.get(wish.key)) for wish in wishes}
    paths = frozenset(wanted.place.path for wanted in services.values())
    return Desired(revision="r1", services=services, **{"paths": paths, **others})


def plan(
    world: World,
    wishes: Iterable[Wish],
    *,
    owner: str = ME,
    policy: Policy | None = None,
    judged: Mapping[ServiceKey | None, tuple[Finding, ...]] | None = None,
    only: frozenset[ServiceKey] | None = None,
    **others: Any,
) -> Plan:
    """What the core plans for *wishes* in *world*. others: of Desired (refused, unreadable, paths, findings)."""
    wishes = list(wishes)
    made = make_plan(
        desire(world, wishes, **others),
        {wish.key: Rendered(wish.components(owner)) for wish in wishes},
        judged or {},
        world.found(),
        owner=owner,
        policy=policy or PRUNE,
        only=only,
    )
    for each in (change for service in made.services.values() for change in service.changes if change.after_hash):
        assert each.after_hash == content_hash(each.key.kind, each.after or {}), "a digest of something else"
    return made


PRUNE = Policy(limits=PruneLimits(1000, 1.0))
"""Limits that hold only a delete of everything."""


def writes(made: Plan, shuffle: random.Random | None = None) -> list[list[Change]]:
    """The writes of a plan in an order that the writer may take: any inside a phase and rank, a gateway at once."""
    groups: dict[tuple[int, int], dict[str, list[Change]]] = {}
    for change in made.changes():
        rows = change.phase in (Phase.ROWS, Phase.ROWS_GONE)
        name = f"gateway {change.key.at}" if rows else f"{change.key} {change.action} {len(groups)}"
        groups.setdefault((change.phase, change.rank), {}).setdefault(name, []).append(change)
    result = []
    for _, group in sorted(groups.items()):
        several = list(group.values())
        if shuffle:
            shuffle.shuffle(several)
        result += several
    return result


def begin(world: World, made: Plan, wishes: Iterable[Wish], owner: str = ME) -> None:
    """The ledgers before the first write, as the engine writes them."""
    by_key = {wish.key: wish for wish in wishes}
    sight = Sight(world.found())
    for key, service in made.services.items():
        if not service.pending:
            continue
        if key in by_key:
            wish = by_key[key]
            wanted = wish.wanted(ledger=world.ledgers.get(key))
            record = applying(
                key,
                service.ledger,
                wanted,
                wish.components(owner),
                had=standing(service),
                owner=owner,
                new_id="svc_1",
            )
        else:
            seen = [each for change in service.changes if (each := sight.observed(change.key))]
            record = deleting(key, service.ledger, seen, owner=owner, new_id="svc_1")
        world.index += 1
        world.ledgers[key] = replace(record, index=world.index)


def finish(world: World, made: Plan, wishes: Iterable[Wish], owner: str = ME) -> None:
    """The ledgers after the read-back."""
    by_key = {wish.key: wish for wish in wishes}
    for key, service in made.services.items():
        if service.pending and key in by_key:
            world.ledgers[key] = applied(world.ledgers[key], by_key[key].components(owner), ())
        elif service.pending:
            del world.ledgers[key]


def run(
    world: World,
    wishes: Iterable[Wish],
    *,
    owner: str = ME,
    shuffle: random.Random | None = None,
    crash_after: int | None = None,
    **options: Any,
) -> Plan:
    """Plan and write once. crash_after: how many writes are made before the process is gone, the ledgers as they are then."""
    wishes = list(wishes)
    made = plan(world, wishes, owner=owner, **options)
    begin(world, made, wishes, owner)
    for at, write in enumerate(writes(made, shuffle)):
        if at == crash_after:
            return made
        world.apply(write)
    if crash_after is None:
        finish(world, made, wishes, owner)
    return made


def settled(wishes: Iterable[Wish], owner: str = ME, world: World | None = None) -> World:
    """A world in which *wishes* were applied."""
    world = world or World()
    wishes = list(wishes)
    made = run(world, wishes, owner=owner)
    assert {service.verdict for service in made.services.values()} <= {"create", "update", "unchanged"}, made.services
    return world


def codes(made: Plan, name: str) -> set[str]:
    return {finding.code for finding in made.services[ServiceKey(name)].findings}


def verdicts(made: Plan) -> dict[str, str]:
    return {key.name: str(service.verdict) for key, service in made.services.items()}


def adopting(*names: str, take_from: str = "", everything: bool = False) -> Policy:
    return replace(PRUNE, adoption=Adoption(everything, frozenset(map(ServiceKey, names)), take_from))


def approved(made: Plan, policy: Policy = PRUNE) -> Policy:
    """The policy after somebody approved everything that *made* holds."""
    approvals = tuple(
        Approval(hold.digest, frozenset((key.path, index) for key, index in hold.services), hold.empty)
        for hold in made.holds
    )
    return replace(policy, approvals=approvals)


def of_services(world: World) -> dict[str, Any]:
    """What the services have: entries and nodes as they are, and rows, without the gateways that have none."""
    state = {name: body for name, body in world.state().items() if not name.startswith("gateway/")}
    rows = {name: sorted(row["Name"] for row in entry.body["Services"]) for name, entry in world.gateways.items()}
    return state | {f"rows of {name}": names for name, names in rows.items() if names}
