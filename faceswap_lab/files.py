"""File primitives: canonical JSON, digests, atomic writes, exclusive locks, private folders; and where lab and cache are."""

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import platformdirs

from faceswap_lab.errors import RunError, StorageError, storing

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

VERSION = version("faceswap-lab")
"""This package's version, from the installed metadata: no layer may import the package's `__init__`, which imports them all."""

_SURROGATE = re.compile("[\ud800-\udfff]")
ROOT_VARIABLE = "FACESWAP_LAB_ROOT"

_CHUNK = 1 << 20


_log = logging.getLogger(__name__)


def user_path(path: str | Path) -> Path:
    """A path that a user named: `~` is the home folder, as in a shell. StorageError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        remedy = "set HOME, or write the path in full; FACESWAP_LAB_ROOT and FACESWAP_LAB_CACHE name the lab's own folders"
        raise StorageError(expected=f"a home folder, for {path}", got="none for this user", remedy=remedy) from error


def lab_root() -> Path:
    """The lab's folder: `FACESWAP_LAB_ROOT` (created when first written to), else the nearest lab from the current folder upwards.

    Raises RunError if there is none. What an older version left open to other users is closed, with a logged warning.
    """
    named, here = os.environ.get(ROOT_VARIABLE), Path.cwd().resolve()
    root = user_path(named).resolve() if named else next(filter(is_lab, (here, *here.parents)), None)
    if root is None:
        raise RunError(
            expected="a lab, in this folder or in one above it",
            got=f"none at {here}",
            remedy="make one here with `faceswap-lab init` (in Python `lab.init()`), or name one with --root FOLDER or "
            f"{ROOT_VARIABLE}",
        )
    _close_to_others(root)
    return root


def is_lab(folder: Path) -> bool:
    """Whether a folder is a lab: it has manifests, an audit log, or runs."""
    if (folder / "data_manifests").is_dir() or (folder / "audit.jsonl").is_file():
        return True
    with suppress(OSError):  # a parent that this user may not read is not their lab
        return next((folder / "runs").glob("*/run.json"), None) is not None
    return False


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
    return encodable(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False))


def encodable(json_text: str) -> str:
    """The JSON text with lone surrogates as escapes: it loads as the same value, and UTF-8 can encode it.

    Python puts a lone surrogate in place of each byte of a file's name that is not UTF-8 (PEP 383).
    """
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


def sha256_text(text: str) -> str:
    """Hex digest of the text as UTF-8; of lone surrogates (see `encodable`) as UTF-8 would encode them if it could."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes; nothing is decoded."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Atomic write through a temporary file in the same folder: readers see the old text or the new, even after a kill.

    With `private`, only this user can read the file. Raises StorageError on an OSError; no temporary file is left then.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            put_in_place(Path(temporary), path, private=private)
        finally:
            Path(temporary).unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path, *, private: bool = False) -> None:
    """Flush a finished file to disk and rename it; both paths must be on one file system. StorageError on an OSError.

    The file gets the mode of any new file, or with `private` one that only this user can read.
    """
    with storing(path):
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        # mkstemp creates files readable by the owner only, others create them with the default mode.
        if sys.platform != "win32":
            temporary.chmod(0o600 if private else 0o666 & ~_UMASK)
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

    A new file, and folders made for it, are private. Raises `BlockingIOError` if another process holds the lock and `wait` is
    false, StorageError on any other OSError.
    """
    with storing(path):
        private_folder(path.parent)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600), "a+b")
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


# --- who may read ---------------------------------------------------------------------------------------------------------


def private_folder(path: Path) -> Path:
    """The folder; if it is missing, it and its missing parents are made so that only this user can enter them."""
    try:
        path.mkdir(mode=0o700)
    except FileNotFoundError:
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError:  # it exists, perhaps on a disk that is read-only
        if not path.is_dir():
            raise
    return path


@cache
def _close_to_others(root: Path) -> None:
    """Close a lab's runs and log to other users, if this user owns them: versions before 0.2 left them readable.

    Done once for each lab in a process. On a disk that keeps no modes it has no effect.
    """
    if sys.platform == "win32":
        return
    for path in (root / "runs", root / "audit.jsonl", *root.glob("audit.torn-*.jsonl")):
        with suppress(OSError):
            status = path.stat()
            if status.st_mode & 0o077 and status.st_uid == os.getuid():
                path.chmod(status.st_mode & 0o700)
                _log.warning("%s could be read by other users of this machine; it is closed to them now", path)


def _read_umask() -> int:
    """The mode bits that this process withholds from new files.

    Asking the system for them means setting them, for all threads; so they are read where Linux shows them, else once on import.
    """
    with suppress(OSError), Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_UMASK = _read_umask()


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
