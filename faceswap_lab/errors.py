"""Everything that goes wrong, as one tree.

    LabError
    ├── FaceError        no face, too many faces, points that make no face
    ├── MediaError       a picture or clip that cannot be read or written
    ├── WeightsError     weights missing, altered, or not allowed by their licence
    ├── DeviceError      a device that was asked for and is not there
    ├── ConsentError     the gate refuses: no entry, expired, or a use nobody agreed to
    │   └── ManifestError    the record of who agreed to what cannot be trusted
    ├── SplitError       a test person that training code asked for
    ├── ProvenanceError  the audit log or a mark does not verify
    └── RunError         a run folder that is torn, of another format, or of another recipe

Each carries three parts: what was expected, what was got, and what to do about it. They pickle, because workers send them home.
Wrong arguments raise `ValueError` or `TypeError`; `assert` is for our own invariants.
"""


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
    """Weights that are missing, altered, or not allowed by their licence."""


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
