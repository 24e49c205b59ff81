"""Blobs of container registries: proved by the digest in their path, and kept under it."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.scenarios.coded import MiB, Origin, coded
from tests.server.proxying import CUT, Proxy, asked, whole
from tests.support.waiting import until


def blob(origin: Origin, name: str = "library/a") -> str:
    return f"/v2/{name}/blobs/sha256:{hashlib.sha256(origin.content).hexdigest()}"


def published(proxy: Proxy) -> list[str]:
    return [path.name for path in proxy.site._cache.iterdir() if "." not in path.name]


def test_a_digest_under_two_names_is_fetched_once(origin: Origin, proxies: Any) -> None:
    proxy, names = proxies(), ["library/a", "b", "c/d/e", "b"]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda name: whole(proxy, blob(origin, name)), names)
        assert all(data == origin.content for data in found)
    assert origin.size <= origin.sent <= 1.02 * origin.size
    requests = len(origin.log)
    with asked(proxy, blob(origin, "f").replace(":", "%3A")) as answer:
        digest = hashlib.sha256(origin.content).digest()
        assert answer.headers["ETag"] == f'"sha256:{digest.hex()}"'
        assert answer.headers["Repr-Digest"] == f"sha-256=:{b64encode(digest).decode()}:"
        assert answer.read() == origin.content
    assert len(origin.log) == requests
    assert len(published(proxy)) == 1


def test_what_is_kept_is_proved_again_by_another_server(origin: Origin, proxies: Any) -> None:
    proxy = proxies()
    assert whole(proxy, blob(origin)) == origin.content
    assert until(lambda: published(proxy) != [])
    proxy.site.close()
    (place,) = published(proxy)
    (proxy.site._cache / place).write_bytes(coded(0, origin.size, 3))
    assert whole(proxies(), blob(origin, "b")) == origin.content


@pytest.mark.parametrize("fields", [{}, {"Range": "bytes=-8"}, {"Range": f"bytes={MiB}-"}])
def test_a_wrong_body_is_never_given_to_its_end(
    origin: Origin, proxies: Any, fields: dict[str, str]
) -> None:
    proxy, path = proxies(retry=0), blob(origin)
    origin.salt = 7
    reader = asked(proxy, path, **fields)
    with pytest.raises(CUT):
        reader.read()
    assert published(proxy) == []


def test_a_part_is_given_before_all_is_here(origin: Origin, proxies: Any) -> None:
    proxy = proxies()
    assert whole(proxy, blob(origin), Range="bytes=10-19") == coded(0, 24)[10:20]
    assert origin.sent < MiB


def test_a_name_that_has_it_not_speaks_for_itself(origin: Origin, proxies: Any) -> None:
    proxy = proxies(retry=0)
    origin.always = 404
    with asked(proxy, blob(origin)) as answer:
        assert answer.status == 404
    origin.always = None
    assert whole(proxy, blob(origin, "b")) == origin.content


@pytest.mark.parametrize(
    "path", ["/v2/blobs/sha256:{}", "/v2/a/blobs/sha256:{}0", "/v2/a/manifests/sha256:{}"]
)
def test_other_paths_are_files(origin: Origin, proxies: Any, path: str) -> None:
    proxy = proxies()
    assert whole(proxy, path.format("0" * 64)) == origin.content
