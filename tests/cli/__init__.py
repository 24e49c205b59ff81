"""The command line, with a stand-in for the engine."""
