"""Every code that a finding can have: its usual severity, what it says in general, and the Consul from which on it is gone.

What changes who is reached, or who may reach it, is an error; what only tunes is a warning; what one should know is a note.
Nothing that can hurt a neighbour is less than an error. docs/findings.md explains each of them and is tested against this.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gitsync.core.load_codes import LOAD_CODES
from gitsync.model.features import Feature
from gitsync.model.finding import Code, Finding, Place, Severity
from gitsync.model.key import ServiceKey

NOTE, WARNING, ERROR = Severity.NOTE, Severity.WARNING, Severity.ERROR

_TABLE = (
    # -- what this Consul cannot hold
    Code("consul-too-old", ERROR, "This Consul stores no Meta, so nothing can be marked as ours", Feature.META.since),
    Code("enterprise-only", ERROR, "Partitions and namespaces other than default need Consul Enterprise"),
    Code("destination-unsupported", WARNING, "tgw_static before Destination: stored, but no client reaches the server",
         Feature.DESTINATION.since),
    Code("intentions-unsupported", ERROR, "service-intentions do not exist yet: a warning if they only allow",
         Feature.INTENTIONS_ENTRY.since),
    Code("failover-targets-unsupported", ERROR, "Failover targets do not exist yet", Feature.FAILOVER_TARGETS.since),
    Code("load-balancer-unsupported", WARNING, "Load balancer settings do not exist yet", Feature.LOAD_BALANCER.since),
    Code("retry-on-unsupported", WARNING, "Retry conditions other than connect-failure do not exist yet",
         Feature.RETRY_ON.since),
    Code("idle-timeout-unsupported", WARNING, "Routes have no idle timeout yet", Feature.ROUTER_IDLE_TIMEOUT.since),
    Code("request-timeout-unsupported", WARNING, "A request timeout without a router has no place yet",
         Feature.RESOLVER_REQUEST_TIMEOUT.since),
    Code("request-timeout-capped", WARNING, "Requests end after 15 s, whatever the route says",
         Feature.RESOLVER_REQUEST_TIMEOUT.since),
    Code("preserve-host-unsupported", WARNING, "The server sees its own address as Host, not what the client sent",
         Feature.DISABLE_AUTO_HOST_REWRITE.since),
    Code("tls-san-unchecked", WARNING, "The name in the server's certificate is not checked yet", Feature.SAN_MATCH.since),
    Code("tls-san-overstrict", WARNING, "Consul 1.16.5 and 1.17.2 refuse certificates that are good", "1.16.6 or 1.17.3"),
    Code("per-try-timeout", WARNING, "No Consul has a timeout for each try"),
    Code("verify-peer-off", WARNING, "No Consul can leave the server's certificate unverified"),
    # -- what Consul stores and traffic ignores, or takes in another way
    Code("destination-ignores-l7", WARNING, "tgw_static: router and timeouts are stored and have no effect"),
    Code("destination-ignores-targets", ERROR, "tgw_static: requests for other services or subsets go to this server"),
    Code("destination-host-port", WARNING, "tgw_static: clients get 404, because of the port or the IP address"),
    Code("destination-tcp-name", WARNING, "tgw_static: plain TCP to a DNS name is reset"),
    Code("destination-deny-passed", WARNING, "tgw_static: who is denied may reach the server past the gateway"),
    Code("destination-needs-tproxy", WARNING, "tgw_static is reached by transparent-proxy clients only"),
    Code("no-gateway", WARNING, "No terminating gateway carries it: mesh clients get 503"),
    Code("preserve-host-needless", NOTE, "The client's Host reaches the server anyway"),
    Code("tls-not-originated", WARNING, "TLS without a CA file is plaintext to the server"),
    Code("tls-name-unchecked", WARNING, "TLS without an SNI takes a certificate for any name of that CA"),
    Code("http-without-tls", WARNING, "Plain HTTP to a port where servers expect TLS"),
    Code("idle-without-router", WARNING, "An idle timeout has no place without a router"),
    Code("timeout-on-tcp", WARNING, "Request and idle timeouts need an http-like protocol"),
    Code("route-timeout-capped", WARNING, "A route waits longer than the gateway does"),
    Code("redirect-takes-all", WARNING, "A redirect makes the rest of the resolver and the own server unused"),
    Code("rewrite-double-slash", WARNING, "A rewrite gives paths with //"),
    Code("rewrite-without-slash", WARNING, "A rewrite glues two parts of a path together"),
    Code("reference-with-capital", WARNING, "A service is named with capitals"),
    Code("subset-sees-gateway", WARNING, "Subsets are judged on the gateway's instances"),
    Code("failover-sees-gateway", WARNING, "Failover is judged on the gateway's instances"),
    Code("inverted-header", WARNING, "A deny by an inverted header is passed by requests without the header"),
    Code("l7-path-bypass", WARNING, "A deny by path is passed with an unusual spelling of the path"),
    Code("name-without-identity", NOTE, "No DNS name and no ACL identity can carry this name"),
    Code("protocol-http2", NOTE, "The gateway speaks HTTP/2 to the server"),
    # -- what would take the neighbours down
    Code("gateway-file-not-listed", ERROR, "The configuration does not list these TLS files for the gateway"),
    Code("subset-filter-unsafe", ERROR, "A subset's filter that cannot be evaluated stops the whole gateway"),
    Code("regex-unsafe", ERROR, "A regular expression that Envoy cannot load: a warning where only the route itself fails"),
    Code("name-too-long", ERROR, "The mesh's SNI of this name is longer than 255"),
    Code("named-like-gateway", ERROR, "A service and a terminating gateway have one name"),
    # -- what was found
    Code("catalog-service-shadows", ERROR,
         "Somebody else registered a service of this name: an error for tgw_static, else a warning"),
    Code("gateway-has-no-instance", WARNING, "No registered instance runs this gateway"),
    Code("gateway-too-large", WARNING, "The gateway's entry is larger than the 512 KiB that Consul 2.1 takes"),
    Code("gateway-token-rule", NOTE, "The rule that the gateway's own token needs"),
    Code("foreign-wildcard-row", WARNING, "A row * of somebody else goes on serving the service"),
    Code("check-unprobed", WARNING, "No consul-esm is registered, so the check stays as it was created"),
    Code("unknown-datacenter", ERROR,
         "Consul does not know this datacenter: an error where something is registered there, else a warning"),
    Code("intention-needed", NOTE, "Consul denies by default, and the spec has no intentions"),
    # -- what a plan does
    Code("duplicate-service", ERROR, "Two documents define one service"),
    Code("file-unreadable", ERROR, "A file cannot be read, so its services keep what they have"),
    Code("foreign-component", ERROR, "Something of this service belongs to somebody else"),
    Code("unmanaged-field", NOTE, "An entry of ours has fields that no spec can express"),
    Code("still-referenced", ERROR, "Another service still names this one, so it is not deleted"),
    Code("reference-missing", ERROR,
         "It leads to a service or a subset that is not there: a warning where Consul takes it all the same"),
    Code("ledger-unreadable", ERROR, "gitsync's record of the service cannot be read"),
    Code("datacenter-silent", ERROR, "The datacenter of the service's node does not answer"),
    Code("label-kept", NOTE, "A label that left the spec stays, because the ledger that says who wrote it is lost"),
    Code("subset-still-used", ERROR, "A subset goes that routes still name"),
    Code("protocol-blocked", ERROR, "A protocol changes that a chain of several services shares"),
    Code("destination-taken", ERROR, "Another service has this host and port"),
    Code("host-gap", WARNING, "A host changes hands with a short gap"),
    Code("interrupts-traffic", WARNING, "A step takes a route, split or redirect away for a moment"),
    Code("delete-held", WARNING, "Deletes wait for an approval"),
    Code("prune-never", NOTE, "The service left Git and stays, because its metadata says so"),
    Code("plan-deviates", WARNING, "Something else is to be done than was reviewed on the pull request"),
    Code("drift-detected", WARNING, "Somebody changed it, and the sync only detects that"),
    # -- what a repository holds
    Code("file-refused", ERROR, "A path that is no file, or leads out of the folder, is not read"),
)  # fmt: skip

CODES: Mapping[str, Code] = MappingProxyType({code.name: code for code in (*LOAD_CODES, *_TABLE)})


def note(
    code: str,
    message: str,
    *,
    hint: str = "",
    service: ServiceKey | None = None,
    place: Place | None = None,
    spec_path: str = "",
    severity: Severity | None = None,
) -> Finding:
    """A finding of a declared *code*, with the severity of the table unless the case has its own.

    *message* is one sentence that says what a client will see; *hint* says what to write or to do instead.
    """
    return Finding(code, severity or CODES[code].severity, message, hint, service, place, spec_path)
