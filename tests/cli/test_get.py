"""What the options of `get` ask of the engine, and what its results become."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from rdl.cli.main import main
from rdl.core.events import Result
from rdl.options import Digest, FileOptions, NetworkOptions, Options, RangeSpec, SessionOptions
from tests.cli.conftest import Rdl
from tests.cli.stand_in import NASTY, Target
from tests.support.json_schema import parse, parse_all

U = "http://proved/f.iso"
A, B = "a" * 64, "b" * 64


def asked(rdl: Rdl, *arguments: str) -> list[Target]:
    answer = rdl("get", *arguments)
    assert answer.code == 0, answer.err
    assert answer.session is not None
    return answer.session.targets


def options(rdl: Rdl, *arguments: str) -> Options:
    return asked(rdl, U, *arguments)[0].options


def test_defaults_are_those_of_the_options(rdl: Rdl) -> None:
    (target,) = asked(rdl, U)
    assert target == Target(U, Path("f.iso"), Options())
    answer = rdl("get", U)
    assert answer.session is not None
    assert answer.session.asked == SessionOptions()


def test_a_url_alone_means_get(rdl: Rdl) -> None:
    for url in (U, "HTTP://proved/f.iso"):
        answer = rdl(url, "-o", "x")
        assert answer.code == 0
        assert answer.session is not None
        assert answer.session.targets[0].path == Path("x")


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["-x", "3"], {"connections": 3}),
        (["-k", "1.5M"], {"min_split": 3 << 19}),
        (["-k", "8MiB"], {"min_split": 8 << 20}),
        (["-k", "65536"], {"min_split": 65536}),
        (["-k", "1t"], {"min_split": 1 << 40}),
        (["--retry", "0"], {"retry": 0}),
        (["--retry-max-time", "2.5"], {"retry_max_time": 2.5}),
        (["--max-time", "60"], {"max_time": 60.0}),
        (["--on-change", "fail"], {"on_change": "fail"}),
        (["--strict"], {"strict": True}),
        (["--allow-html"], {"allow_html": True}),
        (["--max-filesize", "2G"], {"max_filesize": 2 << 30}),
        (["--block-size", "64K"], {"block_size": 65536}),
        (["-r", "0-499"], {"range": RangeSpec(0, 500)}),
        (["-r", "0-0"], {"range": RangeSpec(0, 1)}),
        (["-r", "500-"], {"range": RangeSpec(500)}),
        (["-r", "-500"], {"range": RangeSpec(suffix=500)}),
        (["-r", "500+100K"], {"range": RangeSpec(500, 500 + 102400)}),
        (["-r", "1M+1M"], {"range": RangeSpec(1 << 20, 2 << 20)}),
        (["-r", "0+5"], {"range": RangeSpec(0, 5)}),
        (["--sha256", A.upper()], {"digests": (Digest("sha256", A),)}),
        (["--checksum", A, "--checksum", "c" * 128], {
            "digests": (Digest("sha256", A), Digest("sha512", "c" * 128))
        }),
    ],
)  # fmt: skip
def test_transfer_options(rdl: Rdl, arguments: list[str], values: dict[str, Any]) -> None:
    transfer = options(rdl, *arguments).transfer
    for name, value in values.items():
        assert getattr(transfer, name) == value


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--restart"], FileOptions(restart=True)),
        (["--no-clobber"], FileOptions(no_clobber=True)),
        (["-c"], FileOptions(adopt=True)),
        (["--continue"], FileOptions(adopt=True)),
        (["-C", "-"], FileOptions(adopt=True)),
        (["--preallocate", "none"], FileOptions(preallocate="none")),
        (["--no-keep-time"], FileOptions(keep_time=False)),
    ],
)
def test_file_options(rdl: Rdl, arguments: list[str], expected: FileOptions) -> None:
    assert options(rdl, *arguments).file == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-H", "A: b", "-H", "A:c"], NetworkOptions(headers=(("A", "b"), ("A", "c")))),
        (["-u", "al:p:w"], NetworkOptions(user="al", password="p:w")),
        (["-u", "al:"], NetworkOptions(user="al", password="")),
        (["--no-netrc"], NetworkOptions(netrc=False)),
        (["-A", "me/1"], NetworkOptions(user_agent="me/1")),
        (["--proxy", "h:3128"], NetworkOptions(proxy="http://h:3128")),
        (["--proxy", ""], NetworkOptions(proxy="")),
        (["--noproxy", "a, .b,"], NetworkOptions(noproxy=("a", ".b"))),
        (["--insecure"], NetworkOptions(insecure=True)),
        (["-4"], NetworkOptions(family=4)),
        (["-6"], NetworkOptions(family=6)),
        (["--connect-timeout", "3", "-T", "4"], NetworkOptions(connect_timeout=3, timeout=4)),
        (["--allow-insecure-redirect"], NetworkOptions(allow_insecure_redirect=True)),
        (["--allow-private-redirect"], NetworkOptions(allow_private_redirect=True)),
    ],
)
def test_network_options(rdl: Rdl, arguments: list[str], expected: NetworkOptions) -> None:
    assert options(rdl, *arguments).network == expected


def test_files_that_options_name(rdl: Rdl) -> None:
    for name in ("ca", "cert", "key", "netrc"):
        Path(name).write_text("x")
    Path("headers").write_text("A: b\r\n\nC: d\n")
    network = options(
        *(rdl, "--cacert", "ca", "--cert", "cert", "--key", "key"),
        *("--netrc-file", "netrc", "-H", "@headers"),
    ).network
    assert network.headers == (("A", "b"), ("C", "d"))
    assert (network.cacert, network.cert) == (Path("ca"), Path("cert"))
    assert (network.key, network.netrc_file) == (Path("key"), Path("netrc"))
    Path("headers").write_text("A: b\nbad canary\n")
    answer = rdl("get", "-H", "@headers", U)
    assert (answer.code, answer.err) == (2, "rdl: headers:2: not 'Name: value'\n")


def test_session_options(rdl: Rdl) -> None:
    answer = rdl("get", U, "--limit-rate", "1M", "--limit-requests", "2.5", "-j", "7")
    assert answer.session is not None
    assert answer.session.asked == SessionOptions(1 << 20, 2.5, 7)


def test_fingers_of_curl(rdl: Rdl) -> None:
    answer = rdl("get", "-fsSLo", "x", U)
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert answer.session is not None
    assert answer.session.targets[0].path == Path("x")


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("http://al:p%40w@proved/f.iso", "al", "p@w"),
        ("http://al@proved/f.iso", "al", ""),
        ("http://al:p@w@proved/f.iso#part", "al", "p@w"),
    ],
)
def test_userinfo_leaves_the_url(rdl: Rdl, url: str, user: str, password: str) -> None:
    (target,) = asked(rdl, url)
    network = target.options.network
    assert (target.url, network.user, network.password) == (U, user, password)
    (target,) = asked(rdl, url, "-u", "bob:x")
    network = target.options.network
    assert (target.url, network.user, network.password) == (U, "bob", "x")


def test_the_password_is_asked_for_on_a_terminal(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: f"asked {prompt}")
    network = options(rdl, "-u", "al").network
    assert (network.user, network.password) == ("al", "asked rdl: password of al: ")


def test_where_files_go(rdl: Rdl) -> None:
    Path("there").mkdir()
    other = "http://proved/dir/g%20h"
    assert [t.path for t in asked(rdl, U, other)] == [Path("f.iso"), Path("g h")]
    assert [t.path for t in asked(rdl, U, other, "-o", "there")] == [
        Path("there/f.iso"),
        Path("there/g h"),
    ]
    assert asked(rdl, U, "-o", "there")[0].path == Path("there/f.iso")
    assert not Path("new").exists()
    assert asked(rdl, U, "-d", "new/deep", "-o", "x")[0].path == Path("new/deep/x")
    assert Path("new/deep").is_dir()
    for spelling in ("-P", "--output-dir", "--directory"):
        assert asked(rdl, U, spelling, "there")[0].path == Path("there/f.iso")
    assert asked(rdl, "http://proved/", "-o", "x")[0].path == Path("x")


def test_a_directory_is_not_made_for_a_plan_or_an_error(rdl: Rdl) -> None:
    assert rdl("get", U, "-d", "new", "--dry-run").code == 0
    assert rdl("get", U, "-d", "new", "-k", "x").code == 2
    assert rdl("get", U, U, "-d", "new").code == 2
    assert not Path("new").exists()
    Path("file").write_text("")
    answer = rdl("get", U, "-d", "file/deep")
    assert (answer.code, answer.err) == (3, "rdl: file/deep: Not a directory\n")
    answer = rdl("get", U, "-d", "file")
    assert answer.code == 3
    assert answer.err.splitlines() == [
        "rdl: file: a file stands where a directory is wanted",
        "rdl: hint: -o FILE names a file",
    ]


def test_the_same_target_through_a_symlink(rdl: Rdl) -> None:
    Path("a").mkdir()
    Path("b").symlink_to("a")
    Path("list").write_text(f"{U}\tdir=a\n{U}\tdir=b\n")
    answer = rdl("get", "-i", "list")
    assert (answer.code, answer.err) == (
        2,
        "rdl: list:2: b/f.iso: the same target twice in one run\n",
    )


def test_sums_files(rdl: Rdl) -> None:
    Path("SHA256SUMS").write_text(f"{A}  f.iso\n{B}  renamed\n")
    Path("B2SUMS").write_text(f"{'c' * 128}  f.iso\n")
    assert options(rdl, "--checksum", "SHA256SUMS").transfer.digests == (Digest("sha256", A),)
    both = options(rdl, "--checksum", "SHA256SUMS", "--checksum", "B2SUMS").transfer.digests
    assert both == (Digest("sha256", A), Digest("blake2b", "c" * 128))
    (target,) = asked(rdl, "http://proved/?id=1", "-o", "renamed", "--checksum", "SHA256SUMS")
    assert target.options.transfer.digests == (Digest("sha256", B),)
    answer = rdl("get", "http://proved/other", "--checksum", "SHA256SUMS")
    assert (answer.code, answer.err) == (
        11,
        "rdl: SHA256SUMS: no usable digest for 'other'\n",
    )
    assert answer.session is None


def test_a_list(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "# comment\n\n"
        f"{U}\tout=x.iso\tchecksum={A}\n"
        "http://u:p@proved/g\r\n"
        "  dir=sub\n"
        "\theader=X: y\theader=Z: 1\n"
        "   # indented comment\n"
    )
    Path("list").write_text(text)
    first, second = asked(rdl, "-i", "list", "-H", "A: b")
    assert (first.path, first.options.transfer.digests) == (Path("x.iso"), (Digest("sha256", A),))
    assert (second.path, second.options.network.user) == (Path("sub/g"), "u")
    assert first.options.network.headers == (("A", "b"),)
    assert second.options.network.headers == (("A", "b"), ("X", "y"), ("Z", "1"))
    assert Path("sub").is_dir()
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert [t.path.name for t in asked(rdl, "-i", "-", "http://proved/z")] == ["z", "x.iso", "g"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"http://h/a\nnonsense\n", "list:2: nonsense: not an http, https or file URL"),
        (b"http://h/a\n\n  out\n", "list:3: 'out' is not NAME=VALUE"),
        (b"http://h/a\tout=\n", "list:1: 'out' is not NAME=VALUE"),
        (b"http://h/a\tmirror=g/a\n", "list:1: mirror=g/a: not an http, https or file URL"),
        (b"http://h/a\n mirror=http://u:canary@g/a\n", "list:2: mirror=http://g/a: no login"),
        (b"http://h/a\tsplit=5\n", "list:1: unknown name 'split='"),
        (b"http://h/a\tout=b\tout=c\n", "list:1: out= is given twice"),
        (b"http://h/a\n dir=b\n dir=c\n", "list:3: dir= is given twice"),
        (b"http://h/a\theader=bad\n", "list:1: header=: not 'Name: value'"),
        (b"http://h/a\theader=Range: bytes=0-\n", "list:1: header=: Range is rdl's own"),
        (b"http://h/a\tchecksum=md5:00\n", "list:1: digest md5:00: md5 can be forged"),
        (b"http://h/a\tout=a\x1bb\n", "list:1: out= holds a control character"),
        (b"  out=a\nhttp://h/a\n", "list:1: an indented line before the first URL"),
        (b"http://h/a\nhttp://h/\xff\n", "list:2: not UTF-8"),
        (b"http://h/a\nhttp://h/\n", "list:2: http://h/: the URL ends without a file name"),
        (b"http://h/a\nhttp://h/a\n", "list:2: a: the same target twice"),
        (b"http://h/a http://h/b\n", "list:1: http://h/a http://h/b: a URL holds no spaces"),
        (b"# nothing\n\n", "list: no URL in this list"),
        (b"", "list: no URL in this list"),
        (b"http://u:canary@h:x/\n", "list:1: http://***: not a URL"),
    ],
)
def test_a_bad_line_of_a_list_is_named(rdl: Rdl, text: bytes, why: str) -> None:
    Path("list").write_bytes(text)
    answer = rdl("get", "-i", "list")
    assert answer.code == 2
    assert answer.err.splitlines()[0].startswith(f"rdl: {why}")
    assert answer.session is None


@pytest.mark.parametrize("words", ["get -i -", "lock - -o l"])
def test_no_list_on_stdin(rdl: Rdl, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    answer = rdl(*words.split())
    assert (answer.code, answer.err) == (2, "rdl: stdin: no URL in this list\n")
    monkeypatch.setattr(sys, "stdin", None)
    answer = rdl(*words.split())
    where = "-i -" if words.startswith("get") else "-"
    assert (answer.code, answer.err) == (2, f"rdl: {where}: stdin is closed\n")


@pytest.mark.parametrize(
    ("urls", "code"),
    [
        ("proved", 0),
        ("unchanged", 0),
        ("missing", 8),
        ("proved missing", 8),
        ("missing proved missing", 8),
        ("missing refused", 20),
        ("nasty", 7),
        ("broken", 1),
    ],
)
def test_exit_codes(rdl: Rdl, urls: str, code: int) -> None:
    hosts = [f"http://{host}/{index}" for index, host in enumerate(urls.split())]
    assert rdl("get", *hosts).code == code


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        ("proved", [
            "f: 1.2 GiB in 9.0 s (100 MiB/s), 900 MiB fetched, 300 MiB reused, "
            "verified by sha256 (T4)"
        ]),
        ("dated", [
            "f: 1.2 GiB in 9.0 s (100 MiB/s), no digest given; one version by its Last-Modified "
            "(T1)"
        ]),
        ("weak", [
            "f: 1.2 GiB in 9.0 s (100 MiB/s), 900 MiB fetched, 300 MiB reused, "
            "no digest given; the server gave no validator (T0), "
            "completeness unconfirmed: the server gave no length"
        ]),
        ("unchanged", ["f: unchanged, 1.2 GiB, nothing fetched (T2)"]),
        ("missing", ["http://missing/f?sig=***: 404 Not Found"]),
        ("refused", [
            "connect: refused", "hint: 300 MiB of the 1.2 GiB kept; the same command continues"
        ]),
        ("denied", [
            "http://denied/f: 403 Forbidden",
            "hint: the link may have died; 300 MiB of the 1.2 GiB kept; "
            "the same command continues",
        ]),
        ("nasty", ["reason phrase: evil\\x1b]0;title\\x07\\u{202e}[/red][link=x]\\x0anext"]),
    ],
)  # fmt: skip
def test_the_last_lines(rdl: Rdl, host: str, lines: list[str]) -> None:
    answer = rdl("get", f"http://{host}/f", "--progress", "none")
    assert answer.err == "".join(f"rdl: {line}\n" for line in lines)
    assert answer.out == ""
    quiet = rdl("get", f"http://{host}/f", "-q").err
    assert quiet == (answer.err if answer.code else "")


def test_several_files_have_a_total(rdl: Rdl) -> None:
    answer = rdl("get", "http://proved/a", "http://missing/b", "--progress", "none")
    lines = answer.err.splitlines()
    assert lines[1] == "rdl: b: http://missing/f?sig=***: 404 Not Found"
    assert lines[2].startswith("rdl: 1 of 2 files complete, ")


def test_warnings_changes_and_retries_are_lines(rdl: Rdl) -> None:
    for host, line in (
        ("warned", "rdl: f: warning: evil\\x1b]0;title\\x07\\u{202e}[/red][link=x]\\x0anext\n"),
        ("changed", "rdl: f: changed, starting anew: ETag\n"),
        ("retried", "rdl: f: 503 Service Unavailable; retry 2 of 10 in 1.5 s\n"),
    ):
        assert line in rdl("get", f"http://{host}/f").err
        assert line not in rdl("get", f"http://{host}/f", "-q").err


def test_verbose_tells_the_start(rdl: Rdl) -> None:
    line = "rdl: f.iso: 1.2 GiB, parallel, 300 MiB reused, trust T2\n"
    assert line in rdl("get", U, "-v").err
    assert line not in rdl("get", U).err


def test_a_dry_run_prints_the_plan(rdl: Rdl) -> None:
    answer = rdl("get", "http://u:canary@h/f.iso?sig=canary", "--dry-run")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.out == (
        "http://h/f.iso?sig=***\n"
        "  to      f.iso\n"
        "  size    1258291200 bytes (1.2 GiB)\n"
        "  here    314572800 bytes (300 MiB), to be continued\n"
        "  ranges  yes\n"
        "  trust   T2: one version by its ETag\n"
    )
    plan = parse(rdl("get", "http://h/f.iso?sig=canary", "--dry-run", "--json").out)
    assert plan == {
        "schema": 1,
        "event": "plan",
        "url": "http://h/f.iso?sig=***",
        "path": "f.iso",
        "bytes_total": 1258291200,
        "bytes_present": 314572800,
        "ranges": True,
        "trust": "T2",
        "resume": True,
    }
    failed = rdl("get", "http://missing/f", "--dry-run", "--json")
    assert failed.code == 8
    assert parse(failed.out)["event"] == "error"


def test_json_results(rdl: Rdl) -> None:
    answer = rdl("get", U, "http://missing/g", "--json", "-q")
    good, bad = parse_all(answer.out)
    fields = set(Result.__struct_fields__) | {"schema", "event", "warnings"}
    assert set(good) == set(bad) == fields
    assert (good["event"], good["exit_code"], good["reason"]) == ("done", 0, "complete")
    assert good["verified_by"] == ["sha256"]
    assert (bad["event"], bad["exit_code"], bad["reason"]) == ("error", 8, "http-status")
    assert "canary" not in answer.out + answer.err


def test_json_events_are_all_there_is_on_stderr(rdl: Rdl) -> None:
    urls = ["http://retried/a", "http://changed/b", "http://missing/c", "http://warned/d"]
    answer = rdl("get", *urls, "--progress", "json", "-vv")
    assert answer.err.isascii()
    assert all(line.isprintable() for line in answer.err.splitlines())
    found = parse_all(answer.err)
    assert {event["event"] for event in found} == {
        *("start", "progress", "retry", "changed", "verify", "done", "error"),
    }
    assert all(event["schema"] == 1 for event in found)
    warned = rdl("get", "http://warned/w", "--progress=json")
    last = parse_all(warned.err)[-1]
    assert last["warnings"] == [NASTY]
    progress = next(event for event in found if event["event"] == "progress")
    assert set(progress) == {
        *("schema", "event", "path", "bytes_total", "bytes_present", "bytes_downloaded"),
        *("speed", "eta", "connections", "coverage"),
    }


@pytest.mark.parametrize("spelling", [["--progress", "json"], ["--progress=json"]])
def test_errors_before_the_start_are_json_events_too(rdl: Rdl, spelling: list[str]) -> None:
    for arguments in (["http://h/"], ["-x", "0", U], ["--nope"]):
        answer = rdl("get", *spelling, *arguments)
        assert answer.code == 2
        event = parse(answer.err)
        assert (event["event"], event["exit_code"], event["reason"]) == ("error", 2, "usage")


def test_a_bug_is_one_line_and_a_traceback_only_with_vv(rdl: Rdl) -> None:
    answer = rdl("get", "http://broken/f")
    assert answer.code == 1
    assert answer.err == (
        "rdl: internal error: ZeroDivisionError: a bug\\x1b[31m\nrdl: hint: -vv shows where\n"
    )
    verbose = rdl("get", "http://broken/f", "-vv")
    assert verbose.code == 1
    assert "Traceback" in verbose.err
    assert "\x1b" not in verbose.err


def test_a_message_says_the_folder_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("np").mkdir()
    Path("np/a.bin.part").write_bytes(b"foreign")
    Path("np/b.bin.part").mkdir()
    for name, why in (
        ("a.bin", "exists, and no index says what it holds"),
        ("b.bin", "not a regular file"),
    ):
        assert main(["get", f"http://127.0.0.1:1/{name}", "-d", "np", "--retry", "0"]) == 3
        assert capsys.readouterr().err.startswith(f"rdl: np/{name}.part: {why}\n")
