"""TLS where plain HTTP answers, and the other way round: a hint where that is certain."""

from __future__ import annotations

import pytest

from rdl.errors import HTTPStatusError, NetworkError, ProtocolError
from tests.support.origin import END, HANG, Origin, response
from tests.support.reading import fetch


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"<!DOCTYPE HTML>\n<html lang=en>"]
)
def test_plain_http_where_tls_was_asked_for(connect, certificates, greeting):
    with (
        Origin(lambda *_: [], greeting=(greeting, HANG)) as origin,
        pytest.raises(NetworkError) as caught,
    ):
        fetch(connect(cacert=certificates.authority), f"https://127.0.0.1:{origin.port}/")
    assert caught.value.permanent
    assert "speaks plain HTTP" in caught.value.hint


def test_an_alert_is_no_plain_http(connect, certificates):
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    with Origin(lambda *_: [], greeting=(alert, HANG)) as origin:
        with pytest.raises(NetworkError, match="handshake") as caught:
            fetch(connect(cacert=certificates.authority), f"https://127.0.0.1:{origin.port}/")
        assert (caught.value.permanent, caught.value.hint) == (False, "")


TOLD_SO = "400 The plain HTTP request was sent to HTTPS port"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", ProtocolError),
        (response(TOLD_SO.encode(), "400 Bad Request"), HTTPStatusError),
    ],
)
def test_tls_where_plain_http_was_asked_for(connect, answer, error):
    with Origin(lambda *_: [answer, END]) as origin, pytest.raises(error) as caught:
        fetch(connect(), origin.url())
    assert caught.value.permanent
    assert "speaks TLS" in caught.value.hint
