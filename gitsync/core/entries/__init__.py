"""What Consul stores for one service, a module for each kind: from a spec to a component and what there is to say about it.

A module leaves out the fields that this Consul does not know and says so beside the line that leaves them out: an unknown
field is a 400 that writes nothing. What traffic makes of the fields that are stored is `gitsync.core.exposure`'s matter.
"""
