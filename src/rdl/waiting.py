"""`--join`: another rdl is writing this file; it is waited for, and what it has is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rdl.core.events import Progress, Teller
from rdl.core.row import Row
from rdl.errors import BusyError, LocalFileError
from rdl.storage.disk import Disk, opened_folder, told
from rdl.storage.inspecting import Partial, read_partial
from rdl.storage.names import Names
from rdl.storage.platform import PosixDisk

PERIOD = 0.2


def wait_for_other(
    path: Path,
    tell: Teller | None,
    check: Callable[[], None],
    disk: Disk | None = None,
) -> None:
    """Until nobody writes the file at `path` any more, finished or not. `check` may raise."""
    disk = disk or PosixDisk()
    while True:
        time.sleep(PERIOD)  # first, since an index that says nothing does not say that it is over
        check()
        try:
            partial = _partial(disk, path)
            if partial is None or not partial.running:
                return
            if tell is not None and (fact := _progress(path, partial)) is not None:
                tell(fact)
        except BusyError:
            """It has just begun."""


def _partial(disk: Disk, path: Path) -> Partial | None:
    with told(str(path.parent)), opened_folder(disk, path.parent) as folder:
        try:
            return read_partial(disk, folder, Names.of(path))
        except LocalFileError:  # it is looked at when it is our turn
            return None


def _progress(path: Path, partial: Partial) -> Progress | None:
    header = partial.header
    if header.wanted is None or header.representation.total is None:
        return None
    row = Row(header.representation, header.wanted, header.block_size)
    row.add([*header.adopted, *partial.present])
    return Progress(str(path), row.size, row.present_bytes, 0, 0.0, None, 0, row.coverage())
