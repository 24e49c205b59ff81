"""What the tests of several floors share: servers, content, and the program as a process."""
