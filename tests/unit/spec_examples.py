"""Specs that several tests read: the one the product began with, and one with every field."""

from __future__ import annotations

from gitsync.core.load import parse_file
from gitsync.core.load_codes import LOAD_CODES
from gitsync.model.desired import ParsedFile
from gitsync.model.finding import Finding
from gitsync.model.spec import ServiceSpec, SpecDefaults

FILE_CODES = {code.name for code in LOAD_CODES} | {"name-too-long"}
"""What a finding about a file can be."""

FIRST = """\
{
  "name": "dev.credit.open-build",
  "partition": "default",
  "namespace": "default",
  "routing": {
    "host": "ggdgsswpo350.foodc.emea.bank.com",
    "port": 49519,
    "tls": { "sni": "dev.credit.foo.bar", "verify_peer": true }
  },
  "exposure": {
    "mode": "tgw_static",
    "terminating_gateway": {
      "service": "tgw-west-1",
      "dc": "west-1"
    }
  },
  "connect": {
    "mesh_policy": {
      "protocol": "http",
      "timeouts": { "request": "5s", "idle": "60s" }
    },
    "router": {
      "prefix": "/v1/",
      "retries": { "attempts": 2, "per_try_timeout": "1s" }
    }
  },
  "metadata": {
    "owner": "payments-platform",
    "pii": false,
    "cost_center": "FIN-1234"
  }
}
"""
"""The example of the first document about this product, without its comments."""

SHORT = "name: pay\nrouting: { host: pay.example.com, port: 443 }\n"

EVERY_FIELD = (
    """\
name: pay
partition: default
namespace: default
routing:
  host: pay.example.com
  port: 443
  preserve_host: true
  tls:
    sni: pay.example.com
    verify_peer: false
    ca_file: /etc/ssl/certs/ca.pem
    cert_file: /etc/gw/client.pem
    key_file: /etc/gw/client.key
exposure:
  mode: catalog_external
  terminating_gateway: { service: tgw-1, dc: dc1 }
  dc: dc1
  check: { tcp: "pay.example.com:443", interval: 30s, timeout: 3s }
connect:
  mesh_policy:
    protocol: http
    timeouts: { connect: 2s, request: 5s, idle: 60s }
  router:
    routes:
      - match:
          path_exact: /health
          methods: [get, HEAD]
          headers:
            - { name: x-debug, present: true, invert: true }
            - { name: x-a, exact: a }
            - { name: x-b, prefix: b }
            - { name: x-c, suffix: c }
            - { name: x-d, regex: "d+" }
          query: [ { name: a, present: true }, { name: b, exact: x }, { name: c, regex: "c+" } ]
        destination:
          service: other
          subset: v9
          prefix_rewrite: /ping
          request_timeout: 1s
          idle_timeout: 2s
          retries: { attempts: 2, per_try_timeout: 1s, on: [reset, 5xx], status_codes: [503, 502] }
      - match: { path_prefix: /v1/ }
      - match: { path_regex: "/v[0-9]+/.*" }
  resolver:
    default_subset: v1
    subsets:
      v1: { filter: 'Service.Meta.version == "v1"', only_passing: true }
      v2: {}
    failover:
      v1: { service: other, subset: v9, datacenters: [dc2, dc3] }
      "*": { targets: [ { service: other, subset: v9, datacenter: dc2 } ] }
    load_balancer:
      policy: ring_hash
      ring_hash: { minimum: 1024, maximum: 2048 }
      hash_policies:
        - { field: cookie, field_value: session, cookie_config: { ttl: 1h, path: / } }
        - { source_ip: true, terminal: true }
  splitter: [ { weight: 90, subset: v1 }, { weight: 10, service: other, subset: v9 } ]
  intentions:
    - { source: web, action: allow }
    - source: batch
      permissions:
        - action: deny
          http:
            path_prefix: /admin
            methods: [POST]
            headers: [ { name: x-a, exact: a }, { name: x-b, prefix: b }, { name: x-c, suffix: c }, { name: x-d, regex: d } ]
        - { action: allow, http: { path_exact: /a } }
        - { action: allow, http: { path_regex: "/b.*" } }
metadata: { owner: payments, pii: false, cost_center: FIN-1234, version: 1.10 }
""",
    """\
name: elsewhere
routing: { endpoints: [ { host: 10.0.0.1, port: 80 }, { host: "2001:db8::1", port: 81 } ] }
exposure: { mode: catalog_external, check: { http: "http://10.0.0.1/health" } }
connect:
  mesh_policy: { protocol: grpc }
  router: { prefix: /, retries: { attempts: 0, per_try_timeout: 1s, on: [reset], status_codes: [503] } }
  resolver:
    load_balancer: { policy: least_request, least_request: { choice_count: 3 } }
""",
    """\
name: moved
routing: { host: pay.example.com, port: 443 }
connect:
  resolver:
    redirect: { service: other, subset: v1, datacenter: dc2 }
""",
    """\
name: sticky
routing: { host: pay.example.com, port: 443 }
connect:
  mesh_policy: { protocol: http }
  resolver:
    load_balancer:
      policy: maglev
      hash_policies: [ { field: cookie, field_value: id, cookie_config: { session: true } } ]
""",
)
"""Valid specs that have every field of the model between them."""


def spec_of(text: str, defaults: SpecDefaults | None = None, *, path: str = "services/pay.yaml") -> ServiceSpec:
    """The one valid spec in *text*."""
    file = parse_file(path, text.encode(), defaults or SpecDefaults())
    assert file.findings == (), "\n".join(str(finding) for finding in file.findings)
    (parsed,) = file.specs
    return parsed.spec


def parsed(text: str | bytes, path: str = "services/pay.yaml", **defaults: str) -> ParsedFile:
    return parse_file(path, text if isinstance(text, bytes) else text.encode(), SpecDefaults(**defaults))


def with_line(line: str) -> str:
    """A good spec with one more line."""
    return f"name: pay\nrouting:\n  host: a.example\n  port: 443\n{line}\n"


def only_finding(text: str | bytes, path: str = "services/pay.yaml") -> Finding:
    """The one finding of a file."""
    file = parsed(text, path)
    assert len(file.findings) == 1, "\n".join(map(str, file.findings))
    (finding,) = file.findings
    assert finding.code in FILE_CODES
    assert finding.message.endswith((".", "?"))
    return finding
