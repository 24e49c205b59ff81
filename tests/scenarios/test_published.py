"""Digests that servers publish, in the fields in which real ones do (row P85): what was believed
is said, a wrong one is found, two that disagree end the download, and none is asked for."""

from __future__ import annotations

import base64
from hashlib import md5, sha256
from pathlib import Path

import pytest

from rdl import Session, Target, stream
from rdl.core.events import Result
from rdl.errors import DigestMismatch, HTTPStatusError, UsageError
from rdl.options import Digest, Options, RangeSpec, TransferOptions
from tests.engine.staging import content_of
from tests.support.origin import END, RESET, Answer, Origin, Seen, response
from tests.support.program import rdl

CONTENT = content_of(300_000)
HEX, OTHER = sha256(CONTENT).hexdigest(), sha256(b"other").hexdigest()


def text(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def file(*fields: str, led: tuple[str, ...] = ()):
    """A server of the file; with `led` its URL leads there and says that of it."""

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        if led and seen.line.startswith("GET /file "):
            return [response(b"", "302 Found", "Location: /object", *led)]
        first, _, last = seen.fields.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), int(last) + 1 if last else len(CONTENT)
        said = f"Content-Range: bytes {start}-{stop - 1}/{len(CONTENT)}"
        body = CONTENT[start:stop]
        return [response(body, "206 Partial Content", said, 'ETag: "v0"', *fields)]

    return Origin(answer)


def fetched(origin: Origin, folder: Path, url: str = "", **transfer: object) -> Result:
    options = Options(transfer=TransferOptions(**transfer))
    with Session() as session:
        result = session.get(Target(url or origin.url(), folder / "f", options))
    assert (folder / "f").read_bytes() == CONTENT
    return result


FIELDS = [
    ("Repr-Digest: sha-256=:{text}:", "repr-digest"),
    ("Content-Digest: sha-256=:{text}:", "content-digest"),
    ("Digest: SHA-256={text}", "digest"),
    ("x-amz-checksum-sha256: {text}", "x-amz-checksum-sha256"),
    ("Docker-Content-Digest: sha256:{hex}", "docker-content-digest"),
    ('X-Linked-ETag: "{hex}"', "x-linked-etag"),
]


@pytest.mark.parametrize(("field", "source"), FIELDS)
def test_p85_a_published_digest_is_checked(tmp_path: Path, field: str, source: str) -> None:
    with file(field.format(text=text(HEX), hex=HEX)) as origin:
        result = fetched(origin, tmp_path)
        assert (result.trust, result.verified_by) == ("T3", (f"{source}:sha256",))
        assert len(origin.seen) == 1, "nothing more was asked"


@pytest.mark.parametrize(("field", "source"), FIELDS)
def test_p85_a_wrong_one_is_found(tmp_path: Path, field: str, source: str) -> None:
    with file(field.format(text=text(OTHER), hex=OTHER)) as origin:
        with pytest.raises(DigestMismatch, match="the server says"):
            fetched(origin, tmp_path)
        assert not (tmp_path / "f").exists()
        assert fetched(origin, tmp_path, verify="off").trust == "T2"


@pytest.mark.parametrize("field", ["Docker-Content-Digest: sha256:{hex}", 'X-Linked-ETag: "{hex}"'])
def test_a_redirect_says_it_of_what_it_leads_to(tmp_path: Path, field: str) -> None:
    with file(led=(field.format(hex=HEX),)) as origin:
        assert fetched(origin, tmp_path).trust == "T3"
    (tmp_path / "f").unlink()
    with file(led=(field.format(hex=OTHER),)) as origin, pytest.raises(DigestMismatch):
        fetched(origin, tmp_path)


def test_a_redirect_says_nothing_of_others_by_the_digest_of_its_own(tmp_path: Path) -> None:
    with file(led=(f"Digest: SHA-256={text(OTHER)}", f"Repr-Digest: sha-256=:{text(OTHER)}:")) as (
        origin
    ):
        assert fetched(origin, tmp_path).trust == "T2"


