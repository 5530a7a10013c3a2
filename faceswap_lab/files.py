"""File primitives: canonical JSON, digests, atomic writes, exclusive locks; and the user's cache folder."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import platformdirs

from faceswap_lab.errors import StorageError, storing

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

VERSION = version("faceswap-lab")
"""This package's version, from the installed metadata: no layer may import the package's `__init__`, which imports them all."""

_CHUNK = 1 << 20


def user_path(path: str | Path) -> Path:
    """A path that a user named: `~` is the home folder, as in a shell. StorageError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        remedy = "set HOME, or write the path in full; FACESWAP_LAB_ROOT and FACESWAP_LAB_CACHE name the lab's own folders"
        raise StorageError(expected=f"a home folder, for {path}", got="none for this user", remedy=remedy) from error


def lab_root() -> Path:
    """`FACESWAP_LAB_ROOT`, else the nearest folder from the current one upwards with `data_manifests/`, else the current folder."""
    if named := os.environ.get("FACESWAP_LAB_ROOT"):
        return user_path(named).resolve()
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "data_manifests").is_dir()), here)


def cache_folder() -> Path:
    """Where weights and the head pack are kept: `FACESWAP_LAB_CACHE` ("~" is the home folder), else `XDG_CACHE_HOME/faceswap_lab`,
    else `~/.cache/faceswap_lab` if it exists, else the platform's cache folder. Creates nothing.

    StorageError if there is no home folder.
    """
    if own := os.environ.get("FACESWAP_LAB_CACHE"):
        return user_path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "faceswap_lab"
    # Versions before 0.2 used it on every platform.
    before = user_path("~/.cache/faceswap_lab")
    return before if before.is_dir() else platformdirs.user_cache_path("faceswap_lab", appauthor=False)


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Whatever is hashed or chained is in this form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    """Hex digest of the text as UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes; nothing is decoded."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Atomic write through a temporary file in the same folder: readers see the old text or the new, even after a kill.

    Raises StorageError on an OSError; no temporary file is left then.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            put_in_place(Path(temporary), path)
        finally:
            Path(temporary).unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it; both paths must be on one file system. StorageError on an OSError."""
    with storing(path):
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        # mkstemp creates files readable by the owner only; the final file gets the default mode of a new file.
        if sys.platform != "win32":
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, on systems where folders can be flushed."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# Why not the library filelock (4.2 was considered): its `FileLock` locks a second file, which its fall-back for disks without flock
# leaves behind when a process dies; here the written file itself is locked. Its `lock_descriptor` would do that, but on Windows it
# locks the file's first byte, which blocks readers of the audit log meanwhile, and it waits by polling, so that one of many
# processes appending to one log can starve.
def acquire(path: Path, *, wait: bool = True) -> IO[bytes]:
    """Open `path` for appending and reading under an exclusive lock, released when it is closed or the process ends.

    Raises `BlockingIOError` if another process holds the lock and `wait` is false, StorageError on any other OSError.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        try:
            _lock(file, wait=wait)
        except BaseException:
            file.close()
            raise
    return file


@contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, open and locked for the duration of a `with` block."""
    with acquire(path) as file:
        yield file


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


if sys.platform == "win32":

    def _lock(file: IO[bytes], *, wait: bool) -> None:
        # Windows locks byte ranges against readers too, so the locked byte is far beyond any content.
        position = file.tell()
        file.seek(1 << 40)
        try:
            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                    return
                except OSError as error:
                    if not wait:
                        raise BlockingIOError(str(error)) from error
        finally:
            file.seek(position)
else:

    def _lock(file: IO[bytes], *, wait: bool) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
