"""One file from several servers (rows P31, P60, S23): all of them fill it, none spoils it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from msgspec.structs import replace

from rdl.api import Session, Target
from rdl.core import asking, pace
from rdl.core.events import Fact, Warned
from rdl.errors import DigestMismatch, HTTPStatusError, UsageError
from rdl.options import BlockDigests, Digest, NetworkOptions, Options, TransferOptions
from rdl.sources import mirrors_of, named, unknown
from rdl.transport.base import ResponseHead
from tests.engine.staging import content_of
from tests.support.mirror import DATE, Mirror
from tests.support.origin import RESET, Answer, response
from tests.support.program import Download, download
from tests.support.waiting import until

KiB, MiB = 1 << 10, 1 << 20
CONTENT = content_of(8 * MiB)
SUM = Digest("sha256", sha256(CONTENT).hexdigest())
BLOCK = 256 * KiB
BLOCKS = BlockDigests(
    BLOCK,
    "sha256",
    tuple(sha256(CONTENT[at : at + BLOCK]).hexdigest() for at in range(0, len(CONTENT), BLOCK)),
)
SMALL = TransferOptions(min_split=256 * KiB)
GONE: Answer = [response(b"", "404 Not Found")]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a second is worth a mirror; in the program it is two seconds."""
    monkeypatch.setattr(pace, "WORTH_SECONDS", 0.5)
    monkeypatch.setattr(asking, "WORTH_SECONDS", 0.5)
    monkeypatch.setattr(pace, "LONG_SECONDS", 1.0)


def gone(number: int) -> Answer | None:
    """The file is not there."""
    return GONE


class Fetched:
    """What came of a download from several servers; the file is right."""

    def __init__(self, folder: Path, *mirrors: Mirror, **more: Any) -> None:
        path = folder / "file.bin"
        self.warnings: list[str] = []
        network = more.pop("network", NetworkOptions(timeout=5))
        options = Options(
            network=network,
            transfer=replace(SMALL, **more),
            mirrors=tuple(mirror.url() for mirror in mirrors[1:]),
        )
        with Session() as session:
            self.result = session.get(Target(mirrors[0].url(), path, options), self._hear)
        assert path.read_bytes() == CONTENT
        assert sorted(one.name for one in folder.iterdir()) == ["file.bin"]

    def _hear(self, fact: Fact) -> None:
        if isinstance(fact, Warned):
            self.warnings.append(fact.message)

    @property
    def said(self) -> str:
        return "; ".join(self.warnings)

    @property
    def brought(self) -> list[int]:
        """Bytes of the file that are of each source."""
        return [
            sum(last + 1 - first for first, last in source.ranges) for source in self.result.sources
        ]


def test_two_fill_one_file_each_as_fast_as_it_can(tmp_path: Path) -> None:
    with Mirror(CONTENT, 2 * MiB) as slow, Mirror(CONTENT, 6 * MiB) as fast:
        fetched = Fetched(tmp_path, slow, fast)
        assert sum(fetched.brought) == len(CONTENT)
        assert fetched.brought[1] > fetched.brought[0] > 0
        assert slow.sent + fast.sent < 1.3 * len(CONTENT)
    assert fetched.result.trust == "T1"
    assert not fetched.warnings
    runs = sorted(run for source in fetched.result.sources for run in source.ranges)
    assert runs[0][0] == 0
    assert all(before[1] + 1 == after[0] for before, after in pairwise(runs))


@pytest.mark.parametrize("fails", [gone, lambda number: [RESET]])
def test_the_mirror_serves_when_the_first_does_not(
    tmp_path: Path, fails: Callable[[int], Answer | None]
) -> None:
    with Mirror(CONTENT, fails=fails) as first, Mirror(CONTENT, 16 * MiB) as second:
        fetched = Fetched(tmp_path, first, second)
        assert fetched.brought == [0, len(CONTENT)]


def test_the_mirror_goes_on_where_the_first_has_stopped(tmp_path: Path) -> None:
    with (
        Mirror(CONTENT, 4 * MiB, fails=lambda number: GONE if number else None) as first,
        Mirror(CONTENT, 16 * MiB) as second,
    ):
        first.cut = 3 * MiB
        fetched = Fetched(tmp_path, first, second)
        assert fetched.brought[0] > MiB // 2
        assert first.sent + second.sent < 1.35 * len(CONTENT), "not all of it anew"


