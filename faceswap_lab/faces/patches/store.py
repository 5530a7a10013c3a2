"""The file of a swap's patches: header with the mark, each frame's patches, and a table of the frames at the end.

    magic, length of the header, header as JSON: version, size, frames a second, metadata
    frame 0: packed patches, frame 1 …      (nothing for a frame that was left as it was)
    for each frame: place and length of its patches, time in seconds, checksum of the composed picture
    place of the table, number of frames, magic

Frames are independent, so files of consecutive frames are joined by copying, and the joined file doesn't tell where they met. The
checksum covers every eighth row: each block of a codec has such a row, so another decoder's picture doesn't pass for the same.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from faceswap_lab.errors import MediaError
from faceswap_lab.faces.frame import Frame, Image, check_metadata, written_whole
from faceswap_lab.faces.patches.packing import packed, unpacked
from faceswap_lab.faces.patches.patch import Patch, Region, patches_of

SUFFIX = ".patches"

_MAGIC, _VERSION = b"\x89FSLP\r\n\x1a", 1
_LENGTH, _FOOT = struct.Struct("<I"), struct.Struct(f"<QI{len(_MAGIC)}s")
_ROW = np.dtype([("place", "<u8"), ("length", "<u4"), ("check", "<u4"), ("time_s", "<f8")])
_CHECKED_ROWS = 8
_COPY_BYTES = 1 << 20


def is_patches(head: bytes) -> bool:
    """Whether a file that begins like this holds patches."""
    return head.startswith(_MAGIC)


def checksum(image: Image) -> int:
    """Of every eighth row of a picture."""
    return zlib.crc32(np.ascontiguousarray(image[::_CHECKED_ROWS]).data)


def write_patches(
    path: Path,
    frames: Iterable[tuple[Frame, Sequence[Region]]],
    *,
    fps: float,
    size: tuple[int, int],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write what was changed in the given regions of each frame. `size` is (height, width), `metadata` as for `video.encode`.

    Equal frames give equal bytes. Returns `path`, which is written atomically. ValueError for frames of another size or times that
    don't increase, MediaError for no frames, StorageError if the system refuses the file.
    """
    last_s = float("-inf")
    with written_whole(path) as temporary, temporary.open("wb") as file:
        writer = _Writer(file, fps, size, metadata or {})
        for frame, regions in frames:
            if frame.size != size or frame.time_s <= last_s:
                raise ValueError(f"frame {frame.index} is {frame.size} at {frame.time_s} s, after {last_s} s of {size}")
            last_s = frame.time_s
            data = b"".join(packed(patch) for patch in patches_of(frame.image, regions))
            writer.add(data, time_s=frame.time_s, check=checksum(frame.image))
        writer.finish(path)
    return path


def join_patches(path: Path, parts: Sequence[Path], *, metadata: Mapping[str, str] | None = None) -> Path:
    """One file with the frames of all parts, in order: what `write_patches` makes of them together. Errors as there."""
    files = [PatchFile(part) for part in parts]
    if not files:
        raise MediaError(expected="at least one part", got="none", remedy="make the swap again")
    with written_whole(path) as temporary, temporary.open("wb") as file:
        writer = _Writer(file, files[0].fps, files[0].size, metadata or {})
        for each in files:
            if (each.fps, each.size) != (files[0].fps, files[0].size):
                raise ValueError(f"{each.path.name} is of {each.size} at {each.fps}, not of {files[0].size} at {files[0].fps}")
            writer.copy(each)
        writer.finish(path)
    return path


class _Writer:
    """Appends frames to an open file."""

    def __init__(self, file: IO[bytes], fps: float, size: tuple[int, int], metadata: Mapping[str, str]) -> None:
        told = {"version": _VERSION, "size": list(size), "fps": fps, "metadata": check_metadata(metadata)}
        header = json.dumps(told, sort_keys=True).encode()
        self._file = file
        self._rows: list[Any] = []
        file.write(_MAGIC + _LENGTH.pack(len(header)) + header)

    def add(self, data: bytes, *, time_s: float, check: int) -> None:
        self._rows.append(np.array((self._file.tell(), len(data), check, time_s), _ROW))
        self._file.write(data)

    def copy(self, other: "PatchFile") -> None:
        """All frames of another file."""
        rows = other.table.copy()
        with other.path.open("rb") as source:
            source.seek(other.begin)
            rows["place"] += self._file.tell()
            rows["place"] -= other.begin  # unsigned: the sum first
            for at in range(other.begin, other.end, _COPY_BYTES):
                self._file.write(source.read(min(_COPY_BYTES, other.end - at)))
        self._rows.extend(rows)

    def finish(self, path: Path) -> None:
        if not self._rows:
            raise MediaError(expected=f"at least one frame for {path.name}", got="none", remedy="choose a longer range of frames")
        at = self._file.tell()
        self._file.write(np.array(self._rows, _ROW).tobytes() + _FOOT.pack(at, len(self._rows), _MAGIC))


class PatchFile:
    """A file of patches, open for reading. MediaError if it is none, or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                told, self.begin = _header(file)
                self.end, self.table = _table(file)
            self.size: tuple[int, int] = (int(told["size"][0]), int(told["size"][1]))
            self.fps, self.metadata = float(told["fps"]), {str(key): str(value) for key, value in told["metadata"].items()}
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise _damaged(path, str(error)) from error

    def __len__(self) -> int:
        return len(self.table)

    @property
    def times_s(self) -> tuple[float, ...]:
        """The time of each frame, from that of the first."""
        return tuple(float(time_s) for time_s in self.table["time_s"] - self.table["time_s"][0])

    def patches(self, start: int, stop: int) -> Iterator[list[Patch]]:
        """The patches of each of these frames, read one by one."""
        with self.path.open("rb") as file:
            for row in self.table[start:stop]:
                file.seek(int(row["place"]))
                data = file.read(int(row["length"]))
                if len(data) != row["length"]:
                    raise _damaged(self.path, "it ends within a frame")
                yield unpacked(data)

    def matches(self, number: int, image: Image) -> bool:
        """Whether a composed picture is the one that frame `number` was."""
        return image.shape[:2] == self.size and checksum(image) == int(self.table["check"][number])


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file of patches."""
    return PatchFile(path).metadata


def _header(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """The header, and the place of the first frame."""
    start = file.read(len(_MAGIC) + _LENGTH.size)
    if not is_patches(start):
        raise ValueError("no patches")
    (length,) = _LENGTH.unpack_from(start, len(_MAGIC))
    told = json.loads(file.read(length))
    if told["version"] != _VERSION:
        raise ValueError(f"version {told['version']} of the format; this one reads {_VERSION}")
    return told, file.tell()


def _table(file: IO[bytes]) -> tuple[int, np.ndarray]:
    """The place of the table, and the table."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - _FOOT.size))
    place, count, magic = _FOOT.unpack(file.read(_FOOT.size))
    if magic != _MAGIC or place + count * _ROW.itemsize + _FOOT.size != size or not count:
        raise ValueError("it is truncated")
    file.seek(place)
    return place, np.frombuffer(file.read(count * _ROW.itemsize), _ROW)


def _damaged(path: Path, what: str) -> MediaError:
    remedy = "restore the file from a copy, or make the swap again with force=True"
    return MediaError(expected="an intact file of patches", got=f"{path.name}: {what}", remedy=remedy)
