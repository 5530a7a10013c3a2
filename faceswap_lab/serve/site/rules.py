"""What a request to the demo may be: the paths that exist, and what the body of a call may say about files."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

API = "/gradio_api"

OPEN = ("/login", "/logout", "/health", "/favicon.ico", "/robots.txt")
"""Paths that are answered without a login."""

_PAGE = re.compile(r"/(|config/?|theme\.css|manifest\.json)|/(static|assets|svelte)/[\w./@+-]*")
_GET = re.compile(
    rf"{API}/(info/?|app_id/?|startup-events|queue/(data|status)|upload_progress|theme\.css|heartbeat/\w{{1,64}}|file=.+)",
    re.DOTALL,
)
_POST = re.compile(rf"{API}/(queue/join/?|upload|cancel|reset/?)")
_DEEPEST = 100
_URL = re.compile(r"\s*([a-z][a-z0-9+.-]+:|//|\\\\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused request, in three parts as the lab's errors, with the status of the answer."""

    status: int
    expected: str
    got: str
    remedy: str

    @property
    def text(self) -> str:
        """The three parts in one line."""
        return f"expected {self.expected}; got {self.got}; {self.remedy}"


NOT_YOURS = Refusal(
    status=403,
    expected="a file that you uploaded or that was made for you, in the last hour",
    got="another one",
    remedy="upload the file yourself",
)
NO_URLS = Refusal(
    status=400,
    expected="an uploaded file",
    got="an address",
    remedy="save the file, then upload it: the demo fetches nothing from other machines",
)
NO_SUCH_PATH = Refusal(status=404, expected="a path of the demo", got="another one", remedy="open the demo's first page")


def exists(method: str, path: str) -> bool:
    """Whether the demo has such a path. Gradio offers many more: a proxy, its monitoring, its editor; none of them is reachable."""
    if path in OPEN:
        return True
    if method in ("GET", "HEAD"):
        return ".." not in path and bool(_PAGE.fullmatch(path) or _GET.fullmatch(path))
    return method == "POST" and bool(_POST.fullmatch(path))


def is_address(text: str) -> bool:
    """Whether a text names something on a machine rather than a file's path: `http:`, `file:`, `data:`, `//host`."""
    return bool(_URL.match(text))


def file_of(path: str) -> str | None:
    """The file that a request for `…/file=PATH` asks for, its path decoded; None for another path."""
    head, found, name = path.partition(f"{API}/file=")
    return name if found and not head else None


def files_in(value: Any) -> Iterator[str]:
    """The paths of all files that the body of a call names, however deep they lie."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("path", "url") and isinstance(inner, str):
                yield inner
            else:
                yield from files_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from files_in(inner)


def without_urls(value: Any) -> Any:
    """The body of a call without the addresses that a browser adds to its files' paths: nothing is fetched by address."""
    if isinstance(value, dict):
        is_file = isinstance(value.get("path"), str)
        return {name: without_urls(inner) for name, inner in value.items() if not (is_file and name == "url")}
    return [without_urls(inner) for inner in value] if isinstance(value, list) else value


def read_call(body: bytes) -> dict[str, Any] | None:
    """A call's body; None for what is no JSON object, or a deeply nested one."""
    try:
        found = json.loads(body)
        depth = _depth(found)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and depth < _DEEPEST else None


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
