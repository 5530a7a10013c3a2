"""The headers of every answer, and the nonce that allows the page's own scripts and no others."""

import re
import secrets
from collections.abc import Sequence

Header = tuple[bytes, bytes]

_FOREIGN_META = re.compile(r"<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*>\s*")
_SCRIPT = re.compile(r"<script(?=[\s>])")


def policy(nonce: str) -> str:
    """The content policy: this host alone, and of the scripts in the page those with the nonce.

    Gradio sets styles by script, so inline styles are allowed; they can't run anything.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self' blob:",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


def headers_of(nonce: str, *, stored: bool, tls: bool) -> list[Header]:
    """What every answer says. `stored` is whether a browser may keep it: the page's scripts, never a picture or a result."""
    said = {
        "content-security-policy": policy(nonce),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "x-robots-tag": "noindex, nofollow, noarchive",
    }
    said |= {} if stored else {"cache-control": "no-store, private"}
    said |= {"strict-transport-security": "max-age=31536000"} if tls else {}
    return [(name.encode(), value.encode()) for name, value in said.items()]


def merged(own: Sequence[Header], ours: Sequence[Header]) -> list[Header]:
    """An answer's own headers with ours in place of those of the same name."""
    names = {name for name, _ in ours} | {b"access-control-allow-origin", b"access-control-allow-credentials", b"server"}
    return [each for each in own if each[0].lower() not in names] + list(ours)


def new_nonce() -> str:
    """A word that allows the scripts of one answer."""
    return secrets.token_urlsafe(16)


def page_with(nonce: str, html: str) -> str:
    """Gradio's page without the cards for other sites' previews, which name other hosts, and with the nonce on its scripts.

    Texts that came from outside are in its scripts as JSON, in which Gradio escapes every `<`.
    """
    return _SCRIPT.sub(f'<script nonce="{nonce}"', _FOREIGN_META.sub("", html))
