"""`--verify discover` and `require`: sums files beside the file, and releases on GitHub. What is
no sums file is not read as one; what was given for one origin goes to no other."""

from __future__ import annotations

import time
from hashlib import sha256, sha512
from pathlib import Path

import pytest

from rdl import Session, Target, discovering, stream
from rdl.core.events import Result
from rdl.core.published import Published
from rdl.errors import DigestMismatch, DigestMissing, ExitCode, HTTPStatusError, OutOfTime
from rdl.options import (
    BlockDigests,
    Digest,
    NetworkOptions,
    Options,
    RangeSpec,
    SessionOptions,
    TransferOptions,
)
from tests.engine.staging import content_of
from tests.support.origin import RESET, Answer, Origin, Seen, Wait, response
from tests.support.program import rdl

CONTENT = content_of(100_000)
HEX, LONG = sha256(CONTENT).hexdigest(), sha512(CONTENT).hexdigest()
OTHER = "0" * 64
WRONG = f'<hash type="sha-256">{OTHER}</hash>'
META = "my file.bin.meta4:sha256"
NETWORK = NetworkOptions(user="me", password="secret", headers=(("X-Token", "private"),))


def meta4(inside: str, *more: str, name: str = "my file.bin") -> str:
    """A metalink of the file, and of further elements."""
    files = f'<file name="{name}">{inside}</file>{"".join(more)}'
    return f'<metalink xmlns="urn:ietf:params:xml:ns:metalink">{files}</metalink>'


def site(files: dict[str, str], *fields: str, page: str = "") -> Origin:
    """The file at /v1/my%20file.bin, and these; instead of a 404 `page`, with status 200."""

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        path = seen.line.split()[1].partition("?")[0]
        if path == "/v1/my%20file.bin":
            return [response(CONTENT, "200 OK", 'ETag: "v"', *fields)]
        if path in files:
            return [response(files[path].encode())]
        if page:
            return [response(page.encode(), "200 OK", "Content-Type: text/html")]
        return [response(b"<html>none</html>", "404 Not Found")]

    return Origin(answer)


def fetched(
    origin: Origin,
    folder: Path,
    verify: str = "discover",
    query: str = "?token=x",
    **more: object,
) -> Result:
    options = Options(network=NETWORK, transfer=TransferOptions(verify=verify, **more))
    with Session() as session:
        target = Target(origin.url(f"/v1/my%20file.bin{query}"), folder / "f", options)
        result = session.get(target)
    assert (folder / "f").read_bytes() == CONTENT
    return result


@pytest.mark.parametrize(
    ("path", "text", "proof"),
    [
        ("/v1/my%20file.bin.sha256", HEX, "my file.bin.sha256:sha256"),
        ("/v1/my%20file.bin.sha256", f"{HEX}  my file.bin\n", "my file.bin.sha256:sha256"),
        ("/v1/my%20file.bin.sha512", LONG, "my file.bin.sha512:sha512"),
        ("/v1/my%20file.bin.sha256sum", f"{HEX} *./my file.bin\n", "my file.bin.sha256sum:sha256"),
        ("/v1/my%20file.bin.meta4", meta4(f"<hash type='sha-256'>{HEX}</hash>"), META),
        ("/v1/SHA256SUMS", f"{OTHER}  other\n{HEX}  my file.bin\n", "SHA256SUMS:sha256"),
        ("/v1/SHA512SUMS", f"{LONG}  my file.bin\n", "SHA512SUMS:sha512"),
        ("/v1/checksums.txt", f"SHA256 (my file.bin) = {HEX}\n", "checksums.txt:sha256"),
    ],
)
def test_sums_beside_the_file(tmp_path: Path, path: str, text: str, proof: str) -> None:
    with site({path: text}) as origin:
        result = fetched(origin, tmp_path)
        assert (result.trust, result.verified_by) == ("T3", (proof,))
        assert all(b"token" not in seen.head for seen in origin.seen[:-1]), (
            "the query is the file's"
        )
        again = fetched(origin, tmp_path)
        assert (again.reason, again.trust, again.verified_by) == ("unchanged", "T3", (proof,))
    with site({path: text.replace(HEX, OTHER).replace(LONG, "0" * 128)}) as origin:
        (tmp_path / "f").unlink()
        with pytest.raises(DigestMismatch):
            fetched(origin, tmp_path)
        assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"/v1/my%20file.bin.sha256": f"<p>{HEX}</p>"},
        {"/v1/my%20file.bin.sha256": f"\ufeff \n<!DOCTYPE html>\n{HEX}  my file.bin\n"},
        {"/v1/my%20file.bin.sha256": f'{{"sha256": "{HEX}"}}'},
        {"/v1/my%20file.bin.sha256": "d41d8cd98f00b204e9800998ecf8427e"},
        {"/v1/SHA256SUMS": OTHER},
        {"/v1/SHA256SUMS": f"{OTHER}  another.bin\n"},
        {"/SHA256SUMS": f"{OTHER}  my file.bin\n"},
        {"/v1/my%20file.bin.meta4": HEX},
        {"/v1/my%20file.bin.meta4": meta4("<size>100000</size>")},
        {"/v1/my%20file.bin.meta4": meta4(f"<hash type='sha-1'>{OTHER[:40]}</hash>")},
        {"/v1/my%20file.bin.meta4": meta4(WRONG, '<file name="../x"/>')},
        {"/v1/my%20file.bin.meta4": meta4(WRONG, '<file name="my file.bin"/>')},
        {"/v1/my%20file.bin.meta4": meta4(WRONG, '<file name="y"/>', name="x")},
        {"/v1/my%20file.bin.meta4": f"<!DOCTYPE m>{meta4(WRONG)}"},
        {"/v1/my%20file.bin.meta4": meta4(WRONG + WRONG.replace("0", "1"))},
        {"/v1/SHA256SUMS": f"{OTHER}  arm64/my file.bin\n{HEX}  amd64/my file.bin\n"},
    ],
)
@pytest.mark.parametrize("page", ["", f"<html><pre>\n{OTHER}  my file.bin\n</pre></html>"])
def test_what_is_no_digest_of_the_file(tmp_path: Path, files: dict[str, str], page: str) -> None:
    with site(files, page=page) as origin:
        assert fetched(origin, tmp_path).trust == "T2"
        assert len(origin.seen) == 9, "a request for each place, and one for the file"
        (tmp_path / "f").unlink()
        with pytest.raises(DigestMissing) as error:
            fetched(origin, tmp_path, "require")
        assert error.value.exit_code is ExitCode.UNVERIFIED
        assert list(tmp_path.iterdir()) == []


