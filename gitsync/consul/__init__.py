"""The Consul HTTP API as gitsync uses it: one client and what is special to Consul."""
