"""What users bring: digests, sums files, lists of URLs, netrc, and names without a proxy."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rdl.cli.input_list import Entry, parse_list
from rdl.core.digest import HEX_DIGITS, parse_digest, parse_sums, read_sums
from rdl.errors import RdlError, UsageError
from rdl.options import Digest, NetworkOptions
from rdl.transport.credentials import load_netrc
from rdl.transport.proxies import ProxyChoice, parse_proxy
from tests.support.timing import seconds
from tests.traps.fuzzing import ANY, MiB, accepted, bounded, mutated

CANARY = "cAnArY"
SHA256 = hashlib.sha256(b"rdl").hexdigest()
digests = st.builds(
    lambda name, seed: Digest(name, hashlib.sha512(seed).hexdigest()[: HEX_DIGITS[name]]),
    st.sampled_from(["sha256", "sha384", "sha512", "blake2b"]),
    st.binary(max_size=3),
)
texts = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20)


@bounded
@given(digests, st.booleans())
def test_a_digest_is_one_in_every_form(digest: Digest, upper: bool) -> None:
    name, digits = digest.algorithm, digest.hex.upper() if upper else digest.hex
    coded = base64.b64encode(bytes.fromhex(digits)).decode()
    dashed = name.replace("sha", "sha-")
    for spec in (f"{name}:{digits}", f"{dashed}={digits}", f"{name.upper()}-{coded}"):
        assert parse_digest(spec) == digest
    if name != "blake2b":
        assert parse_digest(digits) == digest


@bounded
@given(
    st.one_of(ANY, mutated(f"sha256:{SHA256}".encode()).map(lambda data: data.decode("latin-1")))
)
def test_a_digest_that_is_accepted_can_be_written_again(spec: str) -> None:
    digest = accepted(parse_digest, spec)
    if digest is not None:
        assert len(digest.hex) == HEX_DIGITS[digest.algorithm]
        assert digest.hex == digest.hex.lower()
        assert parse_digest(f"{digest.algorithm}:{digest.hex}") == digest


def escaped(name: str) -> tuple[str, str]:
    """The mark and the name as sha256sum(1) writes them."""
    plain = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return ("\\" if plain != name else ""), plain


@bounded
@given(
    st.dictionaries(texts, digests, min_size=1, max_size=5), st.sampled_from([" ", "*"]), st.data()
)
def test_a_sums_file_is_read_back(some: dict[str, Digest], kind: str, data: st.DataObject) -> None:
    lines = []
    for name, digest in some.items():
        mark, plain = escaped(name)
        gnu = digest.algorithm != "blake2b" and data.draw(st.booleans())
        bsd = f"{mark}{digest.algorithm.upper()} ({plain}) = {digest.hex}"
        lines.append(f"{mark}{digest.hex} {kind}{plain}" if gnu else bsd)
    listed = read_sums(data.draw(st.sampled_from(["\n", "\r\n", "\n\n# x\n"])).join(lines))
    assert listed.digests == some
    assert listed.strange == 0


def as_text(data: bytes) -> str:
    """As sums files are decoded."""
    return data.decode("utf-8", "surrogateescape")


@bounded
@given(
    st.one_of(
        ANY,
        mutated(f"{SHA256}  a\nSHA256 (b) = {SHA256}\n".encode()).map(as_text),
    )
)
def test_any_sums_file_is_read_or_refused(text: str) -> None:
    listed = accepted(read_sums, text)
    if listed is None:
        return
    for name, digest in listed.digests.items():
        assert digest is None or len(digest.hex) == HEX_DIGITS[digest.algorithm]
        assert name
    found = accepted(lambda one: parse_sums(one, "a"), text)
    if "a" in listed.digests and listed.digests["a"] is not None:
        assert found == listed.digests["a"]


def test_a_mebibyte_of_a_line_costs_little() -> None:
    for text in ("a", " ", "(", "SHA256 (", ") = ", "\\", f"{SHA256}  "):
        whole = text * (MiB // len(text))
        assert seconds(read_sums, whole) < 0.2
        assert seconds(lambda one: accepted(parse_digest, one), whole) < 0.2


fields = st.lists(
    st.one_of(
        st.builds("checksum={}".format, st.sampled_from([SHA256, f"sha256:{SHA256}", "SUMS x"])),
        st.builds("mirror=http://m/{}".format, st.integers(0, 99)),
        st.builds("header=X-{}: v{}".format, st.integers(0, 99), st.integers(0, 99)),
    ),
    max_size=3,
)
words = texts.filter(lambda text: text.isprintable() and text.strip() == text and text)
entries = st.builds(
    lambda number, out, folder, more: (
        f"http://h/{number}?a=b",
        [*([f"out={out}"] if out else []), *([f"dir={folder}"] if folder else []), *more],
    ),
    st.integers(0, 999),
    st.none() | words,
    st.none() | words,
    fields,
)


def listed_again(found: list[Entry]) -> bytes:
    """Entries as a list, one field a line."""
    lines = []
    for entry in found:
        lines.append(entry.url)
        lines += [f" out={entry.out}"] if entry.out is not None else []
        lines += [f" dir={entry.dir}"] if entry.dir is not None else []
        lines += [f" checksum={spec}" for spec in entry.checksums]
        lines += [f" mirror={url}" for url in entry.mirrors]
        lines += [f" header={name}: {value}" for name, value in entry.headers]
    return "\n".join(lines).encode()


def without_places(found: list[Entry]) -> list[tuple[object, ...]]:
    return [(one.url, one.out, one.dir, one.checksums, one.mirrors, one.headers) for one in found]


@bounded
@given(st.lists(entries, max_size=4), st.sampled_from(["\t", "\n ", "\r\n\t", "\n# x\n\n  "]))
def test_a_list_is_read_back(some: list[tuple[str, list[str]]], between: str) -> None:
    text = "\n".join(between.join([url, *more]) for url, more in some)
    found = parse_list(text.encode(), "list")
    assert [entry.url for entry in found] == [url for url, _ in some]
    for entry, (_, more) in zip(found, some, strict=True):
        assert [f"out={entry.out}"] * (entry.out is not None) == [m for m in more if m[:3] == "out"]
        several = (entry.checksums, entry.mirrors, entry.headers)
        assert [*map(len, several)] == [sum(m[0] == key for m in more) for key in "cmh"]
    assert without_places(parse_list(listed_again(found), "l")) == without_places(found)


LIST = (
    b"\xef\xbb\xbfhttp://h/a\tout=b\r\n checksum=sha256:00\n# c\nhttps://[::1]:8/c\n\theader=A: b\n"
    b"\tmirror=https://[::1]/c\n"
)


@bounded
@given(st.one_of(mutated(LIST), st.binary(max_size=80)))
def test_any_list_is_read_or_refused(data: bytes) -> None:
    def read(name: str) -> list[Entry]:
        return parse_list(data, name)

    found = accepted(read, "li\x1bst")
    if found is not None:
        assert without_places(parse_list(listed_again(found), "l")) == without_places(found)


def netrc(content: str) -> dict[str, tuple[str, str]] | None:
    """What a netrc file says; None when it is refused, in a way that shows nothing of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "netrc"
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        try:
            return load_netrc(NetworkOptions(netrc_file=path), {})
        except RdlError as error:
            said = f"{error} {error.hint}"
    assert CANARY not in said
    assert said.isprintable()
    return None


