"""Video encoding: exact timestamps, correctly tagged colours, audio copied or encoded, metadata that can be read back."""

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

from faceswap_lab.errors import MediaError, storage_error, too_little_memory
from faceswap_lab.faces import frame as stills
from faceswap_lab.faces.decode import (
    MATRICES,
    PRECISE,
    PRIMARIES,
    TRANSFERS,
    YCBCR,
    opened,
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
from faceswap_lab.faces.patches import store as patches
from faceswap_lab.faces.patches.store import is_patches
from faceswap_lab.faces.sound.tracks import Sound, Track, open_tracks

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
    sound: Sound = "copy",
    colour: ColourTags | None = None,
    metadata: Mapping[str, str] | None = None,
    lossless: bool = False,
    size: tuple[int, int] | None = None,
    max_bits_per_s: int | None = None,
) -> Path:
    """Encodes a stream of frames as H.264 in .mp4 or, if `lossless`, as RGB H.264 in .mkv, which decodes to identical values.

    Presentation times are the frames' `time_s` relative to the first frame: variable frame rates are kept (.mp4 to 6 microseconds;
    .mkv exactly at a constant rate, else to Matroska's milliseconds). `fps` sets the time base and the last frame's duration.
    Lossy colours are 4:2:0, coded and tagged with the matrix and range of `colour`; unspecified ones are BT.709, limited range.
    Odd sides are padded by repeating a row or column.
    All audio tracks of `audio_from` are copied packet by packet, encoded as AAC or left out, as `sound` says, over the time span of
    the frames; `audio_at_s` is the time of the first frame on that file's clock (None: the frame's own time). Their languages are
    kept, their titles and other tags are not.
    `size` is (height, width); by default the first frame's. `max_bits_per_s` limits the mean bit rate of each second of lossy video
    at the expense of quality (x264's VBV; missed where even the coarsest quantisation needs more).
    Returns `path`, which is written atomically.

    ValueError for frames of another size, times that do not increase, or fps not above 0. MediaError for no frames, an unsuitable
    suffix, or audio that cannot be written so (see `sound.tracks.check_sound`). StorageError if the system refuses the file.
    """
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
    checked = check_metadata(metadata or {})
    check_suffix(path, lossless=lossless)
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise MediaError(expected="at least one frame", got="none", remedy="choose a longer range of frames")
    form = _Form(size=size or first.size, clock=_Clock(fps), coding=_Coding.of(colour), lossless=lossless, rate=max_bits_per_s)
    with written_whole(path) as temporary, ExitStack() as stack:
        at_s = first.time_s if audio_at_s is None else audio_at_s
        tracks = open_tracks(audio_from, at_s, sound, lossless=lossless, stack=stack) if audio_from is not None else []
        with _writing(path, form.size):
            _write(temporary.absolute(), chain([first], remaining), tracks, checked, form)
    return path


def check_suffix(path: Path, *, lossless: bool = False) -> None:
    """MediaError for a name that does not end in .mp4 or, if `lossless`, in .mkv."""
    suffix, kind = (".mkv", "lossless") if lossless else (".mp4", "lossy")
    if path.suffix.lower() != suffix:
        raise MediaError(
            expected=f"a name ending in {suffix} for {kind} video", got=path.name, remedy=f"call it {path.stem}{suffix}"
        )


@contextmanager
def _writing(path: Path, size: tuple[int, int]) -> Iterator[None]:
    """Converts FFmpeg errors, which name the temporary file, to LabErrors that name `path` or the frames' size (height, width)."""
    try:
        yield
    except (av.MemoryError, av.ExternalError) as error:
        # x264 does not say why it cannot start: for frames that it takes, only memory can be lacking.
        raise too_little_memory("the encoder's frames", size, str(error)) from error
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise storage_error(OSError(error.errno, error.strerror), path) from error
        remedy = "check the folder and its free space"
        raise MediaError(expected=f"{path.name} to be written", got=str(error), remedy=remedy) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata that this lab's writers of clips, stills and patches stored, or other tags. MediaError if it cannot be read."""
    with path.open("rb") as file:
        head = file.read(stills.HEAD_BYTES)
    if still_format(head):
        return stills.read_metadata(path)
    if is_patches(head):
        return patches.read_metadata(path)
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
    """Format shared by all frames of a file. `size` is (height, width), `rate` the maximum in bits per second."""

    size: tuple[int, int]
    clock: _Clock
    coding: _Coding
    lossless: bool
    rate: int | None = None


def _write(path: Path, frames: Iterator[Frame], tracks: list[Track], metadata: dict[str, str], form: _Form) -> None:
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
        for track in tracks:
            for packet in track.finish():
                output.mux(packet)


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
        limit = {"maxrate": str(form.rate), "bufsize": str(form.rate)} if form.rate else {}
        options = {"crf": "16", "preset": "veryfast", "g": str(interval)} | limit
        stream = output.add_stream("libx264", rate=clock.rate, options=options)
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
