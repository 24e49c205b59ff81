"""Nothing of the environment between a reader and the server."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no login of whoever runs this."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NETRC", "/dev/null")
