"""The words of gitsync: frozen values without I/O, clock or logging."""
