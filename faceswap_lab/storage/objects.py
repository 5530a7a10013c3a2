"""Whole objects of a store as open local files: from the cache, or downloaded into it by ranges and verified."""

import hashlib
from io import BufferedReader
from pathlib import Path

from faceswap_lab.errors import StorageError, storing
from faceswap_lab.files import canonical, sha256_text
from faceswap_lab.storage.cache import StoreCache
from faceswap_lab.storage.refusals import wrong_digest
from faceswap_lab.storage.store import Store

MOST_TEXT = 64 << 20
"""Bytes of the largest object that `read_small` reads: a manifest, not data."""


def open_object(
    store: Store, name: str, cache: StoreCache, *, sha256: str | None = None, num_bytes: int | None = None
) -> BufferedReader:
    """The object, open for reading; the caller closes it. With a digest its content is that, wherever it came from.

    Without one the cache knows it by its address and the store's version of it. A plain folder's files are opened in place.
    StorageError for a store that refuses, is silent, or gives half.
    """
    if store.address.is_local:
        return _open_local(Path(store.address.path) / name, sha256)
    version = ""
    if sha256 is None or num_bytes is None:
        stored = store.stat(name)
        version, num_bytes = stored.version, stored.num_bytes
    key = sha256 or sha256_text(canonical([str(store.address / name), version]))

    def fill(part: Path) -> None:
        got = _download(store, name, num_bytes, part)
        if sha256 is not None and got != sha256:
            raise wrong_digest(store.address / name, sha256, got)
        if sha256 is None and (now := store.stat(name).version) != version:
            raise wrong_digest(store.address / name, version, now)

    return cache.open(key, num_bytes, fill, sha256)


def read_small(store: Store, name: str) -> bytes:
    """A small object as bytes. StorageError if it is larger than `MOST_TEXT`."""
    size = store.stat(name).num_bytes
    if size > MOST_TEXT:
        raise StorageError(
            expected=f"at most {MOST_TEXT} bytes in {store.address / name}", got=str(size), remedy="check what was put there"
        )
    return store.read(name, 0, size) if size else b""


def _download(store: Store, name: str, num_bytes: int, part: Path) -> str:
    """Writes the object to the file and returns its SHA-256."""
    digest = hashlib.sha256()
    with part.open("wb") as file:
        for chunk in store.chunks(name, num_bytes):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _open_local(path: Path, sha256: str | None) -> BufferedReader:
    with storing(path):
        file = path.open("rb")
        if sha256 is not None:
            got = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            if got != sha256:
                file.close()
                raise wrong_digest(path, sha256, got)
    return file
