"""Where content is cut. A chunker is found by its name, and what it needs is imported then."""
