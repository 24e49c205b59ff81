"""The heart: pure values and decisions. No file, socket, clock, thread, random or logging."""
