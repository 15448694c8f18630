"""Daemon: what makes a run begin, again and again, and what makes the process end in order."""