plain = st.text(alphabet="abcXYZ0189._-!$%&@:/=+", min_size=1, max_size=12)


@bounded
@given(st.dictionaries(plain.map(str.lower), st.tuples(plain, plain), max_size=4), st.booleans())
def test_a_netrc_is_read_back(some: dict[str, tuple[str, str]], lines: bool) -> None:
    gap = "\n  " if lines else " "
    text = "\n".join(
        gap.join([f"machine {host}", f"login {user}", f"password {word}"])
        for host, (user, word) in some.items()
    )
    expected = {host: pair for host, pair in some.items() if host != "default"}
    assert netrc(text) == expected


TOKENS = ["machine", "login", "password", "account", "macdef", "default", "#", '"', "\\", "h", "u"]


@bounded
@given(
    st.lists(st.sampled_from([*TOKENS, CANARY, "\n", "\n\n", " ", "\udcff", "\x1b"]), max_size=25)
)
def test_any_netrc_is_read_or_refused(words: list[str]) -> None:
    found = netrc(" ".join(words))
    assert found is None or "default" not in found


names = st.text(alphabet="ab.", min_size=1, max_size=5)


@bounded
@given(st.lists(names, max_size=4), names.filter(lambda name: name.strip(".") == name))
def test_names_without_a_proxy(exempt: list[str], host: str) -> None:
    choice = ProxyChoice(NetworkOptions(proxy="p"), {"no_proxy": ",".join(exempt)})
    bare = [name.lstrip(".") for name in exempt]
    direct = any(host == name or host.endswith(f".{name}") for name in bare if name)
    assert (choice.choose("http", host, 80) is None) == direct


@bounded
@given(st.ip_addresses(), st.integers(0, 32), st.integers(1, 65535))
def test_addresses_without_a_proxy(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int, port: int
) -> None:
    host = str(address)
    shown = f"[{host}]" if address.version == 6 else host
    net = str(ipaddress.ip_network(f"{host}/{bits}", strict=False))
    for word in (host, shown, f"{shown}:{port}", net, f"{host}/{bits}"):
        choice = ProxyChoice(NetworkOptions(proxy="p"), {"no_proxy": f"x, {word}"})
        assert choice.choose("http", host, port) is None, word
        assert choice.choose("http", "other.example", port) is not None, word
    other = ProxyChoice(NetworkOptions(proxy="p"), {"NO_PROXY": f"{shown}:{port}"})
    assert other.choose("http", host, port % 65535 + 1) is not None


@bounded
@given(ANY, st.sampled_from(["h", "::1", "10.0.0.1", "a.b", "fe80::1"]), st.integers(1, 65535))
def test_any_exemption_is_harmless(text: str, host: str, port: int) -> None:
    choice = ProxyChoice(NetworkOptions(proxy="http://p:1"), {"no_proxy": text})
    assert choice.choose("https", host, port) in (None, parse_proxy("http://p:1"))


@bounded
@given(ANY)
def test_any_proxy_is_one_or_refused(text: str) -> None:
    try:
        proxy = parse_proxy(text)
    except UsageError:
        return
    assert proxy.host
    assert 1 <= proxy.port <= 65535
