"""Many targets over an Executor: shards of a list, each fetched by a session of its own."""
