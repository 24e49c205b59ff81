"""A pull-through cache: one transfer, many readers (rows 40 to 46), and what hostile paths get."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import pytest

from rdl.core.byterange import ByteRange
from rdl.engine.remote_file import RemoteFile
from rdl.server.room import taken
from rdl.storage.platform import PosixDisk
from tests.scenarios.coded import KiB, MiB, Origin, coded
from tests.server.proxying import CUT, asked, whole
from tests.support.waiting import until


def test_row_40_one_transfer_for_many_readers(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1})  # of several some may be sent more than is read
    origin.hold_after = MiB
    readers = [asked(proxy) for _ in range(20)]
    origin.go.set()
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda reader: reader.read(), readers))
    assert all(data == origin.content for data in found)
    assert until(lambda: origin.sent == origin.size)


def test_row_41_who_joins_late_reads_what_is_here(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1})
    origin.hold_after = 2 * MiB
    first = asked(proxy)
    assert first.read(MiB) == coded(0, MiB)
    assert origin.held.wait(5)
    with asked(proxy, method="HEAD") as head:
        assert int(head.headers["Content-Length"]) == origin.size
    late = asked(proxy)
    assert late.read(MiB) == coded(0, MiB)
    assert origin.sent == 2 * MiB, "nothing had to come for that"
    origin.go.set()
    assert first.read() == late.read() == coded(MiB, origin.size)


def test_row_42_ranges_of_what_is_in_flight(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1})
    origin.hold_after = 2 * MiB
    first = asked(proxy)
    assert first.read(MiB) == coded(0, MiB)
    early = whole(proxy, Range="bytes=1000-1999")
    assert early == coded(0, 2000)[1000:]
    beyond = asked(proxy, Range=f"bytes={3 * MiB}-{3 * MiB + 99}")
    assert (beyond.status, beyond.headers["Content-Range"]) == (
        206,
        f"bytes {3 * MiB}-{3 * MiB + 99}/{origin.size}",
    )
    origin.go.set()
    assert beyond.read() == coded(3 * MiB, 3 * MiB + 104)[:100]
    assert whole(proxy, Range="bytes=-8") == coded(origin.size - 8, origin.size)
    with asked(proxy, Range="bytes=0-1,5-6") as several:
        assert several.status == 416
    assert first.read() == coded(MiB, origin.size)
    assert origin.sent <= 1.1 * origin.size


def test_row_43_the_transfer_outlives_its_readers(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1})  # others could have been sent all of that
    origin.hold_after = 512 * KiB
    first = asked(proxy)
    assert first.read(100) == coded(0, 104)[:100]
    first.close()
    origin.go.set()
    assert until(lambda: origin.sent == origin.size)
    requests = len(origin.log)
    assert whole(proxy) == origin.content
    assert sum(one.sent for one in origin.log[requests:]) <= 128 * KiB  # whether it is current


def test_the_page_shows_what_is_in_flight(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1}, most=9 * MiB)
    origin.hold_after = 2 * MiB
    first = asked(proxy)
    assert first.read(MiB) == coded(0, MiB)
    assert origin.held.wait(5)
    assert until(lambda: b" % of 4.0 MiB, downloading, 1 reader<" in whole(proxy, "/"))
    assert until(lambda: proxy.site.view().kept)
    assert b" of 9.0 MiB<" in whole(proxy, "/")
    origin.go.set()
    assert first.read() == coded(MiB, origin.size)
    first.close()
    assert until(lambda: b"No download is running." in whole(proxy, "/"))


def test_row_44_readers_of_a_cut_upstream_see_one_stream(origin: Origin, proxies: Any) -> None:
    proxy, cuts = proxies(), [2 * MiB]

    def before(one: Any, at: int) -> None:
        if cuts and at >= cuts[0]:
            cuts.pop()
            raise OSError("cut")

    origin.before = before
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: whole(proxy), range(3)))
    assert all(data == origin.content for data in found)
    assert not cuts


def test_row_44_all_readers_end_with_the_last_try(origin: Origin, proxies: Any) -> None:
    proxy = proxies(retry=1, transfer={"connections": 1})
    origin.hold_after = MiB
    readers = [asked(proxy) for _ in range(3)]
    for one in readers:
        assert one.read(1000) == coded(0, 1000)
    assert origin.held.wait(5)

    def before(one: Any, at: int) -> None:
        raise OSError("cut")

    origin.before, origin.always = before, 404
    origin.go.set()
    for one in readers:
        with pytest.raises(CUT):
            one.read()
    with asked(proxy) as late:
        assert late.status in (404, 502)
    partials = [path.name for path in (proxy.site._cache).iterdir()]
    assert any(name.endswith(".part") for name in partials)


def test_row_44_another_server_goes_on_with_what_is_here(origin: Origin, proxies: Any) -> None:
    first = proxies(transfer={"connections": 1})
    origin.hold_after = 3 * MiB
    reader = asked(first)
    assert reader.read(MiB) == coded(0, MiB)
    assert origin.held.wait(5)
    assert until(lambda: sum(map(len, first.site._held["/file.bin"].file.present())) > 2 * MiB)
    first.close()
    before = origin.sent
    origin.go.set()
    assert whole(proxies()) == origin.content
    assert origin.sent - before < 2 * MiB


def cut_by_a_change(origin: Origin, proxies: Any) -> Any:
    """A proxy, one reader of which was cut off since the file is another one now."""
    proxy = proxies(retry=2, transfer={"connections": 1})
    origin.hold_after = MiB
    reader = asked(proxy)
    assert reader.read(1000) == coded(0, 1000)
    assert origin.held.wait(20)

    def before(one: Any, at: int) -> None:
        origin.before = None
        origin.etag, origin.salt = '"two"', 5
        raise OSError("cut")

    origin.before = before
    origin.go.set()
    with pytest.raises(CUT):
        reader.read()
    return proxy


def test_row_44_a_file_that_changes_is_never_mixed(origin: Origin, proxies: Any) -> None:
    proxy = cut_by_a_change(origin, proxies)
    time.sleep(2.1)
    assert whole(proxy) == coded(0, origin.size, 5)


def test_row_44_who_comes_while_the_old_one_is_being_closed_gets_an_answer(
    origin: Origin, proxies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.server.upstream.FAILED_SECONDS", 0.0)
    over, close = threading.Event(), RemoteFile.close
    monkeypatch.setattr(RemoteFile, "close", lambda file: over.wait(30) and close(file))
    proxy = cut_by_a_change(origin, proxies)
    with asked(proxy) as late:
        assert late.status == 502
    over.set()


def test_s30_who_was_sent_what_proved_wrong_is_cut(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1})
    origin.hold_after = 2 * MiB
    reader, other = asked(proxy), asked(proxy, Range=f"bytes={MiB}-{3 * MiB - 1}")
    assert reader.read(1000) == coded(0, 1000)
    assert other.read(1000) == coded(MiB, MiB + 1000)
    assert origin.held.wait(5)
    proxy.site._held["/file.bin"].file._flight.hide((ByteRange(0, 100),))
    with pytest.raises(CUT):
        reader.read()
    origin.go.set()
    assert other.read() == coded(MiB + 1000, 3 * MiB)


def test_row_45_a_wrong_digest_is_not_kept(
    origin: Origin, proxies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.server.upstream.FAILED_SECONDS", 0.0)
    proxy = proxies(retry=1)
    origin.repr_digest = "sha-256=:" + "A" * 43 + "=:"
    reader = asked(proxy)
    with pytest.raises(CUT):
        reader.read()
    names = [path.name for path in proxy.site._cache.iterdir()]
    assert all("." in name for name in names)
    origin.repr_digest = None
    assert until(lambda: asked(proxy, method="HEAD").status == 200)
    assert whole(proxy) == origin.content


def test_row_45_what_is_right_stands_under_its_name_alone(origin: Origin, proxies: Any) -> None:
    proxy = proxies()
    digest = b64encode(hashlib.sha256(origin.content).digest()).decode()
    origin.repr_digest, origin.extra = f"sha-256=:{digest}:", (("Cache-Control", "max-age=60"),)
    assert whole(proxy) == origin.content
    assert until(lambda: not proxy.site._held["/file.bin"].busy)
    place = proxy.site._place("/file.bin")
    assert [path.name for path in proxy.site._cache.iterdir()] == [place.name]
    assert place.read_bytes() == origin.content
    requests = len(origin.log)
    assert whole(proxy) == origin.content
    assert len(origin.log) == requests


def test_row_45_held_until_it_is_verified(origin: Origin, proxies: Any) -> None:
    proxy = proxies(hold=True)
    origin.hold_after = 3 * MiB
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(whole(proxy)))
    reader.start()
    assert origin.held.wait(5)
    time.sleep(0.2)
    assert found == []
    origin.go.set()
    reader.join(10)
    assert found == [origin.content]
    with asked(proxy, method="HEAD") as head:
        assert head.status == 200


@pytest.mark.parametrize("size", [0, 1, 300 * KiB])
@pytest.mark.parametrize("lengths", [True, False])
def test_row_46_small_empty_and_of_unknown_length(
    origin: Origin, proxies: Any, size: int, lengths: bool
) -> None:
    proxy = proxies()
    origin.size, origin.lengths = size, lengths
    assert whole(proxy) == origin.content
    assert whole(proxy) == origin.content


def test_row_46_shorter_than_announced_is_an_error(origin: Origin, proxies: Any) -> None:
    proxy = proxies(retry=0)
    origin.broken_at = 3 * MiB
    reader = asked(proxy)
    with pytest.raises(CUT):
        reader.read()


@pytest.mark.parametrize("known", [True, False])
def test_row_46_what_was_longer_before_leaves_nothing(
    origin: Origin, proxies: Any, known: bool
) -> None:
    """A partial of an older and longer version; or longer than its index says."""
    proxy, origin.size = proxies(), 6 * MiB
    assert len(whole(proxy, Range=f"bytes={5 * MiB}-")) == MiB
    assert until(lambda: not proxy.site._held)
    (part,) = [path for path in proxy.site._cache.iterdir() if path.name.endswith(".part")]
    with part.open("ab") as file:
        file.write(b"garbage" * 1000)
    if known:
        origin.size, origin.etag, origin.salt = 4 * MiB, '"two"', 3
    assert whole(proxy) == origin.content


def test_the_upstream_is_asked_again_whether_it_is_current(origin: Origin, proxies: Any) -> None:
    proxy = proxies()
    assert whole(proxy) == origin.content
    assert until(lambda: not proxy.site._held)
    origin.etag, origin.salt = '"two"', 9
    assert whole(proxy) == coded(0, origin.size, 9)


def test_the_etag_stays_while_it_is_fetched_and_afterwards(origin: Origin, proxies: Any) -> None:
    proxy = proxies()
    origin.hold_after = MiB
    first = asked(proxy)
    tag = first.headers["ETag"]
    origin.go.set()
    assert first.read() == origin.content
    assert until(lambda: not proxy.site._held)
    with asked(proxy, If_None_Match=tag) as again:
        assert again.status == 304
    digest = hashlib.sha256(origin.content).digest()
    whole(proxy)
    assert digest in proxy.site._digests.values()


@pytest.mark.parametrize("notes", [True, False])
def test_the_cache_keeps_no_more_than_it_may(
    origin: Origin, proxies: Any, monkeypatch: pytest.MonkeyPatch, *, notes: bool
) -> None:
    """Also where no file system says which files are ours."""
    if not notes:
        monkeypatch.setattr(PosixDisk, "keeps_notes", lambda *_: False)
        monkeypatch.setattr(PosixDisk, "note", lambda *_: None)
    proxy = proxies(most=9 * MiB)
    for name in "abcd":
        assert whole(proxy, f"/{name}") == origin.content
        assert until(lambda: not proxy.site._held)
    assert until(lambda: len(list(proxy.site._cache.iterdir())) == 2)


def test_files_of_others_neither_go_nor_count(origin: Origin, proxies: Any) -> None:
    """Nor those that are named as ours are."""
    proxy = proxies(most=5 * MiB)
    cache = proxy.site._cache
    cache.mkdir(mode=0o700)
    own = proxy.site._place("/a").name
    foreign = {"notes", "c" * 40, f"{'d' * 40}.txt", f"{'e' * 40}.part", f"{own}.txt"}
    for name in foreign:
        (cache / name).write_bytes(bytes(KiB))
        os.utime(cache / name, (0, 0))
    (cache / "notes").write_bytes(bytes(8 * MiB))
    for name in "ab":
        assert whole(proxy, f"/{name}") == origin.content
        assert until(lambda: not proxy.site._held)
    kept = {*foreign, proxy.site._place("/b").name}
    assert until(lambda: {one.name for one in cache.iterdir()} == kept)


def test_parts_of_files_take_no_more_either(origin: Origin, proxies: Any) -> None:
    proxy = proxies(most=3 * MiB)
    for name in "abcdef":
        assert whole(proxy, f"/{name}", Range=f"bytes=0-{MiB - 1}") == coded(0, MiB)
    assert until(lambda: not proxy.site._held)
    assert until(lambda: taken(proxy.site._cache) <= 3 * MiB)


def test_a_bug_while_it_is_kept_ends_who_reads_it(
    origin: Origin, proxies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    proxy = proxies()
    monkeypatch.setattr(proxy.site, "_finish", broken)
    with asked(proxy) as response, suppress(*CUT):  # it may have been sent before
        response.read()
    assert until(lambda: not any(one.busy for one in proxy.site._held.values()))


@pytest.mark.parametrize("etag", ["", 'W/"one"'])
def test_x11_a_time_that_joins_no_parts_upstream_joins_none_here(
    origin: Origin, proxies: Any, etag: str
) -> None:
    proxy, origin.etag = proxies(transfer={"connections": 1}), etag
    origin.hold_after = MiB
    origin.extra = (("Last-Modified", formatdate(usegmt=True)),)
    with asked(proxy) as first:
        assert (first.headers["ETag"], first.headers["Last-Modified"]) == (None, None)
    origin.go.set()


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/x",
        "/a//b",
        "/a%00b",
        "/a%5cb",
        "/./a",
        "/" + "a" * 3000,
    ],
)
def test_s33_paths_that_no_file_has(origin: Origin, proxies: Any, path: str) -> None:
    with asked(proxies(), path) as response:
        assert response.status in (400, 404, 414)
    assert origin.log == []
