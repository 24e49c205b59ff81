"""TLS: one context per transport; the peer is verified against the system's trust store.

At least TLS 1.2, HTTP/1.1 only, and an end of data without close_notify is an error.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import cast

import certifi

from rdl.errors import LocalFileError, NetworkError, TLSError
from rdl.options import NetworkOptions

_PLAIN = re.compile(rb"1\.[01] [0-9]{3}|TYPE html", re.IGNORECASE)
"""After five bytes: HTTP/1.1 400, or as HTTP/0.9 <!DOCTYPE html>."""


def make_context(options: NetworkOptions) -> ssl.SSLContext:
    """Raises LocalFileError for a file that cannot be used."""
    try:
        cafile, capath = _trusted(options.cacert)
        context = ssl.create_default_context(cafile=cafile, capath=capath)
    except OSError as error:
        raise _unusable(str(options.cacert), error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # a name stands in subjectAltName (RFC 9525)
    context.set_alpn_protocols(["http/1.1"])
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.cert is not None:
        try:
            context.load_cert_chain(options.cert, options.key, password=_no_password)
        except OSError as error:
            raise _unusable(str(options.cert), error) from error
    return context


def handshake(
    context: ssl.SSLContext, sock: socket.socket, host: str, timeout: float
) -> ssl.SSLSocket:
    """Raises TLSError when the peer cannot be verified, else NetworkError; `sock` is then
    closed."""
    name = host.rstrip(".")
    sock.settimeout(timeout)
    try:
        secure = context.wrap_socket(
            sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
    except (OSError, ValueError) as error:
        sock.close()
        raise NetworkError(host, "TLS could not begin") from error
    try:
        secure.do_handshake()
    except ssl.SSLCertVerificationError as error:
        secure.close()
        raise TLSError(
            host,
            f"the certificate cannot be trusted ({error.verify_message})",
            hint="--cacert FILE names who to trust; --insecure trusts anybody",
        ) from error
    except (OSError, ValueError) as error:
        failed = NetworkError(host, f"TLS handshake failed ({explain(error)})")
        if isinstance(error, ssl.SSLError) and _speaks_http(secure):
            failed.hint = "the server speaks plain HTTP here: http:// in place of https://"
            failed.permanent = True
        secure.close()
        raise failed from error
    return secure


def _speaks_http(sock: ssl.SSLSocket) -> bool:
    """Whether a response came where TLS was to begin; OpenSSL has taken the first bytes of it."""
    sock.settimeout(0)
    try:
        return _PLAIN.match(socket.socket.recv(sock, 32)) is not None
    except OSError:
        return False


class RecordReader:
    """Reads what has arrived into one buffer: OpenSSL gives one record of 16 KiB at a time,
    and a step of ours costs as much as the decryption of two."""

    def __init__(self, sock: ssl.SSLSocket, timeout: float) -> None:
        self._sock, self._timeout = sock, timeout
        # read() is recv_into() without 65,536 further checks per GiB.
        self._read = cast(Callable[[int, memoryview], int], sock.read)
        self._failed: OSError | None = None
        sock.settimeout(0)

    def recv_into(self, view: memoryview) -> int:
        """Wait for the first byte, then take what is there. An error is raised after the
        bytes that came before it."""
        if self._failed is not None:
            raise self._failed
        count, size = 0, len(view)
        while True:
            try:
                while count < size and (more := self._read(size - count, view[count:])):
                    count += more
                return count
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wanted:
                if count:
                    return count
                self._wait(writing=isinstance(wanted, ssl.SSLWantWriteError))
            except OSError as error:
                if not count:
                    raise
                self._failed = error
                return count

    def _wait(self, *, writing: bool) -> None:
        """For anything from the network: also a part of a record shows that it is alive."""
        if not is_readable(self._sock, self._timeout, writing=writing):
            raise TimeoutError


def is_readable(sock: socket.socket, timeout: float, *, writing: bool = False) -> bool:
    """Whether there is something to read (or room to write) within `timeout` seconds."""
    number = sock.fileno()
    if number < 0:
        raise OSError("the connection was closed")
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLOUT if writing else select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    read, write = ([], [number]) if writing else ([number], [])
    return any(select.select(read, write, [], timeout))


def explain(error: BaseException) -> str:
    """Why, in a few words that come from OpenSSL's or the system's tables, not from the peer."""
    if isinstance(error, TimeoutError):
        return "took too long"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return "the connection was closed"


def _trusted(given: Path | None) -> tuple[str | None, str | None]:
    """A file and a folder: what was given, and nobody else; else none, which means the
    system's store, or certifi's where there is none."""
    if given is not None:
        return (None, str(given)) if given.is_dir() else (str(given), None)
    paths = ssl.get_default_verify_paths()
    if os.name == "nt" or paths.cafile or paths.capath:
        return None, None
    return certifi.where(), None


def _no_password() -> str:
    """Never ask on the terminal for the pass phrase of a key."""
    return ""


def _unusable(path: str, error: OSError) -> LocalFileError:
    why = "holds nothing usable" if isinstance(error, ssl.SSLError) else error.strerror
    return LocalFileError(path, why or "cannot be read")
