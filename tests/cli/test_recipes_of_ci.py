"""docs/ci.md: its recipes are run as they stand there, against a server on loopback."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from rdl.looking import status
from tests.cli.test_transcripts import FILES, PHOTOS, ROOT, Site, desk
from tests.support.waiting import until

PAGE = (ROOT / "docs" / "ci.md").read_text()
SMALL = ("letters.txt", "numbers.txt")


def fenced(language: str) -> list[str]:
    """The blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def steps() -> dict[str, list[str]]:
    """The shell of each recipe, in order, but for what installs rdl."""
    actions, gitlab = map(yaml.safe_load, fenced("yaml"))
    (dockerfile,) = fenced("dockerfile")
    found = {
        "actions": [step["run"] for step in actions["jobs"]["data"]["steps"] if "run" in step],
        "gitlab": ["\n".join(gitlab["data"]["script"])],
        "dockerfile": re.findall(
            r"^RUN(?: --mount=\S+)*(?: \\\n)?((?:.*\\\n)*.*)", dockerfile, re.MULTILINE
        ),
    }
    assert all(found.values())
    return {
        name: [step for step in some if not step.strip().startswith("pip install")]
        for name, some in found.items()
    }


class Runner:
    """A folder with a checkout in it, and what the recipes take for granted."""

    def __init__(self, site: Site, folder: Path, environment: dict[str, str]) -> None:
        self.site, self.folder = site, folder
        self.environment = environment
        python = Path(environment["PATH"].partition(":")[0], "python3")
        python.symlink_to(sys.executable)
        (folder / "fetch.py").write_text(fenced("python")[0])

    def url(self, name: str) -> str:
        return f"http://{self.site.host}/{name}"

    def start(self, text: str) -> subprocess.Popen[str]:
        """As a step of GitHub's is started; example.org is the server."""
        return subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
        )

    def run(self, text: str) -> tuple[int, str]:
        """The exit code, and what was said."""
        with self.start(text) as process:
            said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def lock(self, *names: str, url: str = "", digest: str = "") -> None:
        """A lock file that pins these."""
        rows = [
            {
                "path": name,
                "sha256": digest or sha256(FILES[f"/{name}"]).hexdigest(),
                "size": len(FILES[f"/{name}"]),
                "url": url or self.url(name),
            }
            for name in names
        ]
        head = '{"rdl_lock": 1, "files": [\n'
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        (self.folder / "data.txt.lock").write_text(f"{head}{lines}\n]}}\n")

    def sums(self, path: str, prefix: str = "") -> None:
        lines = [f"{sha256(FILES[f'/{name}']).hexdigest()}  {prefix}{name}\n" for name in SMALL]
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text("".join(lines))

    def has(self, folder: str, *names: str) -> bool:
        """These and nothing else, all right."""
        found = {path.name: path.read_bytes() for path in (self.folder / folder).iterdir()}
        return found == {name: FILES[f"/{name}"] for name in names}


@pytest.fixture
def runner() -> Iterator[Runner]:
    with desk() as (site, folder, environment):
        yield Runner(site, folder, environment)


def test_what_is_needed_is_pinned(runner: Runner) -> None:
    (runner.folder / "data.txt").write_text("".join(f"{runner.url(name)}\n" for name in SMALL))
    (text,) = fenced("sh")
    code, said = runner.run(text)
    assert code == 0, said
    written = (runner.folder / "data.txt.lock").read_text()
    runner.lock(*SMALL)
    assert written == (runner.folder / "data.txt.lock").read_text()


@pytest.mark.parametrize("recipe", ["actions", "gitlab", "dockerfile"])
def test_the_files_are_here(runner: Runner, recipe: str) -> None:
    runner.lock(*SMALL)
    runner.sums("SHA256SUMS", "data/")
    for step in steps()[recipe]:
        code, said = runner.run(step)
        assert code == 0, said
    assert runner.has("data", *SMALL)
    (checked,) = steps()["gitlab"]
    (runner.folder / "data" / "letters.txt").write_bytes(b"spoilt")
    code, said = runner.run(checked.partition("\n")[2])
    assert code == 10, said


def test_a_run_that_was_ended_is_continued(runner: Runner) -> None:
    runner.lock("photos.tar")
    fetch, *_ = steps()["actions"]
    part = runner.folder / "data" / "photos.tar"
    with runner.start(fetch) as process:
        assert runner.site.stopped.wait(20)
        assert until(lambda: part.with_name("photos.tar.part.index").exists())
        assert until(lambda: status(part).bytes_present)
        assert runner.run(f"kill -TERM -- -{process.pid}") == (0, "")
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert until(lambda: not status(part).running)
    assert status(part).bytes_present
    code, said = runner.run(fetch)
    assert code == 0, said
    assert "reused" in said
    assert part.read_bytes() == PHOTOS
    assert runner.has("data", "photos.tar")


@pytest.mark.parametrize(
    ("path", "digest", "code"),
    [("busy.txt", "", 75), ("gone", "", 8), ("private.txt", "", 6), ("letters.txt", "0" * 64, 10)],
)
def test_what_gets_better_by_itself_is_told_from_what_does_not(
    runner: Runner, path: str, digest: str, code: int
) -> None:
    fetch, *_ = steps()["actions"]
    runner.lock("letters.txt", url=runner.url(path), digest=digest)
    ended, said = runner.run(fetch.replace("--max-time", "--retry 0 --max-time"))
    assert ended == code, said
    assert ("::warning::" in said) == (code == 75)
    assert "data/letters.txt: " in said
    assert not (runner.folder / "data" / "letters.txt").exists()


def test_a_network_that_fails_gets_better(runner: Runner) -> None:
    runner.lock("letters.txt", url="http://127.0.0.1:1/letters.txt")
    code, said = runner.run("python3 fetch.py --retry 0")
    assert code == 75, said


def test_gitlab_tries_again_after_that_alone() -> None:
    _, gitlab = map(yaml.safe_load, fenced("yaml"))
    assert gitlab["data"]["retry"]["exit_codes"] == [75]


def test_make_makes_each_file_once(runner: Runner) -> None:
    (text,) = fenced("make")
    text = text.replace("https://example.org", f"http://{runner.site.host}")
    (runner.folder / "Makefile").write_text(text)
    runner.sums("data/SHA256SUMS")
    code, said = runner.run("make data")
    assert code == 0, said
    assert (runner.folder / "data" / "letters.txt").read_bytes() == FILES["/letters.txt"]
    code, said = runner.run("make data")
    assert "Nothing to be done" in said, said


def test_make_has_no_target_that_is_wrong(runner: Runner) -> None:
    (text,) = fenced("make")
    text = text.replace("https://example.org", f"http://{runner.site.host}")
    (runner.folder / "Makefile").write_text(text)
    runner.sums("data/SHA256SUMS")
    sums = runner.folder / "data" / "SHA256SUMS"
    sums.write_text(re.sub(r"(?m)^\w{64}", "0" * 64, sums.read_text()))
    code, said = runner.run("make data")
    assert (code, "Error 10" in said) == (2, True), said
    assert not (runner.folder / "data" / "letters.txt").exists()
