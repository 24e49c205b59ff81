"""rdl as a file system of fsspec, to read from: `rdl+https://host/path`, `rdl+http://host/path`.

Paths are whole URLs. What is not there is FileNotFoundError, what is forbidden PermissionError;
any other failure stays an RdlError, which is no OSError: nobody takes a lost connection for a
file that is missing. Sessions are those of the process, so that it may be pickled and forked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike, stringify_path, tokenize
from msgspec.structs import replace

from rdl.api import Target, shared_session
from rdl.core.describing import Info
from rdl.core.events import Fact, Progress, Started
from rdl.core.fields import parse_http_date
from rdl.core.spec import PAGES
from rdl.core.text import redact_url
from rdl.doors.fsspec_file import Entry, OpenFile, entry, told
from rdl.doors.index_page import listed
from rdl.engine.remote_file import RemoteFile
from rdl.errors import LocalFileError, PolicyError, RdlError
from rdl.functions import EXACT
from rdl.options import LazyOptions, Options

MOST_PAGE = 16 << 20
"""Bytes of an index page."""
STEP = 4 << 20
ABREAST = 8
"""Ranges or files that are read at the same time."""


class RemoteFileSystem(AbstractFileSystem):
    """Files of web servers, to read from.

    `cache`: a folder in which what was read is kept, for later runs too; `headers`: go with every
    request to the host of its URL; `options`, `lazy`: as for rdl.open. A listing is kept with
    `use_listings_cache=True`, until invalidate_cache().
    """

    protocol = ("rdl+https", "rdl+http")
    root_marker = ""
    fsid = "rdl"

    def __init__(
        self,
        cache: str | os.PathLike[str] | None = None,
        headers: Mapping[str, str] | None = None,
        options: Options | None = None,
        lazy: LazyOptions | None = None,
        **storage_options: Any,
    ) -> None:
        storage_options.setdefault("use_listings_cache", False)
        super().__init__(**storage_options)
        self.cache, self.lazy = cache, lazy or LazyOptions()
        self.options = options or Options()
        if headers:
            network = self.options.network
            fields = (*network.headers, *headers.items())
            self.options = replace(self.options, network=replace(network, headers=fields))

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """The URL; without a slash at the end, as folders are named in fsspec."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        url = str(stringify_path(path)).removeprefix("rdl+")
        return url if "?" in url else url.rstrip("/")

    def unstrip_protocol(self, name: str) -> str:
        """The URL as fsspec.open() takes it."""
        return f"rdl+{name.removeprefix('rdl+')}"

    # What is there

    def info(self, path: str, **kwargs: Any) -> Entry:
        """Name, size (None: not told), type, mtime (seconds since the epoch), ETag and mimetype,
        by one request. A folder is what is shown as a page at a URL that ends with a slash."""
        path = self._strip_protocol(path)
        with told(path):
            about = self._about(path)
        place = about.final_url.partition("?")[0]
        kind = (about.media_type or "").partition(";")[0].strip().lower()
        folder = place.endswith("/") and kind in PAGES
        modified = parse_http_date(about.last_modified)
        return entry(path, about.length, modified, about.etag, about.media_type, folder=folder)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """False only where the server says so (404, 410); otherwise a failure is raised."""
        with suppress(FileNotFoundError):
            self.info(path)
            return True
        return False

    def isfile(self, path: str) -> bool:
        """As exists()."""
        with suppress(FileNotFoundError):
            return bool(self.info(path)["type"] == "file")
        return False

    def isdir(self, path: str) -> bool:
        """As exists()."""
        with suppress(FileNotFoundError):
            return bool(self.info(path)["type"] == "directory")
        return False

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Entry] | list[str]:
        """The entries of an index page; of them is known what they are, and nothing more."""
        path = self._strip_protocol(path)
        if kwargs.get("refresh") or path not in self.dircache:
            found = self._listed(path)
            self.dircache[path] = found
        else:
            found = self.dircache[path]
        return found if detail else sorted(one["name"] for one in found)

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """A `?` after which `=` follows begins a query, and is no pattern."""
        if "=" in path.partition("?")[2] and not set(path) & set("*["):
            return [self._strip_protocol(path)]
        return super().glob(path, maxdepth=maxdepth, **kwargs)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings."""
        if path is None:
            self.dircache.clear()
        else:
            self.dircache.pop(self._strip_protocol(path), None)

    def ukey(self, path: str) -> str:
        """Another one for another version; always another one where no server says which it is."""
        about = self.info(path)
        validator = about["ETag"] or about["mtime"] or uuid4().hex
        return str(tokenize(about["name"], about["size"], validator))

    def checksum(self, path: str) -> int:
        """ukey() as a number."""
        return int(self.ukey(path), 16)

    def modified(self, path: str) -> datetime:
        """What Last-Modified says."""
        seconds = self.info(path)["mtime"]
        if seconds is None:
            raise NotImplementedError(f"{redact_url(path)}: the server does not say when")
        return datetime.fromtimestamp(seconds, UTC)

    # Reading

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """All, or the bytes [start, end), by a request for just these; a negative one counts from
        the end."""
        return self._cat(self._strip_protocol(path), start, end, self._exact([start]))

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Several at a time; all of one path are of the same version."""
        urls = [self._strip_protocol(path) for path in paths]
        first, last = (
            list(one) if isinstance(one, list | tuple) else [one] * len(urls)
            for one in (starts, ends)
        )
        lazy = self._exact(first)
        with ExitStack() as stack, ThreadPoolExecutor(ABREAST, "cat") as pool:
            for url in set(urls):
                stack.enter_context(self._remote(url, lazy))
            found = [
                pool.submit(self._cat, *one, lazy) for one in zip(urls, first, last, strict=True)
            ]
            if on_error == "raise":
                return [one.result() for one in found]
            return [one.exception() or one.result() for one in found]

    def cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any
    ) -> Any:
        """The bytes of one; of several, which are read at the same time, by their names."""
        urls = self.expand_path(path, recursive=recursive)
        if isinstance(path, str) and urls == [self._strip_protocol(path)]:
            return self.cat_file(urls[0], **kwargs)
        whole = (kwargs.get("start"), kwargs.get("end"))
        mode = "raise" if on_error == "raise" else "return"
        data = self.cat_ranges(urls, *whole, on_error=mode)
        found = dict(zip(urls, data, strict=True))
        if on_error == "omit":
            return {url: one for url, one in found.items() if isinstance(one, bytes)}
        return found

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **kwargs: Any,
    ) -> None:
        """As rdl.get: what was begun is continued, and nothing unfinished gets the name."""
        if outfile is not None or isfilelike(lpath):
            with self.open(rpath) as file:
                callback.set_size(file.size)
                while data := file.read(STEP):
                    (outfile or lpath).write(data)
                    callback.relative_update(len(data))
            return
        url, path = self._strip_protocol(rpath), Path(lpath).absolute()

        def tell(fact: Fact) -> None:
            if isinstance(fact, Started | Progress):
                callback.set_size(fact.bytes_total)
            if isinstance(fact, Progress):
                callback.absolute_update(fact.bytes_present)

        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with told(url):
                result = shared_session().get(Target(url, path, self.options), tell)
        except (PolicyError, LocalFileError):
            if not self.isdir(url):
                raise
            path.mkdir(exist_ok=True)
            return
        callback.set_size(result.bytes_total)
        callback.absolute_update(result.bytes_total or result.bytes_present)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> OpenFile:
        """Nothing is asked before the first read where `size` is given."""
        if mode != "rb":
            self._refuse(path)
        chosen = {name: kwargs[name] for name in ("size", "block_size") if name in kwargs}
        remote = self._remote(path, self.lazy)
        try:
            with told(path):
                return OpenFile(self, path, remote, self.lazy.block, **chosen)
        except BaseException:
            remote.close()
            raise

    def _about(self, path: str) -> Info:
        """Where that is in vain for now, a transfer tries again until the server answers."""
        try:
            return shared_session().info(path, self.options)
        except RdlError as error:
            if error.permanent:
                raise
        with suppress(PolicyError), self._remote(path, self._exact([])) as file:
            file.size()
        return shared_session().info(path, self.options)

    def _remote(self, path: str, lazy: LazyOptions) -> RemoteFile:
        return shared_session().open(path, cache=self.cache, options=self.options, lazy=lazy)

    def _exact(self, starts: Sequence[int | None]) -> LazyOptions:
        """For parts that are named; where they are counted from the end, that is asked for."""
        if self.cache is not None:
            return self.lazy
        least = max([1, *(-one for one in starts if one is not None)])
        return replace(EXACT, least=least, keep=self.lazy.keep)

    def _cat(self, path: str, start: int | None, end: int | None, lazy: LazyOptions) -> bytes:
        with told(path):
            if not start and end is None and self.cache is None:
                with shared_session().stream(path, self.options) as stream:
                    return stream.read()
            with self._remote(path, lazy) as file:
                start, stop, _ = (
                    slice(start, end).indices(file.size())
                    if (start or 0) < 0 or end is None or end < 0
                    else (start or 0, end, 1)
                )
                return file.read_at(start, max(0, stop - start))

    def _listed(self, path: str) -> list[Entry]:
        """The entries of a folder; of a file, itself."""
        with suppress(FileNotFoundError):
            page = "" if "?" in path else self._page(f"{path}/")  # a query has no folders
            if found := listed(page, f"{path}/"):
                return [
                    entry(name, None, None, None, None, folder=folder)
                    for name, folder in sorted(found.items())
                ]
        about = self.info(path)
        return [] if about["type"] == "directory" else [about]

    def _page(self, url: str) -> str:
        """Raises PolicyError where it is too long."""
        page = bytearray()
        with told(url.rstrip("/")), shared_session().stream(url, self.options) as stream:
            for data in stream.chunks():
                page += data
                if len(page) > MOST_PAGE:
                    why = f"its index page has more than {MOST_PAGE >> 20} MiB"
                    raise PolicyError(redact_url(url), why)
        return page.decode("utf-8", "replace")

    # Writing

    def _refuse(self, path: Any = "", *_: Any, **__: Any) -> NoReturn:
        """There is no writing to web servers here."""
        shown = path if isinstance(path, str) else ""
        raise OSError(errno.EROFS, "rdl only reads", redact_url(shown))

    mkdir = makedirs = mkdirs = makedir = rmdir = rm = rm_file = _rm = delete = _refuse
    put = put_file = upload = pipe = pipe_file = write_text = write_bytes = touch = _refuse
    mv = move = rename = cp_file = copy = cp = _refuse
