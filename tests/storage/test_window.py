"""The ring of a stream: what the reader has released gives room, and late bytes fall."""

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.errors import LocalFileError
from rdl.storage.window import WindowStore

DATA = bytes(range(250)) * 8


def begun(size, total=2000, span=None):
    store = WindowStore(size)
    store.begin(Header("http://h/f", Representation(total), 1 << 18, span))
    return store


def read(store, start, stop):
    view, at = memoryview(bytearray(stop - start)), 0
    while at < len(view):
        at += store.read_into(start + at, view[at:])
    return bytes(view)


@pytest.mark.parametrize("size", [64, 100, 2000, 5000])
@pytest.mark.parametrize("step", [1, 7, 64])
def test_bytes_come_out_as_they_went_in(size, step):
    store, out = begun(size), b""
    for at in range(0, len(DATA), step):
        store.write_at(at, memoryview(DATA[at : at + step]))
        out += read(store, at, min(at + step, len(DATA)))
        store.release(min(at + step, len(DATA)))
    assert out == DATA


def test_bytes_that_come_after_they_were_released_change_nothing():
    store = begun(100)
    store.write_at(0, memoryview(DATA[:100]))
    store.release(90)
    store.write_at(100, memoryview(DATA[100:190]))
    store.write_at(0, memoryview(b"\xff" * 90))
    store.write_at(80, memoryview(b"\xff" * 10 + DATA[90:100]))
    assert read(store, 90, 190) == DATA[90:190]


def test_bytes_beyond_the_window_are_refused():
    store = begun(100)
    store.release(50)
    store.write_at(50, memoryview(DATA[50:150]))
    with pytest.raises(LocalFileError):
        store.write_at(51, memoryview(DATA[51:151]))


def test_bytes_behind_the_reader_stay_for_a_while_as_it_got_them():
    store = begun(160)
    store.write_at(0, memoryview(DATA[:160]))
    store.release(100)
    store.write_at(80, memoryview(b"\xff" * 20 + DATA[100:110]))
    assert read(store, 90, 160) == DATA[90:160]
    store.write_at(160, memoryview(DATA[160:260]))
    assert read(store, 90, 100) == DATA[90:100]
    assert store.read_into(89, memoryview(bytearray(9))) == 0
    store.close()
    assert store.read_into(95, memoryview(bytearray(5))) == 0


def test_of_what_passes_by_the_end_stays_to_compare_and_there_is_room_for_more():
    store = begun(160)
    store.write_at(0, memoryview(DATA[:100]))
    store.release(100)
    store.pass_by(100, memoryview(DATA[100:300]))
    assert read(store, 290, 300) == DATA[290:300]
    assert store.read_into(289, memoryview(bytearray(11))) == 0
    store.pass_by(300, memoryview(DATA[300:304]))
    assert read(store, 294, 304) == DATA[294:304]
    store.write_at(296, memoryview(b"\xff" * 8 + DATA[304:464]))
    assert read(store, 294, 464) == DATA[294:464]
    store.close()
    store.pass_by(464, memoryview(DATA[464:470]))
    assert store.read_into(466, memoryview(bytearray(4))) == 0


def test_a_span_begins_where_it_begins_and_small_ones_need_no_large_ring():
    store = begun(1 << 40, span=ByteRange(1000, 1010))
    assert store.start == 1000
    store.write_at(1000, memoryview(DATA[:10]))
    assert read(store, 1000, 1010) == DATA[:10]
