"""`rdl cat` and `get -o -` as processes: bytes on stdout, all else on stderr."""

import hashlib
import itertools
import signal
import subprocess
import sys

import pytest

from tests.engine.staging import content_of
from tests.engine.test_stream import MiB, ranged
from tests.support.origin import HANG, Origin, response

RDL = [sys.executable, "-m", "rdl"]


def run(*arguments, **more):
    return subprocess.run(
        [*RDL, *arguments, "--no-netrc", "--proxy", ""],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        **more,
    )


@pytest.fixture(scope="module")
def content():
    return content_of(3 * MiB + 5)


def test_the_bytes_and_nothing_else(content, tmp_path):
    with Origin(ranged(content)) as origin:
        whole = run("cat", origin.url(), cwd=tmp_path)
        same = run("get", origin.url(), "-o", "-", cwd=tmp_path)
        parts = run("cat", origin.url(), "-r", "100-199", "-r", "0-9", "-r", "-3", cwd=tmp_path)
        lone = run("get", origin.url(), "-o", "-", "-r", "5+10", cwd=tmp_path)
    assert (whole.returncode, whole.stdout, whole.stderr) == (0, content, b"")
    assert (same.returncode, same.stdout, same.stderr) == (0, content, b"")
    assert parts.stdout == content[100:200] + content[:10] + content[-3:]
    assert lone.stdout == content[5:15]
    assert list(tmp_path.iterdir()) == []


def test_dev_null_is_a_stream(content, tmp_path):
    with Origin(ranged(content)) as origin:
        ended = run("get", origin.url(), "-o", "/dev/null", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_a_range_is_one_request(content):
    with Origin(ranged(content)) as origin:
        assert run("cat", origin.url(), "-r", "1000-1099").stdout == content[1000:1100]
        assert [seen.fields["range"] for seen in origin.seen] == ["bytes=1000-1099"]


def test_a_digest_is_checked_at_the_end(content, tmp_path):
    right = hashlib.sha256(content).hexdigest()
    with Origin(ranged(content)) as origin:
        assert run("cat", origin.url(), "--sha256", right).returncode == 0
        wrong = run("cat", origin.url(), "--checksum", f"sha256:{'0' * 64}")
        (tmp_path / "SUMS").write_text(f"{right}  file\n")
        sums = run("cat", origin.url(), "--checksum", "SUMS", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (10, content)
    assert b"expected 0000" in wrong.stderr
    assert sums.returncode == 0


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([response(b"", "404 Not Found")], 8),
        ([response(b"", "403 Forbidden")], 6),
        ([response(b"x" * 1000)[:-10], "reset"], 4),
        ([response(b"x" * 1000, "200 OK", "Content-Encoding: gzip")], 7),
    ],
)
def test_a_failing_source_never_ends_with_0(steps, code):
    with Origin(lambda *seen: steps) as origin:
        ended = run("cat", origin.url(), "--retry", "0")
    assert ended.returncode == code
    assert ended.stderr.startswith(b"rdl: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["cat"],
        ["cat", "nope"],
        ["cat", "http://h/f", "-r", "9-5"],
        ["cat", "http://h/f", "-o", "x"],
        ["cat", "http://h/f", "--json"],
        ["get", "http://h/f", "http://h/g", "-o", "-"],
        ["get", "http://h/f", "-o", "-", "--json"],
    ],
)
def test_usage(arguments):
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert len(ended.stderr.splitlines()) <= 2


def test_a_reader_that_goes_away_is_no_error(content):
    with Origin(ranged(content * 20)) as origin:
        process = subprocess.Popen(
            [*RDL, "cat", origin.url()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout.read(10) == content[:10]
        process.stdout.close()
        assert process.wait(timeout=30) == 141
        assert process.stderr.read() == b""
        process.stderr.close()


def test_a_full_stdout_is_told(content):
    with Origin(ranged(content)) as origin, open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*RDL, "cat", origin.url()],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 3
    assert b"No space left" in ended.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals(content, name, code):
    steps = [response(content)[:100_000], HANG]
    with Origin(lambda *seen: steps) as origin:
        process = subprocess.Popen(
            [*RDL, "cat", origin.url()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout.read(50_000) == content[:50_000]
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=30)
    assert process.returncode == code


def test_a_slow_consumer_stays_inside_the_window(content):
    """With little room for data more than that goes through."""
    big = content * 80

    def answer(connection, number, seen):
        first, _, last = seen.fields["range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(len(big), int(last or len(big)) + 1)
        said = f'HTTP/1.1 206 Partial Content\r\nETag: "1"\r\nContent-Length: {stop - start}\r\n'
        said += f"Content-Range: bytes {start}-{stop - 1}/{len(big)}\r\n\r\n"
        steps = (big[at : min(at + MiB, stop)] for at in range(start, stop, MiB))
        return itertools.chain([said.encode()], steps)

    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (220 << 20,) * 2);"
    script += "from rdl.cli.main import main; sys.exit(main())"
    with Origin(answer) as origin:
        process = subprocess.Popen(
            [sys.executable, "-c", script, "cat", origin.url(), "-x", "8"], stdout=subprocess.PIPE
        )
        digest = hashlib.sha256()
        while data := process.stdout.read(MiB):
            digest.update(data)
        process.stdout.close()
        assert process.wait(timeout=30) == 0
    assert digest.digest() == hashlib.sha256(big).digest()
