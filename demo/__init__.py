"""A demonstration that needs nothing but this checkout: `make demo`."""
