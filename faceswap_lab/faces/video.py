"""Video encoding: exact timestamps, correctly tagged colours, stream-copied audio, metadata that can be read back."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from math import ceil, lcm
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from faceswap_lab.errors import MediaError, storage_error
from faceswap_lab.faces import frame as stills
from faceswap_lab.faces import remedies
from faceswap_lab.faces.decode import (
    MATRICES,
    PRECISE,
    PRIMARIES,
    TRANSFERS,
    YCBCR,
    ffmpeg_errors,
    open_container,
    opened,
    timeline_start,
    to_swscale,
)
from faceswap_lab.faces.frame import (
    ColourTags,
    Frame,
    Image,
    check_metadata,
    container_tags,
    metadata_from_json,
    still_format,
    written_whole,
)

# Audio codecs that players support in .mp4; few can play files with others.
_SOUND_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_CONTAINER_KEYS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "duration"})
# A keyframe at least every second, so that seeking to a frame decodes few others.
_KEYFRAME_EVERY_S = 1.0
_LOSSLESS_THREADS = 4


def encode(
    path: Path,
    frames: Iterable[Frame],
    *,
    fps: float | Fraction,
    audio_from: Path | None = None,
    audio_at_s: float | None = None,
    colour: ColourTags | None = None,
    metadata: Mapping[str, str] | None = None,
    lossless: bool = False,
    size: tuple[int, int] | None = None,
) -> Path:
    """Encodes a stream of frames as H.264 in .mp4 or, if `lossless`, as RGB H.264 in .mkv, which decodes to identical values.

    Presentation times are the frames' `time_s` relative to the first frame: variable frame rates are kept (.mp4 to 6 microseconds;
    .mkv exactly at a constant rate, else to Matroska's milliseconds). `fps` sets the time base and the last frame's duration.
    Lossy colours are 4:2:0, coded and tagged with the matrix and range of `colour`; unspecified ones are BT.709, limited range.
    Odd sides are padded by repeating a row or column.
    All audio tracks of `audio_from` are stream-copied with language and title, over the time span of the frames; `audio_at_s` is
    the time of the first frame on that file's clock (None: the frame's own time).
    `size` is (height, width); by default the first frame's. Returns `path`, which is written atomically.

    ValueError for frames of another size, times that do not increase, or fps not above 0. MediaError for no frames, an unsuitable
    suffix, or audio that .mp4 cannot contain. StorageError if the system refuses the file.
    """
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
    checked = check_metadata(metadata or {})
    _check_suffix(path, lossless)
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise MediaError(expected="at least one frame", got="none", remedy="choose a longer range of frames")
    form = _Form(size=size or first.size, clock=_Clock(fps), coding=_Coding.of(colour), lossless=lossless)
    with written_whole(path) as temporary, ExitStack() as stack:
        at_s = first.time_s if audio_at_s is None else audio_at_s
        tracks = _tracks(audio_from, at_s, lossless=lossless, stack=stack) if audio_from is not None else []
        with _writing(path):
            _write(temporary.absolute(), chain([first], remaining), tracks, checked, form)
    return path


def _check_suffix(path: Path, lossless: bool) -> None:
    suffix, kind = (".mkv", "lossless") if lossless else (".mp4", "lossy")
    if path.suffix.lower() != suffix:
        raise MediaError(
            expected=f"a name ending in {suffix} for {kind} video", got=path.name, remedy=f"call it {path.stem}{suffix}"
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Converts FFmpeg errors, which name the temporary file, to LabErrors that name `path`."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise storage_error(OSError(error.errno, error.strerror), path) from error
        remedy = "check the folder and its free space"
        raise MediaError(expected=f"{path.name} to be written", got=str(error), remedy=remedy) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata that `encode` or `write_still` stored, or another program's tags. MediaError if it cannot be read."""
    with path.open("rb") as file:
        head = file.read(stills.HEAD_BYTES)
    if still_format(head):
        return stills.read_metadata(path)
    with opened(path) as container:
        found = {str(key): str(value) for key, value in container.metadata.items()}
    # Containers change the case of keys or drop unknown ones; the comment contains all of ours.
    for key, value in found.items():
        if key.lower() == "comment" and (ours := metadata_from_json(value)) is not None:
            return ours
    return {key: value for key, value in found.items() if key.lower() not in _CONTAINER_KEYS}


