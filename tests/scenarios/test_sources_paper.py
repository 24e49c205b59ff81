"""The shell lines of docs/sources.md, run as they stand there, against servers on loopback."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

from rdl.server.connection import Limits
from rdl.server.folder import Folder
from rdl.server.granting import Granting
from tests.cli.test_serve import serving
from tests.engine.staging import content_of
from tests.server.conftest import ANY, running
from tests.server.filling import filling
from tests.support.links import Links
from tests.support.mirror import Mirror
from tests.support.origin import Origin, response

PAPER = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
MiB = 1 << 20
CONTENT = content_of(2 * MiB)
FILE = "GET /file HTTP/1.1"
NEW = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"


def lines(section: str) -> list[str]:
    """The commands of one section."""
    text = PAPER.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.S)
        for line in block.split("\n")
        if line
    ]


def shell(line: str, folder: Path, **words: str) -> subprocess.CompletedProcess[str]:
    """Run it; the words in capitals stand for what a reader would put there."""
    for word, text in sorted(words.items(), key=lambda one: -len(one[0])):
        line = re.sub(rf"(?<![\w-]){word.replace('_', '-')}(?![\w-])", shlex.quote(text), line)
    command = re.sub(r"^rdl ", f"{sys.executable} -m rdl ", line)
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_links_that_die(tmp_path: Path) -> None:
    plain, command, later = lines("Links that die")
    with Links(CONTENT, life=0.6, rate=2 * MiB) as links:
        program = tmp_path / "bin" / "make-link"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\n{NEW.replace('sys.argv[1]', repr(links.front.url('/new')))}\n"
        )
        program.chmod(0o755)
        image = tmp_path / "image.iso"
        for line, url in ((plain, links.url), (command, links.make())):
            issued = len(links.issued)
            done = shell(line, tmp_path, URL=url, LINK=url)
            assert done.returncode == 0, done.stderr
            assert image.read_bytes() == CONTENT
            assert len(links.issued) > issued
            image.unlink()
        assert shell(plain, tmp_path, URL=links.make()).returncode == 6
        links.life = 60
        done = shell(later, tmp_path, NEW_LINK=links.make())
        assert done.returncode == 0, done.stderr
        assert image.read_bytes() == CONTENT
        assert "reused" in done.stderr


def test_mirrors(tmp_path: Path) -> None:
    named, listed = lines("Mirrors")
    digest = sha256(CONTENT).hexdigest()
    gone = [response(b"", "404 Not Found")]
    with (
        Mirror(CONTENT, fails=lambda _: gone) as first,
        Mirror(CONTENT, 8 * MiB) as second,
        Mirror(CONTENT, 4 * MiB) as third,
    ):
        urls = {"URL": first.url(), "MIRROR": second.url(), "OTHER": third.url()}
        done = shell(named, tmp_path, **urls)
        assert done.returncode == 0, done.stderr
        assert f"{first.url()} is not used any more: HTTP 404" in done.stderr
        assert (tmp_path / "image.iso").read_bytes() == CONTENT
        (tmp_path / "image.meta4").write_text(
            '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="image.iso">'
            f'<hash type="sha-256">{digest}</hash>'
            + "".join(f"<url>{url}</url>" for url in urls.values())
            + "</file></metalink>"
        )
        done = shell(listed, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "verified by sha256 (T4)" in done.stderr
        assert (tmp_path / "downloads" / "image.iso").read_bytes() == CONTENT


def test_mirrors_that_receive_the_file_themselves(tmp_path: Path) -> None:
    get, serve, sync = lines("Mirrors that receive the file themselves")
    content = content_of(8 * MiB)
    for name in ("origin", "share", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "origin" / "data.bin").write_bytes(content)
    with ExitStack() as stack:
        sites = [Granting(Folder(tmp_path / name)) for name in ("origin", "other")]
        for site in sites:
            stack.callback(site.close)
        origin, other = (stack.enter_context(running(one, Limits(), None, ANY)) for one in sites)
        words = {"URL": f"{origin.url}/data.bin", "PEER": other.url}
        done = shell(get, tmp_path, **words)
        assert done.returncode == 0, done.stderr
        shutil.copy(tmp_path / "share" / "data.bin.rdlm", tmp_path / "other")
        writer = stack.enter_context(filling(tmp_path / "other" / "data.bin", content))
        writer.fill(0, len(content) // 2)
        served = stack.enter_context(serving(tmp_path, *shlex.split(serve)[2:-2]))
        assert served.get("/data.bin.rdlm")[0] == 200
        done = shell(sync, tmp_path, **words)
        assert done.returncode == 0, done.stderr
        assert served.get("/data.bin") == (200, content)
    came = [line for line in other.lines if " POST " in line]
    assert sum(int(line.split(" ")[4]) for line in came) > MiB


def test_local_files(tmp_path: Path) -> None:
    plain, mirror, repair = lines("Local files")
    (tmp_path / "a copy.iso").write_bytes(CONTENT)
    image = tmp_path / "image.iso"
    words = {
        "FILE_URL": (tmp_path / "a copy.iso").as_uri(),
        "DIGEST": sha256(CONTENT).hexdigest(),
    }
    with Origin(lambda *_: [response(b"", "404 Not Found")]) as origin:
        done = shell(plain, tmp_path, **words)
        assert "one version by its ETag (T2)" in done.stderr
        assert image.read_bytes() == CONTENT
        image.unlink()
        done = shell(mirror, tmp_path, URL=origin.url(), **words)
        assert f"{origin.url()} is not used any more: HTTP 404" in done.stderr
        assert image.read_bytes() == CONTENT
        image.write_bytes(CONTENT[:-1])
        done = shell(repair, tmp_path, **words)
        assert done.returncode == 0, done.stderr
        assert image.read_bytes() == CONTENT


def test_digests_that_are_found(tmp_path: Path) -> None:
    plain, info, fragment, given, discover, require = lines("Digests that are found")
    digest = sha256(CONTENT).hexdigest()
    field = f'X-Linked-ETag: "{digest}"'
    with Origin(lambda *_: [response(CONTENT, "200 OK", field)]) as origin:
        image = tmp_path / "image.iso"
        done = shell(plain, tmp_path, URL=origin.url())
        assert "verified by x-linked-etag:sha256 (T3)" in done.stderr
        assert image.read_bytes() == CONTENT
        assert digest in shell(info, tmp_path, URL=origin.url()).stdout
        image.unlink()
        done = shell(fragment, tmp_path, URL=origin.url(), DIGEST=digest)
        assert "verified by sha256 (T4)" in done.stderr
        assert image.read_bytes() == CONTENT
    sums = {"/file": response(CONTENT), "/SHA256SUMS": response(f"{digest}  file".encode())}
    missing = response(b"", "404 Not Found")
    with Origin(lambda _c, _t, seen: [sums[seen.line.split()[1]]]) as origin:
        image.unlink()
        done = shell(given, tmp_path, URL=origin.url(), SUMS=origin.url("/SHA256SUMS"))
        assert "verified by sha256 (T4)" in done.stderr
    for line, code in ((discover, 0), (require, 11)):
        with Origin(lambda _c, _t, seen: [sums.get(seen.line.split()[1], missing)]) as origin:
            image.unlink()
            done = shell(line, tmp_path, URL=origin.url())
            assert "verified by SHA256SUMS:sha256 (T3)" in done.stderr
        with Origin(
            lambda _c, _t, seen: [sums["/file"] if seen.line == FILE else missing]
        ) as origin:
            image.unlink()
            assert shell(line, tmp_path, URL=origin.url()).returncode == code
            image.touch()


def test_files_that_stay_the_same(tmp_path: Path) -> None:
    lock, get = lines("Files that stay the same")
    with Origin(lambda *_: [response(CONTENT, "200 OK", 'ETag: "v"')]) as origin:
        (tmp_path / "files.txt").write_text(f"{origin.url('/a')}\n{origin.url('/b')}\n")
        for line in (lock, get):
            done = shell(line, tmp_path)
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "downloads" / "b").read_bytes() == CONTENT


def test_lists(tmp_path: Path) -> None:
    listed, summed = lines("Lists")
    digest = sha256(CONTENT).hexdigest()
    with Origin(lambda *_: [response(CONTENT, "200 OK", 'ETag: "v"')]) as origin:
        (tmp_path / "list.txt").write_text(f"{origin.url('/a')}\n  out=b\n")
        (tmp_path / "SHA256SUMS").write_text(f"{digest}  c\n")
        done = shell(listed, tmp_path)
        assert json.loads(done.stdout)["path"] == "downloads/b"
        assert shell(summed, tmp_path, BASE=origin.url("/")).returncode == 0
    assert (tmp_path / "downloads" / "b").read_bytes() == CONTENT
    assert (tmp_path / "downloads" / "c").read_bytes() == CONTENT


def test_cookies(tmp_path: Path) -> None:
    (line,) = lines("Cookies")
    cookie = "\t".join(["127.0.0.1", "FALSE", "/", "FALSE", "0", "sid", "s"])
    (tmp_path / "cookies.txt").write_text(f"# Netscape HTTP Cookie File\n{cookie}\n")
    with Origin(lambda *_: [response(CONTENT)]) as origin:
        assert shell(line, tmp_path, URL=origin.url()).returncode == 0
        assert origin.seen[0].fields["cookie"] == "sid=s"
