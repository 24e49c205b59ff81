"""A certificate authority of our own and a certificate for loopback, made with openssl(1)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: the authority to trust, the server's certificate and its key."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make both in `folder`, valid two days for 127.0.0.1 and localhost."""
    authority, authority_key = folder / "authority.pem", folder / "authority.key"
    made = Certificates(authority, folder / "server.pem", folder / "server.key")
    _request(
        authority_key,
        authority,
        "-subj=/CN=rdl test authority",
        "-addext=basicConstraints=critical,CA:TRUE",
        "-addext=keyUsage=critical,keyCertSign",
    )
    _request(
        made.key,
        made.certificate,
        "-subj=/CN=localhost",
        "-addext=subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext=basicConstraints=critical,CA:FALSE",
        "-addext=authorityKeyIdentifier=keyid",
        f"-CA={authority}",
        f"-CAkey={authority_key}",
    )
    return made


def _request(key: Path, certificate: Path, *options: str) -> None:
    """One `openssl req -x509` with a fresh P-256 key; options are written `-name=value`."""
    split = [word for option in options for word in option.split("=", 1)]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-noenc", "-days", "2", "-config", "/dev/null", "-keyout", str(key)]
    subprocess.run(
        [*command, "-out", str(certificate), *split],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
    )
