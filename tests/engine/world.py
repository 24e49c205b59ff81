"""The server, the clock and the disk of a story: honest unless seeded trouble strikes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

from msgspec.structs import replace

from rdl.core.fields import ResponseHead
from rdl.errors import NetworkError, RdlError
from rdl.storage.memory import MemoryDisk
from rdl.transport.base import Request
from rdl.transport.scripted import Answer, ScriptedTransport

TARGET = Path("/disk/file")
TROUBLES = ["refuse", "503", "start", "gzip", "total", "200"]
TROUBLES += ["416", "bare", "short", "204", "mute"]
STALL_SECONDS = 30.0
MIRROR = "http://mirror"


class Killed(BaseException):
    """The process is gone at this very operation."""


@dataclass(frozen=True)
class Version:
    """What the server had at one time."""

    number: int
    content: bytes = field(repr=False)
    tag: int
    """What its validators are made of: the number, or that of the one before it."""


class World:
    """Clock, server and disk of one story."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.now = 0.0
        self.log: list[str] = []
        self.versions = [self._version()]
        self.validator = random.choice(["strong", "strong", "strong", "weak", "date", "none"])
        self.ranges = random.random() < 0.8
        self.offers = random.random() < 0.5
        self.conditions = random.random() < 0.8
        self.publishes = random.random() < 0.15
        self.framing = random.choice(["length"] * 6 + ["chunked"])
        self.most = random.choice([1, 2, 4, 100])
        self.trouble = random.choice([0.0, 0.05, 0.2, 0.5])
        self.changes = random.choice([0.0, 0.0, 0.02, 0.1])
        self.chance = Random(f"links of {seed}")
        self.life = self.chance.choice([None, None, None, 0.5, 2.0, 10.0])
        """Seconds that a link lives to which the URL leads; None: it leads nowhere."""
        self.cuts = self.chance.random() < 0.5
        self.links: list[float] = []
        """When each of them dies."""
        self.luck = Random(f"mirrors of {seed}")
        self.mirrors: list[str] = []
        """What each is like: honest, stale (the first version for ever), gone, wrong, or a liar:
        wrong, and with a date of its own, so that only a digest lets it join."""
        if self.luck.random() < 0.4:
            kinds = ["honest", "honest", "honest", "stale", "gone"]
            self.mirrors = [self.luck.choice(kinds) for _ in range(self.luck.choice([1, 1, 2, 3]))]
        self.parts = self.luck.random() < 0.2
        """It says what each part hashes to."""
        self.open_bodies: set[object] = set()
        self.calm = False
        self.disk = MemoryDisk()
        self.kill_in: int | None = None
        self.fail_in: tuple[int, OSError] | None = None
        self.disk.fault = self._fault
        self.transport = ScriptedTransport(self.answer)

    def say(self, text: str) -> None:
        """One line of the story."""
        self.log.append(f"{self.now:9.3f} {text}")

    def _version(self) -> Version:
        random = self.random
        sizes = [0, 1, 4095, 4096, 4097, 65536, random.randrange(1, 300_000)]
        size = random.choice([*sizes, *[random.randrange(1, 900_000)] * 5])
        if hasattr(self, "versions") and random.random() < 0.6:
            size = len(self.versions[-1].content)
        number = len(getattr(self, "versions", ())) + 1
        return Version(number, random.randbytes(size), number)

    def change(self) -> None:
        """The file is replaced on the server."""
        self.versions.append(self._version())
        self.say(f"server: version {self.versions[-1].number}")

    def change_unseen(self) -> None:
        """It is replaced by one of the same size, under the validators of the old one."""
        old = self.versions[-1]
        content = self.random.randbytes(len(old.content))
        self.versions.append(Version(old.number + 1, content, old.tag))
        self.say(f"server: version {old.number + 1} with the tag of {old.tag}")

    def _fault(self, operation: str, name: str) -> OSError | None:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in <= 0:
                self.say(f"killed at {operation} {name}")
                raise Killed
        if self.fail_in is not None:
            left, error = self.fail_in
            self.fail_in = (left - 1, error) if left > 1 else None
            if left <= 1:
                self.say(f"disk: {error.strerror} at {operation} {name}")
                return error
        return None

    # The server

    def answer(self, request: Request) -> Answer:
        """One response; by a link where the URL leads to one, as long as it lives."""
        if request.url.startswith(MIRROR):
            return self._mirrored(request, self.mirrors[int(request.url[len(MIRROR)])])
        if self.life is None:
            return self._answer(request)
        path, _, number = request.url.partition("?link=")
        if not number:
            self.links.append(self.now + (60.0 if self.calm else self.life))
            number = str(len(self.links) - 1)
            self.say(f"link {number}")
        link, until = f"{path}?link={number}", self.links[int(number)]
        dead = self.now >= until or (not self.calm and self.chance.random() < self.trouble / 8)
        if dead:
            self.say(f"link {number} is dead")
        head = ResponseHead(403, (), content_length=0)
        answer = Answer(head) if dead else self._answer(request)
        body = self._mortal(answer.body, until) if self.cuts else answer.body
        return Answer(replace(answer.head, url=link), body)

    def _mirrored(self, request: Request, kind: str) -> Answer:
        """The answer of a mirror. It has another ETag, and the same date."""
        self.say(f"{kind} mirror")
        if kind == "gone":
            return Answer(ResponseHead(404, (), content_length=0))
        version = self.versions[0] if kind == "stale" else self.versions[-1]
        if kind in ("wrong", "liar") and version.content:
            data = bytearray(version.content)
            data[len(data) * 2 // 3] ^= 1
            tag = version.tag + (1000 if kind == "liar" else 0)
            version = Version(version.number, bytes(data), tag)
        fields = tuple((name, text.replace('"m', '"v')) for name, text in request.headers)
        answer = self._answer(replace(request, headers=fields), version)
        headers = tuple(
            (name, text.replace('"v', '"m') if name == "etag" else text)
            for name, text in answer.head.headers
            if name != "repr-digest"
        )
        return Answer(replace(answer.head, headers=headers), answer.body)

    def _mortal(self, body: Iterator[bytes | RdlError], until: float) -> Iterator[bytes | RdlError]:
        """A body that ends with its link."""
        for step in body:
            if self.now >= until:
                self.say("body: its link died")
                yield NetworkError("server", "the body was cut")
                return
            yield step

    def _answer(self, request: Request, fixed: Version | None = None) -> Answer:
        """One response, honest unless trouble strikes."""
        random, version = self.random, fixed or self.versions[-1]
        if not self.calm and not fixed and random.random() < self.changes:
            self.change()
            version = self.versions[-1]
        fields = dict(request.headers)
        trouble = None
        if not self.calm and random.random() < self.trouble:
            trouble = random.choice(TROUBLES)
        if len(self.open_bodies) >= self.most and not fixed and random.random() < 0.9:
            trouble = "503"
        self.say(f"request {fields} -> version {version.number} {trouble or ''}")
        if trouble == "refuse":
            raise NetworkError("server", "connection reset")
        if trouble == "503":
            return Answer(ResponseHead(503, (("retry-after", "1"),), content_length=0))
        if trouble == "416":
            return Answer(ResponseHead(416, (), content_length=0))
        if trouble == "204":
            return Answer(ResponseHead(204, (), framing="none"))
        return self._data(version, fields, trouble)

    def _data(self, version: Version, fields: dict[str, str], trouble: str | None) -> Answer:
        total = len(version.content)
        etag, date = f'"v{version.tag}"', _date(version.tag)
        headers = [("date", _date(5000)), *self._validators(etag, date)]
        if not self.conditions:
            fields = {"Range": fields["Range"]} if "Range" in fields else {}
        if self.publishes:
            headers.append(("repr-digest", _digest(version.content)))
        if trouble == "mute":
            headers = headers[:1]
        if self.offers:
            headers.append(("accept-ranges", "bytes"))
        if "If-Match" in fields and fields["If-Match"] != etag:
            return Answer(ResponseHead(412, tuple(headers), content_length=0))
        if fields.get("If-Unmodified-Since", date) != date:
            return Answer(ResponseHead(412, tuple(headers), content_length=0))
        if self._current(fields, etag, date):
            return Answer(ResponseHead(304, tuple(headers), framing="none"))
        wanted = fields.get("Range")
        if fields.get("If-Range") not in (None, etag, date) or trouble == "200":
            wanted = None
        if trouble == "gzip":
            headers.append(("content-encoding", "gzip"))
        if not self.ranges or wanted is None:
            return self._body(200, headers, version.content, trouble)
        first, last = wanted.removeprefix("bytes=").split("-")
        start = int(first) if first else max(0, total - int(last))
        stop = min(total, int(last) + 1 if first and last else total)
        if start >= total:
            headers.append(("content-range", f"bytes */{total}"))
            return Answer(ResponseHead(416, tuple(headers), content_length=0))
        if trouble == "short" and stop - start > 1:
            stop = self.random.randrange(start + 1, stop)
        if trouble == "start":
            start = max(0, min(stop - 1, start + self.random.choice([-1000, -1, 1])))
        said = total + (7 if trouble == "total" else 0)
        if trouble != "bare":
            text = f"bytes {start}-{stop - 1}/{said}"
            headers.append(("content-range", text))
        return self._body(206, headers, version.content[start:stop], trouble)

    def _validators(self, etag: str, date: str) -> list[tuple[str, str]]:
        return {
            "strong": [("etag", etag), ("last-modified", date)],
            "weak": [("etag", f"W/{etag}")],
            "date": [("last-modified", date)],
            "none": [],
        }[self.validator]

    def _current(self, fields: dict[str, str], etag: str, date: str) -> bool:
        said = fields.get("If-None-Match", "").removeprefix("W/")
        return said == etag or fields.get("If-Modified-Since") == date

    def _body(
        self, status: int, headers: list[tuple[str, str]], data: bytes, trouble: str | None
    ) -> Answer:
        if trouble == "gzip":
            data = data[::-1]
        elif self.parts:
            headers.append(("content-digest", _digest(data)))
        framing = "length" if status == 206 else self.framing
        length = len(data) if framing == "length" else None
        head = ResponseHead(status, tuple(headers), framing=framing, content_length=length)
        return Answer(head, self._pieces(data))

    def _pieces(self, data: bytes) -> Iterator[bytes | RdlError]:
        here, token = self.open_bodies, object()
        here.add(token)
        try:
            at = 0
            while at < len(data):
                if not self.calm and self.random.random() < self.trouble / 8:
                    fault = self.random.choice(["reset", "ended early", "stalled"])
                    self.say(f"body: {fault}")
                    if fault == "stalled":
                        self.now += STALL_SECONDS
                    yield NetworkError("server", f"the body {fault}")
                    return
                step = self.random.choice([1, 1000, 16384, 65536, 65536])
                yield data[at : at + step]
                at += step
        finally:
            here.discard(token)


def _digest(content: bytes) -> str:
    return f"sha-256=:{b64encode(sha256(content).digest()).decode()}:"


def _date(number: int) -> str:
    return f"Mon, 02 Jan 2023 {number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d} GMT"
