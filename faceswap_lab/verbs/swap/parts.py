"""Writing a long result in parts, so that finished work survives interruptions.

A part is an artifact of some hundred losslessly encoded, independent frames, so that the joined file is bit-identical to that of an
uninterrupted run. A killed run loses its current part; one that is interrupted or fails keeps all batches finished before.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from time import perf_counter

from faceswap_lab.faces import video
from faceswap_lab.faces.frame import Frame, remove_leftovers
from faceswap_lab.faces.join import join
from faceswap_lab.models.stream.swap_frames import SwappedFrame
from faceswap_lab.runs.run import Run

FOLDER = "parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An artifact with the frames from number `first`: the time of each, and the numbers of faces swapped and left in it."""

    name: str
    first: int
    times_s: tuple[float, ...]
    num_faces: tuple[int, ...]
    num_left: tuple[int, ...]

    @property
    def stop(self) -> int:
        """The number of the frame after the part."""
        return self.first + len(self.times_s)


def recorded(run: Run) -> list[Part]:
    """All parts ever finished, in order and up to the first gap, whether or not their files still exist."""
    parts: list[Part] = []
    for event in sorted(run.events("part", unique="name"), key=lambda event: int(event["first"])):
        if event["first"] != (parts[-1].stop if parts else 0):
            break
        lists = {field: tuple(event[field]) for field in ("times_s", "num_faces", "num_left")}
        parts.append(Part(name=event["name"], first=event["first"], **lists))
    return parts


def kept(run: Run) -> list[Part]:
    """The intact parts of earlier attempts. RunError for one that was altered since."""
    parts = list(takewhile(lambda part: run.has(part.name), recorded(run)))
    for part in parts:
        run.artifact(part.name)
    return parts


def write_part(
    run: Run,
    batches: Iterator[Sequence[SwappedFrame]],
    *,
    first: int,
    num_frames: int,
    fps: float,
    size: tuple[int, int],
    mark: Mapping[str, str],
    spent: dict[str, float],
) -> Part | None:
    """The next part, with its `mark` as metadata: batches until there are `num_frames` or they end. None if there are none.

    If `batches` raises, the part is kept with the frames so far, and the error is raised again. Seconds of encoding are added to
    `spent` as "write".
    """
    opening = next(batches, None)
    if opening is None:
        return None
    name = f"{FOLDER}/{first:07d}.mkv"
    failure: BaseException | None = None
    with run.write(name) as path:
        remove_leftovers(path)
        encoder = _Encoder(path, fps, size, mark, spent)
        try:
            given = 0
            for batch in chain([opening], batches):
                encoder.put(batch)
                given += len(batch)
                if given >= num_frames:
                    break
        except BaseException as error:
            failure = error
        part = _part(name, first, encoder.finish())
        # Emitted before the file is renamed, so that no interrupt can come between; `kept` checks for the file too.
        run.emit("part", name=name, first=first, times_s=part.times_s, num_faces=part.num_faces, num_left=part.num_left)
    if failure is not None:
        raise failure
    return part


def _part(name: str, first: int, frames: Sequence[tuple[float, int, int]]) -> Part:
    times_s, num_faces, num_left = zip(*frames, strict=True)
    return Part(name=name, first=first, times_s=times_s, num_faces=num_faces, num_left=num_left)


def join_parts(run: Run, result: str, parts: Sequence[Part], *, mark: Mapping[str, str]) -> None:
    """Join all parts into the artifact `result`, with its `mark` as metadata, without re-encoding."""
    with run.write(result) as path:
        remove_leftovers(path)
        times_s = [time_s for part in parts for time_s in part.times_s]
        join(path, [run.artifact(part.name) for part in parts], times_s, metadata=mark)


def remove_parts(run: Run) -> None:
    """Remove the parts once the result is complete."""
    folder = run.path / "artifacts" / FOLDER
    if folder.exists():
        shutil.rmtree(folder)


class _Encoder:
    """A thread that encodes batches: an interrupt, which only reaches the main thread, cannot split one."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int], mark: Mapping[str, str], spent: dict[str, float]) -> None:
        self._batches: SimpleQueue[Sequence[SwappedFrame] | None] = SimpleQueue()
        self._free = Semaphore(2)
        self._error: BaseException | None = None
        self._written: list[tuple[float, int, int]] = []
        self._spent = spent
        self._thread = Thread(target=self._run, args=(path, fps, size, mark), name="write", daemon=True)
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

    def _run(self, path: Path, fps: float, size: tuple[int, int], mark: Mapping[str, str]) -> None:
        try:
            video.encode(path, self._frames(), fps=fps, size=size, metadata=mark, lossless=True)
        except BaseException as error:
            self._error = error
            self._free.release()

    def _frames(self) -> Iterator[Frame]:
        while (batch := self._batches.get()) is not None:
            start = perf_counter()
            for each in batch:
                self._written.append((each.frame.time_s, len(each.faces), each.num_left))
                yield each.frame
            self._spent["write"] = self._spent.get("write", 0.0) + perf_counter() - start
            self._free.release()
