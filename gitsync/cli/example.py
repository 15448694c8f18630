"""The spec that `gitsync init` writes as an example."""

EXAMPLE = """
A spec, one file a service (`gitsync validate FILE` checks it, `gitsync schema` helps an editor):

name: pay
routing:
  host: pay.internal.example
  port: 8443
  tls: { sni: pay.internal.example, ca_file: /etc/ssl/certs/ca-certificates.crt }
exposure:
  mode: catalog_external       # a node in the catalog: works for most. The other is tgw_static
connect:
  mesh_policy: { protocol: http, timeouts: { connect: 2s, request: 5s } }
metadata: { owner: payments-platform }
"""