def test_p31_servers_that_disagree_are_not_mixed(tmp_path: Path) -> None:
    other = bytearray(CONTENT)
    other[5 * MiB] ^= 1
    with (
        Mirror(CONTENT, 8 * MiB, 'ETag: "one"', f"Last-Modified: {DATE}") as first,
        Mirror(bytes(other), None, 'ETag: "two"') as second,
    ):
        fetched = Fetched(tmp_path, first, second)
        assert fetched.brought == [len(CONTENT), 0]
        assert "is used only when no other is left: nothing shows that its file" in fetched.said
    assert fetched.result.trust == "T2"


def test_p60_another_length_is_another_file(tmp_path: Path) -> None:
    with Mirror(CONTENT, 8 * MiB) as first, Mirror(CONTENT + b"x") as second:
        fetched = Fetched(tmp_path, first, second)
        assert fetched.brought == [len(CONTENT), 0]
        assert "it has another file now" in fetched.said


def test_other_bytes_under_the_same_date_are_found_before_any_is_taken(tmp_path: Path) -> None:
    with Mirror(CONTENT, 8 * MiB) as first, Mirror(content_of(8 * MiB, 2)) as second:
        fetched = Fetched(tmp_path, first, second)
        assert fetched.brought == [len(CONTENT), 0]
        assert f"{second.url()} is not used any more: it has other bytes" in fetched.said


def test_a_wrong_digest_takes_back_what_the_mirror_brought(tmp_path: Path) -> None:
    with (
        Mirror(CONTENT, 8 * MiB) as first,
        Mirror(CONTENT, 8 * MiB, flips=tuple(range(2 * MiB, 8 * MiB, MiB))) as second,
    ):
        fetched = Fetched(tmp_path, first, second, digests=(SUM,))
        assert fetched.brought == [len(CONTENT), 0]
        assert f"{second.url()} sent wrong bytes" in fetched.said
        assert first.sent < len(CONTENT) + 2 * MiB, "only what the mirror brought came again"
    assert fetched.result.trust == "T4"


def test_with_digests_of_blocks_only_the_wrong_ones_come_again(tmp_path: Path) -> None:
    with (
        Mirror(CONTENT, 8 * MiB) as first,
        Mirror(CONTENT, 8 * MiB, flips=tuple(range(5, 8 * MiB, MiB))) as second,
    ):
        fetched = Fetched(tmp_path, first, second, blocks=BLOCKS)
        assert "are wrong" in fetched.said
        wrong = fetched.result.bytes_downloaded - len(CONTENT)
        assert wrong % BLOCK == 0
        assert first.sent + second.sent <= len(CONTENT) + 1.1 * wrong + 2 * MiB
    assert fetched.result.verified_by == ("blocks:sha256",)


def test_one_server_with_a_bad_block_and_no_other(tmp_path: Path) -> None:
    with Mirror(CONTENT, flips=(5 * MiB,)) as only, pytest.raises(DigestMismatch) as ended:
        Fetched(tmp_path, only, blocks=BLOCKS)
    assert "bytes 5242880-5505023 are not what their digest says" in str(ended.value)
    assert only.sent <= len(CONTENT) + 3 * BLOCK
    assert not (tmp_path / "file.bin").exists()


def test_all_have_failed(tmp_path: Path) -> None:
    with (
        Mirror(CONTENT, fails=gone) as first,
        Mirror(CONTENT, fails=lambda _: [response(b"", "403 Forbidden")]) as second,
        pytest.raises(HTTPStatusError, match="404"),
    ):
        Fetched(tmp_path, first, second)


def test_a_killed_download_goes_on_with_the_mirror_it_was_begun_with(tmp_path: Path) -> None:
    with (
        Mirror(CONTENT, fails=lambda number: GONE if number < 1 else None) as first,
        Mirror(CONTENT, 4 * MiB, 'ETag: "m"') as second,
    ):
        command = ["get", first.url(), "-o", "file.bin", "--mirror", second.url(), "-x1"]
        program = [sys.executable, "-m", "rdl", *command, "--json"]
        with subprocess.Popen(program, cwd=tmp_path, stdout=PIPE, stderr=PIPE) as process:
            assert until(lambda: second.sent > 2 * MiB)
            process.kill()
        assert second.sent < len(CONTENT)
        second.rate = None
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, timeout=60, check=False)
        result = json.loads(done.stdout)
        assert result["bytes_reused"] > 0
        assert result["sources"][0]["bytes_downloaded"] == 0
        assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_digest_let_in_is_not_continued_without_it(
    here: Path, number: signal.Signals
) -> None:
    path, lies = here / "f", range(2 * MiB + 256 * KiB, len(CONTENT), 512 * KiB)
    with (
        Mirror(CONTENT, None, 'ETag: "one"') as first,
        Mirror(CONTENT, None, 'ETag: "two"', flips=tuple(lies)) as second,
    ):
        first.hold, second.hold = 2 * MiB, MiB + 512 * KiB
        words = "--sha256", SUM.hex, "--mirror", second.url()
        with Download(first.url(), path, *words) as run:
            assert run.wait_for("progress", bytes_present=3 * MiB)
            run.interrupt(number)
        left = (here / "f.part").read_bytes()
        assert any(left[at] == second.content[at] for at in lies), "wrong bytes are here"
        first.hold = second.hold = None
        with download(first.url(), path):
            assert path.read_bytes() == CONTENT