def test_sums_that_are_too_long_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovering, "MOST", 1000)
    with site({"/v1/SHA256SUMS": f"{OTHER}  my file.bin\n" * 100}) as origin:
        assert fetched(origin, tmp_path).trust == "T2"


def test_sums_that_contradict_themselves(tmp_path: Path) -> None:
    sums = f"{OTHER}  my file.bin\n{HEX}  my file.bin\n"
    with site({"/v1/SHA256SUMS": sums}) as origin:
        with pytest.raises(DigestMismatch, match="SHA256SUMS: two different digests"):
            fetched(origin, tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_sums_and_a_field_that_disagree(tmp_path: Path) -> None:
    with (
        site({"/v1/SHA256SUMS": f"{HEX}  my file.bin"}, f'X-Linked-ETag: "{OTHER}"') as origin,
        pytest.raises(DigestMismatch, match="SHA256SUMS and x-linked-etag publish different"),
    ):
        fetched(origin, tmp_path)


def test_a_field_is_enough_where_one_is_required(tmp_path: Path) -> None:
    with site({}, f'X-Linked-ETag: "{HEX}"') as origin:
        assert fetched(origin, tmp_path, "require").verified_by == ("x-linked-etag:sha256",)


def test_a_digest_of_the_users_is_enough_and_nothing_is_looked_for(tmp_path: Path) -> None:
    with site({}) as origin:
        own = (Digest("sha256", HEX),)
        assert fetched(origin, tmp_path, "require", digests=own).trust == "T4"
        assert len(origin.seen) == 1


def test_streams_look_and_require_too() -> None:
    def options(verify: str) -> Options:
        return Options(transfer=TransferOptions(verify=verify))

    with site({"/v1/SHA256SUMS": f"{HEX}  my file.bin"}) as origin:
        url = origin.url("/v1/my%20file.bin")
        with stream(url, options=options("require")) as reading:
            assert reading.read() == CONTENT
        with (
            pytest.raises(DigestMissing),
            stream(url, RangeSpec(0, 10), options=options("require")) as reading,
        ):
            reading.read()
    with site({"/v1/SHA256SUMS": f"{OTHER}  my file.bin"}) as origin:
        url = origin.url("/v1/my%20file.bin")
        with pytest.raises(DigestMismatch), stream(url, options=options("discover")) as reading:
            reading.read()
    with site({}) as origin:
        url = origin.url("/v1/my%20file.bin")
        with pytest.raises(DigestMissing), stream(url, options=options("require")) as reading:
            reading.read()


RELEASE = (
    '{"tag_name": "v1", "assets": [{"name": "other", "digest": "sha256:%s"}, {"name": "%s", %s}]}'
)


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/me/tool/releases/download/v1/my%20file.bin", "/repos/me/tool/releases/tags/v1"),
        ("/me/tool/releases/latest/download/my%20file.bin", "/repos/me/tool/releases/latest"),
    ],
)
@pytest.mark.parametrize(
    ("fact", "trust"),
    [
        (f'"digest": "sha256:{HEX}"', "T3"),
        ('"digest": null', "T2"),
        ('"size": 3', "T2"),
        ('"digest": "md5:00"', "T2"),
        ('"digest": 7', "T2"),
        ('"digest": "\udcff"', "T2"),
        ('"size": ' + "[" * 9999, "T2"),
        ("", "T2"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_releases_on_github(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, api: str, *, fact: str, trust: str
) -> None:
    def file(connection: int, turn: int, seen: Seen) -> Answer:
        right = seen.line.startswith(f"GET {path} ")
        return [response(CONTENT, "200 OK", 'ETag: "v"') if right else response(b"", "404 No")]

    said = (RELEASE % (OTHER, "my file.bin", fact)).encode("utf-8", "surrogateescape")
    with Origin(file) as origin, Origin(lambda *_: [response(said)]) as interface:
        monkeypatch.setattr(discovering, "GITHUB", origin.url(""))
        monkeypatch.setattr(discovering, "GITHUB_API", interface.url(""))
        options = Options(network=NETWORK, transfer=TransferOptions(verify="discover"))
        with Session() as session:
            result = session.get(Target(origin.url(path), tmp_path / "f", options))
        assert result.trust == trust
        (seen,) = interface.seen
        assert seen.line == f"GET {api} HTTP/1.1"
        assert not {"authorization", "x-token"} & seen.fields.keys()


def test_the_command_line(tmp_path: Path) -> None:
    with site({"/v1/SHA256SUMS": f"{HEX}  my file.bin"}) as origin:
        url = origin.url("/v1/my%20file.bin")
        done = rdl(tmp_path, "get", url, "-o", "f", "--verify", "discover")
        assert "verified by SHA256SUMS:sha256 (T3)" in done.stderr
        assert rdl(tmp_path, "get", url, "-o", "/dev/null", "--verify", "require").returncode == 0
    with site({}) as origin:
        done = rdl(
            tmp_path, "get", origin.url("/v1/my%20file.bin"), "-o", "g", "--verify", "require"
        )
        assert done.returncode == 11
        assert "verification is required, and no digest was found" in done.stderr


def test_a_file_that_is_here_is_not_enough_where_a_digest_is_required(tmp_path: Path) -> None:
    with site({}) as origin:
        fetched(origin, tmp_path, "auto", "")
        assert fetched(origin, tmp_path, "auto", "").reason == "unchanged"
        with pytest.raises(DigestMissing):
            fetched(origin, tmp_path, "require", "")
        assert (tmp_path / "f").read_bytes() == CONTENT
    with site({}, f'X-Linked-ETag: "{HEX}"') as origin:
        assert fetched(origin, tmp_path, "require").trust == "T3"


def test_slow_sums_are_bounded_by_max_time(tmp_path: Path) -> None:
    with Origin(lambda *_: [Wait(0.2), response(b"", "404 Not Found")]) as origin:
        begun = time.monotonic()
        with pytest.raises(OutOfTime):
            fetched(origin, tmp_path, max_time=0.5)
        assert time.monotonic() - begun < 5


def test_sums_that_do_not_answer_are_none(tmp_path: Path) -> None:
    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        right = seen.line.startswith("GET /v1/my%20file.bin?")
        return [response(CONTENT, "200 OK", 'ETag: "v"')] if right else [RESET]

    with Origin(answer) as origin:
        assert fetched(origin, tmp_path).trust == "T2"
        assert len(origin.seen) <= 4


def test_what_a_metalink_says_with_its_digest() -> None:
    rows = f'<pieces length="99999" type="sha-256">{f"<hash>{OTHER}</hash>" * 2}</pieces>'
    url = "http://h/v1/my%20file.bin?token=x"
    urls = [url, "http://u:p@m/f", "http://m:0/f", "http://m/f", "https://n/f?a=b", "ftp://m/f"]
    urls += [f"http://m/{number}" for number in range(50)]
    said = "".join(f"<url>{one}</url>" for one in urls)
    both = f'<hash type="sha-256">{HEX}</hash><hash type="sha-512">{LONG}</hash>'
    whole = meta4(f"<size>100000</size>{said}{rows}{both}", '<file name="x"/>')

    def read(address: str, options: Options) -> bytes:
        assert options.network == NETWORK
        if address == "http://h/v1/my%20file.bin.meta4":
            return whole.encode()
        raise HTTPStatusError(address, "404 Not Found", status=404)

    options = Options(network=NETWORK, transfer=TransferOptions(verify="discover"))
    found = discovering.with_discovered(url, "f", options, read, whole=True)
    assert found.transfer.digests == (Published("sha512", LONG, "my file.bin.meta4"),)
    assert found.transfer.blocks == BlockDigests(99999, "sha256", (OTHER, OTHER))
    assert found.found_mirrors[:3] == ("http://m/f", "https://n/f?a=b", "http://m/0")
    assert len(found.found_mirrors) == 32
    assert found.mirrors == ()
    assert discovering.with_discovered(url, "f", options, read, whole=False) == options


# A sums file that was given


def test_a_sums_file_at_a_url_is_a_digest_of_the_users(tmp_path: Path) -> None:
    with site({"/sums": f"{OTHER}  x\n{HEX}  my file.bin\n"}) as origin, site({}) as other:
        url, elsewhere = origin.url("/sums"), other.url("/v1/my%20file.bin")
        options = Options(network=NETWORK, sums=(url,))
        with Session() as session:
            result = session.get(Target(elsewhere, tmp_path / "f", options))
        assert (result.trust, result.verified_by) == ("T4", ("sha256",))
        (seen,) = origin.seen
        assert not {"authorization", "x-token"} & seen.fields.keys(), "they are for the file's"
        with stream(elsewhere, options=options) as reading:
            assert reading.read() == CONTENT


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"{OTHER}  my file.bin", 10),
        (f"{HEX}  another", 11),
        (f"{HEX}  my file.bin\n{OTHER}  my file.bin", 10),
        ("<html></html>", 11),
        (None, 8),
        (f"{HEX}  f", 0),
        (HEX, 0),
    ],
)
def test_checksum_takes_a_url(tmp_path: Path, text: str | None, code: int) -> None:
    files = {} if text is None else {"/sums": text}
    with site(files) as origin:
        words = ["get", origin.url("/v1/my%20file.bin"), "-o", "f", "--checksum"]
        done = rdl(tmp_path, *words, origin.url("/sums?Signature=canary"))
        assert done.returncode == code, done.stderr
        assert (tmp_path / "f").exists() is (code == 0)
        assert "canary" not in done.stderr


