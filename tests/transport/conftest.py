"""Transports that forget nothing: every one made by a test is closed at its end."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rdl.options import NetworkOptions
from rdl.transport.client import HttpTransport
from tests.support.certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server_tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., HttpTransport]]:
    """Make a transport from NetworkOptions' fields; the environment is `env` alone."""
    made: list[HttpTransport] = []

    def make(env: dict[str, str] | None = None, **options: Any) -> HttpTransport:
        options.setdefault("timeout", 5.0)
        options.setdefault("connect_timeout", 5.0)
        environment = {"HOME": str(tmp_path), **(env or {})}
        made.append(HttpTransport(NetworkOptions(**options), environment=environment))
        return made[-1]

    yield make
    for transport in made:
        transport.close()
