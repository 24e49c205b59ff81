"""What commands of the user's have started, when they are to end."""

from __future__ import annotations

import os
import select
import subprocess

import pytest

from rdl.cli import shell


@pytest.mark.parametrize(
    ("trap", "patience", "says"), [("", 0.1, b""), ("echo saved; exit", 20.0, b"saved\n")]
)
def test_what_outlives_its_shell_is_asked_and_ended(
    monkeypatch: pytest.MonkeyPatch, trap: str, patience: float, says: bytes
) -> None:
    """The end of a pipeline, whose shell SIGTERM ends at once."""
    monkeypatch.setattr(shell, "PATIENCE", patience)
    command = f"true | (trap '{trap}' TERM; echo begun; while :; do sleep 0.1; done)"
    process = shell.start(command, {}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"begun\n"
        shell.stop(process)
        assert select.select([process.stdout], [], [], 20)[0], "somebody still holds it"
        assert process.stdout.read() == says
    finally:
        shell.end(process)
        process.stdout.close()


def test_one_that_cannot_be_started_leaves_no_pipe() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match="null"):
        shell.start("\0", {}, stdin=subprocess.DEVNULL)
    assert set(os.listdir("/proc/self/fd")) == before
