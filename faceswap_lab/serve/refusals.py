"""Why a visitor is turned away, and with which status: an error of the lab each, in its three parts."""

from faceswap_lab.errors import ConsentError, FaceError, LabError, MediaError, StorageError


class TooLargeError(MediaError):
    """An upload that is larger than the demo takes: in bytes, in pixels, or in frames."""


class QueueFullError(LabError):
    """As many jobs are waiting as may wait, or this session has one already."""


class LockedError(LabError):
    """Too many wrong passwords for this name or from this address."""


class StoppedError(LabError):
    """A job that was ended before it was done: by its visitor, by its time limit, or because the demo stops."""


_STATUS: tuple[tuple[type[LabError], int], ...] = (
    (TooLargeError, 413),
    (MediaError, 415),
    (ConsentError, 403),
    (FaceError, 422),
    (LockedError, 429),
    (QueueFullError, 503),
    (StoppedError, 503),
    (StorageError, 507),
)


def status_of(error: LabError) -> int:
    """The HTTP status that says the same: 413 too large, 415 no medium, 403 refused, 422 no face, 429 locked, 503 busy, 507 full;
    500 for any other."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
