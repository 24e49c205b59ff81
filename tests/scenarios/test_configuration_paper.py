"""The files and shell lines of docs/configuration.md, as they stand there, and what they do to
requests on loopback."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.engine.staging import content_of
from tests.support.json_schema import parse_all
from tests.support.origin import Answer, Origin, Seen, response
from tests.support.program import rdl

PAPER = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
CONTENT = content_of(100_000)


def written(folder: Path, text: str) -> dict[str, str]:
    """The configuration as the file of a user, and the variables that find it."""
    file = folder / "config" / "rdl" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    return {"XDG_CONFIG_HOME": str(folder / "config"), "HOME": str(folder)}


def test_the_lines_of_the_paper_say_what_its_file_says(tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAPER, re.S)
    variables = written(tmp_path, toml)
    lines = [
        line for block in re.findall(r"```sh\n(.*?)```", PAPER, re.S) for line in block.split("\n")
    ]
    path, general, host, json = [
        rdl(tmp_path, *shlex.split(line)[1:], **variables) for line in lines if line
    ]
    assert all(one.returncode == 0 and one.stderr == "" for one in (path, general, host, json))
    file = str(tmp_path / "config" / "rdl" / "config.toml")
    assert path.stdout == f"{file}\n"
    assert re.search(rf"^limit-rate +8M +{file}$", general.stdout, re.M)
    assert re.search(r"^retry +10 +built-in$", general.stdout, re.M)
    assert re.search(rf'^retry +20 +{file}: host."files.example.org"$', host.stdout, re.M)
    assert "Authorization, X-Team" in host.stdout
    assert not re.search("TOKEN|blue", host.stdout + json.stdout)
    rows = {one["name"]: one for one in parse_all(json.stdout)}
    assert (rows["retry"]["value"], rows["retry"]["source"]) == ("20", "host")
    assert rows["connections"]["where"] == file


def test_headers_of_a_section_go_to_its_origin_alone(tmp_path: Path) -> None:
    """Neither to another host of a list, nor after a redirect, though that host has a section."""

    def answer(_connection: int, _number: int, seen: Seen) -> Answer:
        if seen.line.split()[1] == "/away":
            return [response(b"", "302 Found", f"Location: {other.url('/there')}")]
        return [response(CONTENT, "200 OK", 'ETag: "v"')]

    with Origin(answer) as own, Origin(answer) as other:
        (tmp_path / "token").write_text("X-Token: canary\n")
        (tmp_path / "token").chmod(0o600)
        names = [re.sub(r".*//|/$", "", one.url("/")) for one in (own, other)]
        variables = written(
            tmp_path,
            f'[host."{names[0]}"]\nheader = ["@~/token", "Authorization: canary"]\n'
            f'user-agent = "own"\n[host."{names[1]}"]\nheader = "X-Other: canary"\n',
        )
        (tmp_path / "list").write_text(f"{own.url('/away')}\n{own.url('/a')}\n{other.url('/b')}\n")
        done = rdl(tmp_path, "get", "-i", "list", "-d", "got", "-j", "1", **variables)
        assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    for name in ("away", "a", "b"):
        assert (tmp_path / "got" / name).read_bytes() == CONTENT
    assert {(one.fields.get("x-token"), one.fields.get("authorization")) for one in own.seen} == {
        ("canary", "canary")
    }
    assert all(one.fields["user-agent"] == "own" for one in own.seen)
    assert {one.line.split()[1]: one.fields.get("x-other") for one in other.seen} == {
        "/there": None,
        "/b": "canary",
    }
    assert not any({"x-token", "authorization"} & one.fields.keys() for one in other.seen)
    assert "canary" not in done.stdout + done.stderr


def test_every_command_that_fetches_goes_by_the_file(tmp_path: Path) -> None:
    with Origin(lambda *_: [response(CONTENT, "200 OK", 'ETag: "v"')]) as origin:
        name = re.sub(r".*//|/$", "", origin.url("/"))
        variables = written(tmp_path, f'[host."{name}"]\nheader = "X-Token: t"\n')
        (tmp_path / "list").write_text(f"{origin.url('/a')}\n")
        (tmp_path / "bad").write_bytes(b"x" * len(CONTENT))
        url = origin.url("/a")
        for words in (
            ["get", url],
            ["get", url, "-o", "-"],
            ["cat", url],
            ["info", url],
            ["lock", "list"],
            ["verify", "bad", "--sha256", "0" * 64, "--repair", url],
        ):
            before = len(origin.seen)
            rdl(tmp_path, *words, **variables)
            seen = origin.seen[before:]
            assert seen, words
            assert {one.fields.get("x-token") for one in seen} == {"t"}, words


def test_a_broken_file_begins_nothing(tmp_path: Path) -> None:
    with Origin(lambda *_: [response(CONTENT)]) as origin:
        variables = written(tmp_path, "retry = 'many'\n")
        for words in (["get", origin.url("/f")], ["cat", origin.url("/f")], ["config", "show"]):
            done = rdl(tmp_path, *words, **variables)
            assert done.returncode == 2
            assert done.stderr.endswith("retry many: not a whole number from 0 to 1000000\n")
            assert done.stderr.count("\n") == 1
        for words in (["--help"], ["get", "--help"], ["status"], ["config", "path"], ["--version"]):
            assert rdl(tmp_path, *words, **variables).returncode == 0
        assert origin.seen == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config"]
