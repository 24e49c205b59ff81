"""Downloads from end to end, one scenario a test."""
