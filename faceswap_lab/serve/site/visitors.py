"""Who is looking at the demo: a cookie for each visitor, and which files and connections are whose."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from faceswap_lab.files import sha256_text


@dataclass(slots=True, kw_only=True)
class Visitor:
    """One browser or one client of the API. `user` is the name that was logged in with, empty without a login.

    `files` are the paths that it may read, `uploads` the times of its uploads,
    `sessions` the connections that it opened (a tab has one).
    """

    id: str
    user: str
    seen: float
    files: dict[str, float] = field(default_factory=dict)
    uploads: list[float] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)


class Visitors:
    """The visitors of the last hour, `most` of them at most: whoever was silent longest makes room.

    Of the cookie only its digest is kept. Safe from any thread.
    """

    def __init__(self, *, keep_s: float, most: int = 500, now: Callable[[], float] = time.monotonic) -> None:
        self.keep_s, self.most, self.now = keep_s, most, now
        self._known: OrderedDict[str, Visitor] = OrderedDict()
        self._public: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def welcome(self, user: str = "") -> tuple[str, Visitor]:
        """A new visitor, with the cookie to recognise it by."""
        cookie = secrets.token_urlsafe(32)
        made = Visitor(id=secrets.token_hex(8), user=user, seen=self.now())
        with self._lock:
            self._forget_the_silent()
            while len(self._known) >= self.most:
                self._known.popitem(last=False)
            self._known[sha256_text(cookie)] = made
        return cookie, made

    def of(self, cookie: str) -> Visitor | None:
        """The visitor of a cookie, if it was here within `keep_s`."""
        with self._lock:
            self._forget_the_silent()
            found = self._known.get(sha256_text(cookie)) if cookie else None
            if found is not None:
                found.seen = self.now()
                self._known.move_to_end(sha256_text(cookie))
            return found

    def leave(self, cookie: str) -> Visitor | None:
        """Forget a visitor, who logged out; returns who it was."""
        with self._lock:
            return self._known.pop(sha256_text(cookie), None)

    def with_session(self, session: str) -> Visitor | None:
        """The visitor who opened a connection."""
        with self._lock:
            return next((each for each in self._known.values() if session in each.sessions), None)

    def take_session(self, visitor: Visitor, session: str) -> bool:
        """Whether this connection is the visitor's: nobody else's, and from now on only theirs."""
        with self._lock:
            if any(session in each.sessions for each in self._known.values() if each is not visitor):
                return False
            visitor.sessions.add(session)
            return True

    def give(self, visitor: Visitor, *paths: str) -> None:
        """Let a visitor read these files, for `keep_s`."""
        with self._lock:
            now = self.now()
            visitor.files = {path: at for path, at in visitor.files.items() if now - at < self.keep_s} | dict.fromkeys(paths, now)

    def uploaded(self, visitor: Visitor, *paths: str) -> None:
        """The same for what the visitor uploaded, which is counted."""
        self.give(visitor, *paths)
        with self._lock:
            visitor.uploads += [self.now()] * len(paths)

    def num_uploads(self, visitor: Visitor) -> int:
        """How many uploads of a visitor are kept at the moment."""
        with self._lock:
            visitor.uploads = [at for at in visitor.uploads if self.now() - at < self.keep_s]
            return len(visitor.uploads)

    def publish(self, *paths: str) -> None:
        """Let every visitor read these files: pictures of actors that belong to the page."""
        with self._lock:
            self._public.update(paths)

    def may_read(self, visitor: Visitor, path: str) -> bool:
        """Whether a file is this visitor's, or everybody's."""
        with self._lock:
            at = visitor.files.get(path)
            return path in self._public or (at is not None and self.now() - at < self.keep_s)

    def _forget_the_silent(self) -> None:
        while self._known:
            cookie, oldest = next(iter(self._known.items()))
            if self.now() - oldest.seen < self.keep_s:
                return
            del self._known[cookie]
