"""What a visitor asks for and gets, in plain data that goes to the process that does the work and comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from faceswap_lab.errors import ConsentError
from faceswap_lab.faces.frame import Image
from faceswap_lab.serve.intake import Upload
from faceswap_lab.serve.sources import Source
from faceswap_lab.serve.visits import Visit
from faceswap_lab.trust.consent.basis import Consent
from faceswap_lab.trust.consent.manifest import utc_today

MAX_REASON = 200
_MOST_FRAMES, _MOST_SIDE = 50, 512

Telling = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a visitor declares about an upload: that the person in it agreed (`agreed`: the box was ticked), and why this is done.

    `basis` raises ConsentError unless the box was ticked and the reason is a line of 3 to 200 characters.
    """

    reason: str
    agreed: bool

    def basis(self) -> Consent:
        """The consent, for today and tomorrow."""
        reason = " ".join(self.reason.split())
        if self.agreed is not True:
            remedy = "tick it if they did, or choose one of the actors' performances"
            raise ConsentError(expected="the statement that the person in the picture agreed", got="an empty box", remedy=remedy)
        if not 3 <= len(reason) <= MAX_REASON or not reason.isprintable():
            got = f"one of {len(reason)} characters" if reason else "none"
            raise ConsentError(expected=f"a reason of 3 to {MAX_REASON} characters", got=got, remedy="say in a line what it is for")
        try:
            return Consent(text=f"declared in the demo; reason: {reason}", expires=utc_today() + timedelta(days=1))
        except ValueError as error:
            raise ConsentError(
                expected="a reason in plain words", got="one that reads like terms of a consent", remedy="leave out semicolons"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An actor's performance in place of an upload: nobody is in it, and the truth is known. ValueError for an endless one."""

    seed: int
    performance: Literal["still", "speech", "turn"] = "still"
    num_frames: int = 1
    size: int = 512

    def __post_init__(self) -> None:
        if self.performance not in ("still", "speech", "turn"):
            raise ValueError(f"a performance is still, speech or turn, got {self.performance!r}")
        if not (1 <= self.num_frames <= _MOST_FRAMES and 64 <= self.size <= _MOST_SIDE):
            raise ValueError(f"1 to {_MOST_FRAMES} frames of 64 to {_MOST_SIDE} pixels, got {self.num_frames} of {self.size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job: the source's face onto an upload, under a declaration, or onto a sample. `accept` says how many frames and faces may
    be left as they were (see `SwapRun.export`)."""

    visit: Visit
    source: Source
    target: Upload | Sample
    declaration: Declaration | None = None
    swapper: str = "oneshot"
    accept: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure, in words and in numbers. `floor` is that of the untouched original, `ceiling` that of the truth; nan if
    unknown."""

    name: str
    words: str
    value: float
    floor: float
    ceiling: float
    unit: str
    higher_is_better: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of a job. `before` is a picture (RGB), or the file of a clip; `after` the marked file that may leave.

    `scores` may be empty, and `note` then says why. `overhead_s` is what the demo added to the swap's own `seconds`.
    """

    kind: Literal["picture", "clip"]
    before: Image | Path
    after: Path
    scores: tuple[Row, ...]
    run: str
    num_frames: int
    seconds: float
    overhead_s: float
    note: str = ""
