"""No test reads the configuration of whoever runs it, or compiles rdl anew for each process, and
none holds the run."""

from __future__ import annotations

import atexit
import faulthandler
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.folders import Folder, serving

os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
os.environ.pop("RDL_CONFIG", None)

settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")  # an example may take as long as the machine makes it take


def unsynced(file: int) -> None:
    """In place of fsync(2): no power is cut here, and a disk that is waited for shows nothing.
    What is left without is tested by tests/storage and tests/traps, on disks in memory."""
    os.fstat(file)  # it is open all the same


os.fsync = os.fdatasync = unsynced

if sys.dont_write_bytecode:  # nothing beside the sources, but the processes of one run share it
    compiled = tempfile.mkdtemp(prefix="rdl-compiled-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = compiled
    root = Path(__file__).parents[1]
    own = os.pathsep.join([str(root / "src"), os.environ.get("PYTHONPATH", "")])
    every = "import httpx, rich.progress, rdl.api, rdl.cli.main, rdl.cli.commands.get"
    subprocess.run(  # once, before any test that looks at the clock
        [sys.executable, "-c", every], env=os.environ | {"PYTHONPATH": own}, timeout=60, check=True
    )


def pytest_unconfigure() -> None:
    """A thread that was left is waited for no longer than a test (pyproject.toml has its bound)."""
    faulthandler.dump_traceback_later(300, exit=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """What is put into its root is served."""
    root = tmp_path / "served"
    root.mkdir()
    with serving(root) as folder:
        yield folder
