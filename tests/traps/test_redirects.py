"""Where a download is led: other origins, proxies, TLS, addresses. What is given for one origin
reaches no other, and nothing weaker is taken in silence (rows P58-P67, P90-P92, S3, S10-S12, S22,
S23)."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rdl.api import Session, Target
from rdl.core import pace
from rdl.core.events import Result
from rdl.options import NetworkOptions, Options, TransferOptions
from tests.engine.staging import content_of
from tests.support.certificates import Certificates, make_certificates
from tests.support.origin import END, Answer, Origin, Seen, response
from tests.traps.harness import CANARY, KiB

CONTENT = content_of(600 * KiB)
TAG = 'ETag: "v0"'
Reply = Callable[[int, int, Seen], Answer]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits long before another try."""
    monkeypatch.setattr(pace, "BASE_DELAY", 0.005)
    monkeypatch.setattr(pace, "LONGEST_DELAY", 0.02)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def origins() -> Iterator[Callable[..., Origin]]:
    """Makes origins, and ends them."""
    with ExitStack() as stack:
        yield lambda *given, **more: stack.enter_context(Origin(*given, **more))


def file(connection: int, turn: int, seen: Seen) -> Answer:
    """The file, and parts of it."""
    text = seen.fields.get("range", "bytes=0-").removeprefix("bytes=")
    first, last = (int(one) if one else len(CONTENT) - 1 for one in text.split("-"))
    said = f"Content-Range: bytes {first}-{last}/{len(CONTENT)}"
    return [response(CONTENT[first : last + 1], "206 Partial Content", said, TAG)]


def cut(answer: Answer) -> Answer:
    """The start of it."""
    [whole] = answer
    assert isinstance(whole, bytes)
    return [whole[: 100 * KiB], END]


def to(url: str, *fields: str) -> Reply:
    """A redirect there."""
    return lambda connection, turn, seen: [response(b"", "302 Found", f"Location: {url}", *fields)]


def fetch(url: str, folder: Path, connections: int = 1, **network: Any) -> Result:
    """What became of `url`, fetched to f.bin with secrets in all that may hold some."""
    own = {"netrc": False, "proxy": "", "timeout": 2.0, "connect_timeout": 2.0}
    given = {"headers": (("X-Secret", CANARY), ("Cookie", f"c={CANARY}")), "user": "me"}
    options = Options(
        NetworkOptions(**{**own, **given, "password": CANARY, **network}),
        TransferOptions(retry=2, connections=connections, min_split=64 * KiB),
    )
    with Session() as session:
        [result] = session.get_all([Target(url, folder / "f.bin", options)])
    arrived = (folder / "f.bin").exists()
    assert arrived == (result.exit_code == 0)
    assert not arrived or (folder / "f.bin").read_bytes() == CONTENT
    assert CANARY not in repr(result)
    return result


def strangers(*others: Origin) -> None:
    """None of them was told a secret, or where the way began."""
    encoded = base64.b64encode(f"me:{CANARY}".encode())
    for seen in (one for other in others for one in other.seen):
        assert CANARY.encode() not in seen.head
        assert encoded not in seen.head
        assert not {"authorization", "cookie", "referer", "x-secret"} & seen.fields.keys()


@pytest.mark.parametrize("connections", [1, 4])
def test_p62_nothing_private_crosses(
    tmp_path: Path, origins: Callable[..., Origin], connections: int
) -> None:
    there = origins(file)
    between = origins(to(there.url("/?token=new"), f"Set-Cookie: s={CANARY}"))
    first = origins(to(between.url("/b"), f"Set-Cookie: s={CANARY}"))
    assert fetch(first.url("/f.bin"), tmp_path, connections).exit_code == 0
    assert len(there.seen) >= connections
    strangers(between, there)
    assert all("x-secret" in seen.fields for seen in first.seen)
    assert [path.name for path in tmp_path.iterdir()] == ["f.bin"]


def test_p62_a_later_request_does_not_forget_where_the_way_began(
    tmp_path: Path, origins: Callable[..., Origin]
) -> None:
    cuts = iter([True])

    def cutting(connection: int, turn: int, seen: Seen) -> Answer:
        answer = file(connection, turn, seen)
        return cut(answer) if next(cuts, False) else answer

    there = origins(cutting)
    first = origins(to(there.url("/x")))
    assert fetch(first.url("/f.bin"), tmp_path).exit_code == 0
    assert len(there.seen) == 2
    strangers(there)


