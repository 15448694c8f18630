"""The exposure strategies: one file each, registered in `registry`."""
