"""A secret in the query may stand for another file: what rdl keeps of a URL has `***` there.

Both files have the same length and validators, as servers give them to what they make.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import rdl
from rdl.options import LazyOptions
from tests.scenarios.coded import MiB, Origin, coded

A, B = "?key=a", "?key=b"
HASH = '"9e107d9d372bb6826bd81d3542a419d6"'
FEW = LazyOptions(read_ahead=0, least=64 << 10)


class Keyed(Origin):
    """What it serves depends on the key."""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.salt = 1 + request.path.endswith(B)
        super().answer(request)


@pytest.fixture
def origin() -> Iterator[Keyed]:
    with Keyed(2 * MiB) as origin:
        yield origin


def test_a_file_of_one_key_is_not_that_of_another(origin: Keyed, tmp_path: Path) -> None:
    path = tmp_path / "f"
    for query, salt in ((A, 1), (B, 2), (A, 1)):
        assert rdl.get(origin.url + query, path).reason == "complete"
        assert path.read_bytes() == coded(0, 2 * MiB, salt)


def test_an_etag_that_is_a_hash_speaks_for_any_key(origin: Keyed, tmp_path: Path) -> None:
    origin.replace(etag=HASH)
    rdl.get(origin.url + A, tmp_path / "f")
    assert rdl.get(origin.url + A, tmp_path / "f").reason == "unchanged"


@pytest.mark.parametrize("keep", ["path", "cache"])
def test_what_is_read_lazily_is_not_joined(origin: Keyed, tmp_path: Path, keep: str) -> None:
    where = {keep: tmp_path / "kept"}
    for query, salt, place in ((A, 1, 0), (B, 2, MiB), (A, 1, MiB), (B, 2, 0)):
        with rdl.open(origin.url + query, lazy=FEW, **where) as file:
            file.seek(place)
            assert file.read(1000) == coded(place, place + 1000, salt)


@pytest.mark.parametrize("keep", ["path", "cache"])
def test_what_was_read_whole_is_not_taken_for_another(
    origin: Keyed, tmp_path: Path, keep: str
) -> None:
    where = {keep: tmp_path / "kept"}
    for query, salt in ((A, 1), (B, 2)):
        with rdl.open(origin.url + query, **where) as file:
            assert file.read() == coded(0, 2 * MiB, salt)


def test_a_cache_knows_its_own_key(origin: Keyed, tmp_path: Path) -> None:
    for _ in range(2):
        with rdl.open(origin.url + A, cache=tmp_path / "kept") as file:
            assert file.read() == coded(0, 2 * MiB, 1)
    assert origin.sent < 2 * MiB + MiB
