"""A folder that is the user's alone: what stands in it was put there by this user."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rdl.errors import LocalFileError
from rdl.storage.disk import told


def private_folder(folder: Path) -> None:
    """Make it where it is missing. Raises LocalFileError, also where others may write to it."""
    with told(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise LocalFileError(str(folder), "is no directory of ours")
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        why = "others may write to it: what stands there may be anybody's"
        raise LocalFileError(str(folder), why, hint=f"chmod 700 {folder}")
