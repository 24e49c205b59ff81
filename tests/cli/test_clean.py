"""`rdl clean`: only partials of rdl go, only after a yes, and it says what went."""

from __future__ import annotations

import fcntl
import io
import sys
from pathlib import Path

import pytest

from rdl.cli.streams import Messages
from tests.cli.conftest import Rdl
from tests.cli.test_status import MiB, partial, published


class Terminal(io.StringIO):
    """A stdin on which somebody types."""

    def isatty(self) -> bool:
        return True


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two partials, and things that are none."""
    partial(tmp_path / "a.iso", (0, MiB)).close()
    partial(tmp_path / "b.iso", (0, MiB)).close()
    published(tmp_path / "done")
    for name in ("foreign.part", "old.part.bad", "x.part.index.txt"):
        (tmp_path / name).write_bytes(b"data")
        (tmp_path / name).chmod(0o600)
    return tmp_path


KEPT = ["done", "foreign.part", "old.part.bad", "x.part.index.txt"]


def test_without_a_terminal_yes_must_be_said(rdl: Rdl, folder: Path) -> None:
    before = names(folder)
    for arguments in (["."], [".", "--bad"]):
        answer = rdl("clean", *arguments)
        assert (answer.code, answer.out) == (2, "")
        assert "hint: --yes" in answer.err
    assert names(folder) == before


def test_yes_removes_partials_and_nothing_else(rdl: Rdl, folder: Path) -> None:
    answer = rdl("clean", ".", "--yes")
    assert (answer.code, answer.out) == (0, "")
    lines = answer.err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "rdl: removed a.iso.part",
        "rdl: removed b.iso.part",
        "rdl: removed 2 partials",
    ]
    assert int(lines[0].split()[-2]) >= MiB
    assert names(folder) == KEPT
    answer = rdl("clean", ".", "--yes")
    assert (answer.code, answer.err) == (
        0,
        "rdl: .: nothing to remove, but 1 FILE.part.bad (--bad)\n",
    )


def test_copies_that_a_killed_repair_left_go_unless_they_are_in_use(
    rdl: Rdl, tmp_path: Path
) -> None:
    free, held, other = ".rdl-0123456789abcdef", ".rdl-fedcba9876543210", ".rdl-mine"
    for name in (free, held, other):
        (tmp_path / name).write_bytes(b"data")
        (tmp_path / name).chmod(0o600)
    with (tmp_path / held).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = rdl("clean", ".", "--yes")
    assert f"removed {free}" in answer.err
    assert names(tmp_path) == [held, other]


def test_bad_ones_go_when_asked_for(rdl: Rdl, folder: Path) -> None:
    answer = rdl("clean", ".", "--yes", "--bad")
    assert answer.code == 0
    assert "removed old.part.bad" in answer.err
    assert names(folder) == ["done", "foreign.part", "x.part.index.txt"]


@pytest.mark.parametrize(
    ("typed", "gone"), [("y\n", True), ("Yes\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_on_a_terminal_it_asks(
    rdl: Rdl, folder: Path, monkeypatch: pytest.MonkeyPatch, typed: str, gone: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(Messages, "isatty", lambda _messages: True)
    before = names(folder)
    answer = rdl("clean", ".")
    assert answer.code == 0
    assert "rdl: remove 2 partials, " in answer.err
    assert "  a.iso.part  " in answer.err
    assert names(folder) == (KEPT if gone else before)
    assert ("nothing was removed" in answer.err) is not gone


def test_a_partial_that_is_being_fetched_stays(rdl: Rdl, folder: Path) -> None:
    store = partial(folder / "running", (0, MiB))
    answer = rdl("clean", ".", "--yes")
    assert answer.code == 0
    assert "running.part: another rdl is writing it; it stays" in answer.err
    assert "removed 2 partials" in answer.err
    assert names(folder) == [*KEPT[:3], "running.part", "running.part.index", KEPT[3]]
    store.checkpoint()
    store.close()


def test_what_is_not_surely_ours_is_said_and_stays(rdl: Rdl, folder: Path) -> None:
    for name in ("strange.part", "strange.part.index"):
        (folder / name).write_bytes(b"of another program")
        (folder / name).chmod(0o600)
    answer = rdl("clean", ".", "--yes")
    assert answer.code == 0
    assert "strange.part.index: is no index of rdl; it stays" in answer.err
    assert {"strange.part", "strange.part.index"} <= set(names(folder))


@pytest.mark.parametrize("place", ["nothing", "done"])
def test_only_a_folder_is_cleaned(rdl: Rdl, folder: Path, place: str) -> None:
    answer = rdl("clean", place, "--yes")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.count("\n") == 1


def test_usage(rdl: Rdl) -> None:
    answer = rdl("clean", "--yes")
    assert answer.code == 2
    assert "no DIR given" in answer.err
