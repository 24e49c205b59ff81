"""Measurements against other downloaders on loopback: `make bench`."""
