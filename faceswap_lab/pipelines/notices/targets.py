"""Who is told: `mail:someone@example.org`, `https://…`, or `webhook:NAME` for an address that is itself a secret."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from faceswap_lab.compute.security import names_loopback
from faceswap_lab.errors import ScheduleError

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_LONGEST_PART = 19
"""Of a path: a longer part may be a token, as in the addresses of chat services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a notice goes. `where` is a mail address, a web address, or the name of one in notices.toml."""

    kind: Literal["mail", "webhook", "named webhook"]
    where: str

    @property
    def shown(self) -> str:
        """As it was given; none of it is secret."""
        return {"mail": "mail:", "webhook": "", "named webhook": "webhook:"}[self.kind] + self.where


def read_target(text: str) -> Target:
    """ScheduleError for anything that is no target, and for a web address that seems to hold a password or a token."""
    kind, _, rest = text.partition(":")
    if kind == "mail" and _ADDRESS.fullmatch(rest):
        return Target(kind="mail", where=rest)
    if kind == "webhook" and _NAME.fullmatch(rest):
        return Target(kind="named webhook", where=rest)
    if kind in ("https", "http"):
        check_address(text)
        _require_no_secret(text)
        return Target(kind="webhook", where=text)
    raise ScheduleError(
        expected="mail:someone@example.org, https://… or webhook:NAME",
        got=repr(text) if kind in ("mail", "webhook") else "something else",
        remedy="correct the value of --notify",
    )


def check_address(url: str, *, plain: bool = False) -> SplitResult:
    """A web address in parts: https, or http on this machine, or http anywhere if `plain`. The error doesn't repeat it."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # ValueError, if it is no number
    except ValueError as error:
        raise _refusal("an address that can't be read", "correct it") from error
    if not url.isascii() or not url.isprintable() or " " in url or not parts.hostname:
        raise _refusal("an address without a host, or with characters that none has", "write it as https://host/path")
    if parts.scheme == "http" and not (plain or names_loopback(parts.hostname)):
        raise _refusal(
            f"http:// to {parts.hostname}, which anybody on the way can read", "use https://, or accept it: plain_http = true"
        )
    if parts.scheme not in ("http", "https"):
        raise _refusal(f"the scheme {parts.scheme}", "use https://")
    return parts


def _require_no_secret(url: str) -> None:
    parts = urlsplit(url)
    long_part = any(len(part) > _LONGEST_PART for part in parts.path.split("/"))
    if parts.username or parts.password or parts.query or parts.fragment or long_part:
        raise _refusal(
            f"one for {parts.hostname} with a user, a query or a long part, which may be a secret",
            "every user of a machine can read command lines: put the address into notices.toml and give webhook:NAME",
        )


def _refusal(got: str, remedy: str) -> ScheduleError:
    return ScheduleError(expected="the address of a webhook", got=got, remedy=remedy)
