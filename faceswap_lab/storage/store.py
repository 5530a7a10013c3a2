"""A folder in a store: list, read by ranges, put, remove, through fsspec's file systems with deadlines and bounded attempts.

What is put appears whole or not at all: object stores show an object once it is complete, and elsewhere a temporary name is moved.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from faceswap_lab.errors import StorageError
from faceswap_lab.files import canonical
from faceswap_lab.storage.address import REMOTE, Address
from faceswap_lab.storage.refusals import BrokenOffError, asking, short

CHUNK = 8 << 20
"""Bytes of one ranged read."""

_MODULES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "oss": "ossfs"}
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "generation")
_TIMES = ("LastModified", "last_modified", "mtime", "created")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a store may take: `connect_s` to accept a connection, `read_s` between two arrivals of data; and `attempts` in all.

    A silent store is given up after `attempts` times the larger of the two, plus the library's pauses in between. Not every library
    can be told: that of gs makes six attempts of its own, and that of oss has its own deadlines (60 s).
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    attempts: int = 3

    def __post_init__(self) -> None:
        if self.connect_s <= 0 or self.read_s <= 0 or self.attempts < 1:
            raise ValueError(f"deadlines are above zero and attempts at least 1, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object in a store: its bytes, and a text that changes with its content."""

    num_bytes: int
    version: str


class Store:
    """The folder `address`. Names are relative to it, with slashes. Pickles without its connection.

    StorageError if the extra of the scheme is not installed; nothing is asked before the first call.
    """

    def __init__(self, address: Address, deadlines: Deadlines | None = None) -> None:
        self.address, self.deadlines = address, deadlines or Deadlines()
        self._files = file_system(address.scheme, self.deadlines)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.address, self.deadlines)

    def listing(self) -> dict[str, Stored]:
        """All objects below the folder, by name; empty if there are none. StorageError for a missing bucket."""
        with asking(self.address):
            try:
                found = self._files.find(self.address.path, withdirs=False, detail=True)
            except FileNotFoundError:
                if self.address.scheme in REMOTE:
                    raise
                found = {}
            self._require_bucket(found)
        prefix = self._files._strip_protocol(self.address.path).strip("/") + "/"
        named = {str(name).strip("/"): info for name, info in found.items()}
        return {name.removeprefix(prefix): _stored(info) for name, info in sorted(named.items()) if name.startswith(prefix)}

    def stat(self, name: str) -> Stored:
        """One object. StorageError if there is none."""
        with asking(self.address / name):
            return _stored(self._files.info((self.address / name).path))

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of an object, all of them: a transfer that breaks off is repeated, then StorageError."""
        for left in reversed(range(self.deadlines.attempts)):
            try:
                return self._read_once(name, start, stop)
            except BrokenOffError:
                if not left:
                    raise
        raise AssertionError("attempts is at least 1")

    def chunks(self, name: str, num_bytes: int) -> Iterator[bytes]:
        """An object of this size in order, in pieces of at most `CHUNK` bytes."""
        for start in range(0, num_bytes, CHUNK):
            yield self.read(name, start, min(start + CHUNK, num_bytes))

    def put(self, path: Path, name: str) -> Stored:
        """Uploads a file; it appears under its name when it is whole. StorageError if the store has another size then."""
        target = (self.address / name).path
        with asking(self.address / name):
            if self.address.scheme in REMOTE:
                self._files.put_file(str(path), target)
            else:
                folder, _, last = target.rpartition("/")
                temporary = f"{folder}/.{last}.{uuid4().hex[:8]}"
                self._files.put_file(str(path), temporary)
                self._files.mv(temporary, target)
        stored, size = self.stat(name), path.stat().st_size
        if stored.num_bytes != size:
            raise short(self.address / name, size, stored.num_bytes)
        return stored

    def remove(self, name: str) -> None:
        """Removes an object."""
        with asking(self.address / name):
            self._files.rm_file((self.address / name).path)

    def _read_once(self, name: str, start: int, stop: int) -> bytes:
        with asking(self.address / name):
            found = bytes(self._files.cat_file((self.address / name).path, start=start, end=stop))
        if len(found) != stop - start:
            raise short(self.address / name, stop - start, len(found))
        return found

    def _require_bucket(self, found: dict[str, Any]) -> None:
        """An empty listing of a missing bucket would look like an empty folder."""
        bucket = self.address.path.partition("/")[0]
        if not found and self.address.scheme in REMOTE:
            self._files.ls(bucket, detail=False)


def _stored(info: dict[str, Any]) -> Stored:
    named = [key for key in _TAGS if key in info] or [key for key in _TIMES if key in info]
    return Stored(num_bytes=int(info["size"]), version=canonical({key: str(info[key]) for key in (*named, "size")}))


def file_system(scheme: str, deadlines: Deadlines) -> Any:
    """fsspec's file system for a scheme, with these deadlines and the environment's credentials. StorageError without its extra."""
    import fsspec

    module = _MODULES.get(scheme)
    try:
        if module:
            import_module(module)
    except ImportError as error:
        raise StorageError(
            expected=f"the package {module}, for addresses {scheme}://",
            got="it is not installed",
            remedy=f"install it with the extra: pip install 'faceswap-lab[{scheme}]'",
        ) from error
    with asking(f"{scheme}://"):
        files = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **_options(scheme, deadlines))
    if scheme == "s3":
        # botocore counts the attempts: without this, s3fs would multiply them by five.
        files.retries = 1
    return files


def _options(scheme: str, deadlines: Deadlines) -> dict[str, Any]:
    """The settings of each library. No credentials, except oss, whose library asks nobody for them."""
    if scheme == "s3":
        retries = {"total_max_attempts": deadlines.attempts, "mode": "standard"}
        return {"config_kwargs": {"connect_timeout": deadlines.connect_s, "read_timeout": deadlines.read_s, "retries": retries}}
    if scheme == "gs":
        import aiohttp

        return {"requests_timeout": aiohttp.ClientTimeout(connect=deadlines.connect_s, sock_read=deadlines.read_s)}
    if scheme == "az":
        return {"anon": False, "connection_timeout": deadlines.connect_s, "read_timeout": deadlines.read_s}
    if scheme == "oss":
        named = {"key": "OSS_ACCESS_KEY_ID", "secret": "OSS_ACCESS_KEY_SECRET", "token": "OSS_SESSION_TOKEN"}
        return {option: os.environ[name] for option, name in named.items() if os.environ.get(name)}
    return {"auto_mkdir": True} if scheme == "file" else {}
