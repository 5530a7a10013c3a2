"""What goes back to a visitor: Gradio's answers with our headers, and refusals."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from faceswap_lab.serve.site import headers
from faceswap_lab.serve.site.rules import Refusal

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "faceswap_demo"


class Reply:
    """Sends an answer on with our headers. The page gets the nonce; what was uploaded is noted before the visitor hears of it."""

    def __init__(self, send: Send, *, nonce: str, stored: bool, tls: bool) -> None:
        self._send, self._nonce, self._stored, self._tls = send, nonce, stored, tls
        self.cookie: headers.Header | None = None
        self.uploads = False
        self._start: Message = {}
        self._body = b""

    async def pass_on(self, message: Message) -> None:
        """Send a part of an answer on."""
        if message["type"] == "http.response.start":
            html = any(name.lower() == b"content-type" and b"text/html" in value for name, value in message["headers"])
            self._start = message | {"headers": self._headers(message["headers"], error=message["status"] >= 400)}
            self._held = self.uploads or html
            if not self._held:
                await self._send(self._start)
        elif self._held:
            self._body += message.get("body", b"")
            if not message.get("more_body") and not self.uploads:
                self._body = headers.page_with(self._nonce, self._body.decode()).encode()
                await self.finish()
        else:
            await self._send(message)

    def uploaded(self) -> list[str]:
        """The paths that an upload was stored at."""
        if self._start.get("status") != 200:
            return []
        found = json.loads(self._body)
        return [str(each) for each in found] if isinstance(found, list) else []

    async def finish(self) -> None:
        """Send what was held back."""
        own = [each for each in self._start["headers"] if each[0].lower() != b"content-length"]
        await self._send(self._start | {"headers": [*own, (b"content-length", str(len(self._body)).encode())]})
        await self._send({"type": "http.response.body", "body": self._body})

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal."""
        parts = {"error": refusal.text, "expected": refusal.expected, "got": refusal.got, "remedy": refusal.remedy}
        await self._whole(refusal.status, json.dumps({"detail": refusal.text, **parts}).encode(), b"application/json")

    async def ask_to_log_in(self, scope: Scope) -> None:
        """Send a browser that opens the page to the login; refuse anything else."""
        if scope["path"] == "/" and scope["method"] == "GET":
            await self._whole(303, b"", b"text/plain", [(b"location", b"login")])
            return
        text = "expected a login; got none; log in on the demo's page, or with Client(…, auth=(name, password))"
        await self._whole(401, json.dumps({"detail": text, "error": text}).encode(), b"application/json")

    async def _whole(self, status: int, body: bytes, kind: bytes, more: list[headers.Header] | None = None) -> None:
        own = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *(more or [])]
        await self._send({"type": "http.response.start", "status": status, "headers": self._headers(own, error=True)})
        await self._send({"type": "http.response.body", "body": body})

    def _headers(self, own: list[headers.Header], *, error: bool) -> list[headers.Header]:
        ours = headers.headers_of(self._nonce, stored=self._stored and not error, tls=self._tls)
        return headers.merged([(bytes(name), bytes(value)) for name, value in own], ours) + ([self.cookie] if self.cookie else [])


def cookie_header(cookie: str, *, tls: bool, age_s: int | None = None) -> headers.Header:
    """`Set-Cookie` for a visitor; `age_s` 0 removes it."""
    age = "" if age_s is None else f"; Max-Age={age_s}"
    return b"set-cookie", f"{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if tls else ''}{age}".encode()
