"""The forms of cafs: round trips, and what hostile ones come to."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core import cafs, varint
from rdl.core.cafs import (
    LARGEST,
    StreamReceiver,
    StreamSender,
    SyncInfo,
    encode_json,
    encode_old,
    parse_json,
    parse_old,
)
from rdl.core.shuffle import MOST_SLOTS, TRIVIAL, Permutation
from rdl.core.wishlist import Wish, bits_of, numbers_in, wish
from rdl.errors import ChangedError, NetworkError, ProtocolError
from tests.core.wishing import chunks_of, portions, received, seeded
from tests.traps.fuzzing import bounded, mutated

PARTS = [b"one", b"", b"three", b"one", b"x" * 70]
INFO = SyncInfo(chunks_of(PARTS, 32), Permutation([1, 2, 0]))
KEYS = [sha256(one).hexdigest() for one in PARTS]
FILE = dict(enumerate(PARTS))
WISH = wish(INFO.chunks, INFO.permutation, range(5))
STREAM = [varint.encode_signed(len(PARTS[one])) + PARTS[one] for one in WISH.numbers]


def same(one: SyncInfo, other: SyncInfo) -> bool:
    return one.chunks == other.chunks and one.permutation.slots == other.permutation.slots


def written(perm: object = (1, 2, 0), **change: object) -> bytes:
    """The SyncInfo of PARTS; of its first chunk these keys are others."""
    first = {"Key": KEYS[0], "Size": 3} | change
    rest = [{"Key": key, "Size": len(one)} for key, one in zip(KEYS[1:], PARTS[1:], strict=True)]
    return json.dumps({"Chunks": [first, *rest], "Perm": perm}).encode()


def test_json_as_cafs_writes_it() -> None:
    assert same(parse_json(written()), INFO)
    assert json.loads(encode_json(INFO)) == json.loads(written())
    upper = written(Key=KEYS[0].upper(), Other=1)
    assert same(parse_json(upper), INFO)


def test_the_old_form_byte_by_byte() -> None:
    info = SyncInfo(INFO.chunks, TRIVIAL)
    sizes = ["06", "00", "0a", "06", "8c01"]
    data = b"".join(bytes.fromhex(key + size) for key, size in zip(KEYS, sizes, strict=True))
    assert encode_old(INFO) == data
    assert same(parse_old(data), info)
    assert same(parse_old(b""), SyncInfo(chunks_of([], 32), TRIVIAL))


@bounded
@given(st.lists(st.binary(max_size=200), max_size=12), st.permutations(range(5)))
def test_row_56_round_trips(parts: list[bytes], slots: list[int]) -> None:
    info = SyncInfo(chunks_of(parts, 32), Permutation(slots))
    assert same(parse_json(encode_json(info)), info)
    assert same(parse_old(encode_old(info)), SyncInfo(info.chunks, TRIVIAL))


def test_an_empty_file_is_one_chunk_without_bytes() -> None:
    info = parse_json(json.dumps({"Chunks": [{"Key": KEYS[1], "Size": 0}], "Perm": [0]}).encode())
    wished = wish(info.chunks, info.permutation, [0])
    assert (len(info.chunks), [*wished.numbers]) == (1, [])
    assert bits_of(info.permutation, 1, wished.numbers) == b"\0"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "SyncInfo: it makes no sense"),
        (b"{}", "SyncInfo: it makes no sense"),
        (b"\xff\xfe", "SyncInfo: it makes no sense"),
        (b"[" * 100_000, "SyncInfo: it makes no sense"),
        (b'{"Chunks":null,"Perm":[0]}', "SyncInfo: it makes no sense"),
        (b'{"Chunks":[],"Perm":' + b"[" * 100_000, "SyncInfo: it makes no sense"),
        (b'{"Chunks":[],"Perm":null}', "SyncInfo: it makes no sense"),
        (b'{"Chunks":[],"Perm":["\xff"]}', "SyncInfo: it makes no sense"),
        (written(perm=[]), "permutation: it has 0 numbers"),
        (written(perm=[0, 0]), "permutation: it has 0 twice"),
        (written(perm=[1]), "permutation: a number is not within 0 to 0"),
        (written(perm=[-1, 0]), "permutation: a number is not within 0 to 1"),
        (written(perm=[0, 1 << 70]), "permutation: a number is not within|it makes no sense"),
        (written(perm=[0.5]), "SyncInfo: it makes no sense"),
        (written(perm=[*range(MOST_SLOTS + 1)]), "permutation: it has 65537 numbers"),
        (written(Key=KEYS[0] + "00"), "SyncInfo: it makes no sense"),
        (written(Key=KEYS[0][:-2]), "SyncInfo: it makes no sense"),
        (written(Key="g" * 64), "SyncInfo: it makes no sense"),
        (written(Key="é" * 64), "SyncInfo: it makes no sense"),
        (written(Key="00" * 31 + "  "), "SyncInfo: a key is not 64 hex digits"),
        (written(Key=None), "SyncInfo: it makes no sense"),
        (written(Size=-1), "SyncInfo: it makes no sense"),
        (written(Size=(1 << 17) + 1), "SyncInfo: it makes no sense"),
        (written(Size=1 << 80), "SyncInfo: it makes no sense"),
        (written(Size=1.5), "SyncInfo: it makes no sense"),
        (written(Size="3"), "SyncInfo: it makes no sense"),
        (written(Size=0), "SyncInfo: chunk 0 has 0 bytes and another's key"),
        (written(Key=KEYS[1]), "SyncInfo: chunk 0 has 3 bytes and another's key"),
    ],
    ids=lambda one: str(one)[:60],
)
def test_row_56_hostile_json(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{why}") as caught:
        parse_json(data)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


KEY = bytes.fromhex(KEYS[0])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (KEY, "it ends within chunk 0"),
        (KEY[:5], "it ends within chunk 0"),
        (KEY + b"\x06" + KEY, "it ends within chunk 1"),
        (KEY + b"\x80", "it ends within chunk 0"),
        (KEY + b"\x05", "chunk 0 has a size of -3"),
        (KEY + b"\x86\0", "longer than it need be"),
        (KEY + varint.encode_signed((1 << 17) + 1), "a number above 262144"),
        (KEY + b"\xff" * 9 + b"\x01", "a number above 262144"),
        (KEY + b"\0", "chunk 0 has 0 bytes and another's key"),
    ],
)
def test_row_56_hostile_old_forms(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=f"^SyncInfo: {why}|^SyncInfo: .*{why}"):
        parse_old(data)


def bomb(entry: bytes, count: int, perm: bytes = b"[0]") -> bytes:
    entries = b",".join([entry] * count)
    return b'{"Chunks":[' + entries + b'],"Perm":' + perm + b"}"


ENTRY = b'{"Key":"' + KEYS[0].encode() + b'","Size":3}'


@pytest.mark.parametrize(
    ("parse", "made"),
    [
        (parse_json, lambda: bomb(b"{}", 1_000_000)),
        (parse_json, lambda: bomb(b'{"Key":"","Size":0}', 1_000_000)),
        (parse_json, lambda: bomb(ENTRY, 1_000_000)),
        (parse_json, lambda: bomb(ENTRY, 1, b"[" + b"0," * 1_000_000 + b"0]")),
        (parse_json, lambda: bomb(ENTRY, 1, b"[" + b" " * 2_000_000 + b"0]")),
        (parse_json, lambda: bytes(LARGEST + 1)),
        (parse_old, lambda: bytes(LARGEST + 1)),
    ],
    ids=["empty", "short", "entries", "permutation", "spaces", "length", "old"],
)
def test_row_56_bombs_take_no_memory(
    parse: Callable[[bytes], SyncInfo], made: Callable[[], bytes]
) -> None:
    data = made()
    tracemalloc.start()
    with pytest.raises(ProtocolError, match=r"^SyncInfo: "):
        parse(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_memory_is_bounded_by_what_is_read() -> None:
    data = bomb(ENTRY, 20_000)
    tracemalloc.start()
    assert len(parse_json(data).chunks) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(data)


@bounded
@given(st.data())
def test_whatever_comes_is_a_list_or_refused(data: st.DataObject) -> None:
    form, parse = data.draw(
        st.sampled_from([(written(), parse_json), (encode_old(INFO), parse_old)])
    )
    info = SyncInfo(chunks_of([], 32), TRIVIAL)
    with suppress(ProtocolError):
        info = parse(data.draw(mutated(form)))
    assert len(info.chunks.digests) == 32 * len(info.chunks)
    assert sorted(info.permutation.slots) == [*range(len(info.permutation))]
    assert all(0 <= size <= cafs.MOST_CHUNK for _, size in info.entries())


def test_wishes_are_bits_alone() -> None:
    bits = bits_of(INFO.permutation, 5, WISH.numbers)
    assert [*WISH.numbers] == [0, 2, 4]
    assert bits == bytes([0b01010100])
    assert [*numbers_in(INFO.permutation, INFO.chunks, bits)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("bits", "why"),
    [
        (b"", "too short"),
        (b"\x54\0", "too long: 2 bytes for 7 steps"),
        (b"\x55", "too long: a wish beyond its 7 steps"),
        (b"\x80", "a wish at step 0, where no chunk comes out"),
        (b"\x20", "a wish for chunk 1, which has no bytes"),
    ],
)
def test_wishes_that_are_refused(bits: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=f"^wishlist: {why}"):
        numbers_in(INFO.permutation, INFO.chunks, bits)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_stream(size: int) -> None:
    sender, receiver = (
        StreamSender(INFO.chunks, WISH.numbers, FILE.get),
        StreamReceiver(INFO.chunks, WISH),
    )
    sent = b"".join(sender.answer())
    assert sent == b"".join(STREAM)
    found = received(receiver, sent, size)
    assert found == {number: data for number, data in FILE.items() if data}
    assert receiver.to_transfer == receiver.transferred == sender.transferred == 78


def test_content_that_comes_again_is_never_lost() -> None:
    """It is handed out for all its places when it comes, whatever is let go before the end."""
    parts = [b"again" if number % 10 == 3 else b"%04d" % number for number in range(230)]
    chunks = chunks_of(parts, 32)
    wished = wish(chunks, seeded(10), range(230))
    sent = b"".join(StreamSender(chunks, wished.numbers, parts.__getitem__).answer())
    receiver, file, passed = StreamReceiver(chunks, wished), bytearray(920 + 23), 0
    for portion in portions(sent, 50):
        for number, data in receiver.feed(portion):
            span = chunks.chunk(number)
            file[span.start : span.stop] = data
            passed += 1
    receiver.finish()
    assert (bytes(file), passed) == (b"".join(parts), 230)
    assert sent.count(b"again") == 1


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (varint.encode_signed(4) + b"onex", "chunk 0 has 4 bytes instead of 3"),
        (varint.encode_signed(2) + b"on", "chunk 0 has 2 bytes instead of 3"),
        (varint.encode_signed(0), "chunk 0 has 0 bytes instead of 3"),
        (varint.encode_signed(-3) + b"one", "chunk 0 has -3 bytes instead of 3"),
        (varint.encode_signed(3) + b"two", "chunk 0 has not its digest"),
        (STREAM[1], "chunk 0 has 5 bytes instead of 3"),
        (varint.encode_signed(1 << 18), "a number above 262144"),
        (b"\xff" * 9 + b"\x01", "a number above 262144"),
        (b"".join(STREAM) + STREAM[0], "a chunk that was not wished"),
        (b"".join(STREAM) + b"\x80", "a chunk that was not wished"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_streams_that_are_refused(stream: bytes, why: str, size: int) -> None:
    receiver = StreamReceiver(INFO.chunks, WISH)
    with pytest.raises(ProtocolError, match=f"^chunks of cafs: {why}"):
        received(receiver, stream, size)
    with pytest.raises(ProtocolError, match=why):
        [*receiver.feed(b"")]


def test_anything_is_too_much_where_nothing_was_wished() -> None:
    receiver = StreamReceiver(INFO.chunks, Wish([]))
    assert received(receiver, b"") == {}
    with pytest.raises(ProtocolError, match="a chunk that was not wished"):
        [*receiver.feed(b"\0")]


@pytest.mark.parametrize("stop", range(len(b"".join(STREAM))))
def test_a_cut_stream_is_a_broken_connection(stop: int) -> None:
    receiver = StreamReceiver(INFO.chunks, WISH)
    found = dict(receiver.feed(b"".join(STREAM)[:stop]))
    with pytest.raises(NetworkError, match=f"it was cut while {receiver.left} chunks"):
        receiver.finish()
    assert all(FILE[number] == data for number, data in found.items())


def test_what_is_lost_before_it_is_sent_is_no_chunk_less() -> None:
    for lost, why in ((FILE | {4: b"y" * 69}, "no longer as its list"), ({0: b"one"}, "not here")):
        sent = list[bytes]()
        with pytest.raises(ChangedError, match=why):
            sent.extend(StreamSender(INFO.chunks, WISH.numbers, lost.get).answer())
        assert b"".join(sent) == b"".join(STREAM)[: len(b"".join(sent))]
