"""`sync` by a .zsync index: what is looked at, how often, and while time is left."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rdl.chunkers import groups, rolling
from rdl.core.byterange import ByteRange
from rdl.core.delta import IN_PLACE, Place
from rdl.core.events import Fact, Warned
from rdl.core.zsync import parse_zsync
from rdl.errors import Interrupted
from rdl.recipes import Found, Rolled
from rdl.seeds import Seeds
from rdl.syncing import sync
from tests.scenarios.coded import KiB
from tests.support.folders import Folder
from tests.support.zsyncs import sums_of

BLOCK = KiB // 2
DATA = bytes(64 * BLOCK) + random.Random(3).randbytes(64 * BLOCK)


@cache
def zsync_of(block: int) -> bytes:
    """The index of DATA, as zsyncmake writes it."""
    lines = ["zsync: 0.6.2", f"Blocksize: {block}", f"Length: {len(DATA)}", "Hash-Lengths: 2,2,5"]
    lines += ["URL: f", f"SHA-1: {hashlib.sha1(DATA).hexdigest()}", "", ""]
    return "\n".join(lines).encode() + sums_of(DATA, block, 2, 5)


class Watch:
    """Counts what is expected and what was read; raises Interrupted beyond `most` bytes."""

    def __init__(self, most: int = 1 << 40) -> None:
        self.expected = self.read = 0
        self._most = most

    def expect(self, size: int) -> None:
        self.expected += size

    def __call__(self, count: int) -> None:
        self.read += count
        if self.read > self._most:
            raise Interrupted("SIGINT")


class Part:
    """Of these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_into(self, offset: int, view: memoryview) -> int:
        some = self._data[offset : offset + len(view)]
        view[: len(some)] = some
        return len(some)


def looked(part: bytes, here: Sequence[ByteRange], seeds: Sequence[Path], watch: Watch) -> Found:
    with Seeds(seeds, pytest.fail) as opened:
        return Rolled(parse_zsync(zsync_of(BLOCK)), 0.02).find(Part(part), here, opened, watch)


def test_what_repeats_in_the_part_file_is_all_in_place() -> None:
    watch, half = Watch(), ByteRange(0, 32 * BLOCK)
    rest = ByteRange(96 * BLOCK, len(DATA))
    found = looked(DATA, (half, rest), (), watch)
    assert [found.places.get(number) for number in range(len(found.chunks))] == [
        Place(IN_PLACE, number * BLOCK) if number < 32 or number >= 96 else None
        for number in range(128)
    ]
    assert watch.read == watch.expected == 64 * BLOCK


def test_looking_at_the_part_file_ends_when_it_is_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "STEP", 4 * BLOCK)
    watch = Watch(most=1)
    with pytest.raises(Interrupted):
        looked(DATA, (ByteRange(0, len(DATA)),), (), watch)
    assert watch.read == 4 * BLOCK


def test_seeds_are_looked_through_for_what_is_missing_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked for is prepared once, and not at all where there is no seed."""
    made, original = list[int](), groups.Groups.__init__

    def counted(self: groups.Groups, *arguments: Any) -> None:
        original(self, *arguments)
        made.append(self.wanted)

    monkeypatch.setattr(groups.Groups, "__init__", counted)
    here = ByteRange(0, 70 * BLOCK)
    assert not looked(DATA, (here,), (), Watch()).places.get(70)
    assert made == []
    paths = [tmp_path / str(number) for number in range(12)]
    for path in paths:
        path.write_bytes(b"short")
    paths[5].write_bytes(b"odd" + DATA[80 * BLOCK :])
    paths[7].write_bytes(DATA[60 * BLOCK :])
    watch = Watch()
    found = looked(DATA, (here,), paths, watch)
    assert made == [58]
    assert [found.places.get(number) for number in (69, 70, 79, 80, 127)] == [
        Place(IN_PLACE, 69 * BLOCK),
        Place(7, 10 * BLOCK),
        Place(7, 19 * BLOCK),
        Place(5, 3),
        Place(5, 47 * BLOCK + 3),
    ]
    assert watch.read == 70 * BLOCK + 3 + 48 * BLOCK + 68 * BLOCK


def test_tiny_blocks_are_not_looked_for(folder: Folder, here: Path) -> None:
    (folder.root / "new").write_bytes(DATA)
    for name, block in (("tiny", BLOCK // 2), ("small", BLOCK)):
        (folder.root / name).write_bytes(zsync_of(block))
    said = {"tiny": list[Fact](), "small": list[Fact]()}
    for name, facts in said.items():
        (here / "new").write_bytes(DATA[:-1])
        manifest = f"{folder.url}/{name}"
        result = sync(f"{folder.url}/new", here / "new", manifest=manifest, tell=facts.append)
        assert result.verified_by == ("manifest:sha1",)
        assert (here / "new").read_bytes() == DATA
    warned = {name: [one for one in said[name] if isinstance(one, Warned)] for name in said}
    assert [one.message for one in warned["tiny"]] == [
        "old files are not looked through: zsync index: blocks of 256 bytes are not looked for"
    ]
    assert warned["small"] == []
    copied = {one.bytes_total for one in said["small"] if getattr(one, "stage", "") == "copies"}
    assert copied == {len(DATA) - BLOCK}
