"""Rows of what servers, disks and neighbours do wrong, as data (docs/reliability.md)."""
