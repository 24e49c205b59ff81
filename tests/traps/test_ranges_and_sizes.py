"""P12 and P48: each malformed Content-Range, and every small size, in one test a mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.origin import Answer
from tests.traps.harness import (
    FRESH,
    RESUME,
    WORKERS,
    Asked,
    Head,
    KiB,
    Played,
    Row,
    Script,
    Server,
    ends,
    play,
)
from tests.traps.rows_ranges import DEMOTED, honest

BLOCK = 256 * KiB
SIZE, CUT = 5000, 2000
# {a}, {b}, {t}: what would have been right
MALFORMED = [
    "",
    "bytes",
    "bytes=",
    "bytes={a}-{b}/{t}",
    "bytes: {a}-{b}/{t}",
    "{a}-{b}/{t}",
    "bytes {a}-{b}",
    "bytes {a}-{b}/",
    "bytes {a}-/{t}",
    "bytes -{b}/{t}",
    "bytes {a}/{t}",
    "bytes */{t}",
    "bytes */*",
    "bytes {b}-{a}/{t}",
    "bytes {a}-{t}/{t}",
    "bytes {t}-{t}/{t}",
    "bytes {a}-{b}/{b}",
    "bytes {a}-{b}/0",
    "bytes  {a}-{b}/{t}",
    "bytes\t{a}-{b}/{t}",
    "bytes {a} -{b}/{t}",
    "bytes {a}- {b}/{t}",
    "bytes {a}-{b} /{t}",
    "bytes {a}-{b}/ {t}",
    "bytes +{a}-{b}/{t}",
    "bytes {a}-+{b}/{t}",
    "bytes -{a}-{b}/{t}",
    "bytes {a}--{b}/{t}",
    "bytes {a}-{b}/5_000",
    "bytes {a}-4_999/{t}",
    "bytes {a}-0x1387/{t}",
    "bytes {a}-4999.0/{t}",
    "bytes {a}-{b}/5e3",
    "bytes {a}-{b}/{t}, bytes 0-1/{t}",
    "bytes {a}-{b}/{t};x",
    "bytes {a}-{b}/" + "9" * 25,
    "bytes {a}-" + "0" * 21 + "{b}/{t}",
    "bytes {a}-{b}/9223372036854775807",
    "bytes {a}-\u0664\u0669\u0669\u0669/{t}",
    "bytes {a}-499\u00b9/{t}",
    "items {a}-{b}/{t}",
    "octets {a}-{b}/{t}",
]


def said(text: str, *more: str) -> Script:
    """Ranges are answered with this Content-Range and with zeros, plain requests honestly."""

    def script(server: Server, asked: Asked) -> Answer:
        if asked.start is None:
            return server.honest(asked)
        made = text.format(a=asked.start, b=SIZE - 1, t=SIZE).encode().decode("latin-1")
        body = bytes(SIZE - asked.start)
        return [Head("206 Partial Content", len(body), made, more=more).encode(), body]

    return script


def run(row: Row, mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    folder.mkdir()
    return play(row, mode, folder, monkeypatch)


@pytest.mark.parametrize("mode", [FRESH, RESUME])
def test_p12_no_malformed_content_range_is_believed(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = [said(text) for text in MALFORMED]
    scripts.append(said("bytes {a}-{b}/{t}", "Content-Range: bytes 0-1/5000"))
    for number, script in enumerate(scripts):
        row = Row("P12", "", script, ends(0), size=SIZE, cut=CUT, fetched=0.0, requests=DEMOTED)
        run(row, mode, tmp_path / str(number), monkeypatch)
    assert len(scripts) > 40


@pytest.mark.parametrize("mode", [FRESH, WORKERS])
def test_p48_every_small_size(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(71):
        options = {"min_split": 1} if mode == WORKERS else {}
        row = Row("P48", "", honest, ends(0), size=size, options=options, requests=2 + size)
        played = run(row, mode, tmp_path / str(size), monkeypatch)
        assert played.target.stat().st_size == size
        came = played.result.bytes_downloaded  # a worker may pass an end that has just moved
        assert came == size if mode == FRESH else came >= size


@pytest.mark.parametrize("mode", [FRESH, RESUME, WORKERS])
def test_p48_sizes_around_block_edges(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in [count * BLOCK + more for count in (1, 2, 3) for more in (-1, 0, 1)]:
        options = {"block_size": BLOCK} if mode != FRESH else {}
        for cut in (BLOCK - 1, BLOCK, BLOCK + 1) if mode == RESUME else (0,):
            row = Row("P48", "", honest, ends(0), size=size, cut=cut, options=options, fetched=1.1)
            if cut < size:
                played = run(row, mode, tmp_path / f"{size}-{cut}", monkeypatch)
                assert played.target.stat().st_size == size
                assert played.result.bytes_reused == cut
