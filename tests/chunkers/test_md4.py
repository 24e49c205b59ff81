"""MD4 of many blocks at once is MD4 of each."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rdl.chunkers import md4 as module
from rdl.chunkers.md4 import md4
from tests.support.zsyncs import slow_md4

RFC_1320 = {
    b"": "31d6cfe0d16ae931b73c59d7e0c089c0",
    b"a": "bde52cb31de33e46245e05fbdbd6fb24",
    b"abc": "a448017aaf21d8525fc10ae87aa6729d",
    b"message digest": "d9130a8164549fe818874806e1c7014b",
    b"abcdefghijklmnopqrstuvwxyz": "d79e1c308aa5bbcdeea8ed63df412da9",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": (
        "043f8582f241db351ce627e153e7f0e4"
    ),
    b"1234567890" * 8: "e33b4ddc9c38f2199c3e7b164fcc0536",
}
"""Appendix A.5."""


def digests(data: bytes, offsets: list[int], length: int) -> list[bytes]:
    found = md4(np.frombuffer(data, np.uint8), np.array(offsets, np.int64), length)
    assert found.shape == (len(offsets), 16)
    return [row.tobytes() for row in found]


@pytest.mark.parametrize("message", RFC_1320, ids=len)
def test_the_vectors_of_the_rfc(message: bytes) -> None:
    assert slow_md4(message).hex() == RFC_1320[message]
    assert digests(message, [0], len(message)) == [slow_md4(message)]
    twice = digests(b"x" + message + message, [1, 1 + len(message)], len(message))
    assert twice == [slow_md4(message)] * 2


@pytest.mark.parametrize("length", [1, 16, 55, 56, 63, 64, 65, 119, 120, 128, 500, 2048])
def test_blocks_at_any_offset(length: int) -> None:
    data = random.Random(length).randbytes(length + 40)
    offsets = [40, 0, 7, 7, 33]
    assert digests(data, offsets, length) == [slow_md4(data[at : at + length]) for at in offsets]


def test_what_is_gathered_in_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHERED", 300)
    data = random.Random(1).randbytes(1003)
    assert digests(data, [0, 3], 1000) == [slow_md4(data[:1000]), slow_md4(data[3:])]


def test_of_no_block() -> None:
    assert digests(b"", [], 64) == []
