"""rdl: a resumable downloader. Start with `rdl.get(url, path)`; docs/python.md tells the rest."""

from __future__ import annotations

TYPE_CHECKING = False  # `rdl --version` does not wait for typing

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rdl.api import Session, Target
    from rdl.batch.running import get_all
    from rdl.core.byterange import ByteRange
    from rdl.core.events import Result
    from rdl.engine.remote_file import RemoteFile
    from rdl.errors import RdlError
    from rdl.functions import get, open, reader, stream
    from rdl.looking import info, status
    from rdl.options import Digest, LazyOptions, Options, Source
    from rdl.repairing import repair
    from rdl.verification import verify

_HOMES = {
    "ByteRange": "rdl.core.byterange",
    "Session": "rdl.api",
    "Target": "rdl.api",
    "get": "rdl.functions",
    "get_all": "rdl.batch.running",
    "open": "rdl.functions",
    "reader": "rdl.functions",
    "LazyOptions": "rdl.options",
    "RemoteFile": "rdl.engine.remote_file",
    "Result": "rdl.core.events",
    "RdlError": "rdl.errors",
    "Digest": "rdl.options",
    "Options": "rdl.options",
    "Source": "rdl.options",
    "info": "rdl.looking",
    "repair": "rdl.repairing",
    "status": "rdl.looking",
    "stream": "rdl.functions",
    "sync": "rdl.syncing",
    "verify": "rdl.verification",
}
__all__ = [
    "ByteRange",
    "Digest",
    "LazyOptions",
    "Options",
    "RdlError",
    "RemoteFile",
    "Result",
    "Session",
    "Source",
    "Target",
    "__version__",
    "get",
    "get_all",
    "info",
    "open",
    "reader",
    "repair",
    "status",
    "stream",
    "sync",
    "verify",
]


def __getattr__(name: str) -> object:
    """Public names are imported when first used: `rdl --version` must not wait for httpx."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rdl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
