"""Who may come in: users from a file of salted hashes, or one with a password made for this start; and locks after wrong passwords.

A line of the file is `name:scrypt:N:r:p:salt:hash`, as `user_line` makes it. Everybody waits as long for a wrong name as for a
wrong password. Ten wrong ones lock the name and the address, for half a minute, then twice as long each time; a name stays open to
an address from which its user has come in before, or anybody could lock a user out.
"""

import base64
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceswap_lab.compute.security import names_loopback
from faceswap_lab.errors import LabError, storing
from faceswap_lab.files import locked
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.refusals import LockedError

_N, _R, _P, _BYTES, _MAX_MEMORY = 1 << 14, 8, 1, 32, 1 << 26
_MAX_PASSWORD, _MAX_KNOWN = 1024, 10_000
_FIRST_S, _LONGEST_S = 30.0, 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """A password as it is kept: scrypt's cost, the salt, and the hash."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> "Hashed":
        """With a fresh salt. ValueError for an empty or endless password."""
        if not 0 < len(password.encode()) <= _MAX_PASSWORD:
            raise ValueError(f"a password has 1 to {_MAX_PASSWORD} bytes")
        salt = secrets.token_bytes(16)
        return cls(n=_N, r=_R, p=_P, salt=salt, digest=_scrypt(password, salt, _N, _R, _P))

    def fits(self, password: str) -> bool:
        """Whether this is the password, compared in constant time."""
        given = _scrypt(password[:_MAX_PASSWORD], self.salt, self.n, self.r, self.p)
        return hmac.compare_digest(given, self.digest)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, dklen=_BYTES, maxmem=_MAX_MEMORY)


def user_line(name: str, password: str) -> str:
    """A user's line for the file. ValueError for a name with a colon, blanks at its ends or control characters."""
    if not name or ":" in name or name != name.strip() or not name.isprintable() or len(name) > 100:
        raise ValueError(f"a user's name has 1 to 100 characters, no colon and no blanks at its ends, got {name!r}")
    made = Hashed.of(password)
    salt, digest = (base64.b64encode(each).decode() for each in (made.salt, made.digest))
    return f"{name}:scrypt:{made.n}:{made.r}:{made.p}:{salt}:{digest}"


def add_user(path: Path, name: str, password: str) -> None:
    """Write a user to the file, which only this user of the machine can then read; one of this name is replaced."""
    line = user_line(name, password)
    with locked(path) as file:
        file.seek(0)
        kept = [each for each in file.read().decode().splitlines() if each.strip() and each.partition(":")[0] != name]
        file.seek(0)
        file.truncate()
        file.write("".join(f"{each}\n" for each in (*kept, line)).encode())


def read_users(path: Path) -> dict[str, Hashed]:
    """Name to hash. LabError for a file that others can read, that names nobody, or with a line that isn't `user_line`'s."""
    with storing(path):
        mode, lines = path.stat().st_mode, path.read_text(encoding="utf-8").splitlines()
    if os.name != "nt" and mode & 0o077:
        got = f"{path}, which others can read (mode {mode & 0o777:o})"
        raise LabError(expected="a file of users that is this user's only", got=got, remedy=f"chmod 600 {path}")
    users = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            name, hashed = _parsed(path, number, line)
            users[name] = hashed
    if not users:
        raise LabError(
            expected="users", got=f"none in {path}", remedy="add one with `faceswap-lab demo --login FILE --add-user NAME`"
        )
    return users


def _parsed(path: Path, number: int, line: str) -> tuple[str, Hashed]:
    try:
        name, kind, n, r, p, salt, digest = line.strip().split(":")
        found = Hashed(n=int(n), r=int(r), p=int(p), salt=base64.b64decode(salt), digest=base64.b64decode(digest))
        if kind != "scrypt" or not name or len(found.digest) != _BYTES or 128 * found.n * found.r > _MAX_MEMORY:
            raise ValueError(kind)
    except ValueError as error:
        expected, got = "lines of name:scrypt:N:r:p:salt:hash", f"line {number} of {path}, which is none"
        raise LabError(
            expected=expected, got=got, remedy="add the user again with `faceswap-lab demo --login FILE --add-user NAME`"
        ) from error
    return name, found


def one_user() -> tuple[dict[str, Hashed], str, str]:
    """A user for this start alone: the users, the name and the password, which is kept nowhere."""
    name, password = "visitor", secrets.token_urlsafe(15)
    return {name: Hashed.of(password)}, name, password


def require_login(host: str, *, login: bool, share: bool) -> None:
    """LabError for a demo that others could reach without a login."""
    if not login and (share or not names_loopback(host)):
        where = "a shared link" if share else host
        raise LabError(
            expected=f"a login for {where}", got="--no-login", remedy="leave it out, or serve this machine only (--host 127.0.0.1)"
        )


@dataclass(slots=True)
class _Wrong:
    count: int = 0
    until: float = 0.0
    wait_s: float = _FIRST_S


class Logins:
    """Checks names and passwords, and locks. Remembers so many names and addresses at most; the oldest are forgotten first."""

    def __init__(self, users: Mapping[str, Hashed], limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._users, self._limits, self._clock = dict(users), limits, clock
        self._wrong: OrderedDict[tuple[str, str], _Wrong] = OrderedDict()
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()
        # Whoever isn't known costs as much time as who is.
        self._nobody = Hashed.of(secrets.token_urlsafe())

    def check(self, name: str, password: str, address: str) -> bool:
        """Whether the password is the name's. Raises LockedError, without looking at it, while the name or the address is
        locked."""
        keys = [("address", address)] + ([] if (name, address) in self._welcome else [("name", name)])
        now = self._clock()
        left = max((self._wrong[key].until - now for key in keys if key in self._wrong), default=0.0)
        if left > 0:
            got = f"{self._limits.max_wrong} or more that were wrong"
            raise LockedError(expected="the right password", got=got, remedy=f"wait {left:.0f} s, then try again")
        known = self._users.get(name, self._nobody)
        # Both are always computed.
        right = known.fits(password) & (name in self._users)
        if right:
            for key in keys:
                self._wrong.pop(key, None)
            _remember(self._welcome, (name, address), None)
            return True
        for key in keys:
            self._count(key, now)
        return False

    def _count(self, key: tuple[str, str], now: float) -> None:
        found = self._wrong.get(key) or _Wrong()
        found.count += 1
        if found.count >= self._limits.max_wrong:
            found.count, found.until = 0, now + found.wait_s
            _log.warning("%d wrong passwords for %s: locked for %.0f s", self._limits.max_wrong, key[0], found.wait_s)
            found.wait_s = min(2 * found.wait_s, _LONGEST_S)
        _remember(self._wrong, key, found)


def _remember(where: "OrderedDict[Any, Any]", key: Any, value: Any) -> None:
    where[key] = value
    where.move_to_end(key)
    while len(where) > _MAX_KNOWN:
        where.popitem(last=False)
