"""Video decoding with PyAV: an index of exact presentation times, and a frame-accurate random-access reader.

The index is built by demuxing alone (no decoding). Frames are identified by presentation timestamp, so random reads, sequential
reads and reads by another process return the same image for the same index.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from faceswap_lab import threads
from faceswap_lab.errors import MediaError
from faceswap_lab.faces import remedies
from faceswap_lab.faces.frame import MAX_PIXELS, ColourTags, Frame, Image

# Playlists and similar formats are excluded: they make FFmpeg open files other than the admitted one.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,nut,asf,mxf,ivf,h264,hevc,m4v"
_EXACT_DURATION = ("mov", "matroska", "nut")
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 11: "smpte431", 12: "smpte432"}
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 13: "iec61966-2-1"}
TRANSFERS |= {14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 18: "arib-std-b67"}
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}
YCBCR = frozenset(MATRICES.values()) - {"gbr"}
"""Y'CbCr matrices, in FFmpeg's names."""

_RANGES = {1: "tv", 2: "pc"}
_TO_SWSCALE = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}
_HDR = (16, 18)
# Without these flags swscale truncates and replicates chroma: each pass shifts colours by a level or two, and edges by a hundred.
PRECISE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """Presentation times: `pts` in the stream's time base and `times_s` in seconds from the file's start, both ascending.

    `keyframes` are the indices of frames at which decoding can start. `size` is (height, width) as displayed.
    """

    pts: tuple[int, ...]
    times_s: tuple[float, ...]
    keyframes: tuple[int, ...]
    fps: float
    size: tuple[int, int]
    has_audio: bool

    @classmethod
    def of_still(cls, size: tuple[int, int]) -> "Index":
        """The index of a still image."""
        return cls(pts=(0,), times_s=(0.0,), keyframes=(0,), fps=0.0, size=size, has_audio=False)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opens a PyAV container for reading. FFmpeg errors, here or in the body, become MediaError."""
    try:
        container = open_container(path)
    except av.FFmpegError as error:
        raise damaged(path, _said(error), repairable=False) from error
    with ffmpeg_errors(path), container:
        yield container


@contextmanager
def ffmpeg_errors(path: Path) -> Iterator[None]:
    """Converts FFmpeg errors about a file to MediaError."""
    try:
        yield
    except av.FFmpegError as error:
        raise damaged(path, _said(error)) from error


def _said(error: av.FFmpegError) -> str:
    """FFmpeg's message without its error number and the path."""
    return (error.strerror or str(error)).lower()


def open_container(path: Path) -> Any:
    """Opens a PyAV container, to be closed by the caller. Raises FFmpeg's own errors: see `ffmpeg_errors`."""
    # Some cameras write metadata in other encodings than UTF-8; that must not prevent reading the video.
    return av.open(str(path.resolve()), options={"format_whitelist": _CONTAINERS}, metadata_errors="replace")


def damaged(path: Path, what: str, *, repairable: bool = True) -> MediaError:
    """The error for a truncated or inconsistent file; `repairable` if FFmpeg can still read some of it."""
    remedy = "copy it again from its source"
    if repairable:
        remedy += f", or repair it: {remedies.to_mp4(path, what='repaired')}"
    return MediaError(expected="an intact video file", got=f"{path.name}: {what}", remedy=remedy)


def video_stream(path: Path, container: Any) -> Any:
    """The first video stream, ignoring cover art. MediaError if there is none, or its codec is one that FFmpeg doesn't know."""
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            got = f"a stream in {path.name} of a codec that is unknown here"
            raise MediaError(expected="a video that can be decoded", got=got, remedy="convert it to H.264, or choose another file")
        return stream
    raise MediaError(expected="a picture or a video", got=f"{path.name} without a video stream", remedy="choose another file")


