"""The flag of a batch: how workers in other processes of this machine hear that they are to end.

An entry of the folder of temporary files, a link whose text is the name of a signal: it is there
as a whole or not at all, and only where a batch was interrupted.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rdl.batch.shards import Shard
from rdl.batch.working import Report, fetch, interrupt

LOOK_SECONDS = 0.25


def hoist(batch: str, signal: str) -> None:
    """Shards of the batch save their state and end, where their workers can see it."""
    with suppress(OSError):  # it is there, or there is no place: then they go on
        os.symlink(signal, _flag(batch))


def lower(batch: str) -> None:
    """It is needed no more."""
    with suppress(OSError):
        os.unlink(_flag(batch))


def fetch_in_sight(shard: Shard) -> list[Report]:
    """As fetch, by a worker that can be told nothing while it runs."""
    with _watching(shard.batch):
        return fetch(shard)


@contextmanager
def _watching(batch: str) -> Iterator[None]:
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            with suppress(OSError):
                interrupt(batch, os.readlink(_flag(batch)))
                return

    thread = threading.Thread(target=look, name="flag", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _flag(batch: str) -> str:
    return os.path.join(tempfile.gettempdir(), batch)