def test_p58_a_challenge_elsewhere_gets_no_password(
    tmp_path: Path, origins: Callable[..., Origin]
) -> None:
    refusal = response(b"", "401 No", 'WWW-Authenticate: Basic realm="files"')
    there = origins(lambda connection, turn, seen: [refusal])
    first = origins(to(there.url("/x")))
    assert fetch(first.url("/f.bin"), tmp_path).exit_code == 6
    strangers(there)
    assert len(there.seen) == 1


@pytest.mark.parametrize("allowed", [False, True])
def test_p61_https_to_http(
    tmp_path: Path, origins: Callable[..., Origin], certificates: Certificates, allowed: bool
) -> None:
    plain = origins(file)
    secure = origins(to(plain.url("/x")), tls=server_context(certificates))
    result = fetch(
        secure.url("/f.bin"),
        tmp_path,
        cacert=certificates.authority,
        allow_insecure_redirect=allowed,
    )
    assert result.exit_code == (0 if allowed else 7)
    assert len(plain.seen) == int(allowed)
    assert allowed or "--allow-insecure-redirect" in result.hint
    strangers(plain)


def test_s23_from_a_public_to_a_private_address(
    tmp_path: Path, origins: Callable[..., Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in mid-download, and by a name. Here 127.0.0.1 counts as public, ::1 does not."""
    for module in ("dial", "http1"):
        rule = f"rdl.transport.{module}.is_public"
        monkeypatch.setattr(rule, lambda address: address == "127.0.0.1")
    inside = origins(file, family=6)
    first = origins(file)
    named = f"http://inside.example:{inside.port}/x"
    answers = iter([cut(file(0, 0, Seen(0, b"")))])
    away = to(inside.url("/x"))
    first.answer = lambda *asked: next(answers, None) or away(*asked)
    result = fetch(first.url("/f.bin"), tmp_path)
    assert (result.exit_code, inside.connections) == (7, 0)
    assert result.bytes_present > 0
    assert "--allow-private-redirect" in result.hint
    look_up = socket.getaddrinfo

    def looked_up(host: str, *rest: Any, **more: Any) -> Any:
        return look_up("::1" if host == "inside.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    away = to(named)
    assert fetch(first.url("/f.bin"), tmp_path).exit_code == 7
    assert inside.connections == 0
    assert fetch(first.url("/f.bin"), tmp_path, allow_private_redirect=True).exit_code == 0
    strangers(inside)


def server_context(made: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    return context


def certificate(folder: Path, made: Certificates, *options: str, days: int = 2) -> ssl.SSLContext:
    """A server whose certificate the same authority signed, with these options, for so long."""
    key, pem = folder / "own.key", folder / "own.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-noenc",
    ]
    command += ["-config", "/dev/null", "-subj", "/CN=localhost", "-keyout", str(key)]
    command += ["-out", str(pem), *options]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    again = ["openssl", "x509", "-in", str(pem), "-out", str(pem), "-days", str(days)]
    again += ["-CA", str(made.authority), "-CAkey", str(made.authority.with_suffix(".key"))]
    again += ["-set_serial", "7"]
    subprocess.run(again, check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context


WRONG = {
    "another name": ["-addext", "subjectAltName=DNS:portal.example"],
    "for clients": [
        *("-addext", "subjectAltName=DNS:localhost"),
        *("-addext", "extendedKeyUsage=clientAuth"),
    ],
    "expired": ["-addext", "subjectAltName=DNS:localhost"],
}


@pytest.mark.parametrize("fault", WRONG)
def test_s22_p67_a_certificate_that_proves_nothing(
    tmp_path: Path, origins: Callable[..., Origin], certificates: Certificates, fault: str
) -> None:
    """One connection, no request, no other try, never plain http."""
    (tmp_path / "made").mkdir()
    days = -1 if fault == "expired" else 2
    tls = certificate(tmp_path / "made", certificates, *WRONG[fault], days=days)
    portal = origins(file, tls=tls)
    result = fetch(portal.url("/f.bin"), tmp_path, cacert=certificates.authority)
    assert (result.exit_code, portal.connections, portal.seen) == (5, 1, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
    assert fetch(portal.url("/f.bin"), tmp_path, insecure=True).exit_code == 0


def test_s22_a_redirect_to_a_wrong_certificate(
    tmp_path: Path, origins: Callable[..., Origin], certificates: Certificates
) -> None:
    (tmp_path / "made").mkdir()
    options = WRONG["another name"]
    portal = origins(file, tls=certificate(tmp_path / "made", certificates, *options))
    first = origins(to(portal.url("/x")))
    assert fetch(first.url("/f.bin"), tmp_path, cacert=certificates.authority).exit_code == 5
    assert portal.seen == []


def test_p92_only_http_1_1_is_offered(
    tmp_path: Path, origins: Callable[..., Origin], certificates: Certificates
) -> None:
    context = server_context(certificates)
    context.set_alpn_protocols(["h2", "http/1.1"])
    chosen: list[str | None] = []

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        sock = origin._open[connection]
        chosen.append(sock.selected_alpn_protocol())
        return file(connection, turn, seen)

    origin = origins(answer, tls=context)
    assert fetch(origin.url("/f.bin"), tmp_path, cacert=certificates.authority).exit_code == 0
    assert set(chosen) == {"http/1.1"}


def test_s22_nothing_older_than_tls_1_2(
    tmp_path: Path, origins: Callable[..., Origin], certificates: Certificates
) -> None:
    old = server_context(certificates)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    origin = origins(file, tls=old)
    result = fetch(origin.url("/f.bin"), tmp_path, cacert=certificates.authority)
    assert (result.exit_code, origin.seen) == (4, [])


def test_s11_netrc_speaks_for_its_host_alone(
    tmp_path: Path, origins: Callable[..., Origin]
) -> None:
    there = origins(file, family=6)
    first = origins(to(there.url("/x")))
    netrc = tmp_path / "netrc"
    netrc.write_text(
        f"machine 127.0.0.1 login me password {CANARY}\n"
        f"machine ::1 login me password {CANARY}\n"
        f"machine 27.0.0.1 login other password x\ndefault login me password {CANARY}\n"
    )
    own: dict[str, Any] = {
        "netrc": True,
        "netrc_file": netrc,
        "user": None,
        "password": None,
        "headers": (),
    }
    assert fetch(first.url("/f.bin"), tmp_path, **own).exit_code == 0
    encoded = base64.b64encode(f"me:{CANARY}".encode()).decode()
    assert first.seen[0].fields["authorization"] == f"Basic {encoded}"
    strangers(there)


def test_p91_a_proxy_password_is_for_the_proxy(
    tmp_path: Path, origins: Callable[..., Origin]
) -> None:
    there, first = origins(file), origins(file)
    first.answer = to(there.url("/x"))
    relayed: list[Seen] = []

    def relay(connection: int, turn: int, seen: Seen) -> Answer:
        relayed.append(seen)
        goal = there if f":{there.port}/" in seen.line else first
        return goal.answer(connection, turn, seen)

    proxy = origins(relay)
    given = f"http://me:{CANARY}@127.0.0.1:{proxy.port}"
    assert fetch(first.url("/f.bin"), tmp_path, proxy=given).exit_code == 0
    assert (first.connections, there.connections) == (0, 0)
    assert all("proxy-authorization" in seen.fields for seen in relayed)
    assert "x-secret" in relayed[0].fields
    assert "x-secret" not in relayed[1].fields
    (tmp_path / "f.bin").unlink()
    refusing = origins(lambda connection, turn, seen: [response(b"", "407 No")])
    given = f"http://me:{CANARY}@127.0.0.1:{refusing.port}"
    assert fetch(first.url("/f.bin"), tmp_path, proxy=given).exit_code == 6
    assert len(refusing.seen) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_p90_addresses_of_both_families(
    tmp_path: Path, origins: Callable[..., Origin], family: int
) -> None:
    origin = origins(file, family=family)
    assert fetch(origin.url("/f.bin"), tmp_path, family=family).exit_code == 0
    (tmp_path / "f.bin").unlink()
    other = 4 if family == 6 else 6
    assert fetch(origin.url("/f.bin"), tmp_path, family=other).exit_code == 4


def test_p90_a_dead_address_before_the_good_one(
    tmp_path: Path, origins: Callable[..., Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = origins(file)
    dead = socket.create_server(("127.0.0.1", 0))
    with dead, ExitStack() as stack:
        port = dead.getsockname()[1]
        dead.listen(0)
        for _ in range(4):  # until it takes no more
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        family = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*family, ("127.0.0.1", one)) for one in (port, origin.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: found)
        result = fetch(f"http://two.example:{origin.port}/f.bin", tmp_path)
    assert result.exit_code == 0
    assert result.seconds < 1.5


@pytest.mark.parametrize("rest", ["/a b.bin", "/%zz%2F%41", "/caf\xe9", "/x?a=b c&d=%20#frag"])
def test_p88_the_request_line(tmp_path: Path, origins: Callable[..., Origin], rest: str) -> None:
    lines = {
        "/a b.bin": "/a%20b.bin",
        "/%zz%2F%41": "/%25zz%2F%41",
        "/caf\xe9": "/caf%C3%A9",
        "/x?a=b c&d=%20#frag": "/x?a=b%20c&d=%20",
    }
    origin = origins(file)
    assert fetch(origin.url(rest), tmp_path).exit_code == 0
    assert origin.seen[0].line == f"GET {lines[rest]} HTTP/1.1"
