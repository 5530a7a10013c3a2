"""Everything that goes wrong, as one tree.

    LabError
    ├── FaceError        no face, too many faces, points that make no face
    ├── MediaError       a picture or clip that cannot be read or written
    ├── WeightsError     weights missing, altered, or not what they should be
    │   └── LicenceError     weights whose licence nobody here has accepted
    ├── DeviceError      a device that was asked for and is not there
    ├── ConsentError     the gate refuses: no entry, expired, or a use nobody agreed to
    │   └── ManifestError    the record of who agreed to what cannot be trusted
    ├── SplitError       a test person that training code asked for
    ├── ProvenanceError  the audit log or a mark does not verify
    ├── RunError         a run folder that is torn, of another format, or of another recipe
    └── StorageError     a disk that is full, or a file that the system keeps from us

Each carries three parts: what was expected, what was got, and what to do about it. They pickle, because workers send them home.
Wrong arguments raise `ValueError` or `TypeError`; `assert` is for our own invariants.
What the system says of files (`OSError`) becomes a StorageError where they are written, through `storing`, and at the command line.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOM = (
    "free some space there (`faceswap-lab runs prune --unfinished` lists what may go), or set FACESWAP_LAB_ROOT to a folder on "
    "another disk; then the same call goes on"
)
_LEAVE = (
    "let this user write there, or set FACESWAP_LAB_ROOT (runs and manifests) or FACESWAP_LAB_CACHE (weights and head pack) to a "
    "folder that can be written"
)
_PLACE = (
    "check the path, and that each folder on it is a folder; FACESWAP_LAB_ROOT (runs and manifests) and FACESWAP_LAB_CACHE "
    "(weights and head pack) choose others"
)
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of a file's size (`ulimit -f`), or use a disk that takes larger ones; then the same call goes on",
    errno.EACCES: _LEAVE,
    errno.EPERM: _LEAVE,
    errno.EROFS: _LEAVE,
    errno.ENAMETOOLONG: "use a shorter name, or set FACESWAP_LAB_ROOT to a folder with a shorter path",
    errno.ENOENT: _PLACE,
    errno.ENOTDIR: _PLACE,
    errno.EISDIR: _PLACE,
    errno.EEXIST: _PLACE,
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.EIO: "the disk may be failing: save what is on it, and use another",
}


class LabError(Exception):
    """Something the user can act on: `expected`, `got` and `remedy` are plain sentences without a full stop."""

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; got {got}; {remedy}")
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.expected, self.got, self.remedy)


def _rebuild(kind: type[LabError], expected: str, got: str, remedy: str) -> LabError:
    return kind(expected=expected, got=got, remedy=remedy)


class FaceError(LabError):
    """No face where one is needed, or points that do not make a face."""


class MediaError(LabError):
    """A picture or clip that cannot be read or written."""


class WeightsError(LabError):
    """Weights that are missing, altered, or not what they should be."""


class LicenceError(WeightsError):
    """Weights that are restricted by a licence which nobody here has accepted."""


class DeviceError(LabError):
    """A device that was asked for and is not there."""


class ConsentError(LabError):
    """The gate refuses: nobody with the right to do so agreed to this use."""


class ManifestError(ConsentError):
    """A manifest that cannot be read or does not match its files."""


class SplitError(LabError):
    """Training code asked for a person who is kept for testing."""


class ProvenanceError(LabError):
    """The audit log, or a mark in a file, does not verify."""


class RunError(LabError):
    """A run folder that is torn, locked, of another format, or of another recipe."""


class StorageError(LabError):
    """A disk that is full or read-only, or a file or folder that the system keeps from us."""


def storage_error(error: OSError, path: Path | None = None) -> StorageError:
    """What the system said, in three parts. `path` is what was at work if the error names no file itself."""
    place = error.filename if isinstance(error.filename, str) else path
    said = error.strerror or str(error) or type(error).__name__
    return StorageError(
        expected=f"the system's leave to use {place or 'a file'}",
        got=said,
        remedy=_REMEDIES.get(error.errno or 0, "mend what the system says, then make the same call again"),
    )


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns the system's refusals into StorageError about `path`. A lock that another process holds comes through as it is."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise storage_error(error, path) from error
