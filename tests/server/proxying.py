"""A pull-through cache in front of a test's origin, and clients of it, bounded in time."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rdl
from rdl.options import Options, SessionOptions, TransferOptions
from rdl.server.upstream import Upstream
from tests.scenarios.coded import Origin

if TYPE_CHECKING:
    from tests.server.conftest import Running, Start

CUT = (ConnectionError, http.client.IncompleteRead)


class Proxy:
    """Serves the origin; `site` is told of what is to be different."""

    def __init__(self, origin: Origin, start: Start, cache: Path, **options: Any) -> None:
        self.session = rdl.Session(SessionOptions(connections=32))
        retry = options.pop("retry", 2)
        own = Options(transfer=TransferOptions(retry=retry, **options.pop("transfer", {})))
        base = origin.url.rpartition("/")[0]
        self.site = Upstream(self.session, base, cache, options=own, **options)
        self.running: Running = start(self.site)
        self.open: list[Asked] = []

    def close(self) -> None:
        for one in self.open:
            one.close()
        self.site.close()
        self.session.close()


class Asked:
    """A request, and its response, the head read; closed at the end of the context, or by hand."""

    def __init__(self, proxy: Proxy, path: str, method: str, fields: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", proxy.running.port, timeout=20)
        proxy.open.append(self)
        self._connection.request(method, path, headers=fields)
        self._response = self._connection.getresponse()
        self.status, self.headers = self._response.status, self._response.headers
        self.read = self._response.read

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def asked(proxy: Proxy, path: str = "/file.bin", method: str = "GET", **fields: str) -> Asked:
    own = {name.replace("_", "-"): value for name, value in fields.items()}
    return Asked(proxy, path, method, own)


def whole(proxy: Proxy, path: str = "/file.bin", **fields: str) -> bytes:
    with asked(proxy, path, **fields) as response:
        assert response.status in (200, 206)
        return response.read()
