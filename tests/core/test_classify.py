"""One table from a response head to a verdict; what is not named is refused."""

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.classify import (
    Changed,
    Context,
    Malformed,
    Partial,
    Refused,
    RetryLater,
    Unchanged,
    Unsatisfiable,
    Whole,
    classify,
    representation_of,
)
from rdl.core.fields import ResponseHead
from rdl.core.gate import Ask
from rdl.core.representation import Representation
from rdl.errors import AuthError, HTTPStatusError, NetworkError, ProtocolError

KNOWN = Context(known=Representation(1000, '"a"'))


def part(etag='"a"', start=100, stop=200, total=1000):
    fields = [("content-range", f"bytes {start}-{stop - 1}/{total}")]
    fields += [("etag", etag)] if etag else []
    return ResponseHead(206, tuple(fields), content_length=stop - start)


def whole(etag='"a"', total=1000):
    fields = (("etag", etag),) if etag else ()
    return ResponseHead(200, fields, content_length=total)


ASK = Ask(100, 200)


def test_a_part_of_the_known_version_is_taken():
    verdict = classify(ASK, part(), KNOWN)
    assert verdict == Partial(ByteRange(100, 200), Representation(1000, '"a"'))


def test_a_206_of_everything_is_the_whole():
    assert isinstance(classify(Ask(), part(start=0, stop=1000), Context()), Whole)
    assert isinstance(classify(Ask(), part(None, 0, 1000), Context()), Whole)


@pytest.mark.parametrize("head", [part('"b"'), part(total=1001), whole('"b"'), whole(total=9)])
def test_another_version_is_a_change_with_its_body(head):
    verdict = classify(ASK, head, KNOWN)
    assert isinstance(verdict, Changed)
    assert verdict.body is not None


def test_a_part_that_lost_its_validator_is_not_used():
    assert isinstance(classify(ASK, part(None), KNOWN), Malformed)
    assert isinstance(classify(ASK, part('W/"a"'), KNOWN), Malformed)


def test_a_whole_that_lost_its_validator_starts_anew():
    assert isinstance(classify(ASK, whole(None), KNOWN), Changed)


def test_a_digest_to_come_makes_up_for_a_missing_validator():
    context = Context(Representation(1000), proved_later=True)
    assert isinstance(classify(ASK, part(None), context), Partial)
    assert isinstance(classify(ASK, part(None, total=999), context), Changed)


def test_the_published_file_is_current():
    existing = Context(existing=Representation(1000, '"a"'))
    assert classify(Ask(), ResponseHead(304, framing="none"), existing) == Unchanged()
    assert classify(Ask(), whole(), existing) == Unchanged()
    assert isinstance(classify(Ask(), whole('"b"'), existing), Whole)
    assert isinstance(classify(Ask(), whole('W/"a"'), existing), Whole)


def test_a_304_nobody_asked_for_is_no_success():
    assert isinstance(classify(Ask(), ResponseHead(304, framing="none"), Context()), Refused)
    assert isinstance(classify(ASK, ResponseHead(304, framing="none"), KNOWN), Refused)


def test_412_is_a_change_only_of_something_known():
    assert classify(ASK, ResponseHead(412), KNOWN) == Changed(None)
    assert isinstance(classify(ASK, ResponseHead(412), Context()), Refused)


def test_416_tells_the_total_when_it_can():
    said = ResponseHead(416, (("content-range", "bytes */50"),))
    assert classify(ASK, said, KNOWN) == Unsatisfiable(50)
    assert classify(ASK, ResponseHead(416), KNOWN) == Unsatisfiable(None)
    assert isinstance(classify(Ask(ranged=False), said, KNOWN), Refused)


PASSING = [202, 408, 421, 425, 429, 500, 502, 503, 504, 509, 520, 523, 527]


@pytest.mark.parametrize("status", PASSING)
def test_a_passing_failure_is_tried_again(status):
    verdict = classify(ASK, ResponseHead(status, (("retry-after", "7"),)), KNOWN)
    assert isinstance(verdict, RetryLater)
    assert verdict.delay == 7
    assert not verdict.error.permanent


FOR_GOOD = [400, 402, 404, 405, 406, 409, 410, 411, 414, 418, 431, 451, 501, 505, 508, 528, 599]


@pytest.mark.parametrize("status", FOR_GOOD)
def test_a_final_failure_is_refused_with_its_status(status):
    verdict = classify(ASK, ResponseHead(status), KNOWN)
    assert isinstance(verdict, Refused)
    assert isinstance(verdict.error, HTTPStatusError)
    assert verdict.error.status == status
    assert verdict.error.permanent


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_login_is_an_authentication_error(status):
    verdict = classify(ASK, ResponseHead(status), KNOWN)
    assert isinstance(verdict, Refused)
    assert isinstance(verdict.error, AuthError)


def test_a_captive_portal_is_a_network_error():
    verdict = classify(ASK, ResponseHead(511), KNOWN)
    assert isinstance(verdict, Refused)
    assert isinstance(verdict.error, NetworkError)
    assert verdict.error.permanent


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 306, 307, 308, 399])
def test_a_redirect_that_came_this_far_is_refused(status):
    verdict = classify(ASK, ResponseHead(status), KNOWN)
    assert isinstance(verdict, Refused)
    assert isinstance(verdict.error, ProtocolError)


@pytest.mark.parametrize("status", [0, 99, 101, 201, 203, 204, 205, 207, 226, 299, 600, 999])
def test_a_status_that_carries_no_file_is_malformed(status):
    assert isinstance(classify(ASK, ResponseHead(status), KNOWN), Malformed)
    assert isinstance(classify(Ask(), ResponseHead(status), Context()), Malformed)


def test_only_200_and_206_bring_bytes():
    fields = (("content-range", "bytes 100-199/1000"), ("etag", '"a"'))
    for status in range(1000):
        verdict = classify(ASK, ResponseHead(status, fields, content_length=100), KNOWN)
        assert isinstance(verdict, Partial | Whole) is (status == 206)
        assert isinstance(verdict, Changed) is (status == 412)


@pytest.mark.parametrize(
    ("fields", "takes"),
    [
        ((), False),
        ((("accept-post", "application/vnd.rdl.wishlist"),), True),
        ((("accept-post", "text/turtle, Application/vnd.rdl.Wishlist ;q=1"),), True),
        ((("accept-post", "text/turtle"), ("accept-post", "application/vnd.rdl.wishlist")), True),
        ((("accept-post", "application/vnd.rdl.wishlists, */*"),), False),
        ((("accept-post", ", ;"),), False),
    ],
)
def test_row_53_a_manifest_that_takes_wishlists(fields, takes):
    head = ResponseHead(206, fields, content_length=1)
    assert representation_of(head, 1000, whole=False).wishes is takes
