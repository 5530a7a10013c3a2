"""The web server: uvicorn in a thread, on a socket that is bound before anybody is told of it, and gone when it is stopped."""

import asyncio
import logging
import socket
import threading
from pathlib import Path
from typing import Any

from faceswap_lab.errors import LabError

_GRACE_S = 3
_PATIENCE_S = 60.0


class ServeError(LabError):
    """An address that cannot be served at: a port in use, a host that is not this machine's, a certificate that cannot be read."""


class Server:
    """Serves an ASGI application on a listening socket until `stop`; `certificate` and `key` are PEM files for TLS."""

    def __init__(self, app: Any, listening: socket.socket, *, certificate: Path | None = None, key: Path | None = None) -> None:
        import uvicorn

        self._socket = listening
        try:
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
                ws="none", lifespan="on", timeout_graceful_shutdown=_GRACE_S, timeout_keep_alive=10,
                ssl_certfile=certificate, ssl_keyfile=key,
            )  # fmt: skip
            config.load()
            _require_modern(config)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self._socket.close()
            raise ServeError(
                expected="a certificate and its key, as PEM files",
                got=f"{certificate} and {key}: {error}",
                remedy="give both with --tls-cert and --tls-key; `mkcert` and `openssl req -x509` make them",
            ) from error
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="demo-server", daemon=True)
        self._failed: BaseException | None = None
        self._started = threading.Event()

    def start(self) -> None:
        """Begin to serve; returns once requests are answered."""
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.02)
            if not self._thread.is_alive():
                raise RuntimeError("the demo's server did not start") from self._failed

    def stop(self) -> None:
        """Stop serving: what is under way has a few seconds, then its connection is closed."""
        # A page that is still open holds connections, whose end uvicorn logs with a traceback each.
        log = logging.getLogger("uvicorn.error")
        log.addFilter(_is_no_cancellation)
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)
        self._socket.close()
        log.removeFilter(_is_no_cancellation)

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until it has stopped."""
        self._thread.join(seconds)

    @property
    def running(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:
            self._failed = error
            raise


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. ServeError if the port is taken or the host isn't this machine's."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(expected="a host of this machine", got=f"{host}: {error}", remedy="use --host 127.0.0.1") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        raise ServeError(
            expected=f"a free port at {host}",
            got=f"{port}: {getattr(error, 'strerror', None) or error}",
            remedy="choose another with --port, or stop what uses it; --port 0 takes a free one",
        ) from error
    return made


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return not isinstance(error, asyncio.CancelledError | TimeoutError) and "graceful shutdown" not in record.getMessage()


def _require_modern(config: Any) -> None:
    """TLS 1.2 at least."""
    import ssl

    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
