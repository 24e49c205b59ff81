"""What tests of wishlists over HTTP are made of: a file, its list, and a client in steps."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from rdl.core.chunks import Chunks
from rdl.core.manifest import Manifest, parse_coarse, parse_head
from rdl.core.representation import WISHES_TYPE
from rdl.core.shuffle import Permutation
from rdl.core.wishlist import Receiver, encode_wishlist, wish
from rdl.server.version import Version
from tests.server.wire import connected, request, response
from tests.support.waiting import until

DATA = random.Random(9).randbytes(600_000)
LIST = "/data.bin.rdlm"


def manifest_of(port: int, path: str = LIST) -> tuple[Manifest, bytes]:
    """The first level, and all of it, as the server says it."""
    with connected(port) as sock:
        sock.sendall(request(port, path))
        status, data = response(sock)
    assert status == 200, data
    return parse_coarse(parse_head(data), data), data


def list_of(port: int, path: str = LIST) -> Chunks:
    """The list of coarse chunks, as the server says it."""
    return manifest_of(port, path)[0].coarse


def body_for(chunks: Chunks, lacking: Iterable[int], slots: int = 3, seed: int = 7) -> bytes:
    permutation = Permutation.seeded(slots, seed)
    return encode_wishlist(chunks, slots, seed, wish(chunks, permutation, lacking))


def receiver_for(chunks: Chunks, lacking: Iterable[int], slots: int = 3, seed: int = 7) -> Receiver:
    return Receiver(chunks, wish(chunks, Permutation.seeded(slots, seed), lacking))


def post(port: int, body: bytes, *fields: str, path: str = LIST, kind: str = WISHES_TYPE) -> bytes:
    """The bytes of a request with a wishlist."""
    said = (f"Content-Type: {kind}", f"Content-Length: {len(body)}", *fields)
    return request(port, path, *said, method="POST") + body


def answered(port: int, body: bytes, *fields: str) -> tuple[int, bytes]:
    with connected(port) as sock:
        sock.sendall(post(port, body, *fields))
        return response(sock)


def settle(path: Path) -> None:
    """Wait until its times tell of any change, so that its ETag is strong."""

    def is_old() -> bool:
        with path.open("rb") as file:
            return not Version.of(file.fileno()).is_young

    assert until(is_old)