class _Clock:
    """A time base that represents multiples of 1/`fps` and milliseconds exactly, at 90 kHz or finer."""

    def __init__(self, fps: float | Fraction) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        # 23.976 and 29.97 stand for 24000/1001 and 30000/1001.
        broadcast = Fraction(round(float(fps) * 1.001) * 1000, 1001)
        self.rate = broadcast if abs(float(broadcast) / float(fps) - 1) < 2e-6 else rate
        least = lcm(self.rate.numerator, 1000)
        self.base = Fraction(1, least * ceil(90_000 / least))

    def ticks(self, time_s: float) -> int:
        return round(time_s / self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coding:
    """FFmpeg's numbers for coding and tagging the colours of lossy video."""

    primaries: int
    transfer: int
    matrix: int
    is_full: bool

    @classmethod
    def of(cls, tags: ColourTags | None) -> "_Coding":
        tags = tags or ColourTags()
        matrix = tags.matrix if tags.matrix in YCBCR else "bt709"
        return cls(
            primaries=_number(PRIMARIES, tags.primaries or "bt709"),
            transfer=_number(TRANSFERS, tags.transfer or "bt709"),
            matrix=_number(MATRICES, matrix or "bt709"),
            is_full=tags.range == "pc",
        )


def _number(names: Mapping[int, str], wanted: str) -> int:
    return next(number for number, name in names.items() if name == wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """Format shared by all frames of a file. `size` is (height, width)."""

    size: tuple[int, int]
    clock: _Clock
    coding: _Coding
    lossless: bool


def _write(path: Path, frames: Iterator[Frame], tracks: "list[_Track]", metadata: dict[str, str], form: _Form) -> None:
    # Otherwise the Matroska muxer writes a random UID: equal frames must give equal bytes.
    options = {"fflags": "bitexact"} if form.lossless else {"movflags": "faststart+use_metadata_tags"}
    with av.open(str(path), "w", options=options) as output:
        output.metadata.update(container_tags(metadata))
        stream = _add_stream(output, form)
        for track in tracks:
            track.add_to(output)
        for picture, until_s in _timed(frames, form):
            for track in tracks:
                for packet in track.until(until_s):
                    output.mux(packet)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())


def _add_stream(output: Any, form: _Form) -> Any:
    (height, width), clock, coding = form.size, form.clock, form.coding
    if form.lossless:
        # Intra-only (GOP of 1): parts can be joined, and damage stays local. A fixed number of threads, because x264 slices the
        # picture by it and the bytes must not depend on the number of cores.
        stream = output.add_stream("libx264rgb", rate=clock.rate, options={"qp": "0", "preset": "ultrafast", "g": "1"})
        stream.codec_context.thread_count = _LOSSLESS_THREADS
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        primaries, transfer, matrix, levels = 1, 13, 0, 2
    else:
        interval = max(1, round(float(clock.rate) * _KEYFRAME_EVERY_S))
        stream = output.add_stream("libx264", rate=clock.rate, options={"crf": "16", "preset": "veryfast", "g": str(interval)})
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        primaries, transfer, matrix, levels = coding.primaries, coding.transfer, coding.matrix, 2 if coding.is_full else 1
    context = stream.codec_context
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = primaries, transfer, matrix, levels
    context.time_base = clock.base
    return stream


def _timed(frames: Iterator[Frame], form: _Form) -> Iterator[tuple[Any, float]]:
    """Each frame ready for the encoder, and the end of its presentation (s, relative to the first frame)."""
    clock, origin_s, last_ticks = form.clock, None, -1
    for frame, following in pairwise(chain(frames, [None])):
        assert frame is not None
        if frame.size != form.size:
            raise ValueError(f"frame {frame.index} is {frame.size}, but the video is {form.size}")
        origin_s = frame.time_s if origin_s is None else origin_s
        ticks = clock.ticks(frame.time_s - origin_s)
        end_s = frame.time_s + float(1 / clock.rate) if following is None else following.time_s
        if ticks <= last_ticks:
            raise ValueError(f"frame {frame.index} at {frame.time_s} s is not later than the previous one")
        picture = _from_rgb(frame.image) if form.lossless else _to_yuv(frame.image, form.coding)
        picture.pts, picture.time_base = ticks, clock.base
        picture.duration = max(1, clock.ticks(end_s - origin_s) - ticks)
        last_ticks = ticks
        yield picture, end_s - origin_s


def _from_rgb(image: Image) -> Any:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")


def _to_yuv(image: Image, coding: _Coding) -> Any:
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    picture = _from_rgb(even).reformat(
        format="yuv420p",
        dst_colorspace=to_swscale(coding.matrix),
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if coding.is_full else ColorRange.MPEG,
        interpolation=PRECISE,
    )
    picture.color_primaries, picture.color_trc = coding.primaries, coding.transfer
    picture.colorspace, picture.color_range = coding.matrix, 2 if coding.is_full else 1
    return picture


def _tracks(path: Path, at_s: float, *, lossless: bool, stack: ExitStack) -> "list[_Track]":
    """All audio tracks of a file, closed by `stack`. MediaError if there is none or the output container does not support one."""
    with opened(path) as container:
        codecs = [getattr(stream.codec_context, "name", "an unknown codec") for stream in container.streams.audio]
    if not codecs:
        raise MediaError(expected="a sound track to copy", got=f"{path.name} without one", remedy="leave audio_from out")
    for number, codec in enumerate(codecs):
        if not lossless and codec not in _SOUND_IN_MP4:
            which = f" in sound track {number + 1} of {len(codecs)}" if len(codecs) > 1 else ""
            got = f"{path.name} with {codec}{which}"
            raise MediaError(
                expected="audio that .mp4 can contain (AAC, MP3, AC-3, …)", got=got, remedy=f"run {remedies.sound_to_aac(path)}"
            )
    tracks = [stack.enter_context(_Track(path, number, at_s, keep_early=not lossless)) for number in range(len(codecs))]
    # .mp4 cannot describe some codecs without a packet of theirs.
    return [track for track in tracks if not track.is_over]


class _Track:
    """Stream copy of one audio track of a file, from `at_s` (s on the file's clock) onwards.

    Each track opens the file separately: if tracks are poorly interleaved, no packets have to be buffered.
    """

    def __init__(self, path: Path, number: int, at_s: float, *, keep_early: bool) -> None:
        self._path, self._keep_early = path, keep_early
        with ffmpeg_errors(path):
            self._container = open_container(path)
        self._shift = timeline_start(self._container) + Fraction(at_s)
        self._stream = self._container.streams.audio[number]
        self._packet_iterator = self._packets()
        self._next: Any = next(self._packet_iterator, None)
        self._out: Any = None

    def __enter__(self) -> "_Track":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def add_to(self, output: Any) -> None:
        """Adds a stream with the same codec, language, title and disposition to `output`."""
        self._out = output.add_stream_from_template(self._stream)
        tags = {key.lower(): text for key, text in self._stream.metadata.items()}
        # .mp4 stores a track's title as its name.
        known = {"language": tags.get("language"), "title": tags.get("title") or tags.get("name")}
        self._out.metadata.update({key: text for key, text in known.items() if text})
        self._out.disposition = self._stream.disposition

    @property
    def is_over(self) -> bool:
        """Whether no packets are left."""
        return self._next is None

    def until(self, end_s: float) -> Iterator[Any]:
        """The packets that start before `end_s`, with timestamps; both relative to the track's start."""
        while self._next is not None and self._start_of(self._next) < end_s:
            packet, self._next = self._next, next(self._packet_iterator, None)
            ticks = round(self._shift / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.pts - ticks, self._out
            yield packet

    def _packets(self) -> Iterator[Any]:
        """The audible packets and the one before, which decoders need: .mp4 hides it, in Matroska it would shift the video."""
        early: Any = None
        with ffmpeg_errors(self._path):
            for packet in self._container.demux(self._stream):
                if not packet.size or packet.pts is None:
                    continue
                if self._start_of(packet) < 0:
                    early = packet
                    continue
                if early is not None and self._keep_early:
                    yield early
                early = None
                yield packet
        if early is not None and self._keep_early and self._start_of(early) + (early.duration or 0) * early.time_base > 0:
            yield early

    def _start_of(self, packet: Any) -> Fraction:
        when: Fraction = packet.pts * packet.time_base - self._shift
        return when
