"""Writing a long result in parts, so that finished work survives interruptions.

A part is an artifact of some hundred frames, each coded by itself and without loss, so that the joined file is that of an
uninterrupted run. A killed run loses its current part; one that is interrupted or fails keeps all batches finished before. Parts
are independent: they can be made in any order, and by several processes.
"""

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from time import perf_counter
from typing import Any

import torch

from faceswap_lab.faces import video
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.frame import remove_leftovers
from faceswap_lab.faces.join import join
from faceswap_lab.faces.patches.store import join_patches, write_patches
from faceswap_lab.models.protocols import AnySwapper, Engine
from faceswap_lab.models.stream.followed import Followed
from faceswap_lab.models.stream.swap_frames import UNDER_WAY, StreamConfig, SwappedFrame, swap_frames
from faceswap_lab.models.stream.swap_frames import batches as as_batches
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import Stop, never, until
from faceswap_lab.verbs.swap.result import PATCHES, RESULT

FOLDER = "parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What all parts of a run are written with: the result's name, frames a second, (height, width), and the mark as metadata.

    Of a file's frames the run keeps what the swap changed, as patches: small, soon written, and no picture of anybody. An actor's
    take is kept as whole frames: it shows nobody, and to compose it would be to render it again, seconds a frame. So is a faceset.
    """

    result: str
    fps: float
    size: tuple[int, int]
    mark: Mapping[str, str]

    @classmethod
    def of(cls, target: Footage, mark: Mapping[str, str]) -> "Form":
        """The form of a swap of `target`."""
        result = PATCHES if isinstance(target, Clip | Excerpt) else RESULT
        return cls(result=result, fps=target.fps or 1.0, size=target.size, mark=dict(mark))

    @property
    def suffix(self) -> str:
        """That of the parts' names and the result's."""
        return Path(self.result).suffix

    def write(self, path: Path, frames: Iterator[SwappedFrame]) -> None:
        """One part's file."""
        if self.result == PATCHES:
            kept = ((each.frame, each.regions) for each in frames)
            write_patches(path, kept, fps=self.fps, size=self.size, metadata=self.mark)
        else:
            video.encode(path, (each.frame for each in frames), fps=self.fps, size=self.size, metadata=self.mark, lossless=True)

    def join(self, path: Path, parts: Sequence[Path], times_s: Sequence[float]) -> None:
        """The result's file, of all parts, without coding anything again."""
        if self.result == PATCHES:
            join_patches(path, parts, metadata=self.mark)
        else:
            join(path, parts, times_s, metadata=self.mark)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """All that a swap's frames depend on but their numbers: the opened networks, the source's codes, the settings.

    `under_way` is as in `swap_frames`; `stop` is asked before each frame.
    """

    target: Footage
    engine: Engine
    swapper: AnySwapper
    codes: Any
    config: StreamConfig
    device: torch.device
    corrections: Corrections
    under_way: int = UNDER_WAY
    stop: Stop = never

    def stream(self, frames: range, spent: dict[str, float]) -> Generator[SwappedFrame, None, None]:
        """These frames, swapped; busy seconds by stage are added to `spent`. KeyboardInterrupt once `stop()` is true."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("target", "stop")}
        with closing(swap_frames(self.target, **given, start=frames.start, stop=frames.stop, spent=spent)) as swapped:
            yield from until(self.stop, swapped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An artifact with the frames from number `first`: the time of each, and the numbers of faces swapped and left in it.

    `followed` is whom the swap had chosen by the end of it, not known of parts that are read back.
    """

    name: str
    first: int
    times_s: tuple[float, ...]
    num_faces: tuple[int, ...]
    num_left: tuple[int, ...]
    followed: Followed | None = None

    @property
    def stop(self) -> int:
        """The number of the frame after the part."""
        return self.first + len(self.times_s)


def name_of(first: int, suffix: str) -> str:
    """The artifact's name of the part that begins with frame `first`."""
    return f"{FOLDER}/{first:07d}{suffix}"


def noted(run: Run) -> list[Part]:
    """All parts ever finished, in order, whether or not their files still exist; of those that begin with one frame the last."""
    events = sorted(run.events("part", unique="name"), key=lambda event: int(event["first"]))
    return [
        Part(
            name=event["name"],
            first=event["first"],
            times_s=tuple(event["times_s"]),
            num_faces=tuple(event["num_faces"]),
            num_left=tuple(event["num_left"]),
        )
        for event in events
    ]


def recorded(run: Run) -> list[Part]:
    """All parts ever finished, in order and up to the first gap, whether or not their files still exist."""
    parts: list[Part] = []
    for part in noted(run):
        if part.first == (parts[-1].stop if parts else 0):
            parts.append(part)
    return parts


def kept(run: Run) -> list[Part]:
    """The intact parts of earlier attempts, in order; there may be gaps between them. RunError for one that was altered since."""
    parts: list[Part] = []
    for part in noted(run):
        # One that overlaps is left from an attempt whose parts were longer.
        if run.has(part.name) and part.first >= (parts[-1].stop if parts else 0):
            run.artifact(part.name)
            parts.append(part)
    return parts


def missing(parts: Sequence[Part], num_frames: int, *, part_frames: int) -> list[range]:
    """The frames of `num_frames` that are in none of the (ordered) `parts`, in ranges of at most `part_frames`.

    Each begins where a part ends or `part_frames` after such a place: at the first frame of a batch, if `part_frames` is a multiple
    of its size. The ranges are independent: they can be made in any order (`make_part`), by any number of processes.
    """
    ends = [0, *(part.stop for part in parts)]
    begins = [*(part.first for part in parts), num_frames]
    gaps = [range(end, min(begin, num_frames)) for end, begin in zip(ends, begins, strict=True)]
    return [range(first, min(first + part_frames, gap.stop)) for gap in gaps for first in gap[::part_frames]]


