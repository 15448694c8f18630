"""The thought of gitsync: pure functions from model to model."""
