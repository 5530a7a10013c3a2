"""The exception hierarchy.

    LabError
    ├── FaceError        no face, too many faces, points that do not form a face
    ├── MediaError       a picture or clip that cannot be read or written
    ├── WeightsError     weights missing, altered, or not what they should be
    │   └── LicenceError     weights whose licence has not been accepted here
    ├── DeviceError      a requested device that is not available
    ├── ComputeError     a cluster that is not there, differs from this process, or lost its workers
    ├── ConsentError     the gate refuses: no entry, expired, or a use nobody agreed to
    │   └── ManifestError    the record of who agreed to what cannot be trusted
    ├── SplitError       a test person requested by training code
    ├── ProvenanceError  the audit log or a mark does not verify
    ├── RunError         a run folder that is incomplete, of another format, or of another recipe
    ├── ScheduleError    a time that never comes, or a scheduler that refuses what it is given
    └── StorageError     a full disk, or a file that the system denies access to

Each has three parts: what was expected, what was got, and what to do about it. They pickle, so that workers can return them.
Wrong arguments raise `ValueError` or `TypeError`; `assert` is for internal invariants.
An `OSError` becomes a StorageError where files are written, through `storing`, and at the command line.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOM = (
    "free some space there (`faceswap-lab runs prune --unfinished` lists what can go), or set FACESWAP_LAB_ROOT to a folder on "
    "another disk; then repeat the call to resume"
)
_LEAVE = (
    "give this user write access, or set FACESWAP_LAB_ROOT (runs and manifests) or FACESWAP_LAB_CACHE (weights and head pack) to a "
    "writable folder"
)
_PLACE = (
    "check the path, and that each parent of it is a folder; FACESWAP_LAB_ROOT (runs and manifests) and FACESWAP_LAB_CACHE "
    "(weights and head pack) set other locations"
)
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the file size limit (`ulimit -f`), or use a disk that allows larger files; then repeat the call to resume",
    errno.EACCES: _LEAVE,
    errno.EPERM: _LEAVE,
    errno.EROFS: _LEAVE,
    errno.ENAMETOOLONG: "use a shorter name, or set FACESWAP_LAB_ROOT to a folder with a shorter path",
    errno.ENOENT: _PLACE,
    errno.ENOTDIR: _PLACE,
    errno.EISDIR: _PLACE,
    errno.EEXIST: _PLACE,
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.EIO: "the disk may be failing: back up what is on it, and use another",
}


class LabError(Exception):
    """An error the user can act on: `expected`, `got` and `remedy` are plain phrases without a full stop."""

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; got {got}; {remedy}")
        self.expected = expected
        self.got = got
        self.remedy = remedy

    @property
    def parts(self) -> dict[str, str]:
        """The three parts by name, as events and messages hold them."""
        return {"expected": self.expected, "got": self.got, "remedy": self.remedy}

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.expected, self.got, self.remedy)


def _rebuild(kind: type[LabError], expected: str, got: str, remedy: str) -> LabError:
    return kind(expected=expected, got=got, remedy=remedy)


class FaceError(LabError):
    """No face where one is needed, or points that do not form a face."""


class MediaError(LabError):
    """A picture or clip that cannot be read or written."""


class WeightsError(LabError):
    """Weights that are missing, altered, or not what they should be."""


class LicenceError(WeightsError):
    """Weights restricted by a licence that has not been accepted here."""


class DeviceError(LabError):
    """A requested device that is not available."""


class ComputeError(LabError):
    """A cluster that cannot be reached, differs from this process, or has lost workers more often than is accepted."""


class ConsentError(LabError):
    """The gate refuses: nobody entitled to do so agreed to this use."""


class ManifestError(ConsentError):
    """A manifest that cannot be read or does not match its files."""


class SplitError(LabError):
    """Training code requested a person reserved for testing."""


class ProvenanceError(LabError):
    """The audit log, or a mark in a file, does not verify."""


class RunError(LabError):
    """A run folder that is incomplete, locked, of another format, or of another recipe."""


class ScheduleError(LabError):
    """A time that never comes or that schedulers read differently, or a scheduler that refuses what it is given."""


class StorageError(LabError):
    """A disk that is full or read-only, or a file or folder that the system denies access to."""


def storage_error(error: OSError, path: Path | None = None) -> StorageError:
    """An OSError in three parts. `path` is the file in use, for errors that name no file themselves."""
    place = error.filename if isinstance(error.filename, str) else path
    said = error.strerror or str(error) or type(error).__name__
    return StorageError(
        expected=f"access to {place or 'a file'}",
        got=said,
        remedy=_REMEDIES.get(error.errno or 0, "fix the reported cause, then repeat the call"),
    )


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns an OSError into a StorageError about `path`. BlockingIOError (another process holds the lock) passes unchanged."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise storage_error(error, path) from error


_NO_MEMORY = re.compile(
    r"(insufficient|not enough|out of|can.t allocate|cannot allocate|failed to allocate) (\w+ )?memory|bad.alloc", re.I
)


@contextmanager
def fitting(name: str, size: tuple[int, int]) -> Iterator[None]:
    """Turns a lack of memory, in whichever library, into a MediaError that says how large `name` is: `size` is (height, width)."""
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
            raise
        raise too_little_memory(name, size, str(error)) from error


def too_little_memory(name: str, size: tuple[int, int], said: str) -> MediaError:
    """The error for frames of this (height, width), for which there is no memory; `said` is what the library says."""
    height, width = size
    return MediaError(
        expected=f"enough memory for {name}, {width} x {height} pixels ({width * height / 1e6:.0f} million)",
        got=(said.splitlines() or ["none left"])[0][:200] or "none left",
        remedy="shrink it, take fewer frames at once (recipe.stream.batch), or give this process more memory (ulimit -v, the "
        "container's limit)",
    )
