"""Frames in order, on demand: the protocol that clips of real files and takes of actors share, clips, and excerpts of clips."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from threading import RLock
from typing import Literal, Protocol, runtime_checkable

from faceswap_lab.errors import ConsentError, MediaError
from faceswap_lab.faces.decode import Index, Reader, read_index
from faceswap_lab.faces.frame import HEAD_BYTES, Frame, read_still, still_format

Basis = Literal["synthetic", "consent", "public domain", "licence", "derived"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Leave to read one file, issued by the gate (`trust.admit.admit`), or by a run for what it made itself (basis "derived").

    `subject` is who is seen, `uses` what the manifest entry allows (see `trust.consent.manifest`), `entry` names
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


def digest(path: Path) -> str:
    """sha256 of a file's content, 64 hex digits, read in pieces. MediaError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(expected="a readable file", got=f"{path.name}: {error.strerror}", remedy="check the path") from error


class Clip:
    """Footage from one file, a video or a still, that a Grant allows to read.

    The constructor reads nothing. The file's sha256 is compared with the grant's before anything in it is interpreted, and again if
    its size or date changes later. Frames come upright, as 8-bit RGB; `frames` holds one at a time, `[i]` is exact to the frame.
    A pickled Clip is its grant: whoever receives it opens and checks the file anew. Reading may raise ConsentError (the file is not
    the one that was admitted) and MediaError (it cannot be read without loss or guesswork; the remedy says what to run).
    """

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self._lock = RLock()
        self._checked: tuple[int, ...] | None = None
        self._index: Index | None = None
        self._still: Frame | None = None
        self._reader: Reader | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.grant.path

    @property
    def origin(self) -> str:
        """`"sha256:"` and the file's digest."""
        return f"sha256:{self.grant.sha256}"

    @property
    def subject(self) -> str:
        """Who is seen, as the grant says."""
        return self.grant.subject

    @property
    def fps(self) -> float:
        """Frames a second; for variable rates the mean. A still has 0."""
        return self._opened().fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, as shown."""
        return self._opened().size

    @property
    def has_audio(self) -> bool:
        """Whether the file carries a sound track."""
        return self._opened().has_audio

    @property
    def start_s(self) -> float:
        """When the first frame is shown, in seconds from the file's start: sound may begin before it."""
        return self.times_s[0]

    @property
    def times_s(self) -> tuple[float, ...]:
        """When each frame is shown, in seconds from the file's start."""
        return self._opened().times_s

    def cut(self, start: int = 0, stop: int | None = None) -> "Excerpt":
        """Frames `start` to `stop` (not included; None: the end) as footage of its own. ValueError if there is no frame between."""
        return Excerpt(self, start, len(self) if stop is None else stop)

    def cut_seconds(self, start_s: float = 0.0, stop_s: float | None = None) -> "Excerpt":
        """The frames that begin from `start_s` up to `stop_s` (not included), in seconds from the file's start, as `cut`."""
        return self.cut(self.number_at(start_s), None if stop_s is None else self.number_at(stop_s))

    def number_at(self, time_s: float) -> int:
        """Number of the first frame that begins at `time_s` or later; how many there are, if none does. ValueError if negative."""
        if not time_s >= 0:
            raise ValueError(f"seconds count from the file's start, got {time_s}")
        # What a user writes as 0.28 s is the start of frame 7 at 25 a second, which binary fractions may put a hair later.
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
            if self._reader is None:
                self._reader = Reader(self.path, self._opened(), self.origin)
            return self._reader.read(number)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (not included; None: the end) in order, decoded one by one. ValueError for a negative start."""
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
        # Its own reader: several passes may be under way at once.
        reader = Reader(self.path, self._opened(), self.origin)
        try:
            for number in range(start, stop):
                yield reader.read(number)
        finally:
            reader.close()

    def close(self) -> None:
        """Gives the open file back; the next read opens it again."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _opened(self) -> Index:
        with self._lock:
            if self._index is None:
                self._verify()
                with self.path.open("rb") as file:
                    head = file.read(HEAD_BYTES)
                if still_format(head):
                    self._still = Frame(image=read_still(self.path), origin=self.origin)
                    self._index = Index.of_still(self._still.size)
                else:
                    self._index = read_index(self.path)
            return self._index

    def _verify(self) -> None:
        """Raises ConsentError unless the file is still the one that was admitted. Hashes it only if it looks changed."""
        with self._lock:
            try:
                stat = self.path.stat()
            except OSError as error:
                raise MediaError(
                    expected="the admitted file", got=f"{self.path.name}: {error.strerror}", remedy="put it back"
                ) from error
            seen = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            if seen == self._checked:
                return
            found = digest(self.path)
            if found != self.grant.sha256:
                expected = f"the file that was admitted, sha256 {self.grant.sha256[:12]}…"
                got = f"{self.path.name} with sha256 {found[:12]}…"
                raise ConsentError(expected=expected, got=got, remedy="restore the file, or admit it anew with its own consent")
            self._checked = seen

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


