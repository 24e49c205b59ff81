"""Doors into what a Session can read: members of archives, and ways that other libraries know."""
