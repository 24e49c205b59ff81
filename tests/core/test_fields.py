"""Header text becomes values strictly: what is not the grammar is None, never repaired."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.byterange import ByteRange
from rdl.core.classify import representation_of
from rdl.core.fields import (
    MAX_TOTAL,
    ContentRange,
    ResponseHead,
    format_content_range,
    format_http_date,
    format_range,
    format_suffix,
    parse_content_range,
    parse_etag,
    parse_http_date,
    parse_range,
    parse_retry_after,
    parse_unsatisfied,
)
from rdl.core.representation import Trust
from rdl.options import RangeSpec

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EPOCH = 784111777.0


@pytest.mark.parametrize(
    ("text", "start", "stop", "total"),
    [
        ("bytes 0-0/1", 0, 1, 1),
        ("bytes 0-499/1234", 0, 500, 1234),
        ("bytes 500-1233/1234", 500, 1234, 1234),
        ("bytes 42-1233/*", 42, 1234, None),
        ("BYTES 0-1/2", 0, 2, 2),
        ("bytes 00-01/002", 0, 2, 2),
        (f"bytes 0-{MAX_TOTAL - 1}/{MAX_TOTAL}", 0, MAX_TOTAL, MAX_TOTAL),
    ],
)
def test_a_content_range_is_read(text, start, stop, total):
    assert parse_content_range(text) == ContentRange(ByteRange(start, stop), total)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes ",
        "bytes=0-9/10",
        "bytes: 0-9/10",
        "bytes 0-9",
        "bytes 0-9/",
        "bytes 0-/10",
        "bytes -9/10",
        "bytes 0/10",
        "bytes */10",
        "bytes */*",
        "bytes 9-0/10",
        "bytes 0-10/10",
        "bytes 10-10/10",
        "bytes 0-9/0",
        "bytes 0-9/5",
        "bytes 80000-79999/200000",
        "bytes  0-9/10",
        " bytes 0-9/10",
        "bytes 0-9/10 ",
        "bytes 0-9/10\n",
        "bytes\t0-9/10",
        "bytes 0 -9/10",
        "bytes 0- 9/10",
        "bytes 0-9 /10",
        "bytes 0-9/ 10",
        "bytes +0-9/10",
        "bytes 0-+9/10",
        "bytes -1-9/10",
        "bytes 0--9/10",
        "bytes 0_0-9/10",
        "bytes 0-9/1_0",
        "bytes 0x0-0x9/0xa",
        "bytes 0.0-9/10",
        "bytes 1e1-19/20",
        "bytes \u0660-\u0669/\u0661\u0660",
        "bytes \uff10-\uff19/10",
        "bytes ²-9/10",
        "bytes 0-9/10, bytes 10-19/20",
        "bytes 0-9,20-29/30",
        "bytes 0-9/10; x",
        "items 0-9/10",
        "byte 0-9/10",
        "none 0-9/10",
        "bytes 0-9/**",
        f"bytes 0-{'9' * 25}/*",
        f"bytes 0-9/{'9' * 25}",
        f"bytes 0-9/{MAX_TOTAL + 1}",
        f"bytes 0-{MAX_TOTAL}/*",
        f"bytes 0-{2**63 - 1}/*",
        "bytes 0-9/10\x00",
    ],
)
def test_what_is_no_content_range_is_none(text):
    assert parse_content_range(text) is None


@given(st.text(alphabet="bytes 0123456789-/*=,+_\t٣", max_size=30))
def test_no_text_makes_an_impossible_content_range(text):
    said = parse_content_range(text)
    if said is not None:
        assert said.range
        assert said.total is None or said.range.stop <= said.total


@given(st.integers(0, 2**62), st.integers(1, 2**61))
def test_a_range_is_the_same_after_its_way_over_the_wire(start, length):
    stop = start + length
    first, last = format_range(start, stop).removeprefix("bytes=").split("-")
    assert parse_content_range(f"bytes {first}-{last}/{stop}") == ContentRange(
        ByteRange(start, stop), stop
    )


def test_open_and_suffix_ranges_have_their_forms():
    assert format_range(0, None) == "bytes=0-"
    assert format_range(7, 8) == "bytes=7-7"
    assert format_suffix(500) == "bytes=-500"
    with pytest.raises(ValueError, match="empty"):
        format_range(5, 5)


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("bytes */0", 0),
        ("bytes */1234", 1234),
        ("Bytes */7", 7),
        (None, None),
        ("", None),
        ("bytes */*", None),
        ("bytes */-1", None),
        ("bytes 0-1/2", None),
        ("items */5", None),
        (f"bytes */{MAX_TOTAL + 1}", None),
        ("bytes */5\n", None),
    ],
)
def test_the_total_of_an_unsatisfied_range(text, total):
    assert parse_unsatisfied(text) == total


@pytest.mark.parametrize("text", ['"a"', 'W/"a"', '""', '"a,b"', '"\xff"', '"' + "x" * 1024 + '"'])
def test_an_entity_tag_is_kept_as_sent(text):
    assert parse_etag(text) == text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "a",
        "'a'",
        '"a',
        'a"',
        'w/"a"',
        'W/ "a"',
        '"a b"',
        '"a"b"',
        '"a" ',
        '"\n"',
        '"\x7f"',
        '"' + "x" * 1025 + '"',
        '"a", "b"',
        "W/",
        '"Ā"',
    ],
)
def test_what_is_no_entity_tag_is_none(text):
    assert parse_etag(text) is None


@pytest.mark.parametrize(
    "text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_three_forms_of_a_date_are_one_moment(text):
    assert parse_http_date(text) == EPOCH


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "0",
        "784111777",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:99 GMT",
        "123, 06 Nov 1994 08:49:37 GMT",
        "Foo, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "Sonntag, 06-Nov-94 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(text):
    assert parse_http_date(text) is None


def test_a_leap_second_is_a_date():
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == 1483228799.0


@given(st.datetimes(datetime(1971, 1, 1), datetime(2068, 1, 1)))
def test_every_date_is_read_back_in_every_form(moment):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT"]
    texts = [moment.strftime(form) for form in forms]
    texts.append(moment.strftime(f"%a %b {moment.day:2d} %H:%M:%S %Y"))
    assert [parse_http_date(text) for text in texts] == [moment.timestamp()] * 3


def _after(seconds):
    moment = datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=seconds)
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        (None, None),
        ("0", 0.0),
        ("2", 2.0),
        ("120", 120.0),
        (_after(90), 90.0),
        (_after(-90), 0.0),
        (DATE, 0.0),
        ("", None),
        ("-5", None),
        ("+5", None),
        ("1e3", None),
        ("1.5", None),
        ("5 s", None),
        ("٣", None),
        ("1_0", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
    ],
)
def test_the_delay_a_server_asks_for(text, delay):
    assert parse_retry_after(text, DATE) == delay


@pytest.mark.parametrize("text", ["999999999", "9999999999", "9" * 5000], ids=len)
def test_an_absurd_delay_is_long_and_a_number(text):
    delay = parse_retry_after(text, None)
    assert delay is not None
    assert 10**8 < delay <= 10**9


def test_a_date_to_wait_for_counts_from_the_servers_own_clock():
    assert parse_retry_after(_after(90), None) is None
    assert parse_retry_after(_after(90), "nonsense") is None


def test_a_head_knows_its_fields():
    head = ResponseHead(200, (("a", "1"), ("b", "2"), ("a", "3")))
    assert head.all("a") == ["1", "3"]
    assert head.get("a") == "1"
    assert head.get("c") is None


def _described(*headers, total=10):
    return representation_of(ResponseHead(200, headers), total, whole=True)


@pytest.mark.parametrize(
    ("headers", "trust"),
    [
        ((("etag", '"a"'),), Trust.T2),
        ((("etag", 'W/"a"'),), Trust.T0),
        ((("etag", "a"),), Trust.T0),
        ((("etag", '"a"'), ("etag", '"b"')), Trust.T0),
        ((("etag", '"a"'), ("etag", '"a"')), Trust.T2),
        ((("last-modified", DATE), ("date", _after(1))), Trust.T1),
        ((("last-modified", DATE), ("date", DATE)), Trust.T0),
        ((("last-modified", _after(60)), ("date", DATE)), Trust.T0),
        ((("last-modified", DATE),), Trust.T0),
        ((("last-modified", "yesterday"), ("date", DATE)), Trust.T0),
        ((), Trust.T0),
    ],
)
def test_how_far_a_heads_validators_are_trusted(headers, trust):
    assert _described(*headers).trust is trust


def test_without_a_total_nothing_is_trusted():
    assert _described(("etag", '"a"'), total=None).trust is Trust.T0


def test_the_media_type_is_short_and_plain():
    assert _described(("content-type", "Text/HTML; charset=x")).media_type == "text/html"
    assert _described().media_type is None
    assert len(_described(("content-type", "x" * 999)).media_type) == 200


@given(st.integers(0, MAX_TOTAL), st.none() | st.integers(1, MAX_TOTAL))
def test_a_range_that_is_written_is_read(start: int, size: int | None) -> None:
    stop = None if size is None else start + size
    assert parse_range(format_range(start, stop)) == RangeSpec(start, stop)
    if size is not None:
        assert parse_range(format_suffix(size)) == RangeSpec(suffix=size)
        part = ByteRange(start, start + size)
        said = parse_content_range(format_content_range(part, MAX_TOTAL))
        assert (said.range if said else None) == (part if part.stop <= MAX_TOTAL else None)


@pytest.mark.parametrize(
    "text", [None, "", "bytes=", "bytes=-", "bytes=5-4", "bytes=1-2,3-4", "bytes 1-2", "x=1-2"]
)
def test_what_asks_for_no_range(text: str | None) -> None:
    assert parse_range(text) is None


@given(st.floats(0, 253402300799))
def test_a_date_that_is_written_is_read(at: float) -> None:
    assert parse_http_date(format_http_date(at)) == at // 1


@pytest.mark.parametrize("at", [1e20, -1e20, float("nan"), float("inf")])
def test_no_date_of_what_has_none(at: float) -> None:
    assert format_http_date(at) is None
