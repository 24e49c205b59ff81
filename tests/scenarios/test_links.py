"""Links that die in the middle of a download (rows P31, P55, P60): the URL that led to them is
asked again, by one worker for all; no byte is written twice, none is lost."""

from __future__ import annotations

import os
import sys
import time
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from rdl.api import Session, Target
from rdl.cli import url_command
from rdl.cli.url_command import UrlCommand
from rdl.core import link
from rdl.errors import AuthError, ExitCode, RdlError
from rdl.options import Digest, NetworkOptions, Options, TransferOptions
from rdl.sources import renewal
from tests.engine.staging import content_of
from tests.support.links import Links
from tests.support.origin import END, RESET, Answer, Origin, Seen, response
from tests.support.program import rdl

KiB, MiB = 1 << 10, 1 << 20
CONTENT = content_of(4 * MiB)
FOUR = Options(transfer=TransferOptions(connections=4, min_split=256 * KiB))
SPACE = 0.2
"""Seconds between two links, in place of the one second of the program."""
NEW = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LEAST_SECONDS", SPACE)


def fetched(links: Links, folder: Path, options: Options = FOUR, url: str | None = None):
    """What came of it; the file is right."""
    path = folder / "file.bin"
    with Session() as session:
        result = session.get(Target(url or links.url, path, options))
    assert path.read_bytes() == links.content
    assert sorted(one.name for one in folder.iterdir()) == ["file.bin"]
    return result


@pytest.mark.usefixtures("quick")
def test_p55_bodies_that_are_cut_with_their_link(tmp_path: Path) -> None:
    with Links(CONTENT, life=0.3, rate=MiB) as links:
        result = fetched(links, tmp_path)
        forced = int(result.seconds / 0.3)
        assert 3 <= forced <= len(links.issued) <= forced + 2
        assert min(b - a for a, b in pairwise(links.issued)) >= SPACE
        assert result.bytes_downloaded == len(CONTENT), "no byte was written twice"
        assert result.retries >= len(links.issued) - 1


@pytest.mark.usefixtures("quick")
def test_p55_bodies_that_outlive_their_link(tmp_path: Path) -> None:
    with Links(CONTENT, life=0.2, rate=2 * MiB, cuts=False) as links:
        result = fetched(links, tmp_path)
        assert result.bytes_downloaded == len(CONTENT)
        assert len(links.issued) <= result.seconds / SPACE + 2


def test_row_61_a_link_that_serves_one_request(tmp_path: Path, quick: None) -> None:
    with Links(CONTENT, life=60, rate=4 * MiB, uses=1) as links:
        result = fetched(links, tmp_path)
        assert len(links.issued) >= 1
        assert links.refused >= 1, "a second request came to the first link"
        assert result.bytes_downloaded == len(CONTENT)


def test_p60_one_link_serves_all_workers_as_long_as_it_lives(tmp_path: Path) -> None:
    with Links(CONTENT, life=60, rate=2 * MiB) as links:
        result = fetched(links, tmp_path)
        assert result.connections == 4
        assert len(links.issued) == 1
        assert links.front.connections == 1


@pytest.mark.usefixtures("quick")
def test_p31_nodes_with_other_validators_give_one_right_file(tmp_path: Path) -> None:
    """Where nobody could tell versions from nodes, a digest can."""
    content = CONTENT[: 2 * MiB]
    digest = (Digest("sha256", sha256(content).hexdigest()),)
    options = Options(transfer=replace(FOUR.transfer, digests=digest))
    with Links(content, life=0.4, rate=MiB, tags=lambda link: f'"{link}"') as links:
        fetched(links, tmp_path, options)
        assert len(links.issued) > 3


