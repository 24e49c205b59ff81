"""One module per command; each has the click command and the function that runs it."""
