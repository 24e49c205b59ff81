"""The driver: performs the heart's commands with threads, a transport and a store."""