def test_a_new_link_under_another_name_of_the_query_continues_an_old_partial(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.bin"
    with Links(CONTENT, life=0.3, rate=2 * MiB) as links, Session() as session:
        with pytest.raises(AuthError) as refused:
            session.get(Target(links.make(), path, FOUR))
        assert refused.value.exit_code is ExitCode.AUTH
        assert str(path) in refused.value.hint
        again = fetched_again(session, links, path)
        assert again.bytes_reused > MiB // 2
        assert again.bytes_downloaded + again.bytes_reused == len(CONTENT)


def fetched_again(session: Session, links: Links, path: Path):
    links.life = 60
    result = session.get(Target(links.make(), path, FOUR))
    assert path.read_bytes() == links.content
    return result


@pytest.mark.parametrize(
    ("tag", "reused"), [('"9e107d9d372bb6826bd81d3542a419d6"', True), ('"5f3c-1a2b"', False)]
)
def test_a_url_of_another_place_continues_what_a_hash_says_is_the_same(
    tmp_path: Path, tag: str, reused: bool
) -> None:
    path = tmp_path / "file.bin"
    with (
        Links(CONTENT, life=0.3, rate=2 * MiB, tags=lambda link: tag) as links,
        Links(CONTENT, life=60, rate=8 * MiB, tags=lambda link: tag) as others,
        Session() as session,
    ):
        with pytest.raises(AuthError):
            session.get(Target(links.make(), path, FOUR))
        result = session.get(Target(others.make(), path, FOUR))
        assert path.read_bytes() == CONTENT
        assert bool(result.bytes_reused) is reused


def test_a_url_of_another_place_with_other_bytes_is_noticed(tmp_path: Path) -> None:
    """Should such an ETag lie, the bytes before the gap tell."""
    path, tag = tmp_path / "file.bin", '"9e107d9d372bb6826bd81d3542a419d6"'
    with (
        Links(CONTENT, life=0.3, rate=2 * MiB, tags=lambda link: tag) as links,
        Links(CONTENT[::-1], life=60, rate=8 * MiB, tags=lambda link: tag) as others,
        Session() as session,
    ):
        with pytest.raises(AuthError):
            session.get(Target(links.make(), path, FOUR))
        assert session.get(Target(others.make(), path, FOUR)).exit_code == 0
        assert path.read_bytes() == CONTENT[::-1]


@pytest.mark.usefixtures("quick")
def test_a_caller_makes_new_urls(tmp_path: Path) -> None:
    with Links(CONTENT, life=0.4, rate=MiB) as links:
        given, asked = links.make(), []

        def renew(url: str) -> str:
            asked.append(url)
            return links.make()

        options = Options(transfer=FOUR.transfer, renew=renew)
        result = fetched(links, tmp_path, options, given)
        assert set(asked) == {given}
        assert len(asked) == len(links.issued) - 1
        assert result.bytes_downloaded == len(CONTENT)
        assert not links.front.seen


@pytest.mark.usefixtures("quick")
def test_a_login_stays_with_the_origin_of_the_first_url(tmp_path: Path) -> None:
    with (
        Links(CONTENT, life=0.3, rate=2 * MiB) as links,
        Links(CONTENT, life=60, rate=8 * MiB) as others,
    ):
        network = NetworkOptions(user="user", password="secret", headers=(("X-Token", "private"),))
        options = Options(transfer=FOUR.transfer, network=network, renew=lambda url: others.make())
        fetched(links, tmp_path, options, links.make())
        assert all("authorization" in seen.fields for seen in links.store.seen)
        assert others.store.seen
        for seen in others.store.seen:
            assert not {"authorization", "x-token"} & seen.fields.keys()


def test_url_command(tmp_path: Path) -> None:
    with Links(CONTENT, life=0.3, rate=2 * MiB) as links:
        script = tmp_path / "new.py"
        script.write_text(NEW)
        command = f'test -n "$RDL_URL" && {sys.executable} {script} {links.front.url("/new")}'
        done = rdl(
            *(tmp_path, "get", links.make(), "-o", "f"),
            *("-x4", "-k256K", "--url-command", command),
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "f").read_bytes() == CONTENT
        assert len(links.issued) >= 2


def test_a_url_command_that_fails_leaves_what_is_here(tmp_path: Path) -> None:
    with Links(CONTENT, life=0.2, rate=MiB) as links:
        done = rdl(*(tmp_path, "get", links.make(), "-o", "f", "-x1", "--url-command", "exit 3"))
        assert done.returncode == 6
        assert "rdl: --url-command: exit code 3\n" in done.stderr
        assert (tmp_path / "f.part.index").exists()
        assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exit 3", "exit code 3"),
        ("true", "printed nothing, not a URL"),
        ("echo http://a/; echo http://b/", "printed more than one line, not a URL"),
        ("kill -9 $$", "ended by signal 9"),
        ("cat", "printed nothing, not a URL"),
        ("yes", "printed more than 64 KiB"),
        ("echo ftp://host/file", "is not an http or https URL"),
        ("echo http://me:secret@host/file", "it contains a login, which is not taken from there"),
    ],
)
def test_a_url_command_that_gives_none(command: str, why: str) -> None:
    renew = renewal("http://host/", Options(renew=UrlCommand(command)))
    assert renew is not None
    with pytest.raises(AuthError) as error:
        renew()
    assert error.value.why == why
    assert "secret" not in str(error.value)


