"""Addresses of stores and of what lies in them: `s3://bucket/folder`, `gs://`, `az://`, `oss://`, `file://`, or a plain folder.

An address never carries credentials: those come from the environment's usual chain. One with a user, a password or a query (the
signature of a signed link) is refused, in words that don't repeat it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.request import url2pathname

from faceswap_lab.files import user_path

REMOTE = ("s3", "gs", "az", "oss")
"""Object stores, each with an extra of its name."""

SCHEMES = (*REMOTE, "file", "memory")

# One slash is enough: a `Path` made of an address has lost the second.
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/+(.*)", re.DOTALL)
_OTHER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@dataclass(frozen=True, slots=True)
class Address:
    """A folder or an object. `path` is the bucket and what follows, for the scheme "file" an absolute path."""

    scheme: str
    path: str

    def __str__(self) -> str:
        return self.path if self.scheme == "file" else f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> "Address":
        return Address(self.scheme, f"{self.path.rstrip('/')}/{name}")

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine's file system."""
        return self.scheme == "file"

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rstrip("/").rpartition("/")[2]


def is_remote(text: str | Path) -> bool:
    """Whether this names a store by a scheme, and not a folder of this machine."""
    text = str(text)
    return _OTHER.match(text) is not None or any(text.startswith(f"{scheme}:/") for scheme in SCHEMES)


def address_of(text: str | Path) -> Address:
    """The address that a user wrote. ValueError for an unknown scheme, for credentials or a query in it, and for no bucket."""
    text = str(text)
    found = _ADDRESS.fullmatch(text)
    if found is None:
        if other := _OTHER.match(text):
            raise ValueError(f"an address begins with one of {', '.join(f'{each}://' for each in SCHEMES)}, got {other[1]}://")
        return Address("file", user_path(text).absolute().as_posix())
    scheme, rest = found.groups()
    if scheme == "file":
        return Address("file", Path(url2pathname(f"/{rest}")).as_posix())
    _refuse_secrets(scheme, rest)
    path = rest.rstrip("/")
    if not path or any(part in ("", ".", "..") for part in path.split("/")) or any(ord(each) < 32 for each in path):
        raise ValueError(f"an address is {scheme}://BUCKET/FOLDER without empty or dotted parts, got {scheme}://{rest!r}")
    return Address(scheme, path)


def _refuse_secrets(scheme: str, rest: str) -> None:
    """ValueError, which says nothing of what was found there."""
    if "@" in rest.partition("/")[0]:
        raise ValueError(f"{scheme}:// with a user or password: leave them to the environment, and write {scheme}://BUCKET/FOLDER")
    if "?" in rest or "#" in rest:
        raise ValueError(f"{scheme}:// with a query, as signed links have: write {scheme}://BUCKET/FOLDER; the environment signs")
