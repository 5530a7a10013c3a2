"""Who may talk to a scheduler: TLS 1.3 between machines, plain TCP on one machine only, unless it is accepted by name."""

import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from faceswap_lab.errors import ComputeError

SCHEMES = ("tcp", "tls")


def is_address(text: str) -> bool:
    """Whether `text` is a scheduler's address rather than the name of a kind of cluster."""
    return "://" in text


def check_address(address: str, *, plain_tcp: bool) -> None:
    """Raise ValueError for an address that is none, ComputeError for plain TCP to another machine unless `plain_tcp` accepts it.

    Over plain TCP anybody on the way can read the faces, and run code on the workers.
    """
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in SCHEMES or not host or not port:
        raise ValueError(f"a scheduler's address must be tcp://HOST:PORT or tls://HOST:PORT, got {address!r}")
    if parts.scheme == "tcp" and not plain_tcp and not is_loopback(host):
        raise ComputeError(
            expected="TLS to a scheduler on another machine",
            got=f"plain TCP to {host}",
            remedy="start scheduler and workers with certificates and use tls://…, or accept it on a network that you trust: "
            "plain_tcp=True (--plain-tcp)",
        )


def is_loopback(host: str) -> bool:
    """Whether all addresses of `host` are this machine's own loopback."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in found)


def names_loopback(host: str) -> bool:
    """Whether a host as it is written is this machine's own: an address (IPv6 also in brackets), or the name that always is.

    Nothing is resolved, unlike in `is_loopback`: what a resolver says now it may not say when a connection is made.
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def security(*, ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> Any:
    """distributed's Security for TLS 1.3 from PEM files; those that are not given are taken from dask's configuration.

    Raises ComputeError unless there are all three, or if one of them cannot be read.
    """
    from distributed.security import Security

    given = {"tls_ca_file": ca, "tls_client_cert": cert, "tls_client_key": key}
    paths = {name: str(Path(path).expanduser()) for name, path in given.items() if path is not None}
    made = Security(require_encryption=True, tls_min_version=ssl.TLSVersion.TLSv1_3, **paths)  # type: ignore[no-untyped-call]
    for name, what in (("tls_ca_file", "ca"), ("tls_client_cert", "cert"), ("tls_client_key", "key")):
        path = getattr(made, name)
        if path is None or not Path(path).is_file():
            raise ComputeError(
                expected=f"the file {what} for TLS: the authority's certificate (ca), and this client's with its key (cert, key)",
                got="none" if path is None else f"{path}, which is not there",
                remedy="give ca=, cert= and key= (--ca, --cert, --key), or set distributed.comm.tls in dask's configuration",
            )
    return made
