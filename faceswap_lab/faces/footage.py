"""Frames in order, on demand: the protocol that clips of real files and takes of actors share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from faceswap_lab.faces.frame import Frame

Basis = Literal["synthetic", "consent", "public domain", "licence", "derived"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Leave to read one file, issued by the gate (`trust.doors.admit`), or by a run for what it made itself (basis "derived").

    `subject` is who is seen, `uses` what the manifest entry allows ("anonymise", "swap", "train", "evaluate"), `entry` names
    the manifest and its row, `parents` the digests or origins of what a derived file was made from.
    """

    path: Path
    sha256: str
    subject: str
    basis: Basis
    basis_text: str = ""
    uses: frozenset[str] = frozenset()
    entry: str = ""
    parents: tuple[str, ...] = ()


@runtime_checkable
class Footage(Protocol):
    """Frames in order. `origin` is stable and unique, `subject` who is seen ("actor:21" or a manifest's name)."""

    @property
    def origin(self) -> str:
        """Stable and unique: `"actor:21/speech:3"` or `"sha256:…"`."""
        ...

    @property
    def subject(self) -> str:
        """Who is seen: `"actor:21"` or the name a manifest gives."""
        ...

    @property
    def fps(self) -> float:
        """Frames a second; for variable rates the mean. A still has 0."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, as shown."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (not included) in order, read or rendered one by one."""
        ...