def write_part(
    run: Run,
    batches: Iterator[Sequence[SwappedFrame]],
    form: Form,
    *,
    first: int,
    num_frames: int,
    spent: dict[str, float],
) -> Part | None:
    """The next part: batches until there are `num_frames` or they end. None if there are none.

    If `batches` raises, the part is kept with the frames so far, and the error is raised again. Seconds of encoding are added to
    `spent` as "write".
    """
    opening = next(batches, None)
    if opening is None:
        return None
    name = name_of(first, form.suffix)
    with run.write(name) as path:
        remove_leftovers(path)
        part, failure = _encoded(path, chain([opening], batches), form, first=first, num_frames=num_frames, spent=spent)
        note(run, part)
    if failure is not None:
        raise failure
    return part


def note(run: Run, part: Part) -> None:
    """Record what is in a part, and whom the swap follows: call it within `run.write(part.name)`, before the file is renamed.

    So no interrupt can come between; `kept` checks for the file too.
    """
    told = {name: getattr(part, name) for name in ("name", "first", "times_s", "num_faces", "num_left")}
    run.emit("part", **told)
    # Face points are biometric data: no event holds them.
    if part.followed is not None and not run.events("followed"):
        run.emit("followed", **asdict(part.followed))


def adopt(run: Run, part: Part, path: Path) -> None:
    """Move a part that `make_part` wrote to `path`, on the same file system, into the run, and record it."""
    with run.write(part.name) as temporary:
        path.replace(temporary)
        note(run, part)


def make_part(path: Path, work: Work, form: Form, frames: range, *, spent: dict[str, float] | None = None) -> Part:
    """Swap these frames of a run, write them to `path` (a name that ends in `form.suffix`), and return what is in it, for `adopt`.

    The file depends on nothing but the frames' numbers, wherever and in whatever order parts are made. They must begin with a batch
    (ValueError otherwise). Errors are those of the stream and of the encoder; none leaves anything at `path`.
    """
    size = work.config.batch_size
    if frames.step != 1 or frames.start % size or not frames:
        raise ValueError(f"a part has consecutive frames and begins with a batch, at a multiple of {size}, got {frames}")
    spent = {} if spent is None else spent
    try:
        with closing(work.stream(frames, spent)) as stream:
            lists = as_batches(stream, size)
            opening = next(lists)
            every = chain([opening], lists)
            part, failure = _encoded(path, every, form, first=frames.start, num_frames=len(frames), spent=spent)
        if failure is not None:
            raise failure
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return part


def _encoded(
    path: Path, batches: Iterator[Sequence[SwappedFrame]], form: Form, *, first: int, num_frames: int, spent: dict[str, float]
) -> tuple[Part, BaseException | None]:
    """Write batches until there are `num_frames` or they end or raise; the part, and the error that they raised."""
    failure: BaseException | None = None
    encoder, given = _Encoder(path, form, spent), 0
    try:
        for batch in batches:
            encoder.put(batch)
            given += len(batch)
            if given >= num_frames:
                break
    except BaseException as error:
        failure = error
    times_s, num_faces, num_left = zip(*encoder.finish(), strict=True)
    part = Part(
        name=name_of(first, form.suffix),
        first=first,
        times_s=times_s,
        num_faces=num_faces,
        num_left=num_left,
        followed=encoder.followed,
    )
    return part, failure


def join_parts(run: Run, parts: Sequence[Part], form: Form) -> None:
    """Join all parts into the result, without coding anything again."""
    with run.write(form.result) as path:
        remove_leftovers(path)
        form.join(path, [run.artifact(part.name) for part in parts], [time_s for part in parts for time_s in part.times_s])


def remove_parts(run: Run) -> None:
    """Remove the parts once the result is complete."""
    folder = run.path / "artifacts" / FOLDER
    if folder.exists():
        shutil.rmtree(folder)


class _Encoder:
    """A thread that encodes batches: an interrupt, which only reaches the main thread, cannot split one."""

    def __init__(self, path: Path, form: Form, spent: dict[str, float]) -> None:
        self._batches: SimpleQueue[Sequence[SwappedFrame] | None] = SimpleQueue()
        self._free = Semaphore(2)
        self._error: BaseException | None = None
        self._written: list[tuple[float, int, int]] = []
        self.followed: Followed | None = None
        self._spent = spent
        self._thread = Thread(target=self._run, args=(path, form), name="write", daemon=True)
        self._thread.start()

    def put(self, batch: Sequence[SwappedFrame]) -> None:
        """Queue a batch; blocks while another is pending. Raises the encoder's errors."""
        self._free.acquire()
        if self._error is not None:
            raise self._error
        self._batches.put(batch)

    def finish(self) -> list[tuple[float, int, int]]:
        """Finish encoding; the time of each frame and its numbers of faces swapped and left. Errors as in `put`."""
        self._batches.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._written

    def _run(self, path: Path, form: Form) -> None:
        try:
            form.write(path, self._frames())
        except BaseException as error:
            self._error = error
            self._free.release()

    def _frames(self) -> Iterator[SwappedFrame]:
        while (batch := self._batches.get()) is not None:
            start = perf_counter()
            for each in batch:
                self._written.append((each.frame.time_s, len(each.faces), each.num_left))
                self.followed = self.followed or each.followed
                yield each
            self._spent["write"] = self._spent.get("write", 0.0) + perf_counter() - start
            self._free.release()
