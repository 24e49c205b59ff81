"""rdl: a resumable downloader. Start with `rdl.get(url, path)`; docs/python.md tells the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rdl.api import Session, Target, get
    from rdl.core.events import Result
    from rdl.options import Digest, Options

_HOMES = {
    "Session": "rdl.api",
    "Target": "rdl.api",
    "get": "rdl.api",
    "Result": "rdl.core.events",
    "Digest": "rdl.options",
    "Options": "rdl.options",
}
__all__ = ["Digest", "Options", "Result", "Session", "Target", "__version__", "get"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `rdl --version` must not wait for httpx."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rdl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