def test_a_url_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_command, "SECONDS", 0.3)
    with pytest.raises(AuthError, match=r"no URL after 0\.3 s"):
        UrlCommand(f"echo $$ > {tmp_path}/pid; exec sleep 30")("http://host/")
    with pytest.raises(ProcessLookupError):
        os.killpg(int((tmp_path / "pid").read_text()), 0)


def test_an_empty_url_command_is_refused(tmp_path: Path) -> None:
    done = rdl(tmp_path, "get", "http://127.0.0.1:9/f", "--url-command", " ")
    assert (done.returncode, done.stderr) == (2, "rdl: --url-command: it is empty\n")


def test_a_url_command_that_leaves_something_running(tmp_path: Path) -> None:
    command = f"sleep 30 & echo $! > {tmp_path}/pid; echo http://host/new"
    assert UrlCommand(command)("http://host/") == "http://host/new"
    state = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    deadline = time.monotonic() + 5
    while state.exists() and ") Z " not in state.read_text():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("bug", [ValueError("a bug"), SystemExit("no")])
def test_a_caller_who_fails_to_make_one(tmp_path: Path, bug: BaseException) -> None:
    def renew(url: str) -> str:
        raise bug

    with Links(CONTENT, life=0.2, rate=MiB) as links, Session() as session:
        options = Options(transfer=FOUR.transfer, renew=renew)
        with pytest.raises(RdlError, match=r"a bug|no"):
            session.get(Target(links.make(), tmp_path / "f", options))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("connections", [1, 2])
def test_a_new_node_with_other_bytes_is_noticed(tmp_path: Path, connections: int) -> None:
    """The size and the short ETag are the same, and the node before it has died."""
    other, turns = CONTENT[::-1], []

    def answer(content: bytes, most: int | None):
        def serve(connection: int, turn: int, seen: Seen) -> Answer:
            first, _, last = seen.fields["range"].removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else len(content)
            if most is not None and start:
                return [RESET]
            said = f"Content-Range: bytes {start}-{stop - 1}/{len(content)}"
            whole = response(content[start:stop], "206 Partial Content", said, 'ETag: "5f-40"')
            return [whole[:most], END] if most else [whole]

        return serve

    with Origin(answer(CONTENT, MiB)) as old, Origin(answer(other, None)) as new:

        def lead(connection: int, turn: int, seen: Seen) -> Answer:
            turns.append(seen)
            to = old if len(turns) == 1 else new
            return [response(b"", "302 Found", f"Location: {to.url('/f')}")]

        options = Options(transfer=TransferOptions(connections=connections, min_split=64 * KiB))
        with Origin(lead) as front, Session() as session:
            session.get(Target(front.url("/f"), tmp_path / "f", options))
    assert (tmp_path / "f").read_bytes() == other
