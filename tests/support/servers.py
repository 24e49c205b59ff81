"""Real web servers on loopback, each a child process in the foreground, ended by its pid.

A recipe writes a configuration and says how to start the program; `running` does the rest.
Throttles are bytes a second and connection; a second's worth may come at once.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.certificates import Certificates

APACHE_MODULES = Path("/usr/lib/apache2/modules")
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@dataclass(frozen=True, slots=True)
class Site:
    """What a recipe needs: `public` is served, `private` holds configuration and logs."""

    public: Path
    private: Path
    port: int
    rate: int | None = None
    certificates: Certificates | None = None

    @property
    def log(self) -> Path:
        """The access log: a line is `METHOD STATUS BODY-BYTES RANGE`."""
        return self.private / "access.log"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One server. `ranges`: it honours Range; `strong`: its validator can join parts;
    `unchanged`: it lets a client find out that a finished file is still the same."""

    name: str
    program: str
    command: Callable[[Site], list[str]]
    tls: bool = False
    ranges: bool = True
    strong: bool = True
    unchanged: bool = True
    logs: bool = True
    """Whether the access log is complete as soon as a response is."""
    lags: bool = False
    """Whether it may send a replaced file, all of it, for some seconds more."""

    def is_installed(self) -> bool:
        """Whether the program is on the path, or where Debian puts servers."""
        return self.program == sys.executable or program_path(self.program) is not None


@dataclass(slots=True)
class RunningServer:
    """A server that answers at `url` (no trailing slash)."""

    recipe: Recipe
    site: Site
    url: str
    process: subprocess.Popen[bytes] = field(repr=False)

    def requests(self) -> list[tuple[str, int, int]]:
        """(method, status, body bytes) of every finished request, from the access log."""
        lines = self.site.log.read_text().splitlines() if self.site.log.exists() else []
        rows = [line.split() for line in lines]
        return [(row[0], int(row[1]), int(row[2]) if row[2] != "-" else 0) for row in rows]


