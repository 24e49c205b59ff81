"""A bug where a lazy file lands ends its readers, instead of leaving them to wait."""

from __future__ import annotations

import pytest

import rdl
from rdl.errors import RdlError
from rdl.opening import Opened
from tests.support.origin import Origin, response


def test_a_bug_where_it_lands_ends_the_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    def landed(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(Opened, "landed", landed)
    with (
        Origin(lambda *_: [response(b"", "404 Not Found")]) as origin,
        rdl.Session() as session,
        session.open(origin.url()) as file,
        pytest.raises(RdlError),
    ):
        file.read(10)
