"""The edge towards the network. Nothing here knows of files."""

import sys

# httpx imports its own command line (click, rich, pygments) where it can, which takes 35 of
# the 200 ms of a start; told that there is none, it goes without.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx  # noqa: F401

    del sys.modules["httpx._main"]
