"""The front of the engine: a Session, and get() for one download.

Only this module names concrete transports and stores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rdl.core.events import Fact, Result
from rdl.options import Options, SessionOptions


@dataclass(frozen=True, slots=True)
class Target:
    """One download: from where, to where, how. `path` is the final name."""

    url: str
    path: Path
    options: Options = field(default_factory=Options)


class Session:
    """Downloads that share connections and limits. Safe to use from several threads.

    A context manager; leaving it closes the connections.
    """

    def __init__(self, options: SessionOptions | None = None) -> None:
        self.options = options or SessionOptions()

    def get(self, target: Target, tell: Callable[[Fact], None] | None = None) -> Result:
        """Download one target to its end. Raises RdlError; `tell` hears facts meanwhile
        (called from the thread that called get)."""
        raise NotImplementedError

    def get_all(
        self,
        targets: Iterable[Target],
        tell: Callable[[Fact], None] | None = None,
        done: Callable[[Result], None] | None = None,
    ) -> list[Result]:
        """Download many, `options.parallel` at a time. Never raises for one target: failures
        are results with an exit code and `error`. `tell` and `done` may be called from
        several threads, one at a time. After interrupt(), unstarted targets are results
        with reason "interrupted". Results come in the order of the targets."""
        raise NotImplementedError

    def interrupt(self, signal: str) -> None:
        """Ask every running download to save its state and end ("SIGINT", "SIGTERM",
        "SIGHUP"); may be called from a signal handler."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every connection."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def get(
    url: str,
    path: str | os.PathLike[str] | None = None,
    *,
    sha256: str | None = None,
    connections: int | None = None,
    options: Options | None = None,
    tell: Callable[[Fact], None] | None = None,
) -> Result:
    """Download `url` completely to `path` (default: the last segment of the URL's path)."""
    raise NotImplementedError
