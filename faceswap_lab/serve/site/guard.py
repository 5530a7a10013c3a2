"""What stands before Gradio: the login, whose file is whose, which paths exist, how large a request may be, and the headers."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from faceswap_lab.serve.site import headers, rules
from faceswap_lab.serve.site.reply import COOKIE, App, Message, Receive, Reply, Scope, Send, cookie_header
from faceswap_lab.serve.site.rules import API, Refusal
from faceswap_lab.serve.site.visitors import Visitor, Visitors

VISITOR = "faceswap_lab.visitor"
"""Key of the visitor in the scope of a request."""

_MOST_JSON = 1 << 18
_OVERHEAD = 1 << 16
_MOST_UPLOADS = 30
"""Uploads of one visitor that lie on the disk at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the guard asks for. `hosts` are the names by which the demo may be addressed, empty for any: a name that an attacker
    has resolve to this machine is refused on loopback. `max_bytes` is that of one upload."""

    login: bool
    max_bytes: int
    hosts: Collection[str] = ()
    tls: bool = False


class Guard:
    """ASGI: answers what it refuses itself, and hands on the rest with the visitor in the scope."""

    def __init__(self, app: App, *, gate: Gate, visitors: Visitors) -> None:
        self.app, self.gate, self.visitors = app, gate, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        nonce = headers.new_nonce()
        reply = Reply(send, nonce=nonce, stored=_stored(scope["path"]), tls=self.gate.tls)
        refusal = self._of_address(scope)
        if refusal is not None:
            await reply.refuse(refusal)
            return
        visitor = self.visitors.of(_cookie(scope))
        if visitor is None and scope["path"] not in rules.OPEN:
            if self.gate.login:
                await reply.ask_to_log_in(scope)
                return
            cookie, visitor = self.visitors.welcome()
            reply.cookie = cookie_header(cookie, tls=self.gate.tls)
        scope[VISITOR], scope["state"] = visitor, {**scope.get("state", {}), "nonce": nonce}
        await self._hand_on(scope, receive, reply, visitor)

    def _of_address(self, scope: Scope) -> Refusal | None:
        """Whether host and path are ours."""
        host = _header(scope, b"host")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self.gate.hosts and name not in self.gate.hosts:
            expected = f"a request to {' or '.join(sorted(self.gate.hosts))}"
            return Refusal(
                status=421, expected=expected, got="another host's name", remedy="open the address that the demo printed"
            )
        if scope["method"] == "POST" and _header(scope, b"sec-fetch-site") == "cross-site":
            return _OTHER_SITE
        return None if rules.exists(scope["method"], scope["path"]) else rules.NO_SUCH_PATH

    async def _hand_on(self, scope: Scope, receive: Receive, reply: Reply, visitor: Visitor | None) -> None:
        refusal: Refusal | None = None
        path = scope["path"]
        if visitor is not None and path.startswith(API):
            if scope["method"] == "POST" and path == f"{API}/upload":
                refusal = self._of_upload(scope, visitor)
                receive, reply.uploads = _limited(receive, self.gate.max_bytes + _OVERHEAD), True
            elif scope["method"] == "POST":
                receive, refusal = await self._checked_call(scope, receive, visitor)
            else:
                refusal = self._of_reading(scope, visitor)
        if refusal is not None:
            await reply.refuse(refusal)
            return
        await self.app(scope, receive, reply.pass_on)
        if reply.uploads and visitor is not None:
            self.visitors.uploaded(visitor, *reply.uploaded())
            await reply.finish()

    def _of_upload(self, scope: Scope, visitor: Visitor) -> Refusal | None:
        length = _header(scope, b"content-length")
        if not length.isdecimal() or int(length) > self.gate.max_bytes + _OVERHEAD:
            got = f"{int(length) / 1e6:.0f} MB" if length.isdecimal() else "an upload that doesn't say how large it is"
            expected = f"at most {self.gate.max_bytes / 1e6:.0f} MB"
            return Refusal(status=413, expected=expected, got=got, remedy="shrink or shorten it, then upload it again")
        if self.visitors.num_uploads(visitor) >= _MOST_UPLOADS:
            expected = f"at most {_MOST_UPLOADS} uploads of one visitor within the time that files are kept"
            return Refusal(status=429, expected=expected, got="one more", remedy="wait until the earlier ones are deleted")
        return None

    async def _checked_call(self, scope: Scope, receive: Receive, visitor: Visitor) -> tuple[Receive, Refusal | None]:
        """The call's body checked and given back without addresses."""
        body = await _whole(receive, _MOST_JSON)
        call = None if body is None else rules.read_call(body)
        if call is None:
            expected = f"a call as JSON, at most {_MOST_JSON >> 10} KiB"
            return receive, Refusal(status=400, expected=expected, got="another body", remedy="use the page, or gradio_client")
        plain = rules.without_urls(call)
        refusal = self._of_call(plain, visitor)
        text = json.dumps(plain).encode()
        scope["headers"] = [each for each in scope["headers"] if each[0] != b"content-length"]
        scope["headers"] += [(b"content-length", str(len(text)).encode())]
        return _given(text, receive), refusal

    def _of_call(self, call: dict[str, Any], visitor: Visitor) -> Refusal | None:
        for path in rules.files_in(call.get("data")):
            if rules.is_address(path):
                return rules.NO_URLS
            if not self.visitors.may_read(visitor, path):
                return rules.NOT_YOURS
        session = call.get("session_hash")
        mine = isinstance(session, str) and self.visitors.take_session(visitor, session)
        return None if mine or session is None else _NOT_YOUR_SESSION

    def _of_reading(self, scope: Scope, visitor: Visitor) -> Refusal | None:
        name = rules.file_of(scope["path"])
        if name is not None:
            return rules.NO_URLS if rules.is_address(name) else None if self.visitors.may_read(visitor, name) else rules.NOT_YOURS
        sessions = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
        if scope["path"].startswith(f"{API}/heartbeat/"):
            sessions = [scope["path"].rpartition("/")[2]]
        mine = all(self.visitors.take_session(visitor, session) for session in sessions)
        return None if mine else _NOT_YOUR_SESSION


_OTHER_SITE = Refusal(status=403, expected="the demo's own page", got="another site's", remedy="open the demo itself")
_NOT_YOUR_SESSION = Refusal(status=403, expected="your own connection", got="another one", remedy="open the demo's page again")


def cookie_of(scope: Scope) -> str:
    """The demo's cookie in a request; empty without one."""
    return _cookie(scope)


def _cookie(scope: Scope) -> str:
    try:
        found = SimpleCookie(_header(scope, b"cookie")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for own, value in scope["headers"] if own == name), "")


def _stored(path: str) -> bool:
    return path.startswith(("/assets/", "/static/"))


def _limited(receive: Receive, most: int) -> Receive:
    """The request's body, which ends as if the visitor had gone once it is larger than it said."""
    done = 0

    async def next_part() -> Message:
        nonlocal done
        message = await receive()
        done += len(message.get("body", b""))
        return message if done <= most else {"type": "http.disconnect"}

    return next_part


async def _whole(receive: Receive, most: int) -> bytes | None:
    """The request's whole body; None if it is larger than `most` or never ended."""
    parts, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts, more = parts + message.get("body", b""), message.get("more_body", False)
        if len(parts) > most:
            return None
    return parts


def _given(body: bytes, receive: Receive) -> Receive:
    """A request's body that was read already; then what else comes, as its end."""
    read = False

    async def next_part() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_part