class Excerpt:
    """Frames `start` to `stop` (not included) of a clip, as footage of its own, under the clip's grant.

    They are numbered and timed from 0; the pictures are to the bit those of the whole clip. `origin` is the file's with the range.
    ValueError if the clip has no such frames. A pickled Excerpt is its clip's grant and two numbers.
    """

    def __init__(self, clip: Clip, start: int, stop: int) -> None:
        if not 0 <= start < stop <= len(clip):
            raise ValueError(
                f"an excerpt of {clip.path.name} has at least one of its frames 0 to {len(clip)}, got {start} to {stop}"
            )
        self.clip, self.start, self.stop = clip, start, stop

    @property
    def grant(self) -> Grant:
        """The whole clip's."""
        return self.clip.grant

    @property
    def path(self) -> Path:
        """The whole clip's file."""
        return self.clip.path

    @property
    def origin(self) -> str:
        """The file's digest and the range: `"sha256:…#10-50"`."""
        return f"{self.clip.origin}#{self.start}-{self.stop}"

    @property
    def subject(self) -> str:
        """Who is seen, as the grant says."""
        return self.clip.subject

    @property
    def fps(self) -> float:
        """Frames a second; for variable rates the mean of this range. A still has 0."""
        times = self.times_s
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else self.clip.fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, as shown."""
        return self.clip.size

    @property
    def has_audio(self) -> bool:
        """Whether the file carries a sound track."""
        return self.clip.has_audio

    @property
    def start_s(self) -> float:
        """When the first frame is shown, in seconds from the file's start: where its sound is found."""
        return self.times_s[0]

    @property
    def times_s(self) -> tuple[float, ...]:
        """When each frame is shown, in seconds from the file's start."""
        return self.clip.times_s[self.start : self.stop]

    def cut(self, start: int = 0, stop: int | None = None) -> "Excerpt":
        """Frames `start` to `stop` of this excerpt, as `Clip.cut`."""
        end = len(self) if stop is None else stop
        if not 0 <= start < end <= len(self):
            raise ValueError(f"this excerpt has the frames 0 to {len(self)}, got {start} to {end}")
        return Excerpt(self.clip, self.start + start, self.start + end)

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Frame:
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._own(self.clip[self.start + number])

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (not included; None: the end) in order, decoded one by one. ValueError for a negative start."""
        end = len(self) if stop is None else min(stop, len(self))
        if start < 0 or end < 0:
            raise ValueError(f"frames count from 0, got {start} to {stop}")
        return map(self._own, self.clip.frames(self.start + start, self.start + end))

    def _own(self, frame: Frame) -> Frame:
        return replace(frame, origin=self.origin, index=frame.index - self.start, time_s=frame.time_s - self.start_s)

    def __reduce__(self) -> tuple[object, ...]:
        return Excerpt._of, (self.grant, self.start, self.stop)

    @classmethod
    def _of(cls, grant: Grant, start: int, stop: int) -> "Excerpt":
        """Without opening the file: whoever receives it may only hand it on, and reading checks it anyway."""
        made = cls.__new__(cls)
        made.clip, made.start, made.stop = Clip(grant), start, stop
        return made

    def __repr__(self) -> str:
        return f"Excerpt({self.path.name!r}, {self.start} to {self.stop}, subject={self.subject!r})"

    def _repr_html_(self) -> str:
        return f"<div>{self.clip._repr_html_()}frames {self.start} to {self.stop}</div>"
