"""Many targets over an Executor."""
