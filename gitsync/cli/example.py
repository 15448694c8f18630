"""The spec that `gitsync init` writes as an example, in comments."""

EXAMPLE_SPEC = """
name: pay
routing:
  host: pay.internal.example
  port: 8080
  # tls: { sni: pay.internal.example, ca_file: /etc/ssl/certs/ca.pem }   # list the file in gateways.<name>.tls above
exposure:
  mode: catalog_external       # a node in the catalog: works for most. The other mode is tgw_static
connect:
  mesh_policy: { protocol: http, timeouts: { connect: 2s, request: 5s } }
metadata: { owner: payments-platform }
"""

EXAMPLE = f"""
A spec, one file a service. `gitsync validate FILE` checks it, `gitsync schema` is for editors.

{EXAMPLE_SPEC.strip()}
"""
