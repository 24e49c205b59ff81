"""No test reads the configuration of whoever runs it."""

from __future__ import annotations

import os

os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
os.environ.pop("RDL_CONFIG", None)