def program_path(name: str) -> str | None:
    """Where a server program is, sbin included."""
    return shutil.which(name, path=SBIN)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that a server's unprivileged worker can read (pytest's own are private)."""
    folder = Path(tempfile.mkdtemp(prefix="rdl-site-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running(
    recipe: Recipe,
    public: Path,
    private: Path,
    *,
    port: int | None = None,
    rate: int | None = None,
    certificates: Certificates | None = None,
) -> Iterator[RunningServer]:
    """Start the server, wait until it accepts, and end it (and its children) afterwards."""
    site = Site(public, private, port or free_port(), rate, certificates if recipe.tls else None)
    scheme = "https" if recipe.tls else "http"
    with (private / "server.out").open("ab") as out:
        process = subprocess.Popen(
            recipe.command(site),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        _wait_until_it_accepts(process, site)
        yield RunningServer(recipe, site, f"{scheme}://127.0.0.1:{site.port}", process)
    finally:
        _end(process)


def _wait_until_it_accepts(process: subprocess.Popen[bytes], site: Site) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", site.port)) == 0:
                return
        time.sleep(0.02)
    said = (site.private / "server.out").read_text(errors="replace")
    raise RuntimeError(f"{process.args!r} does not accept connections: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server; SIGKILL to its own process group when it does not listen."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _program(name: str) -> str:
    found = program_path(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def nginx(site: Site, extra: str = "", *, log: bool = True) -> list[str]:
    """One process (no worker to give rights to); ETag and Last-Modified as it comes."""
    private = site.private
    listen, tls = f"127.0.0.1:{site.port}", ""
    if site.certificates:
        listen += " ssl"
        tls = f"ssl_certificate {site.certificates.certificate};"
        tls += f"ssl_certificate_key {site.certificates.key};"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "\n".join(f"{kind}_temp_path {private}/{kind};" for kind in kinds)
    log_to = f"{site.log} row" if log else "off"
    config = _write(
        private / "nginx.conf",
        f"""
        daemon off; master_process off; pid {private}/nginx.pid;
        error_log {private}/error.log warn;
        events {{ worker_connections 256; }}
        http {{
          {folders}
          log_format row '$request_method $status $body_bytes_sent $http_range';
          access_log {log_to};
          sendfile on; keepalive_requests 100000; default_type application/octet-stream;
          {f"limit_rate {site.rate};" if site.rate else ""}
          {extra}
          server {{ listen {listen}; {tls} root {site.public}; autoindex on; }}
        }}
        """,
    )
    early = str(private / "early.log")
    return [_program("nginx"), "-p", str(private), "-e", early, "-c", str(config)]


def nginx_gzip(site: Site) -> list[str]:
    """Compresses whatever a client lets it compress."""
    return nginx(site, "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;")


def lighttpd(site: Site, *, validators: bool = True) -> list[str]:
    """With ETag and Last-Modified, or with neither."""
    without = """
    server.modules += ( "mod_setenv" )
    static-file.etags = "disable"
    setenv.set-response-header = ( "Last-Modified" => "" )
    """
    config = _write(
        site.private / "lighttpd.conf",
        f"""
        server.modules = ( "mod_accesslog" )
        server.bind = "127.0.0.1"
        server.port = {site.port}
        server.document-root = "{site.public}"
        server.errorlog = "{site.private}/error.log"
        dir-listing.activate = "enable"
        accesslog.filename = "{site.log}"
        accesslog.format = "%m %s %b %{{Range}}i"
        mimetype.assign = ( "" => "application/octet-stream" )
        {f"connection.kbytes-per-second = {site.rate >> 10}" if site.rate else ""}
        {"" if validators else without}
        """,
    )
    return [_program("lighttpd"), "-D", "-f", str(config)]


def lighttpd_bare(site: Site) -> list[str]:
    """lighttpd without any validator."""
    return lighttpd(site, validators=False)


def apache(site: Site) -> list[str]:
    """ETag made from the modification time: weak while the file is fresh, strong later."""
    modules = ["mpm_event", "authz_core", "autoindex", "dir", "mime", "env", "ratelimit"]
    loads = "\n".join(f"LoadModule {m}_module {APACHE_MODULES}/mod_{m}.so" for m in modules)
    throttle = f"SetOutputFilter RATE_LIMIT\nSetEnv rate-limit {(site.rate or 0) >> 10}"
    config = _write(
        site.private / "apache.conf",
        f"""
ServerRoot {site.private}
ServerName localhost
Listen 127.0.0.1:{site.port}
PidFile {site.private}/apache.pid
DefaultRuntimeDir {site.private}
ErrorLog {site.private}/error.log
{loads}
{_apache_identity()}
TypesConfig /dev/null
LogFormat "%m %>s %B %{{Range}}i" row
CustomLog {site.log} row
DocumentRoot {site.public}
<Directory {site.public}>
Require all granted
Options Indexes
IndexOptions FancyIndexing
FileETag MTime
{throttle if site.rate else ""}
</Directory>
""",
    )
    return [_program("apache2"), "-DFOREGROUND", "-f", str(config)]


def _apache_identity() -> str:
    """Apache refuses to serve as root: as root, name somebody else."""
    if os.geteuid() != 0:
        return ""
    user = next(entry for entry in pwd.getpwall() if entry.pw_name in ("www-data", "nobody"))
    return f"User {user.pw_name}\nGroup {grp.getgrgid(user.pw_gid).gr_name}"


def python_server(site: Site) -> list[str]:
    """Python's http.server: no ranges, no ETag, HTTP/1.0."""
    script = Path(__file__).with_name("python_server.py")
    return [sys.executable, str(script), str(site.port), str(site.public), str(site.rate or 0)]


RECIPES = (
    Recipe("nginx", "nginx", nginx),
    Recipe("nginx-tls", "nginx", nginx, tls=True),
    Recipe("nginx-gzip", "nginx", nginx_gzip),
    Recipe("lighttpd", "lighttpd", lighttpd, logs=False, lags=True),
    Recipe(
        "lighttpd-bare",
        "lighttpd",
        lighttpd_bare,
        strong=False,
        unchanged=False,
        logs=False,
        lags=True,
    ),
    Recipe("apache", "apache2", apache),
    Recipe("python", sys.executable, python_server, ranges=False, strong=False, logs=False),
)
