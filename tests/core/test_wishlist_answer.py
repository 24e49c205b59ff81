"""What answers a wishlist: sent, received in any portions, relayed; and what a client refuses."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core import varint
from rdl.core.chunks import Chunks
from rdl.core.wishlist import (
    FAILED,
    REFUSED,
    Receiver,
    Sender,
    Wish,
    encode_wishlist,
    ending,
    wish,
)
from rdl.errors import ChangedError, NetworkError, ProtocolError, RdlError
from tests.core.wishing import answered, asked, chunks_of, part, portions, received, seeded
from tests.traps.fuzzing import bounded, mutated

VECTORS = Path(__file__).parent.parent / "vectors" / "wishlist"
PARTS = [*map(part, range(6))]
ROW = chunks_of(PARTS)
WISH = wish(ROW, seeded(3), [0, 2, 5])
FILE = dict(enumerate(PARTS))
BEGIN = b"RDLSENT\x01"


def record(data: bytes) -> bytes:
    return varint.encode(len(data)) + data


def end(*numbers: int) -> bytes:
    digests = b"".join(map(ROW.digest, numbers))
    return b"\0\0" + varint.encode(len(numbers)) + sha256(digests).digest()


SENT = [record(PARTS[number]) for number in WISH.numbers]
ANSWER = b"".join([BEGIN, *SENT, end(*WISH.numbers)])


def test_an_answer_byte_by_byte() -> None:
    assert answered(ROW, encode_wishlist(ROW, 3, 7, WISH), FILE) == ANSWER
    assert received(Receiver(ROW, WISH), ANSWER) == {one: PARTS[one] for one in (0, 2, 5)}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_it_comes_in_any_portions(size: int) -> None:
    receiver, order = Receiver(ROW, WISH), []
    for portion in portions(ANSWER, size):
        order += [number for number, _ in receiver.feed(portion)]
    receiver.finish()
    assert order == [*WISH.numbers]


def test_a_chunk_is_handed_out_as_soon_as_it_is_there() -> None:
    receiver = Receiver(ROW, WISH)
    assert [*receiver.feed(BEGIN + SENT[0][:-1])] == []
    assert [number for number, _ in receiver.feed(SENT[0][-1:])] == [WISH.numbers[0]]
    assert receiver.left == 2


def test_row_53_both_sides_count_until_all_is_transferred() -> None:
    sender, receiver = Sender(ROW, WISH.numbers, FILE.get), Receiver(ROW, WISH)
    wished = sum(len(PARTS[number]) for number in WISH.numbers)
    seen = [(receiver.to_transfer, receiver.transferred)]
    for one in sender.answer():
        if [*receiver.feed(one)]:
            seen.append((receiver.to_transfer, receiver.transferred))
    first, second, third = (len(PARTS[number]) for number in WISH.numbers)
    assert seen == [(wished, 0), (wished, first), (wished, first + second), (wished, wished)]
    assert (sender.to_transfer, sender.transferred) == (wished, first + second + third)
    assert receiver.ended


@pytest.mark.parametrize("size", [0, 1, 127, 128, 200])
def test_the_length_of_an_answer_is_known_before(size: int) -> None:
    parts = [bytes([number % 251]) * (1 + 70 * (number % 4)) for number in range(size)]
    sender = Sender(chunks_of(parts), range(size), parts.__getitem__)
    assert sender.length == sum(map(len, sender.answer()))


def test_nothing_wished_is_answered_too() -> None:
    found, receiver = asked(ROW, [], {})
    assert (found, receiver.to_transfer, receiver.transferred) == ({}, 0, 0)


def test_what_the_server_lacks_is_no_failure() -> None:
    has = {number: data for number, data in FILE.items() if number not in {1, 3}}
    sender = Sender(ROW, range(6), has.get)
    assert b"".join(sender.answer()).count(PARTS[1]) == 0
    assert sender.to_transfer == sender.transferred == sum(map(len, has.values()))
    found, receiver = asked(ROW, range(6), has)
    assert found == has
    assert sorted(receiver.absent) == [1, 3]
    assert receiver.to_transfer == receiver.transferred == sum(map(len, has.values()))
    rest, again = asked(ROW, receiver.absent, FILE)
    assert found | rest == FILE
    assert not again.absent


def test_repeated_content_is_handed_out_for_all_of_its_places() -> None:
    """So it cannot be lost between two uses."""
    parts = [b"again", b"one", b"again", b"two", b"again"]
    row = chunks_of(parts)
    found, receiver = asked(row, range(5), dict(enumerate(parts)))
    assert [found[number] for number in range(5)] == parts
    assert receiver.transferred == len(b"again" + b"one" + b"two")


def test_what_was_received_is_sent_on_while_more_comes() -> None:
    """A relay has each chunk for others as soon as it was let in."""
    order = wish(ROW, seeded(3), range(6))
    store: dict[int, bytes] = {}
    first, second = Receiver(ROW, order), Receiver(ROW, order)
    there = dict[int, bytes]()
    relay = Sender(ROW, order.numbers, store.get).answer()
    there.update(second.feed(next(relay)))
    for one in Sender(ROW, order.numbers, FILE.get).answer():
        for number, data in first.feed(one):
            store[number] = data
            there.update(second.feed(next(relay)))
            assert there == store
    there.update(second.feed(next(relay)))
    second.finish()
    first.finish()
    assert there == FILE


def test_a_source_that_has_changed_is_not_sent() -> None:
    sent = list[bytes]()
    with pytest.raises(ChangedError, match=r"^chunk 2: the file is no longer as its list"):
        sent.extend(Sender(ROW, [0, 2], (FILE | {2: b"other"}).get).answer())
    assert b"other" not in sent


def test_what_a_read_raises_is_for_who_sends() -> None:
    def read(number: int) -> bytes:
        raise NetworkError("upstream", f"chunk {number} did not come")

    receiver, answer = Receiver(ROW, WISH), Sender(ROW, WISH.numbers, read).answer()
    assert [*receiver.feed(next(answer))] == []
    with pytest.raises(NetworkError, match="upstream"):
        next(answer)
    with pytest.raises(NetworkError, match=r"^the server cannot go on: upstream is gone$"):
        [*receiver.feed(ending(FAILED, "upstream is gone"))]


@pytest.mark.parametrize(
    ("kind", "error", "begin"),
    [
        (FAILED, NetworkError, "the server cannot go on"),
        (REFUSED, ProtocolError, "the server refused the wishlist"),
    ],
)
def test_failures_within_an_answer(kind: int, error: type[RdlError], begin: str) -> None:
    told = BEGIN + SENT[0] + ending(kind, "x\x1b[2J\ny" + "é" * 900)
    receiver = Receiver(ROW, WISH)
    with pytest.raises(error, match=begin) as caught:
        received(receiver, told, 1)
    assert receiver.left == 2
    with pytest.raises(error) as at_once:
        received(Receiver(ROW, WISH), told)
    assert str(caught.value) == str(at_once.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "it does not begin like one"),
        (b"RDLSENT\x02", "version 2; this rdl knows 1"),
        (BEGIN + record(PARTS[0] + b"x"), "chunk 0 has .* bytes instead of"),
        (BEGIN + varint.encode(len(PARTS[0]) - 1), "chunk 0 has .* bytes instead of"),
        (BEGIN + varint.encode(1 << 24), "chunk 0 has 16777216 bytes instead of"),
        (BEGIN + varint.encode((1 << 24) + 1), "a number above 16777216"),
        (BEGIN + b"\xff" * 4, "a number above 16777216"),
        (BEGIN + b"\x80\0", "longer than it need be"),
        (BEGIN + record(PARTS[0][:-1] + b"x"), "chunk 0 has not its digest"),
        (BEGIN + b"\0\x04", "a record of an unknown kind, 4"),
        (BEGIN + b"\0\xff", "a record of an unknown kind, 255"),
        (BEGIN + end(), "it ends while 3 chunks were to come"),
        (BEGIN + SENT[0] + b"\0\1" + end(0), "it ends while 1 chunks were to come"),
        (BEGIN + b"\0\1" * 4, "a chunk that was not wished"),
        (BEGIN + b"".join(SENT) + record(PARTS[1]), "a chunk that was not wished"),
        (BEGIN + b"".join(SENT) + SENT[0], "a chunk that was not wished"),
        (BEGIN + b"".join(SENT) + end(0, 2), "its end speaks of other chunks"),
        (BEGIN + b"".join(SENT) + end(0, 1, 2), "its end speaks of other chunks"),
        (ANSWER[:-33] + b"\x02" + ANSWER[-32:], "its end speaks of other chunks"),
        (BEGIN + b"".join(SENT) + b"\0\0" + varint.encode(1 << 23), "a number above 4194304"),
        (ANSWER + b"x", "bytes after its end"),
        (ANSWER + ANSWER, "bytes after its end"),
        (BEGIN + b"\0\2" + varint.encode(1001), "a number above 1000"),
        (BEGIN + b"\0\3\xff\xff\xff", "a number above 1000"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_damages(answer: bytes, why: str, size: int) -> None:
    receiver = Receiver(ROW, WISH)
    with pytest.raises(ProtocolError, match=why) as caught:
        received(receiver, answer, size)
    assert str(caught.value).startswith("answer to the wishlist: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(ProtocolError, match=why):
        [*receiver.feed(b"")]


@pytest.mark.parametrize("stop", range(len(ANSWER)))
def test_a_cut_is_never_an_end(stop: int) -> None:
    receiver = Receiver(ROW, WISH)
    found = dict(receiver.feed(ANSWER[:stop]))
    with pytest.raises(NetworkError, match=f"it was cut while {receiver.left} chunks"):
        receiver.finish()
    assert found == {number: PARTS[number] for number in WISH.numbers[: 3 - receiver.left]}


def test_what_came_before_a_failure_is_handed_out() -> None:
    wrong = BEGIN + SENT[0] + record(b"wrong")
    receiver, found = Receiver(ROW, WISH), []
    with pytest.raises(ProtocolError, match="bytes instead of"):
        found.extend(number for number, _ in receiver.feed(wrong))
    assert found == [WISH.numbers[0]]
    assert receiver.transferred == len(PARTS[WISH.numbers[0]])


def test_all_of_a_digest_counts() -> None:
    row = Chunks("sha256", 16, ROW.stops[:1], ROW.digests[:15] + b"\0")
    receiver = Receiver(row, Wish([0]))
    with pytest.raises(ProtocolError, match="chunk 0 has not its digest"):
        [*receiver.feed(ANSWER)]
    assert ROW.digests[15] != 0


def test_the_vectors() -> None:
    """Of the chunks "one", "two", "three", "one", "" and "two", k = 4, seed = 5; the server lacks
    "two". They stay as they are while the version is 1."""
    parts = [b"one", b"two", b"three", b"one", b"", b"two"]
    row = chunks_of(parts)
    wished = wish(row, seeded(4, 5), range(6))
    request = encode_wishlist(row, 4, 5, wished)
    answer = answered(row, request, {0: b"one", 2: b"three", 3: b"one"})
    assert request.hex() == (VECTORS / "request.hex").read_text().strip()
    assert answer.hex() == (VECTORS / "answer.hex").read_text().strip()
    assert received(Receiver(row, wished), answer) == {0: b"one", 2: b"three", 3: b"one"}


def test_a_length_alone_takes_no_memory() -> None:
    """Of what is not wished nothing is kept, and of what is no more than has come."""
    size = 16 << 20
    row = Chunks("sha256", 16, ROW.stops[:0] + type(ROW.stops)("Q", [size]), bytes(16))
    receiver = Receiver(row, wish(row, seeded(1), [0]))
    tracemalloc.start()
    found = [*receiver.feed(BEGIN + varint.encode(size) + bytes(1000))]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found, peak < 100_000) == ([], True)


@bounded
@given(st.data())
def test_whatever_comes_only_right_chunks_are_let_in(data: st.DataObject) -> None:
    answer = data.draw(mutated(ANSWER))
    receiver, found = Receiver(ROW, WISH), dict[int, bytes]()
    ended = False
    with suppress(ProtocolError, NetworkError):
        for portion in portions(answer, data.draw(st.integers(1, 40))):
            for number, chunk in receiver.feed(portion):
                found[number] = chunk
        receiver.finish()
        ended = True
    assert all(PARTS[number] == chunk for number, chunk in found.items())
    assert not ended or {*found, *receiver.absent} == {*WISH.numbers}
    assert not ended or receiver.to_transfer == receiver.transferred
