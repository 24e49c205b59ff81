"""The Gate: no body is written unless every rule holds."""

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.fields import ResponseHead
from rdl.core.gate import Ask, Passed, Stopped, examine_partial, examine_whole


def head(content_range="bytes 100-199/1000", length=100, framing="length", fields=(), status=206):
    ranges = (("content-range", content_range),) if content_range else ()
    return ResponseHead(status, (*ranges, *fields), framing=framing, content_length=length)


ASK = Ask(100, 200)


def test_what_was_asked_for_passes():
    assert examine_partial(ASK, head(), None) == Passed(ByteRange(100, 200), 1000)
    assert examine_partial(ASK, head(), 1000) == Passed(ByteRange(100, 200), 1000)


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "bytes 99-199/1000",
        "bytes 101-199/1000",
        "bytes 0-99/1000",
        "bytes 100-199/*",
        "bytes 199-100/1000",
        "bytes 100-199/150",
        "items 100-199/1000",
        "nonsense",
    ],
)
def test_another_place_or_no_place_is_stopped(content_range):
    assert isinstance(examine_partial(ASK, head(content_range), None), Stopped)


@pytest.mark.parametrize("length", [99, 101, 0, None])
def test_a_length_that_disagrees_is_stopped(length):
    assert isinstance(examine_partial(ASK, head(length=length), None), Stopped)


@pytest.mark.parametrize(
    "field",
    [
        ("content-range", "bytes 100-199/1000"),
        ("content-range", "bytes 200-299/1000"),
        ("content-encoding", "gzip"),
        ("content-encoding", "br"),
        ("content-encoding", "identity, gzip"),
        ("content-type", "multipart/byteranges; boundary=x"),
        ("content-type", "Multipart/ByteRanges"),
    ],
)
def test_a_contradicting_field_is_stopped(field):
    assert isinstance(examine_partial(ASK, head(fields=(field,)), None), Stopped)


def test_identity_is_no_coding():
    assert isinstance(
        examine_partial(ASK, head(fields=(("content-encoding", "Identity"),)), None), Passed
    )


def test_a_206_nobody_asked_for_is_stopped():
    assert isinstance(examine_partial(Ask(ranged=False), head("bytes 0-9/10", 10), None), Stopped)


def test_a_shorter_answer_is_what_it_says():
    passed = examine_partial(ASK, head("bytes 100-149/1000", 50), None)
    assert passed == Passed(ByteRange(100, 150), 1000)


def test_a_longer_answer_is_cut_to_what_was_asked():
    passed = examine_partial(ASK, head("bytes 100-299/1000", 200), None)
    assert passed == Passed(ByteRange(100, 200), 1000)


def test_an_unsaid_total_is_taken_from_what_is_known():
    said = head("bytes 100-199/*")
    assert examine_partial(ASK, said, 1000) == Passed(ByteRange(100, 200), 1000)
    assert isinstance(examine_partial(ASK, said, 150), Stopped)


def test_a_chunked_206_needs_no_length():
    passed = examine_partial(ASK, head(length=None, framing="chunked"), None)
    assert passed == Passed(ByteRange(100, 200), 1000)


@pytest.mark.parametrize(
    ("content_range", "length", "right"),
    [
        ("bytes 900-999/1000", 100, True),
        ("bytes 0-49/50", 50, True),
        ("bytes 900-998/1000", 99, False),
        ("bytes 901-999/1000", 99, False),
        ("bytes 0-99/1000", 100, False),
        ("bytes 800-999/1000", 200, False),
    ],
)
def test_a_suffix_is_the_end_and_as_long_as_asked(content_range, length, right):
    answer = examine_partial(Ask(suffix=100), head(content_range, length), None)
    assert isinstance(answer, Passed) is right


def test_a_200_is_one_stream_from_the_start():
    whole = head(None, 70, status=200)
    assert examine_whole(whole) == Passed(ByteRange(0, 70), 70)
    assert examine_whole(head(None, 0, status=200)) == Passed(ByteRange(0, 0), 0)
    unknown = examine_whole(head(None, None, "chunked", status=200))
    assert isinstance(unknown, Passed)
    assert unknown.total is None


def test_a_200_with_a_content_range_or_coding_is_stopped():
    assert isinstance(examine_whole(head("bytes 0-69/70", 70, status=200)), Stopped)
    coded = head(None, 70, status=200, fields=(("content-encoding", "gzip"),))
    assert isinstance(examine_whole(coded), Stopped)
    coded = head(None, 70, status=200, fields=(("content-type", "multipart/byteranges; b=x"),))
    assert isinstance(examine_whole(coded), Stopped)


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (Ask(), "bytes=0-"),
        (Ask(5, 6), "bytes=5-5"),
        (Ask(suffix=9), "bytes=-9"),
        (Ask(ranged=False), None),
    ],
)
def test_the_range_field_of_an_ask(ask, field):
    assert ask.range_field == field