def test_p85_what_hashes_a_part_says_nothing_of_the_whole(tmp_path: Path) -> None:
    field = f"Content-Digest: sha-256=:{text(sha256(CONTENT[1000:2000]).hexdigest())}:"
    with file(field) as origin:
        path = tmp_path / "f"
        options = Options(transfer=TransferOptions(range=RangeSpec(1000, 2000)))
        with Session() as session:
            assert session.get(Target(origin.url(), path, options)).trust == "T2"
        assert path.read_bytes() == CONTENT[1000:2000]


# In a run that continues another


def cut_once(
    field: str, *, later: str = "", etag: str = "v0", of_first: str = "", sums: str = ""
) -> Origin:
    """The first answer ends after two thirds, and the second ends the run. Those of the whole have
    the field; from the third on there are another `etag`, and `later`."""

    asked: list[Seen] = []

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        if seen.line.split()[1] != "/file":
            found = bool(sums) and seen.line.split()[1] == "/SHA256SUMS"
            return [response(sums.encode() if found else b"", "200 OK" if found else "404 No")]
        asked.append(seen)
        start = int(seen.fields.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if len(asked) == 2:
            return [response(b"", "451 Unavailable")]
        first = len(asked) == 1
        said = f"Content-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        more = [field] if start == 0 else [later]
        more = [one for one in [*more, of_first * first] if one]
        tag = f'ETag: "{"v0" if first else etag}"'
        whole = response(CONTENT[start:], "206 Partial Content", said, tag, *more)
        return [whole[: len(whole) * 2 // 3], END] if first else [whole]

    return Origin(answer)


def resumed(origin: Origin, folder: Path, verify: str = "auto", first: str = "auto") -> Result:
    cut = Options(transfer=TransferOptions(verify=first, connections=1))
    with Session() as session, pytest.raises(HTTPStatusError):
        session.get(Target(origin.url(), folder / "f", cut))
    return fetched(origin, folder, verify=verify, connections=1)


@pytest.mark.parametrize(("field", "source"), FIELDS)
@pytest.mark.parametrize("verify", ["auto", "require"])
def test_a_resumed_run_proves_as_much(
    tmp_path: Path, field: str, source: str, *, verify: str
) -> None:
    with cut_once(field.format(text=text(HEX), hex=HEX)) as origin:
        result = resumed(origin, tmp_path, verify)
        assert result.bytes_reused > 0
        assert (result.trust, result.verified_by) == ("T3", (f"{source}:sha256",))


def test_a_resumed_run_finds_what_the_first_would_have_found(tmp_path: Path) -> None:
    wrong = cut_once(f"Digest: SHA-256={text(OTHER)}")
    with wrong as origin, pytest.raises(DigestMismatch, match="the server says"):
        resumed(origin, tmp_path, first="off")
    assert not (tmp_path / "f").exists()
    with cut_once(f"Digest: SHA-256={text(OTHER)}") as origin:
        (tmp_path / "f.part.bad").unlink()
        assert resumed(origin, tmp_path, "off").trust == "T2"


def test_what_was_said_of_another_version_is_forgotten(tmp_path: Path) -> None:
    with cut_once("", etag="v1", of_first=f"Digest: SHA-256={text(OTHER)}") as origin:
        result = resumed(origin, tmp_path)
        assert (result.bytes_reused, result.trust) == (0, "T2")


def test_a_later_answer_that_says_another_thing_is_not_believed_either(tmp_path: Path) -> None:
    other = f"Repr-Digest: sha-256=:{text(OTHER)}:"
    with cut_once(f"Digest: SHA-256={text(HEX)}", later=other) as origin:
        assert resumed(origin, tmp_path).trust == "T2"


@pytest.mark.parametrize("first", ["auto", "require"])
def test_sums_beside_the_file_are_looked_for_again(tmp_path: Path, first: str) -> None:
    with cut_once("", sums=f"{HEX}  file") as origin:
        result = resumed(origin, tmp_path, "require", first)
        assert (result.trust, result.verified_by) == ("T3", ("SHA256SUMS:sha256",))
        assert result.bytes_reused > 0


BOTH = (f"Repr-Digest: sha-256=:{text(HEX)}:", f'X-Linked-ETag: "{OTHER}"')


def test_two_that_disagree_end_the_download_before_it_begins(tmp_path: Path) -> None:
    why = "repr-digest and x-linked-etag publish different sha256"
    with file(*BOTH) as origin:
        with pytest.raises(DigestMismatch, match=why) as error:
            fetched(origin, tmp_path)
        assert "--verify off" in error.value.hint
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(DigestMismatch, match=why), stream(origin.url()) as reading:
            reading.read(10)


def test_a_digest_of_the_users_decides_between_them(tmp_path: Path) -> None:
    with file(*BOTH) as origin:
        assert fetched(origin, tmp_path, digests=(Digest("sha256", HEX),)).trust == "T4"


def test_what_can_be_forged_is_not_checked(tmp_path: Path) -> None:
    wrong = base64.b64encode(md5(b"other").digest()).decode()
    with file(f"x-goog-hash: md5={wrong}", f"Content-MD5: {wrong}") as origin:
        assert fetched(origin, tmp_path).trust == "T2"


# In the URL


def test_a_fragment_is_a_digest_of_the_users(tmp_path: Path) -> None:
    with file() as origin:
        result = fetched(origin, tmp_path, f"{origin.url()}#sha256={HEX}")
        assert (result.trust, result.verified_by) == ("T4", ("sha256",))
        assert b"#" not in origin.seen[0].head
        with pytest.raises(DigestMismatch):
            fetched(origin, tmp_path, f"{origin.url()}#egg=f&sha256={OTHER}")
        assert (tmp_path / "f").read_bytes() == CONTENT, "what stood there stays"
        with stream(f"{origin.url()}#sha256={HEX}") as reading:
            assert reading.read() == CONTENT
        with stream(f"{origin.url()}#sha256={OTHER}", (0, 10)) as reading:
            assert reading.read() == CONTENT[:10], "of a part it says nothing"


def test_a_fragment_that_contradicts_what_was_given_asks_for_nothing(tmp_path: Path) -> None:
    with file() as origin:
        with pytest.raises(UsageError, match="its fragment says another sha256"):
            fetched(
                origin, tmp_path, f"{origin.url()}#sha256={OTHER}", digests=(Digest("sha256", HEX),)
            )
        assert origin.seen == []


def test_the_command_says_what_was_believed(tmp_path: Path) -> None:
    with file(FIELDS[-1][0].format(hex=HEX)) as origin:
        done = rdl(tmp_path, "get", origin.url(), "-o", "f")
        assert "verified by x-linked-etag:sha256 (T3)" in done.stderr


def test_info_tells_what_only_informs(tmp_path: Path) -> None:
    goog = base64.b64encode(md5(CONTENT).digest()).decode()
    with file(f"x-goog-hash: crc32c=AAAAAA==,md5={goog}") as origin:
        done = rdl(tmp_path, "info", origin.url())
        assert md5(CONTENT).hexdigest() in done.stdout


def test_p85_a_wrong_part_comes_again(tmp_path: Path) -> None:
    content = content_of(3 << 20)
    sent: list[tuple[int, int]] = []

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        first, _, last = seen.fields["range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(len(content), int(last) + 1 if last else len(content))
        said = f"Content-Range: bytes {start}-{stop - 1}/{len(content)}"
        digest = base64.b64encode(sha256(content[start:stop]).digest()).decode()
        data = bytearray(content[start:stop])
        sent.append((start, stop))
        if len(sent) == 2:
            data[-5] ^= 1
        fields = [said, f"Content-Digest: sha-256=:{digest}:", 'ETag: "a"']
        lines = ["HTTP/1.1 206 Partial Content", f"Content-Length: {stop - start}", *fields, "", ""]
        head = "\r\n".join(lines).encode()
        if len(sent) == 1:  # the rest is asked for in parts
            return [head + data[: 1 << 20], RESET]
        return [head + data]

    options = Options(transfer=TransferOptions(connections=1))
    with Origin(answer) as origin, Session() as session:
        result = session.get(Target(origin.url(), tmp_path / "f", options))
    assert (tmp_path / "f").read_bytes() == content
    assert [stop for _, stop in sent] == [len(content)] * 3
    assert result.bytes_downloaded > len(content)
