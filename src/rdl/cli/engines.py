"""`--engine dask`: a list is downloaded by the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rdl.core.events import Result, Teller, ended
from rdl.errors import NetworkError, RdlError, UsageError
from rdl.options import SessionOptions

if TYPE_CHECKING:
    from rdl.api import Done, Session, Target
    from rdl.batch.running import Batch
    from rdl.cli.completing import Completing

_LOGS = ("distributed", "distributed.client", "tornado", "tornado.application")


class Unreachable:
    """In place of a session: all files fail with the same error."""

    def __init__(self, error: RdlError) -> None:
        self._error = error

    def get_all(self, targets: Iterable[Target], tell: Teller, done: Done) -> None:
        from rdl.sources import shown_url

        for one in targets:
            done(ended(shown_url(one.url), str(one.path), self._error))

    def interrupt(self, signal: str) -> None:
        """It has ended."""


@contextmanager
def open_workers(
    given: Mapping[str, Any], options: SessionOptions
) -> Iterator[Batch | Unreachable]:
    """In place of a session. Raises UsageError, and NetworkError where nobody reads results."""
    try:
        import dask

        if given["verbose"] < 2:  # what it would say we say; it is read when it is imported
            dask.config.set({"logging": dict.fromkeys(_LOGS, "critical")})
        from rdl.batch.dask import Cluster
    except ImportError as error:
        hint = "pip install 'rdl-get[dask]'"
        raise UsageError("--engine dask", f"not installed: {error}", hint=hint) from error
    from rdl.batch.running import Batch

    try:
        cluster = Cluster(given["scheduler"], timeout=given["connect_timeout"])
    except NetworkError as error:
        if not given["json"] and given["progress"] != "json":
            raise
        lost = error
    else:
        with cluster:
            yield Batch(cluster, options)
        return
    yield Unreachable(lost)


def fetch_all(
    session: Session | Batch | Unreachable, targets: Sequence[Target], heard: Completing
) -> None:
    """A failure that all files have been told of is not raised."""
    told = 0

    def done(result: Result) -> None:
        nonlocal told
        told += 1
        heard.done(result)

    try:
        session.get_all(targets, heard.tell, done)
    except RdlError:
        if told < len(targets):
            raise
