"""What the upstream keeps from shared caches is nobody else's, and how long the rest is fresh."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from rdl.server.meter import FACTOR
from tests.scenarios.coded import KiB, MiB, Origin, coded
from tests.server.proxying import CUT, Proxy, asked, whole
from tests.support.waiting import until


def control(text: str) -> tuple[tuple[str, str], ...]:
    return (("Cache-Control", text),)


def kept(proxy: Proxy) -> list[Path]:
    return list(proxy.site._cache.iterdir())


REFUSED = [control("private, max-age=60"), control("no-store"), (("Vary", "*"),)]


@pytest.mark.parametrize("extra", REFUSED)
def test_s31_what_no_shared_cache_may_keep_is_refused(
    origin: Origin, proxies: Any, extra: tuple[tuple[str, str], ...]
) -> None:
    proxy, origin.extra = proxies(), extra
    for fields in ({}, {"Range": "bytes=0-9"}):
        with asked(proxy, **fields) as answer:
            assert answer.status == 403
            assert b"no cache may keep this" in answer.read()
    assert until(lambda: not kept(proxy))


@pytest.mark.parametrize("status", [None, 304])
def test_s31_what_becomes_private_is_no_longer_kept(
    origin: Origin, proxies: Any, status: int | None
) -> None:
    proxy = proxies()
    assert whole(proxy) == origin.content
    assert until(lambda: not proxy.site._held)
    origin.extra, origin.always = control("private"), status
    with asked(proxy) as answer:
        assert answer.status == 403
    assert until(lambda: not kept(proxy))


def test_s31_readers_are_cut_off_when_it_becomes_private(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1})
    origin.hold_after, origin.extra = MiB, control("no-cache")
    reader = asked(proxy)
    assert reader.read(1000) == coded(0, 1000)
    assert origin.held.wait(5)
    origin.extra = control("private")
    with asked(proxy) as late:
        assert late.status == 403
    with pytest.raises(CUT):
        reader.read()


def test_s31_those_who_know_the_token_share_what_is_private(origin: Origin, proxies: Any) -> None:
    proxy, origin.extra = proxies(private=True), control("private, max-age=60")
    with asked(proxy) as answer:
        assert answer.headers["Cache-Control"] == "private, max-age=60"
        assert answer.read() == origin.content
    origin.extra = control("no-store")
    with asked(proxy, "/other") as answer:
        assert answer.status == 403


def test_nothing_is_asked_while_it_is_fresh(origin: Origin, proxies: Any) -> None:
    proxy, origin.extra = proxies(), (*control("max-age=600"), ("Age", "100"))
    assert whole(proxy) == origin.content
    assert until(lambda: proxy.site._held["/file.bin"].done and not held(proxy).busy)
    requests = len(origin.log)
    with asked(proxy) as answer:
        assert answer.headers["Cache-Control"] == "max-age=600"
        assert 100 <= int(answer.headers["Age"]) < 200
        assert answer.read() == origin.content
    assert len(origin.log) == requests
    held(proxy).said_at -= 501
    origin.etag, origin.salt = '"two"', 9
    proxy.site._sweep_at = 0
    assert whole(proxy) == coded(0, origin.size, 9)


@pytest.mark.parametrize("etag", ['W/"one"', ""])
def test_where_nothing_tells_versions_apart_each_is_hashed(
    origin: Origin, proxies: Any, etag: str
) -> None:
    proxy, origin.extra, origin.etag = proxies(), control("max-age=600"), etag
    for salt in (0, 9):
        origin.salt = salt
        assert whole(proxy) == origin.content
        assert until(lambda: held(proxy).done and not held(proxy).busy)
        digest = hashlib.sha256(origin.content)
        assert held(proxy).sha256 == digest.digest()
        with asked(proxy, method="HEAD") as head:
            assert head.headers["ETag"] == f'"{digest.hexdigest()[:32]}"'
        assert until(lambda: not held(proxy).busy)
        held(proxy).said_at -= 601
        proxy.site._sweep_at = 0


def held(proxy: Proxy) -> Any:
    return proxy.site._held["/file.bin"]


def test_what_was_fresh_is_closed_at_last(origin: Origin, proxies: Any) -> None:
    proxy, origin.extra = proxies(), control("max-age=600")
    assert whole(proxy) == origin.content
    assert until(lambda: held(proxy).done and not held(proxy).busy)
    file, held(proxy).said_at = held(proxy).file, time.monotonic() - 601
    proxy.site._sweep_at = 0
    assert whole(proxy, "/other") == origin.content
    assert until(lambda: file.closed)


@pytest.mark.parametrize("text", ["no-cache", "max-age=0, must-revalidate"])
def test_who_joins_waits_until_it_is_known_to_be_current(
    origin: Origin, proxies: Any, text: str
) -> None:
    proxy, origin.extra = proxies(transfer={"connections": 1}), control(text)
    origin.hold_after = MiB
    first = asked(proxy)
    assert first.read(1000) == coded(0, 1000)
    assert origin.held.wait(5)
    requests = len(origin.log)
    late = asked(proxy, Range="bytes=0-999")
    assert late.read() == coded(0, 1000)
    assert [one.fields.get("range") for one in origin.log[requests:]] == ["bytes=0-0"]
    origin.etag = '"two"'
    assert asked(proxy).status == 502
    with pytest.raises(CUT):
        first.read()


def test_who_joins_what_nothing_tells_apart_comes_later(origin: Origin, proxies: Any) -> None:
    proxy, origin.extra = proxies(transfer={"connections": 1}), control("no-cache")
    origin.hold_after, origin.etag = MiB, ""
    first = asked(proxy)
    assert first.read(1000) == coded(0, 1000)
    late = asked(proxy)
    assert (late.status, late.headers["Retry-After"]) == (503, "1")
    origin.go.set()
    assert first.read() == coded(1000, origin.size)


def test_an_upstream_that_fails_when_it_is_asked_again_ends_nobody_else(
    origin: Origin, proxies: Any
) -> None:
    proxy, origin.extra = proxies(transfer={"connections": 1}), control("no-cache")
    origin.hold_after = MiB
    first = asked(proxy)
    assert first.read(1000) == coded(0, 1000)
    assert origin.held.wait(5)
    origin.statuses = [500]
    assert asked(proxy).status == 502
    origin.go.set()
    assert first.read() == coded(1000, origin.size)


def test_s28_who_asks_for_little_costs_the_upstream_little(origin: Origin, proxies: Any) -> None:
    proxy, origin.size = proxies(), 64 * MiB
    for number in range(12):
        at = (number * 37 % 64) * MiB + number * 1000
        assert len(whole(proxy, Range=f"bytes={at}-{at}")) == 1
    assert origin.sent <= 12 * 384 * KiB


def test_s28_an_address_has_a_budget(origin: Origin, proxies: Any) -> None:
    proxy, origin.size = proxies(budget=2 * MiB, transfer={"connections": 1}), 64 * MiB
    sent = 0
    for number in range(40):
        at = (number * 37 % 64) * MiB + number * 1000
        with asked(proxy, Range=f"bytes={at}-{at}") as answer:
            sent += len(answer.read()) if answer.status == 206 else 0
            last = answer.status, answer.headers["Retry-After"]
    assert last[0] == 429
    assert int(last[1]) > 0
    assert sent >= 5
    assert origin.sent <= FACTOR * sent + 2 * MiB + 384 * KiB
    with asked(proxy, "/other") as answer:
        assert answer.status == 429


def test_s28_who_leaves_early_pays_for_what_comes(origin: Origin, proxies: Any) -> None:
    proxy = proxies(budget=2 * MiB, transfer={"connections": 1})
    origin.hold_after = MiB
    first = asked(proxy)
    assert first.read(1000) == coded(0, 1000)
    first.close()
    assert until(lambda: proxy.site.meter.wait("127.0.0.1", time.monotonic()))
    with asked(proxy, "/other") as answer:
        assert answer.status == 429
    again = asked(proxy)
    origin.go.set()
    assert again.read() == origin.content, "it comes anyway"
    assert until(lambda: not proxy.site.meter.wait("127.0.0.1", time.monotonic()))
    assert whole(proxy, "/other") == origin.content


def test_s28_what_is_held_until_it_is_verified_costs_all_of_it(
    origin: Origin, proxies: Any
) -> None:
    proxy = proxies(budget=2 * MiB, hold=True)
    assert len(whole(proxy, Range="bytes=0-0")) == 1
    with asked(proxy, "/other") as answer:
        assert answer.status == 429


def test_who_reads_a_file_that_is_closed_is_cut(origin: Origin, proxies: Any) -> None:
    proxy = proxies(transfer={"connections": 1})
    origin.hold_after = MiB
    first = asked(proxy)
    assert first.read(1000) == coded(0, 1000)
    held(proxy).file.close()
    origin.go.set()
    with pytest.raises(CUT):
        first.read()
