"""Stores for tests: a real S3 API on loopback, and servers in front of it that deny, stay silent, or give half."""

import http.client
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BUCKET = "lab-data"
SECRET = "wJalr-never-to-be-written-7MDENG"
ENDPOINT = "AWS_ENDPOINT_URL_S3"


@contextmanager
def s3(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with an empty bucket, and an environment that leads to it; its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv(ENDPOINT, endpoint)
        request("POST", endpoint, "/moto-api/reset")
        request("PUT", endpoint, f"/{BUCKET}")
        yield endpoint
    finally:
        server.stop()


def request(method: str, endpoint: str, path: str, body: bytes = b"") -> bytes:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status < 300, content
        return content
    finally:
        connection.close()


class Between(ThreadingHTTPServer):
    """A proxy. `mode` is what it does to the bodies of GET: "whole", "half" (and says so), "torn" (promises all), "denied"; with
    "broken" it answers 500 to every PUT after the first `allowed`."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint, self.mode, self.allowed = endpoint, "whole", 0
        self.puts: list[str] = []
        self.gets: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def _pass_on(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(size)
        if self.server.mode == "denied":
            return self._answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        if self.command == "PUT":
            if self.server.mode == "broken" and len(self.server.puts) >= self.server.allowed:
                return self._answer(500, b"<Error><Code>InternalError</Code><Message>no</Message></Error>")
            self.server.puts.append(self.path)
        if self.command == "GET":
            self.server.gets.append(self.path)
        connection = http.client.HTTPConnection(self.server.endpoint.removeprefix("http://"), timeout=60)
        connection.request(self.command, self.path, body=sent, headers={k: v for k, v in self.headers.items() if k != "Host"})
        answer = connection.getresponse()
        body = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() in ("etag", "last-modified", "content-type")}
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        connection.close()
        object_read = self.command == "GET" and "list-type" not in self.path
        if object_read and self.server.mode in ("half", "torn"):
            body = body[: len(body) // 2]
            length = length if self.server.mode == "torn" else str(len(body))
        self._answer(answer.status, body, headers, length)
        if object_read and self.server.mode == "torn":
            self.close_connection = True
        return None

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def between(endpoint: str) -> Iterator[Between]:
    server = Between(endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent() -> Iterator[str]:
    """A socket that accepts and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
