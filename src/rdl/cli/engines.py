"""`--engine dask`: a list is downloaded by the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rdl.errors import UsageError
from rdl.options import SessionOptions

if TYPE_CHECKING:
    from rdl.batch.running import Batch

_LOGS = ("distributed", "distributed.client", "tornado", "tornado.application")


@contextmanager
def open_workers(given: Mapping[str, Any], options: SessionOptions) -> Iterator[Batch]:
    """In place of a session. Raises UsageError, NetworkError."""
    try:
        import dask

        if given["verbose"] < 2:  # what it would say we say; it is read when it is imported
            dask.config.set({"logging": dict.fromkeys(_LOGS, "critical")})
        from rdl.batch.dask import Cluster
    except ImportError as error:
        hint = "pip install 'rdl-get[dask]'"
        raise UsageError("--engine dask", f"not installed: {error}", hint=hint) from error
    from rdl.batch.running import Batch

    with Cluster(given["scheduler"], timeout=given["connect_timeout"]) as cluster:
        yield Batch(cluster, options)
