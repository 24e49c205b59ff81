"""A file that is written at one go: all of it stands under its name, or what stood there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rdl.core.text import safe_text
from rdl.storage.copying import PRIVATE
from rdl.storage.disk import told
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import check_target


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Make `path` a file of these bytes, synced. Raises LocalFileError, also where something stands
    there that is no regular file; NoSpaceError; and what `parts` raises."""
    disk, made = PosixDisk(), ""
    try:
        with told(safe_text(str(path))):
            folder = disk.open_folder(path.parent)
            try:
                check_target(disk, folder, path.name)
                file, made = tempfile.mkstemp(prefix=PRIVATE, dir=path.parent)
                with os.fdopen(file, "wb") as whole:
                    whole.writelines(parts)
                    whole.flush()
                    os.fsync(whole.fileno())
                Path(made).chmod(0o666 & ~disk.umask())
                Path(made).replace(path)
                made = ""
                disk.sync_folder(folder)
            finally:
                disk.close(folder)
    finally:
        if made:
            with suppress(OSError):
                Path(made).unlink()
