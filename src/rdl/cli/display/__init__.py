"""Displays print facts on stderr: plain text, lines, a bar, or JSON events."""
