"""The command line: options in, targets to a Session, facts to displays, exit codes out."""