def test_a_given_digest_and_a_sums_file_that_disagree(tmp_path: Path) -> None:
    with site({"/sums": f"{HEX}  my file.bin"}) as origin:
        transfer = TransferOptions(digests=(Digest("sha256", OTHER),))
        options = Options(transfer=transfer, sums=(origin.url("/sums"),))
        with Session() as session, pytest.raises(DigestMismatch, match="it has another sha256"):
            session.get(Target(origin.url("/v1/my%20file.bin"), tmp_path / "f", options))
        assert list(tmp_path.iterdir()) == []


# Of many files


def names(origin: Origin) -> list[str]:
    """What was asked for, without queries."""
    return [seen.line.split()[1].partition("?")[0] for seen in origin.seen]


def listed(origin: Origin, folder: Path, files: list[str], options: Options) -> list[Result]:
    with Session(SessionOptions(parallel=3)) as session:
        wanted = [Target(origin.url(f"/v1/{name}"), folder / name, options) for name in files]
        return session.get_all(wanted)


@pytest.mark.parametrize("given", [True, False])
def test_the_sums_of_a_folder_are_read_once_for_a_list(tmp_path: Path, given: bool) -> None:
    files = [f"{number}.bin" for number in range(12)]
    sums = "".join(f"{HEX}  {name}\n" for name in files)

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        path = seen.line.split()[1]
        if path == "/v1/SHA512SUMS":
            return [Wait(0.05), response(sums.encode())]
        found = path.endswith(".bin")
        return [response(CONTENT, "200 OK", 'ETag: "v"') if found else response(b"", "404 No")]

    with Origin(answer) as origin:
        discover = Options(transfer=TransferOptions(verify="discover"))
        sums_of = Options(sums=(origin.url("/v1/SHA512SUMS"),))
        results = listed(origin, tmp_path, files, sums_of if given else discover)
        assert {one.trust for one in results} == {"T4" if given else "T3"}
        asked = names(origin)
    assert asked.count("/v1/SHA512SUMS") == 1
    assert asked.count("/v1/SHA256SUMS") == (0 if given else 1), "that there is none is kept too"
    assert all(asked.count(f"/v1/{name}") == 1 for name in files)


def test_what_is_kept_is_not_shown_to_another_login(tmp_path: Path) -> None:
    with site({"/v1/SHA256SUMS": f"{HEX}  my file.bin"}) as origin, Session() as session:
        for number, network in enumerate((NETWORK, NetworkOptions(), NETWORK)):
            options = Options(network=network, transfer=TransferOptions(verify="discover"))
            session.get(Target(origin.url("/v1/my%20file.bin"), tmp_path / str(number), options))
        assert names(origin).count("/v1/SHA256SUMS") == 2