# Mirrors that a server names


def test_mirrors_in_a_link_field_are_used_where_a_digest_decides(tmp_path: Path) -> None:
    with Mirror(CONTENT, 8 * MiB, 'ETag: "n"') as second:
        link = f"Link: <{second.url()}>; rel=duplicate"
        digest = f"Repr-Digest: sha-256=:{b64encode(bytes.fromhex(SUM.hex)).decode()}:"
        with Mirror(CONTENT, 8 * MiB, 'ETag: "m"', link) as first:
            fetched = Fetched(tmp_path, first)
            assert (second.sent, fetched.result.sources) == (0, ())
            (tmp_path / "file.bin").unlink()
        with Mirror(CONTENT, 8 * MiB, 'ETag: "m"', link, digest) as first:
            secret = NetworkOptions(headers=(("X-Token", "canary"),), user="u", password="p")
            fetched = Fetched(tmp_path, first, network=secret)
            assert second.sent > MiB
            assert fetched.result.verified_by == ("repr-digest:sha256",)
            assert all("x-token" in seen.fields for seen in first.seen)
            for seen in second.seen:
                assert not {"x-token", "authorization"} & set(seen.fields)


def test_your_login_stays_with_the_url_that_you_gave(tmp_path: Path) -> None:
    secret = NetworkOptions(headers=(("X-Token", "canary"),), user="u", password="p")
    with Mirror(CONTENT, 4 * MiB) as first, Mirror(CONTENT, 4 * MiB) as second:
        Fetched(tmp_path, first, second, network=secret)
        assert all("authorization" in seen.fields for seen in first.seen)
        assert second.seen
        for seen in second.seen:
            assert not {"x-token", "authorization"} & set(seen.fields)


def head(*links: str, url: str = "") -> ResponseHead:
    """A response with these Link fields."""
    return ResponseHead(206, tuple(("link", link) for link in links), url=url)


def test_s23_what_a_server_names_is_looked_at_first() -> None:
    options = Options(mirrors=("http://m/f",), found_mirrors=("http://d/f", "http://m/f"))
    link = "<http://u:p@h/f>; rel=duplicate, </g>; rel=duplicate; pri=2, <http://x/>; rel=duplicate"
    found = named(head(link, url="http://h/f"), "http://h/f", options)
    assert found == ["http://d/f", "http://h/g", "http://x/"]
    assert named(head("<http://m/g>; rel=duplicate"), "https://h/f", Options()) == []
    assert named(head("<http://m/g>; rel=duplicate"), "HTTPS://h/f", Options()) == []
    allowed = Options(network=NetworkOptions(allow_insecure_redirect=True))
    assert named(head("<http://m/g>; rel=duplicate"), "https://h/f", allowed) == ["http://m/g"]
    many = ", ".join(f"<http://m{number}/>; rel=duplicate" for number in range(20))
    assert len(named(head(many), "http://h/f", Options())) == 8


def test_nothing_of_the_users_goes_where_a_server_sends_one() -> None:
    network = NetworkOptions(
        headers=(("A", "b"),),
        user="u",
        password="p",
        cookies=Path("c"),
        cert=Path("c"),
        key=Path("k"),
        proxy="http://proxy",
    )
    assert unknown(network) == NetworkOptions(netrc=False, proxy="http://proxy")
    options = Options(network=network, mirrors=("http://m/f", "http://h:80/g"))
    (_, far), (_, near) = mirrors_of("http://h/f", options)
    assert far == NetworkOptions(cookies=Path("c"), proxy="http://proxy")
    assert near == network


def test_a_login_in_the_url_of_a_mirror_is_refused(tmp_path: Path) -> None:
    options = Options(mirrors=("http://u:canary@m/f",))
    with Session() as session, pytest.raises(UsageError) as refused:
        session.get(Target("http://127.0.0.1:1/f", tmp_path / "f", options))
    assert "canary" not in str(refused.value)
