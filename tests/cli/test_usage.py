"""Every wrong value is one clear line and exit code 2, before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Rdl

U = "http://ok/f.iso"
HEX = "a" * 64

WRONG = [
    # sizes
    (["-k", "8Q", U], "--min-split-size 8Q: not a size"),
    (["-k", "", U], "--min-split-size '': not a size"),
    (["-k", "8MB", U], "not a size"),
    (["-k", "-1", U], "not a size"),
    (["-k", "1e3", U], "not a size"),
    (["-k", "0", U], "must be at least one byte"),
    (["-k", "1.5", U], "bytes have no fractions"),
    (["--limit-rate", "fast", U], "--limit-rate fast: not a size"),
    (["--limit-rate", "0", U], "must be at least one byte"),
    (["--max-filesize", "9999999T", U], "--max-filesize 9999999T: too large"),
    (["--max-filesize", "99999999999999999999", U], "not a size"),
    (["--block-size", "3M", U], "--block-size 3M: not a power of two"),
    (["--block-size", "1K", U], "not a power of two of at least 4K"),
    (["-k", "\u0668M", U], "not a size"),
    # numbers and times
    (["-x", "0", U], "--connections 0: not a whole number from 1"),
    (["-x", "many", U], "--connections many: not a whole number"),
    (["-x", "257", U], "not a whole number"),
    (["-j", "0", U], "--parallel 0: not a whole number"),
    (["--retry", "-1", U], "--retry -1: not a whole number from 0"),
    (["--retry", "1.5", U], "--retry 1.5: not a whole number"),
    (["--limit-requests", "0", U], "--limit-requests 0: must be more than 0"),
    (["--retry-max-time", "nan", U], "--retry-max-time nan: not a plain number"),
    (["--connect-timeout", "0", U], "--connect-timeout 0: must be more than 0"),
    (["-T", "30s", U], "--timeout 30s: not a plain number"),
    (["--max-time", "inf", U], "--max-time inf: not a plain number"),
    (["--max-time", "-5", U], "--max-time -5: not a plain number"),
    # ranges
    (["-r", "5-3", U], "--range 5-3: it ends before it begins"),
    (["-r", "-", U], "--range -: not one range"),
    (["-r", "", U], "--range '': not one range"),
    (["-r", "-0", U], "--range -0: it holds no byte"),
    (["-r", "0-1,5-9", U], "not one range"),
    (["-r", "bytes=0-1", U], "not one range"),
    (["-r", "500+0", U], "must be at least one byte"),
    (["-r", "500+", U], "not one range"),
    (["-r", "a-b", U], "not one range"),
    (["-r", "0-9223372036854775807", U], "too large"),
    (["-r", "9223372036854775800+100", U], "too large"),
    (["-r", "0-1", "-r", "5-6", U], "-r: get takes one range"),
    # headers
    (["-H", "no colon", U], "--header: not 'Name: value'"),
    (["-H", "A B: c", U], "--header: not 'Name: value'"),
    (["-H", ": c", U], "--header: not 'Name: value'"),
    (["-H", "A:", U], "--header: A has no value"),
    (["-H", "A: b\r\nC: d", U], "--header: A holds a control character"),
    (["-H", "A: \u20ac", U], "headers cannot carry"),
    (["-H", "Range: bytes=0-1", U], "--header: Range is rdl's own (see -r)"),
    (["-H", "if-range: x", U], "rdl's own"),
    (["-H", "Accept-Encoding: gzip", U], "rdl's own"),
    (["-H", "@missing.txt", U], "-H @missing.txt: No such file"),
    (["-A", "a\nb", U], "holds a control character"),
    (["-A", "", U], "has no value"),
    # credentials
    (["-u", "", U], "--user: no user name"),
    (["-u", ":secret", U], "--user: no user name"),
    (["-u", "a\n:b", U], "--user: control character"),
    (["-u", "alice", U], "-u: no password, and no terminal to ask on"),
    (["--netrc-file", "gone", U], "--netrc-file gone: no such file"),
    (["--cacert", "gone", U], "--cacert gone: no such file"),
    (["--cert", "gone", U], "--cert gone: no such file"),
    (["--key", "gone", U], "--key: useless without --cert"),
    (["--proxy", "ftp://h", U], "--proxy: not an http or https proxy"),
    (["--proxy", "http://h:port", U], "--proxy: not an http or https proxy"),
    # contradictions
    (["-4", "-6", U], "-4 with -6"),
    (["--restart", "-c", U], "--restart with -c"),
    (["--restart", "--no-clobber", U], "--restart with --no-clobber"),
    (["--no-netrc", "--netrc-file", "x", U], "--no-netrc with --netrc-file"),
    (["-C", "500", U], "-C: only '-C -' is known, not '500'"),
    # choices
    (["--on-change", "ask", U], "--on-change: 'ask' is not one of"),
    (["--preallocate", "yes", U], "--preallocate: 'yes' is not one of"),
    (["--progress", "fancy", U], "--progress: 'fancy' is not one of"),
    # digests
    (["--sha256", "abc", U], "3 hex digits; sha256 has 64"),
    (["--sha256", "", U], "--sha256 '': empty"),
    (["--checksum", "md5:" + "0" * 32, U], "md5 can be forged"),
    (["--checksum", "0" * 40, U], "SHA-1 can be forged"),
    (["--checksum", "gone.sums", U], "not a digest; and no sums file has this name"),
    (["--checksum", "ftp://h/SHA256SUMS", U], "not an http, https or file URL"),
    (["--checksum", f"sha256:{HEX}", "--sha256", "b" * 64, U], "two different sha256 digests"),
    (["--sha256", HEX, U, "http://ok/g.iso"], "one digest for several URLs"),
    # URLs and names
    (["ftp://h/f"], "ftp://h/f: not an http, https or file URL"),
    (["h/f"], "h/f: not an http, https or file URL"),
    ([""], "'': not an http, https or file URL"),
    (["http:///f"], "the host or port makes no sense"),
    (["http://h:99999/f"], "the host or port makes no sense"),
    (["http://h:0/f"], "the host or port makes no sense"),
    (["http://h:x/f"], "the host or port makes no sense"),
    (["http://[::1/f"], "the host or port makes no sense"),
    (["http://a\\@h/f"], "the host or port makes no sense"),
    (["http://h/a b"], "a URL holds no spaces"),
    (["http://h/a\r\nX: y"], "control characters"),
    (["http://u%0a:p@h/f"], "control character in the user name"),
    (["http://u:%ff@h/f"], "http://h/f: user name or password that is not UTF-8"),
    (["http://h/"], "http://h/: the URL ends without a file name"),
    (["http://h/..%2fx"], "it holds a path separator"),
    (["http://h/.bashrc"], "it begins with '.'"),
    (["-o", "-", U, U], "-o -: takes one URL"),
    (["-o", "new/", U], "-o new/: no such directory"),
    (["-o", "", U], "--output '': empty"),
    (["-d", "", U], "--directory '': empty"),
    (["-o", "one", U, "http://ok/g.iso"], "with several URLs this must be an existing directory"),
    ([U, U], "the same target twice in one run"),
    ([U, "http://other/f.iso"], "f.iso: the same target twice in one run"),
    ([U, "http://ok/f.iso.part"], "collides with the files beside 'f.iso'"),
    ([U, "http://ok/f.iso.part.foreign"], "collides with the files beside 'f.iso'"),
    (["http://ok/f.iso.part.index", U], "collides with the files beside"),
    ([], "get: no URL given"),
    (["-i", "gone.txt"], "-i gone.txt: No such file"),
    (["-i", "http://h/list"], "-i http://h/list: a file of this machine is wanted, and no URL"),
    (["--locked", "http://h/lock"], "--locked http://h/lock: a file of this machine is wanted"),
    (["--verify", "always", U], "is not one of"),
    (["--resume", "f", "-o", "g"], "contradict each other"),
    # members
    (["--member", "", U], "--member '': empty"),
    (["--member", "a", U, "http://ok/g.zip"], "--member: takes one URL"),
    (["--member", "a"], "--member: takes one URL"),
    (["--member", "a", "-r", "0-1", U], "--range with --member: a member knows nothing of it"),
    (["--member", "a", "-c", U], "--continue with --member"),
    (["--member", "a", "--resume", "f"], "--resume with --member"),
    (["--member", "a", "--dry-run", U], "--dry-run with --member"),
    (["--member", "a", "-o", "-", "-r", "0-1", U], "--range with --member"),
    (["--member", "a/", U], "'' is no file name: it names a directory or nothing"),
    (["--member", "a/..", U], "'..' is no file name: it names a directory or nothing"),
    (["--member", "a\\b", U], "it holds a path separator"),
    (["--member", "a/C:b", U], "it begins like a drive"),
    (["--member", "a/\x1b[31m", U], "it holds a control or invisible character"),
    (["--member", "a", "--checksum", "http://h/S", U], "--checksum: with --member it is"),
    # mirrors
    (["--mirror", "ftp://m/f", U], "--mirror ftp://m/f: not an http, https or file URL"),
    (["--mirror", "", U], "--mirror '': empty"),
    (["--mirror", "http://m:0/f", U], "--mirror http://m:0/f: not a URL"),
    (["--mirror", "http://u@m/f", U], "--mirror http://m/f: no login is taken"),
    (["--mirror", f"http://m/f#sha256={HEX}", U], "--mirror http://m/f: no digest is taken"),
    (["--mirror", "http://m/f", U, "http://ok/g.iso"], "one file's mirrors for several URLs"),
    (["--mirror", "http://m/f", "--locked", "l"], "--locked with --mirror"),
]

ABSENT = [
    *("-J", "-N"),
    *("-e", "--silent"),
]


def assert_refused(answer: tuple[int, str, str, object], why: str) -> None:
    code, out, err, session = answer
    lines = err.splitlines()
    assert code == 2
    assert out == ""
    assert lines[0].startswith("rdl: ")
    assert why in lines[0]
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("rdl: hint: "))
    assert all(line.isprintable() for line in lines)
    assert session is None
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("arguments", "why"), WRONG, ids=[" ".join(one)[:60] for one, _ in WRONG])
def test_a_wrong_value_is_one_line_and_exit_2(rdl: Rdl, arguments: list[str], why: str) -> None:
    assert_refused(rdl("get", *arguments), why)


@pytest.mark.parametrize(
    "line",
    [
        *(f"sync {U} --seed", f"sync {U} --manifest", f"sync {U} --cache", "cache --cache"),
        *(f"serve --upstream {U} --cache", "verify --sums", "verify f --manifest"),
        "verify f --repair",
    ],
)
def test_an_empty_name_is_not_what_is_here(rdl: Rdl, line: str) -> None:
    *arguments, option = line.split()
    assert_refused(rdl(*arguments, option, ""), f"{option} '': empty")


@pytest.mark.parametrize(
    "line", ["verify", "manifest make", "manifest show", "lock", "status", "serve"]
)
def test_an_empty_argument_is_not_what_is_here(rdl: Rdl, line: str) -> None:
    assert_refused(rdl(*line.split(), ""), "'': empty")


@pytest.mark.parametrize("option", ABSENT)
def test_what_is_not_built_is_absent(rdl: Rdl, option: str) -> None:
    assert_refused(rdl("get", option, "value", U), "no such option")


@pytest.mark.parametrize("command", ["fetch", "x"])
def test_commands_that_are_not_built_are_absent(rdl: Rdl, command: str) -> None:
    assert_refused(rdl(command, U), f"{command}: no such command")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["-O", U], "-o FILE"),
        ([U, "-O"], "-o FILE"),
        (["-sO", U], "-o FILE"),
        (["-n", "4", U], "-x N"),
        (["-n4", U], "-x N"),
        (["-t", "3", U], "--retry N"),
        ([U, "-t3"], "--retry N"),
        (["-m", "60", U], "--max-time S"),
    ],
)
def test_spellings_of_other_programs_have_a_hint(rdl: Rdl, arguments: list[str], hint: str) -> None:
    answer = rdl("get", *arguments)
    assert_refused(answer, "not an option of rdl")
    assert f"hint: {hint}" in answer.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["help"], "rdl --help, or rdl COMMAND --help"),
        (["help", "get"], "rdl --help, or rdl COMMAND --help"),
        (["version"], "rdl --version"),
        (["resume", "f"], "rdl get --resume FILE"),
        (["verfy"], "did you mean verify?"),
    ],
)
def test_commands_of_other_programs_have_a_hint(rdl: Rdl, arguments: list[str], hint: str) -> None:
    answer = rdl(*arguments)
    assert_refused(answer, "no such command")
    assert f"hint: {hint}" in answer.err


def test_no_arguments_and_missing_values(rdl: Rdl) -> None:
    assert_refused(rdl(), "no command and no URL")
    assert_refused(rdl("get", U, "-x"), "-x: requires an argument")
    assert_refused(rdl("get", "--json=1", U), "--json: does not take a value")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "Authorization canary", U],
        ["-H", "Authorization: canary\n", U],
        ["-u", "u\n:canary", U],
        ["http://u:canary@h/"],
        ["http://u:can#canary@h/f"],
        ["http://h/?token=canary"],
        ["h.example/f?token=canary"],
        ["--proxy", "ftp://u:canary@h", U],
        ["ftp://u:canary@h/f"],
        ["-i", "http://u:canary@h/list"],
        ["--mirror", "http://u:canary@h/f", U],
        ["--mirror", "ftp://u:canary@h/f", U],
        ["--mirror", "http://h/?token=canary#sha256=0", U],
    ],
)
def test_a_refusal_shows_no_secret(rdl: Rdl, arguments: list[str]) -> None:
    answer = rdl("get", *arguments)
    assert answer.code == 2
    assert "canary" not in answer.out + answer.err


def test_a_hostile_value_is_shown_harmlessly(rdl: Rdl) -> None:
    assert_refused(
        rdl("get", "-k", "\x1b[31m\u202e", U), "--min-split-size \\x1b[31m\\u{202e}: not a size"
    )
    assert_refused(rdl("\x1b]0;x\x07"), "\\x1b]0;x\\x07: no such command")
    assert_refused(rdl("get", "--\x1b[31m", U), "no such option")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["status", "a", "b"], "rdl: status: one FILE|DIR, not 2\n"),
        (["cat", U, U, U], "rdl: cat: one URL, not 3\n"),
        (["info", U, U], "rdl: info: one URL, not 2\n"),
        (["clean", "a b", "c", "--yes"], "rdl: clean: one DIR, not 2\n"),
        (["manifest", "make", "a", "b"], "rdl: manifest: one FILE|M, not 2\n"),
    ],
)
def test_too_many_arguments_are_counted(rdl: Rdl, arguments: list[str], line: str) -> None:
    answer = rdl(*arguments)
    assert (answer.code, answer.out, answer.err) == (2, "", line)


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["clean", "--yes"],
        ["manifest", "make"],
        ["verify"],
        ["verify", "--sha256", HEX],
        ["serve"],
    ],
)
def test_a_url_where_a_path_is_wanted(rdl: Rdl, words: list[str]) -> None:
    answer = rdl(*words, "http://u:canary@h/f")
    assert_refused(answer, "http://h/f: a file of this machine is wanted, and no URL")
    assert "canary" not in answer.err


def test_a_list_stands_where_urls_do(rdl: Rdl) -> None:
    assert_refused(rdl("-i", "gone.txt", "-q"), "-i gone.txt: No such file")
    assert_refused(rdl("-q", "--locked=gone"), "--locked gone: No such file")


def test_a_file_where_a_url_is_wanted(rdl: Rdl, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("")
    for words in (["list.txt"], ["get", "list.txt"], ["cat", "list.txt"]):
        answer = rdl(*words)
        assert answer.code == 2
        assert "hint: rdl get -i list.txt reads it as a list; file:///PATH" in answer.err


def test_an_option_of_get_elsewhere_has_a_hint(rdl: Rdl) -> None:
    answer = rdl("cat", U, "-o", "f")
    assert_refused(answer, "-o: no such option")
    assert "hint: it is one of rdl get" in answer.err
    assert "hint" not in rdl("status", "--qqqqq").err


def test_a_name_after_the_url_has_a_hint(rdl: Rdl) -> None:
    assert_refused(rdl("get", U, "4"), "4: not an http, https or file URL")
    answer = rdl("get", U, "new.iso")
    assert_refused(answer, "new.iso: not a URL")
    assert "hint: -o new.iso names the output" in answer.err
