"""Footage, the protocol for ordered frames on demand that file clips and actor takes share; clips and their excerpts."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from html import escape
from pathlib import Path
from threading import RLock
from typing import Literal, Protocol, runtime_checkable

from faceswap_lab.errors import ConsentError, MediaError
from faceswap_lab.faces.decode import Index, Reader, read_index
from faceswap_lab.faces.frame import HEAD_BYTES, Frame, read_still, still_format
from faceswap_lab.faces.patches.composed import Composed
from faceswap_lab.faces.patches.store import PatchFile, is_patches
from faceswap_lab.faces.scratch import read_only
from faceswap_lab.seals import is_sealed

Basis = Literal["synthetic", "consent", "public domain", "licence", "derived"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Permission to read one file, issued by `trust.admit.admit`, or by a run for its own output (basis "derived").

    `subject` is the depicted person, `uses` what the manifest entry permits (see `trust.consent.manifest`), `entry` names the
    manifest and its row, `parents` are the digests or origins of a derived file's inputs. `under` is what the patches of a swap are
    laid on, without which its file shows nothing. `seal` shows that the lab at `lab` issued it (see `seals`): a grant written down
    by hand has none, and opens nothing.
    """

    path: Path
    sha256: str
    subject: str
    basis: Basis
    basis_text: str = ""
    uses: frozenset[str] = frozenset()
    entry: str = ""
    parents: tuple[str, ...] = ()
    under: "Under | None" = None
    lab: Path = Path()
    seal: str = ""

    @property
    def text(self) -> str:
        """What the seal covers: every field but itself and the lab's place, as canonical JSON."""
        unsaid = ("lab", "seal", "under")
        fields = {each.name: getattr(self, each.name) for each in dataclass_fields(self) if each.name not in unsaid}
        plain = fields | {"path": str(self.path), "uses": sorted(self.uses), "parents": list(self.parents)}
        plain |= {} if self.under is None else {"under": [self.under.grant.text, self.under.start, self.under.stop]}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    def require_issued(self, root: Path | None = None) -> None:
        """Raise ConsentError unless the lab issued this grant: the lab at `root`, or by default the one that it names."""
        lab = self.lab if root is None else root
        if not is_sealed(lab, self.text, self.seal):
            raise ConsentError(
                expected=f"a grant that the lab {lab} issued for {self.path.name}",
                got="one without that lab's seal",
                remedy="admit the file in this lab (lab.admit) and pass the Clip that it returns; for a result, Run.footage()",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Under:
    """Frames `start` to `stop` of a granted file: those that a swap was made of. `stop` None: to its end."""

    grant: Grant
    start: int = 0
    stop: int | None = None


@runtime_checkable
class Footage(Protocol):
    """An ordered sequence of frames of one subject."""

    @property
    def origin(self) -> str:
        """Stable and unique: `"actor:21/speech:3"` or `"sha256:…"`."""
        ...

    @property
    def subject(self) -> str:
        """The depicted subject: `"actor:21"` or the name in the manifest."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second; the mean for variable frame rates, 0 for stills."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, as displayed."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (exclusive) in order, read or rendered one by one."""
        ...


def digest(path: Path) -> str:
    """sha256 of a file's content, 64 hex digits, read in chunks. MediaError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(expected="a readable file", got=f"{path.name}: {error.strerror}", remedy="check the path") from error


class Clip:
    """Footage from one file, read under a Grant: a video, a still, or a swap's patches, which are laid on its target's frames.

    The constructor reads nothing. Before any of the file is read, the grant must be one that a lab issued, and the file's sha256 is
    compared with the grant's, and again if its size or timestamps change later. Frames are upright 8-bit RGB; `frames` holds one at
    a time, `[i]` is frame-accurate. A Clip pickles as its grant: the receiver opens and verifies the file again. Reading may raise
    ConsentError (the grant is nobody's, or the file is not the one that was admitted) and MediaError (it cannot be read losslessly
    and unambiguously; the remedy says what to run).
    """

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self._lock = RLock()
        self._checked: tuple[int, ...] | None = None
        self._index: Index | None = None
        self._still: Frame | None = None
        self._reader: Reader | None = None
        self._composed: Composed | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.grant.path

    @property
    def origin(self) -> str:
        """`"sha256:"` followed by the file's digest."""
        return f"sha256:{self.grant.sha256}"

    @property
    def subject(self) -> str:
        """The depicted subject, from the grant."""
        return self.grant.subject

    @property
    def fps(self) -> float:
        """Frames per second; the mean for variable frame rates, 0 for stills."""
        return self._opened().fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, as displayed."""
        return self._opened().size

    @property
    def has_audio(self) -> bool:
        """Whether the file has an audio track."""
        return self._opened().has_audio

    @property
    def start_s(self) -> float:
        """Presentation time of the first frame, in seconds from the file's start: audio may start earlier."""
        return self.times_s[0]

    @property
    def times_s(self) -> tuple[float, ...]:
        """Presentation time of each frame, in seconds from the file's start."""
        return self._opened().times_s

    def cut(self, start: int = 0, stop: int | None = None) -> "Excerpt":
        """Frames `start` to `stop` (exclusive; None: the end) as separate footage. ValueError if the range is empty."""
        return Excerpt(self, start, len(self) if stop is None else stop)

    def cut_seconds(self, start_s: float = 0.0, stop_s: float | None = None) -> "Excerpt":
        """Like `cut`, for frames that start within `start_s` to `stop_s` (exclusive), in seconds from the file's start."""
        return self.cut(self.number_at(start_s), None if stop_s is None else self.number_at(stop_s))

    def number_at(self, time_s: float) -> int:
        """Index of the first frame that starts at or after `time_s`; the number of frames if none does. ValueError if negative."""
        if not time_s >= 0:
            raise ValueError(f"seconds count from the file's start, got {time_s}")
        # A user's 0.28 s is the start of frame 7 at 25 fps, which floating point may place slightly later.
        return bisect_left(self.times_s, time_s - 1e-6)

    def __len__(self) -> int:
        return len(self._opened().times_s)

    def __getitem__(self, index: int) -> Frame:
        count = len(self)
        number = index + count if index < 0 else index
        if not 0 <= number < count:
            raise IndexError(f"frame {index} of {count}")
        with self._lock:
            self._verify()
            if self._still is not None:
                return self._still
            if self._composed is not None:
                return self._composed.read(number)
            if self._reader is None:
                self._reader = Reader(self.path, self._opened(), self.origin)
            return self._reader.read(number)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (exclusive; None: the end) in order, decoded one by one. ValueError for a negative start."""
        count = len(self)
        end = count if stop is None else min(stop, count)
        if start < 0 or end < 0:
            raise ValueError(f"frames count from 0, got {start} to {stop}")
        return self._frames(start, end)

    def _frames(self, start: int, stop: int) -> Iterator[Frame]:
        self._verify()
        if self._still is not None:
            yield from [self._still][start:stop]
            return
        if self._composed is not None:
            yield from self._composed.frames(start, stop)
            return
        # A separate reader, because several iterations may run concurrently.
        reader = Reader(self.path, self._opened(), self.origin)
        try:
            for number in range(start, stop):
                yield reader.read(number)
        finally:
            reader.close()

    def close(self) -> None:
        """Closes the file; the next read reopens it."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            if self._composed is not None:
                self._composed.close()

    def _opened(self) -> Index:
        with self._lock:
            if self._index is None:
                self._verify()
                with self.path.open("rb") as file:
                    head = file.read(HEAD_BYTES)
                if still_format(head):
                    self._still = Frame(image=read_only(read_still(self.path)), origin=self.origin)
                    self._index = Index.of_still(self._still.size)
                elif is_patches(head):
                    self._composed = self._laid_on()
                    self._index = _index_of(self._composed.file)
                else:
                    self._index = read_index(self.path)
            return self._index

    def _laid_on(self) -> Composed:
        """The frames of a file of patches. MediaError if the grant doesn't say on what they are laid, or if that is shorter."""
        file, under = PatchFile(self.path), self.grant.under
        if under is None:
            got, remedy = f"{self.path.name}, the patches of a swap, without its target", "open the run: Run.open(…).footage()"
            raise MediaError(expected="a picture or a video", got=got, remedy=remedy)
        whole = Clip(under.grant)
        target = whole if (under.start, under.stop) == (0, None) else whole.cut(under.start, under.stop)
        if len(target) < len(file):
            got = f"{len(target)} in {target.path.name}"
            raise MediaError(expected=f"the {len(file)} frames of {self.path.name}'s target", got=got, remedy="restore the file")
        return Composed(file, target, self.origin)

    def _verify(self) -> None:
        """Raises ConsentError unless the file is still the one that was admitted. Hashes it only if its metadata changed."""
        with self._lock:
            try:
                stat = self.path.stat()
            except OSError as error:
                raise MediaError(
                    expected="the admitted file", got=f"{self.path.name}: {error.strerror}", remedy="put it back"
                ) from error
            stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            if stamp == self._checked:
                return
            self.grant.require_issued()
            found = digest(self.path)
            if found != self.grant.sha256:
                expected = f"the file that was admitted, sha256 {self.grant.sha256[:12]}…"
                got = f"{self.path.name} with sha256 {found[:12]}…"
                raise ConsentError(expected=expected, got=got, remedy="restore the file, or admit it again with its own consent")
            self._checked = stamp

    def __reduce__(self) -> tuple[object, ...]:
        return Clip, (self.grant,)

    def __repr__(self) -> str:
        return f"Clip({self.path.name!r}, subject={self.subject!r})"

    def _repr_html_(self) -> str:
        lines = [f"{self.path.name} · {self.subject} · {self.grant.basis}", self.origin[:19] + "…"]
        if self._index is not None:
            height, width = self._index.size
            lines.append(f"{len(self._index.times_s)} frames · {self._index.fps:.3f} per second · {width} × {height}")
        else:
            lines.append("not opened yet")
        picture = self._still._repr_html_() if self._still is not None else ""
        return f"<div>{picture}{'<br>'.join(escape(line) for line in lines)}</div>"


def _index_of(file: PatchFile) -> Index:
    """The index of composed frames. One frame by itself has the rate that it was written with."""
    times_s = file.times_s
    fps = (len(times_s) - 1) / times_s[-1] if len(times_s) > 1 else file.fps
    numbers = tuple(range(len(times_s)))
    return Index(pts=numbers, times_s=times_s, keyframes=numbers, fps=fps, size=file.size, has_audio=False)


class Excerpt:
    """Frames `start` to `stop` (exclusive) of a clip as separate footage, under the clip's grant.

    Indices and times start at 0; images are bit-identical to the full clip's. `origin` is the file's with the range appended.
    ValueError if the clip has no such frames. An Excerpt pickles as its clip's grant and two numbers.
    """

    def __init__(self, clip: Clip, start: int, stop: int) -> None:
        if not 0 <= start < stop <= len(clip):
            raise ValueError(
                f"an excerpt of {clip.path.name} has at least one of its frames 0 to {len(clip)}, got {start} to {stop}"
            )
        self.clip, self.start, self.stop = clip, start, stop

    @property
    def grant(self) -> Grant:
        """The full clip's grant."""
        return self.clip.grant

    @property
    def path(self) -> Path:
        """The full clip's file."""
        return self.clip.path

    @property
    def origin(self) -> str:
        """The file's digest and the range: `"sha256:…#10-50"`."""
        return f"{self.clip.origin}#{self.start}-{self.stop}"

    @property
    def subject(self) -> str:
        """The depicted subject, from the grant."""
        return self.clip.subject

    @property
    def fps(self) -> float:
        """Frames per second; the mean of this range for variable frame rates, 0 for stills."""
        times = self.times_s
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else self.clip.fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, as displayed."""
        return self.clip.size

    @property
    def has_audio(self) -> bool:
        """Whether the file has an audio track."""
        return self.clip.has_audio

    @property
    def start_s(self) -> float:
        """Presentation time of the first frame, in seconds from the file's start: where its audio starts."""
        return self.times_s[0]

    @property
    def times_s(self) -> tuple[float, ...]:
        """Presentation time of each frame, in seconds from the file's start."""
        return self.clip.times_s[self.start : self.stop]

    def cut(self, start: int = 0, stop: int | None = None) -> "Excerpt":
        """Frames `start` to `stop` of this excerpt, as `Clip.cut`."""
        end = len(self) if stop is None else stop
        if not 0 <= start < end <= len(self):
            raise ValueError(f"this excerpt has the frames 0 to {len(self)}, got {start} to {end}")
        return Excerpt(self.clip, self.start + start, self.start + end)

    def close(self) -> None:
        """Closes the full clip's file; the next read reopens it."""
        self.clip.close()

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Frame:
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._rebase(self.clip[self.start + number])

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (exclusive; None: the end) in order, decoded one by one. ValueError for a negative start."""
        end = len(self) if stop is None else min(stop, len(self))
        if start < 0 or end < 0:
            raise ValueError(f"frames count from 0, got {start} to {stop}")
        return map(self._rebase, self.clip.frames(self.start + start, self.start + end))

    def _rebase(self, frame: Frame) -> Frame:
        return replace(frame, origin=self.origin, index=frame.index - self.start, time_s=frame.time_s - self.start_s)

    def __reduce__(self) -> tuple[object, ...]:
        return Excerpt._of, (self.grant, self.start, self.stop)

    @classmethod
    def _of(cls, grant: Grant, start: int, stop: int) -> "Excerpt":
        """Unpickles without opening the file: the receiver may only pass it on, and reading verifies it anyway."""
        made = cls.__new__(cls)
        made.clip, made.start, made.stop = Clip(grant), start, stop
        return made

    def __repr__(self) -> str:
        return f"Excerpt({self.path.name!r}, {self.start} to {self.stop}, subject={self.subject!r})"

    def _repr_html_(self) -> str:
        return f"<div>{self.clip._repr_html_()}frames {self.start} to {self.stop}</div>"
