"""gitsync: a commit of service specs becomes the state of a Consul, verified."""

__version__ = "0.1.0"
