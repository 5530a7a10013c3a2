"""Seals: a keyed hash that shows that something was issued by this lab, and not merely written down.

The key is a file in the lab's `runs/`, made with the first seal and readable by its owner only. Whoever may read it can make seals,
so this guards against mistakes and against data from elsewhere, not against the lab's own user.
"""

import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

KEY = ".seal-key"
_NUM_BYTES = 32


def seal_of(root: Path, text: str) -> str:
    """The seal, 64 hex digits, of `text` in the lab `root`. Makes the lab's key if there is none."""
    return hmac.new(_key_of(root.resolve()), text.encode("utf-8", "surrogateescape"), sha256).hexdigest()


def is_sealed(root: Path, text: str, seal: str) -> bool:
    """Whether `seal` is that of `text` in the lab `root`. A lab without a key has sealed nothing."""
    try:
        key = _known(root.resolve())
    except OSError:
        return False
    return hmac.compare_digest(hmac.new(key, text.encode("utf-8", "surrogateescape"), sha256).hexdigest(), seal)


def _key_of(root: Path) -> bytes:
    try:
        return _known(root)
    except OSError:
        _make(root / "runs" / KEY)
    try:
        return _known(root)
    except OSError:
        return _own(root)


def _known(root: Path) -> bytes:
    """The key on disk, or the one of this process for a lab that cannot be written to. OSError if there is neither."""
    path = root / "runs" / KEY
    try:
        stat = path.stat()
    except OSError:
        if root in _OWN:
            return _OWN[root]
        raise
    return _read(path, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=16)
def _read(path: Path, _changed: int, _inode: int) -> bytes:
    key = path.read_bytes()
    if len(key) != _NUM_BYTES:
        raise OSError(f"{path} has {len(key)} bytes, not {_NUM_BYTES}")
    return key


_OWN: dict[Path, bytes] = {}


def _own(root: Path) -> bytes:
    """A key for a lab that can be read only: its seals hold in this process."""
    return _OWN.setdefault(root, secrets.token_bytes(_NUM_BYTES))


def _make(path: Path) -> None:
    """Write a new key under the name unless another process was faster; does nothing where nothing can be written."""
    # A disk that is full or read-only: `_own` has a key for this process then.
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # runs hold faces
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{KEY}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_NUM_BYTES))
                file.flush()
                os.fsync(file.fileno())
            if not path.exists():
                _link(temporary, path)
            elif path.stat().st_size != _NUM_BYTES:
                # A damaged key is replaced: what was sealed with it has to be issued anew.
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    """Give the file its name unless the name is taken by now."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        temporary.replace(path)
