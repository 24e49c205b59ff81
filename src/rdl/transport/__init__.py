"""The edge towards the network. Nothing here knows of files."""

import sys
from importlib import import_module
from typing import Any

# httpx imports its own command line (click, rich, pygments) where it can, which takes 35 of
# the 200 ms of a start; told that there is none, it goes without.
if "httpx" not in sys.modules:
    modules: dict[str, Any] = sys.modules
    modules["httpx._main"] = None
    import_module("httpx")
    del modules["httpx._main"]