def timeline_start(container: Any) -> Fraction:
    """Origin of the presentation timeline, in seconds on the file's own clock: where its first video or audio stream starts."""
    streams = [*container.streams.video, *container.streams.audio]
    starts = [stream.start_time * stream.time_base for stream in streams if stream.start_time is not None]
    return min(starts, default=Fraction(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packet:
    """A video packet: presentation timestamp (ticks), whether it is a keyframe, whether the edit list hides it."""

    pts: int
    is_keyframe: bool
    is_hidden: bool


def read_index(path: Path) -> Index:
    """Demuxes all packets, then decodes the first frame for its size. MediaError for any file that Clip refuses."""
    with opened(path) as container:
        stream = video_stream(path, container)
        start, base, rate = timeline_start(container), stream.time_base, stream.average_rate
        has_audio, has_exact_duration = bool(container.streams.audio), container.format.name.startswith(_EXACT_DURATION)
        duration = float(container.duration / av.time_base) if container.duration and has_exact_duration else 0.0
        declared = stream.frames
        if container.format.name.startswith("matroska") and _ends_early(path):
            raise damaged(path, "it is shorter than its header declares")
        packets, end = _packets(path, container, stream)
    if declared <= len(packets) or not _is_whole_unedited(path, declared):
        _require_whole(path, packets, base, declared=declared, missing_s=duration - end)
    ordered = _shown(packets) if packets else []
    if not ordered:
        raise damaged(path, "none of its frames is shown")
    pts = tuple(packet.pts for packet in ordered)
    if len(set(pts)) != len(pts):
        raise damaged(path, "two of its frames have the same presentation time")
    times = _times(pts, base, start, rate)
    keyframes = tuple(number for number, packet in enumerate(ordered) if packet.is_keyframe)
    return Index(pts=pts, times_s=times, keyframes=keyframes, fps=_mean_rate(times, rate), size=_size(path), has_audio=has_audio)


def _shown(packets: list[_Packet]) -> list[_Packet]:
    """The displayed packets in presentation order.

    Frames before the first keyframe reference frames removed by a cut: no decoder outputs them. A keyframe that the edit list hides
    can still be decoded from: a stream-copied excerpt (`ffmpeg -ss … -c copy`) begins with one.
    """
    first_key = min((packet.pts for packet in packets if packet.is_keyframe), default=packets[0].pts)
    return sorted((packet for packet in packets if not packet.is_hidden and packet.pts >= first_key), key=lambda packet: packet.pts)


def _require_whole(path: Path, packets: list[_Packet], base: Fraction, *, declared: int, missing_s: float) -> None:
    """Raises MediaError for a file that is truncated before its last frame."""
    shown = sorted(packet.pts for packet in packets if not packet.is_hidden)
    # The last frame's duration may be unknown; it is assumed to be at most twice the longest other.
    longest = max((float((b - a) * base) for a, b in pairwise(shown)), default=0.0)
    if not shown or declared > len(packets) or missing_s > max(0.1, 2 * longest):
        raise damaged(path, f"it is truncated after {len(packets)} of {declared or 'more'} frames")


def _is_whole_unedited(path: Path, declared: int) -> bool:
    """Whether all frames that an MP4 declares are present when its edit list, which may end before them, is ignored."""
    options = {"format_whitelist": _CONTAINERS, "ignore_editlist": "1"}
    with ffmpeg_errors(path), av.open(str(path.resolve()), options=options, metadata_errors="replace") as container:
        found = [packet.is_corrupt for packet in container.demux(video_stream(path, container)) if packet.size]
    return len(found) == declared and not any(found)


def _ends_early(path: Path) -> bool:
    """Whether a Matroska file is shorter than its Segment element declares (RFC 9559). Live recordings declare no length."""
    with path.open("rb") as file:
        _, header = _element(file)
        file.seek(header or 0, 1)
        identity, length = _element(file)
        return identity == b"\x18\x53\x80\x67" and length is not None and file.tell() + length > path.stat().st_size


def _element(file: IO[bytes]) -> tuple[bytes, int | None]:
    """Reads an EBML element header: ID and data length (RFC 8794, section 4); None for an unknown length."""
    identity = _variable(file)
    coded = _variable(file)
    bits = 7 * len(coded)
    value = int.from_bytes(coded) & ((1 << bits) - 1)
    return identity, None if not coded or value == (1 << bits) - 1 else value


def _variable(file: IO[bytes]) -> bytes:
    """Reads a variable-length integer of one to eight bytes; the leading zeros of the first give the length."""
    first = file.read(1)
    return first + file.read(8 - first[0].bit_length()) if first else b""


def _size(path: Path) -> tuple[int, int]:
    """(height, width) of the first frame as displayed, which the file's header alone does not determine."""
    with opened(path) as container:
        stream = video_stream(path, container)
        if stream.width * stream.height > MAX_PIXELS:
            expected, got = f"frames of at most {MAX_PIXELS // 1_000_000} million pixels", f"{path.name}, which claims more"
            raise MediaError(expected=expected, got=got, remedy="shrink the clip if you trust its source")
        aspect, alpha = stream.sample_aspect_ratio, stream.metadata.get("alpha_mode") == "1"
        decoded = next(container.decode(stream), None)
        if decoded is None:
            raise damaged(path, "no frame can be decoded")
        _refuse(path, decoded, aspect=aspect, alpha=alpha)
        return to_frame(path, decoded, origin="", index=0, time_s=0.0).size


def _packets(path: Path, container: Any, stream: Any) -> tuple[list[_Packet], float]:
    """The packets of the stream in file order, and the end time of the last stream (s)."""
    packets: list[_Packet] = []
    end = 0.0
    for packet in container.demux():
        if packet.size == 0:
            continue
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != stream.index:
            continue
        if packet.is_corrupt:
            raise damaged(path, f"frame {len(packets)} is corrupt")
        if packet.pts is None:
            command = remedies.to_mp4(path, demux=("-fflags", "+genpts"), what="timed")
            got = f"{path.name}, which has frames without presentation times"
            raise MediaError(expected="a presentation time for each frame", got=got, remedy=f"run {command}")
        packets.append(_Packet(pts=packet.pts, is_keyframe=packet.is_keyframe, is_hidden=packet.is_discard))
    return packets, end


def _times(pts: tuple[int, ...], base: Fraction, start: Fraction, rate: Fraction | None) -> tuple[float, ...]:
    """Seconds from the file's start. Matroska rounds to milliseconds: if all fit a constant rate, exact times are restored."""
    if base == Fraction(1, 1000) and rate:
        grid = [pts[0] * base + number / rate for number in range(len(pts))]
        if all(abs(when * base - exact) <= base for when, exact in zip(pts, grid, strict=True)):
            return tuple(float(exact - start) for exact in grid)
    return tuple(float(when * base - start) for when in pts)


def _mean_rate(times_s: tuple[float, ...], rate: Fraction | None) -> float:
    if len(times_s) > 1:
        return (len(times_s) - 1) / (times_s[-1] - times_s[0])
    return float(rate or 0)


class Reader:
    """Reads frames of one file by index. Continues decoding where that is shortest, else seeks to the preceding keyframe."""

    def __init__(self, path: Path, index: Index, origin: str) -> None:
        self._path, self._index, self._origin = path, index, origin
        self._numbers = {when: number for number, when in enumerate(index.pts)}
        self._container: Any = None
        self._decoded: Iterator[Any] = iter(())
        self._next = 0

    def read(self, number: int) -> Frame:
        """Frame `number`, from 0 to the index's length (exclusive). MediaError if it cannot be decoded, or not losslessly."""
        with ffmpeg_errors(self._path):
            found = None
            if self._container is not None and self._can_continue_to(number):
                found = self._advance(number)
            # A seek may land too late, and a keyframe (open GOP) may reference earlier frames: then start further back.
            for keyframe in reversed(self._index.keyframes[: bisect_right(self._index.keyframes, number)][-3:]):
                if found is None and keyframe > 0:
                    self._seek_to(keyframe)
                    found = self._advance(number)
            if found is None:
                self._open()
                found = self._advance(number)
        if found is None:
            raise damaged(self._path, f"frame {number} cannot be decoded")
        time_s = self._index.times_s[number]
        frame = to_frame(self._path, found, origin=self._origin, index=number, time_s=time_s)
        if frame.size != self._index.size:
            raise damaged(self._path, f"frame {number} is {frame.size}, but the first is {self._index.size}")
        return frame

    def close(self) -> None:
        """Closes the file; a later `read` reopens it."""
        if self._container is not None:
            self._container.close()
            self._container, self._decoded = None, iter(())

    def _can_continue_to(self, number: int) -> bool:
        """Whether decoding onwards reaches `number` without passing a keyframe that would be a closer starting point."""
        keyframes = self._index.keyframes
        return self._next <= number and bisect_right(keyframes, number) <= bisect_right(keyframes, self._next)

    def _open(self) -> None:
        self.close()
        self._container = open_container(self._path)
        stream = video_stream(self._path, self._container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads.limit()  # 0: as many as FFmpeg likes
        self._decoded = self._container.decode(stream)
        self._next = 0

    def _seek_to(self, keyframe: int) -> None:
        if self._container is None:
            self._open()
        stream = video_stream(self._path, self._container)
        self._container.seek(self._index.pts[keyframe], stream=stream, backward=True)
        self._decoded = self._container.decode(stream)
        self._next = keyframe

    def _advance(self, number: int) -> Any:
        """Decodes up to frame `number` and returns it, or None if it is missing or corrupt."""
        for decoded in self._decoded:
            if decoded.pts is not None and decoded.pts < self._index.pts[0]:
                continue
            found = self._numbers.get(decoded.pts)
            if found is None or found > number:
                break
            self._next = found + 1
            if found == number:
                return None if decoded.is_corrupt else decoded
        return None


def to_swscale(matrix: int) -> Colorspace:
    """swscale's constant for FFmpeg's matrix number; BT.601 for matrices it has none for."""
    return _TO_SWSCALE.get(matrix, Colorspace.ITU601)


def to_frame(path: Path, decoded: Any, *, origin: str, index: int, time_s: float) -> Frame:
    """Converts a decoded PyAV frame to upright RGB by its own matrix and range. MediaError if 8-bit RGB would lose information.

    Untagged files are interpreted as players do: BT.709 from 720 lines, else BT.601; limited range unless the format implies full.
    """
    _refuse(path, decoded)
    matrix, is_full = int(decoded.colorspace), int(decoded.color_range) == 2 or decoded.format.name.startswith("yuvj")
    untagged = Colorspace.ITU709 if decoded.height >= 720 else Colorspace.ITU601
    options: dict[str, Any] = {}
    if not decoded.format.is_rgb:
        options = {
            "src_colorspace": to_swscale(matrix) if matrix in MATRICES else untagged,
            "src_color_range": ColorRange.JPEG if is_full else ColorRange.MPEG,
            "dst_color_range": ColorRange.JPEG,
        }
    rgb = decoded.reformat(format="rgb24", interpolation=PRECISE, **options).to_ndarray()
    image: Image = np.ascontiguousarray(_as_displayed(rgb, _display_matrix(decoded)))
    tags = ColourTags(
        primaries=PRIMARIES.get(int(decoded.color_primaries)),
        transfer=TRANSFERS.get(int(decoded.color_trc)),
        matrix=MATRICES.get(matrix),
        range=_RANGES.get(int(decoded.color_range)),
    )
    return Frame(image=image, origin=origin, index=index, time_s=time_s, colour=tags)


def _display_matrix(decoded: Any) -> tuple[int, int, int, int]:
    """a, b, c, d of ISO 14496-12's display matrix, each -1, 0 or 1: x' = a x + c y, y' = b x + d y (y downwards).

    ValueError for a matrix other than quarter turns and mirror images.
    """
    found = decoded.side_data.get("DISPLAYMATRIX")
    if found is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(found))
    signs = tuple((value > 0) - (value < 0) for value in (a, b, c, d))
    one, other, third, last = signs
    if len({abs(value) for value in (a, b, c, d) if value}) != 1 or one * last - other * third == 0 or one * other:
        raise ValueError(f"({a}, {b}, {c}, {d}) / 65536")
    return one, other, third, last


def _as_displayed(rgb: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if not a:
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return rgb[:: d or 1, :: a or 1]


def _refuse(path: Path, decoded: Any, *, aspect: Fraction | None = None, alpha: bool = False) -> None:
    """Raises MediaError, with one command that converts the file, for unsupported formats; deinterlacing comes before scaling."""
    components = decoded.format.components
    wrong = []
    if decoded.interlaced_frame:
        wrong.append(("progressive frames", "interlaced fields", remedies.DEINTERLACE))
    if int(decoded.color_trc) in _HDR:
        wrong.append(("standard dynamic range", "high dynamic range", remedies.TO_SDR))
    if aspect not in (None, 0, 1):
        wrong.append(("square pixels", f"pixels {aspect} wide", remedies.SQUARE_PIXELS))
    if max(part.bits for part in components) > 8:
        wrong.append(("8 bits per channel", decoded.format.name, ""))
    if alpha or any(part.is_alpha for part in components):
        wrong.append(("opaque frames", "transparency", ""))
    try:
        _display_matrix(decoded)
    except ValueError as error:
        wrong.append(("quarter turns and mirror images", f"a display matrix of {error}", ""))
    if wrong:
        expected, got = (" and ".join(each[part] for each in wrong) for part in (0, 1))
        command = remedies.to_mp4(path, filters=[filters for *_, filters in wrong if filters])
        raise MediaError(expected=expected, got=f"{path.name} with {got}", remedy=f"run {command}")
