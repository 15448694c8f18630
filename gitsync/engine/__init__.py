"""The deeds of gitsync: the loop that makes Consul what Git says. Knows Protocols, no vendor."""
