"""The local cache of what came from stores: files up to a limit in bytes, the least recently used of which go first.

fsspec's own caches (`filecache`, `simplecache`, `blockcache`) hold none of what is promised here: they know no limit in bytes,
check no digest, and rewrite one list of all files without a lock between processes.

- A file has its name when it is complete. While it is made it counts with its final size, so the folder never exceeds the limit.
- Several processes may share the folder: a file is made by one of them, and the others wait for it.
- The cache gives open files, not paths: what another process removes stays readable until it is closed, and takes disk until then.
- Everything is readable by its owner only.

It lies in the lab's cache folder (`FACESWAP_LAB_CACHE`); `FACESWAP_LAB_STORE_CACHE`, such as `50 GB`, sets the limit.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from faceswap_lab import caches
from faceswap_lab.errors import StorageError, storing
from faceswap_lab.files import acquire, cache_folder, locked, private_folder, put_in_place

VARIABLE = "FACESWAP_LAB_STORE_CACHE"
DEFAULT_BYTES = 20 << 30
_STRIPES = 64
_PAUSE_S = 0.05
_ROUNDS = 100

Fill = Callable[[Path], None]
"""Writes the content to the path, an empty file. It must not ask the cache for anything."""


class StoreCache:
    """Files by name, at most `limit` bytes of them; by default where and as large as the environment says. Creates nothing yet.

    `room_s` is how long to wait while other processes' unfinished files take all the room.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None, room_s: float = 600.0) -> None:
        self.folder = folder or cache_folder() / "store"
        self.limit = caches.limit(VARIABLE, DEFAULT_BYTES) if limit is None else limit
        self.room_s = room_s
        self._verified: dict[str, int] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return StoreCache, (self.folder, self.limit, self.room_s)

    def open(self, name: str, num_bytes: int, fill: Fill, sha256: str | None = None) -> BufferedReader:
        """The file `name` (hex digits), open for reading; made by `fill` if it isn't here. The caller closes it.

        With `sha256` a file that was altered on disk is made again; this process reads it for that once. StorageError if the file
        is larger than the limit or the disk is full, and whatever `fill` raises: nothing is left then.
        """
        if num_bytes > self.limit:
            raise self._too_large(name, num_bytes)
        with storing(self.folder):
            for _ in range(_ROUNDS):
                if (file := self.kept(name, sha256)) is not None:
                    return file
                with locked(self._lock(name[:2])):
                    if (file := self.kept(name, sha256)) is not None:
                        return file
                    self._make(name, num_bytes, fill)
        raise StorageError(
            expected=f"{name[:12]}… in {self.folder} long enough to open it",
            got="other processes removed it each time",
            remedy=f"raise the limit: {VARIABLE} is {self.limit} bytes",
        )

    def kept(self, name: str, sha256: str | None = None) -> BufferedReader | None:
        """The file, open for reading, if it is here and, with `sha256`, as it should be."""
        path = self._entry(name)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        inode = os.fstat(file.fileno()).st_ino
        if sha256 is not None and self._verified.get(name) != inode:
            if _digest(file) != sha256:
                file.close()
                path.unlink(missing_ok=True)
                return None
            self._verified[name] = inode
        with suppress(FileNotFoundError):
            os.utime(path)  # the order in which files go
        return file

    def num_bytes(self) -> int:
        """Bytes of all files, unfinished ones included."""
        if not self.folder.is_dir():
            return 0
        with storing(self.folder), locked(self._room_lock):  # else what is removed and what comes meanwhile would count both
            return sum(size for _, size, _ in [*self._files("entries"), *self._files("parts")])

    # --- making a file ------------------------------------------------------------------------------------------------------

    def _make(self, name: str, num_bytes: int, fill: Fill) -> None:
        """Called under the lock of the name's stripe."""
        for left in self._folder("parts").glob(f"{_stripe(name[:2])}.*"):
            left.unlink(missing_ok=True)  # of a process that was killed: its lock is held here
        with self._reserved(name, num_bytes) as part:
            fill(part)
            if (size := part.stat().st_size) != num_bytes:
                raise ValueError(f"a file of {num_bytes} bytes was announced, and {size} were written")
            put_in_place(part, private_folder(self._entry(name).parent) / name, private=True)

    @contextmanager
    def _reserved(self, name: str, num_bytes: int) -> Iterator[Path]:
        """An empty file whose name says the final size, once there is room for it; removed if it has not been moved."""
        part = self._folder("parts") / f"{_stripe(name[:2])}.{name}.{num_bytes}"
        deadline = time.monotonic() + self.room_s
        while not self._reserve(part, num_bytes):
            if time.monotonic() > deadline:
                raise self._no_room(num_bytes)
            time.sleep(_PAUSE_S)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _reserve(self, part: Path, num_bytes: int) -> bool:
        """Make room and take it, or say that unfinished files of others leave none."""
        with locked(self._room_lock):
            self._remove_orphans(part)
            left = self.limit - num_bytes - sum(size for _, size, _ in self._files("parts"))
            if left < 0:
                return False
            kept = sorted(self._files("entries"))
            used = sum(size for _, size, _ in kept)
            for _, size, path in kept:
                if used <= left:
                    break
                with suppress(PermissionError):  # Windows keeps what is open
                    path.unlink(missing_ok=True)
                    used -= size
            if used > left:
                return False
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return True

    def _remove_orphans(self, own: Path) -> None:
        """Unfinished files whose makers are gone: the lock of their stripe is free."""
        for _, _, path in list(self._files("parts")):
            stripe = path.name.partition(".")[0]
            if stripe != own.name.partition(".")[0]:
                with suppress(BlockingIOError), acquire(self._lock(stripe), wait=False):
                    path.unlink(missing_ok=True)

    # --- what is there ------------------------------------------------------------------------------------------------------

    def _files(self, kind: str) -> Iterator[tuple[int, int, Path]]:
        """(time of last use in ns, bytes, path) of each; the bytes of an unfinished file are those that it will have."""
        for path in (self.folder / kind).rglob("*"):
            with suppress(FileNotFoundError):
                if path.is_file():
                    stat = path.stat()
                    yield stat.st_mtime_ns, stat.st_size if kind == "entries" else int(path.suffix[1:]), path

    def _entry(self, name: str) -> Path:
        return self.folder / "entries" / name[:2] / name

    def _folder(self, kind: str) -> Path:
        return private_folder(self.folder / kind)

    @property
    def _room_lock(self) -> Path:
        return self.folder / "locks" / "room.lock"

    def _lock(self, digits: str) -> Path:
        return self.folder / "locks" / f"{_stripe(digits)}.lock"

    def _too_large(self, name: str, num_bytes: int) -> StorageError:
        got = f"{num_bytes} bytes for {name[:12]}…"
        return StorageError(expected=f"files of at most {self.limit} bytes in the cache", got=got, remedy=f"raise {VARIABLE}")

    def _no_room(self, num_bytes: int) -> StorageError:
        return StorageError(
            expected=f"room for {num_bytes} bytes in the cache {self.folder}",
            got=f"unfinished files of other processes in its {self.limit} bytes for {self.room_s:.0f} s",
            remedy=f"raise {VARIABLE}, or give each process a folder of its own (FACESWAP_LAB_CACHE)",
        )


def _stripe(digits: str) -> str:
    """The lock of a name: one of a fixed number, so that locks need no removal."""
    return f"{int(digits, 16) % _STRIPES:02x}"


def _digest(file: BufferedReader) -> str:
    found = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return found
