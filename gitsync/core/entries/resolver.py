"""service-resolver: which instances answer, how one is chosen, who answers else, and how long the gateway waits."""

from __future__ import annotations

from typing import Any

from gitsync.core.codes import note
from gitsync.core.entries.entry import Fields, Made, entry, filled
from gitsync.core.entries.filters import filter_fault
from gitsync.core.entries.waits import resolver_waits
from gitsync.model.context import RenderContext
from gitsync.model.features import Feature
from gitsync.model.finding import Finding
from gitsync.model.key import Kind
from gitsync.model.resolver import Failover, HashPolicy, LoadBalancer, Resolver
from gitsync.model.spec import ServiceSpec


def resolver(spec: ServiceSpec, context: RenderContext) -> Made:
    """The service-resolver. There is always one: a minimal one where the spec has none."""
    fields, findings = resolver_waits(spec, context)
    wanted = spec.connect.resolver
    if wanted:
        for part in (_subsets(wanted), _elsewhere(spec, wanted, context), _balance(wanted, context)):
            fields |= part[0]
            findings += part[1]
    return entry(Kind.RESOLVER, spec, context, fields), findings


def _subsets(wanted: Resolver) -> Fields:
    fields = filled(
        DefaultSubset=wanted.default_subset,
        Subsets={
            name: filled(Filter=subset.filter, OnlyPassing=subset.only_passing)
            for name, subset in wanted.subsets.items()
        },
    )
    findings: list[Finding] = []
    for name, subset in wanted.subsets.items():
        fault = filter_fault(subset.filter) if subset.filter else None
        if fault:
            # Consul checks the syntax at most, and stores what it then cannot evaluate: `Service.Nope == 1`, on 1.21.4 too.
            findings.append(
                note(
                    "subset-filter-unsafe",
                    f"Nothing is written, because {fault}: Consul stores a filter that it cannot evaluate, and no service of the "
                    "gateway would get its servers any more.",
                    hint='Write it like Service.Meta.version == "v1", with ==, !=, in, contains, is empty, matches, and, or, not.',
                    spec_path=f"connect.resolver.subsets.{name}.filter",
                )
            )
    if any(subset.filter or subset.only_passing for subset in wanted.subsets.values()):
        names = ", ".join(sorted(wanted.subsets))
        findings.append(
            note(
                "subset-sees-gateway",
                f"Callers choose by the subsets ({names}) among the instances of the gateway, and the gateway by the same filters "
                "among the servers, which gitsync registers without labels: where either finds no match, callers get 503.",
                hint="Give each version of the server a service of its own, and name those in the splitter or the routes.",
                spec_path="connect.resolver.subsets",
            )
        )
    return fields, findings


def _elsewhere(spec: ServiceSpec, wanted: Resolver, context: RenderContext) -> Fields:
    fields: dict[str, Any] = {}
    findings: list[Finding] = []
    if wanted.redirect:
        redirect = wanted.redirect
        fields["Redirect"] = filled(
            Service=redirect.service, ServiceSubset=redirect.subset, Datacenter=redirect.datacenter
        )
        where = redirect.service or spec.name
        where += f" in {redirect.datacenter}" if redirect.datacenter else ""
        findings.append(
            note(
                "redirect-takes-all",
                f"Every request goes to {where}; the server that routing names gets none.",
                hint="Remove connect.resolver.redirect when the server shall answer again.",
                spec_path="connect.resolver.redirect",
            )
        )
    if not wanted.failover:
        return fields, findings
    if not context.features.has(Feature.FAILOVER_TARGETS) and any(each.targets for each in wanted.failover.values()):
        findings.append(
            note(
                "failover-targets-unsupported",
                f"Nothing is written, because Consul {context.features.version_text} has no failover targets: when the "
                "service fails, clients would get 503 instead of another service.",
                hint="Write service, subset and datacenters instead of targets, or update Consul to "
                f"{Feature.FAILOVER_TARGETS.since}.",
                spec_path="connect.resolver.failover",
            )
        )
    fields["Failover"] = {name: _failover(each, context) for name, each in wanted.failover.items()}
    findings.append(
        note(
            "failover-sees-gateway",
            "Callers fail over only when no instance of the gateway is healthy: while the gateway runs and the server behind it "
            "does not, they get 503.",
            hint="Put several endpoints with a check behind the service; failover is for when the gateways of a datacenter are down.",
            spec_path="connect.resolver.failover",
        )
    )
    return fields, findings


def _failover(wanted: Failover, context: RenderContext) -> dict[str, Any]:
    if wanted.targets and not context.features.has(Feature.FAILOVER_TARGETS):
        return {}  # refused with a finding: this Consul answers 400 to Targets
    return filled(
        Service=wanted.service,
        ServiceSubset=wanted.subset,
        Datacenters=list(wanted.datacenters),
        Targets=[
            filled(Service=target.service, ServiceSubset=target.subset, Datacenter=target.datacenter)
            for target in wanted.targets
        ],
    )


def _balance(wanted: Resolver, context: RenderContext) -> Fields:
    balancer = wanted.load_balancer
    if balancer is None:
        return {}, []
    if not context.features.has(Feature.LOAD_BALANCER):
        return {}, [
            note(
                "load-balancer-unsupported",
                f"Requests go to the servers at random instead of by {balancer.policy}, because Consul "
                f"{context.features.version_text} has no load balancer settings.",
                hint=f"Remove connect.resolver.load_balancer, or update Consul to {Feature.LOAD_BALANCER.since}.",
                spec_path="connect.resolver.load_balancer",
            )
        ]
    return {"LoadBalancer": _load_balancer(balancer)}, []


def _load_balancer(wanted: LoadBalancer) -> dict[str, Any]:
    ring, least = wanted.ring_hash, wanted.least_request
    return filled(
        Policy=wanted.policy,
        RingHashConfig=filled(MinimumRingSize=ring.minimum, MaximumRingSize=ring.maximum) if ring else None,
        LeastRequestConfig={"ChoiceCount": least.choice_count} if least else None,
        HashPolicies=[_hash_policy(policy) for policy in wanted.hash_policies],
    )


def _hash_policy(wanted: HashPolicy) -> dict[str, Any]:
    cookie = wanted.cookie_config
    return filled(
        Field=wanted.field,
        FieldValue=wanted.field_value,
        CookieConfig=filled(Session=cookie.session, TTL=str(cookie.ttl) if cookie.ttl else None, Path=cookie.path)
        if cookie
        else None,
        SourceIP=wanted.source_ip,
        Terminal=wanted.terminal,
    )
