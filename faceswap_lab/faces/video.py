"""Frames into a video file: exact timestamps, colours that match their tags, sound copied, metadata that can be read back."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, pairwise
from math import ceil, lcm
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from faceswap_lab.errors import MediaError
from faceswap_lab.faces import frame as stills
from faceswap_lab.faces.decode import PRECISE, ffmpeg_errors, open_container, opened, timeline_start
from faceswap_lab.faces.frame import Frame, Image, check_metadata, metadata_from_json, metadata_to_json, still_format, written_whole

# What players find in an .mp4; other sound would be copied into a file that few can play.
_SOUND_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "duration"})
# One second between keyframes at most: a reader that jumps to a frame then decodes few others.
_KEYFRAME_EVERY_S = 1.0


def encode(
    path: Path,
    frames: Iterable[Frame],
    *,
    fps: float | Fraction,
    audio_from: Path | None = None,
    metadata: Mapping[str, str] | None = None,
    lossless: bool = False,
    size: tuple[int, int] | None = None,
) -> Path:
    """Writes frames, taken one by one, as H.264 in .mp4, or `lossless` as FFV1 in .mkv from which every RGB value returns.

    Each frame is shown at its own `time_s`, counted from the first frame's: variable rates are kept (.mp4 to 6 microseconds; .mkv
    exactly at a constant rate, else to the millisecond that Matroska holds). `fps` sets the clock's ticks and how long the last
    frame lasts. Lossy colours are BT.709 limited range, 4:2:0, tagged so; an odd side grows by one repeated row or column.
    `audio_from` gives its sound track, copied packet by packet without decoding, over the frames' span of time.
    `size` is (height, width); by default the first frame's. Returns `path`, which appears only when it is whole.

    ValueError for frames of another size, times that do not rise, or fps not above 0. MediaError for no frames, a suffix that does
    not fit, or sound that .mp4 cannot hold.
    """
    if not fps > 0:
        raise ValueError(f"fps is above 0, got {fps}")
    checked = check_metadata(metadata or {})
    suffix = ".mkv" if lossless else ".mp4"
    if path.suffix.lower() != suffix:
        kind = "lossless" if lossless else "lossy"
        raise MediaError(
            expected=f"a name ending in {suffix} for {kind} video", got=path.name, remedy=f"call it {path.stem}{suffix}"
        )
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise MediaError(expected="at least one frame", got="none", remedy="choose a longer range of frames")
    clock = _Clock(fps)
    with written_whole(path) as temporary, ExitStack() as stack:
        sound = stack.enter_context(_Sound(audio_from, lossless=lossless)) if audio_from is not None else None
        try:
            _write(temporary, chain([first], remaining), sound, checked, size or first.size, clock, lossless=lossless)
        except av.FFmpegError as error:
            remedy = "check the folder and its free space"
            raise MediaError(expected=f"{path.name} to be written", got=str(error), remedy=remedy) from error
    return path


def read_metadata(path: Path) -> dict[str, str]:
    """What `encode` or `write_still` stored in a file, or another program's tags. MediaError if it cannot be read."""
    with path.open("rb") as file:
        head = file.read(12)
    if still_format(head):
        return stills.read_metadata(path)
    with opened(path) as container:
        found = {str(key): str(value) for key, value in container.metadata.items()}
    # Containers change the case of keys or drop what they do not know; the comment holds all of ours.
    for key, value in found.items():
        if key.lower() == "comment" and (ours := metadata_from_json(value)) is not None:
            return ours
    return {key: value for key, value in found.items() if key.lower() not in _OF_THE_FILE}


class _Clock:
    """Ticks in which a constant `fps`, milliseconds and 90 kHz or finer can all be told: frames' times in whole ticks."""

    def __init__(self, fps: float | Fraction) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        # 23.976 and 29.97 are how people write 24000/1001 and 30000/1001.
        broadcast = Fraction(round(float(fps) * 1.001) * 1000, 1001)
        self.rate = broadcast if abs(float(broadcast) / float(fps) - 1) < 2e-6 else rate
        least = lcm(self.rate.numerator, 1000)
        self.base = Fraction(1, least * ceil(90_000 / least))

    def ticks(self, time_s: float) -> int:
        return round(time_s / self.base)


def _write(
    path: Path,
    frames: Iterator[Frame],
    sound: "_Sound | None",
    metadata: dict[str, str],
    size: tuple[int, int],
    clock: _Clock,
    *,
    lossless: bool,
) -> None:
    # Matroska would write a random number into each file: the same frames shall give the same bytes.
    options = {"fflags": "bitexact"} if lossless else {"movflags": "faststart+use_metadata_tags"}
    with av.open(str(path), "w", options=options) as output:
        if metadata:
            output.metadata.update({**metadata, "comment": metadata_to_json(metadata)})
        stream = _add_stream(output, size, clock, lossless=lossless)
        if sound is not None:
            sound.add_to(output)
        for picture, end_s, start_s in _timed(frames, size, clock, lossless=lossless):
            if sound is not None:
                for packet in sound.until(start_s, end_s):
                    output.mux(packet)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())


def _add_stream(output: Any, size: tuple[int, int], clock: _Clock, *, lossless: bool) -> Any:
    height, width = size
    if lossless:
        # A checksum for each slice, and nothing predicted from the frame before: damage stays where it is.
        stream = output.add_stream("ffv1", rate=clock.rate, options={"level": "3", "slicecrc": "1", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        primaries, transfer, matrix, levels = 1, 13, 0, 2
    else:
        interval = max(1, round(float(clock.rate) * _KEYFRAME_EVERY_S))
        stream = output.add_stream("libx264", rate=clock.rate, options={"crf": "16", "preset": "veryfast", "g": str(interval)})
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        primaries, transfer, matrix, levels = 1, 1, 1, 1
    context = stream.codec_context
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = primaries, transfer, matrix, levels
    context.time_base = clock.base
    return stream


def _timed(frames: Iterator[Frame], size: tuple[int, int], clock: _Clock, *, lossless: bool) -> Iterator[tuple[Any, float, float]]:
    """Each frame as the encoder takes it, when it stops being shown, and when the first one started (s, on the frames' clock)."""
    origin_s, last_ticks = None, -1
    for frame, following in pairwise(chain(frames, [None])):
        assert frame is not None
        if frame.size != size:
            raise ValueError(f"frame {frame.index} is {frame.size} where the video is {size}")
        origin_s = frame.time_s if origin_s is None else origin_s
        ticks = clock.ticks(frame.time_s - origin_s)
        end_s = frame.time_s + float(1 / clock.rate) if following is None else following.time_s
        if ticks <= last_ticks:
            raise ValueError(f"frame {frame.index} at {frame.time_s} s does not come after the one before")
        picture = _to_yuv(frame.image) if not lossless else _from_rgb(frame.image).reformat(format="bgr0")
        picture.pts, picture.time_base = ticks, clock.base
        picture.duration = max(1, clock.ticks(end_s - origin_s) - ticks)
        last_ticks = ticks
        yield picture, end_s, origin_s


def _from_rgb(image: Image) -> Any:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")


def _to_yuv(image: Image) -> Any:
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    picture = _from_rgb(even).reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=PRECISE,
    )
    picture.color_primaries, picture.color_trc = 1, 1
    return picture


class _Sound:
    """The sound track of a file, packet by packet, never decoded. MediaError if there is none or the new file cannot hold it."""

    def __init__(self, path: Path, *, lossless: bool) -> None:
        self._path, self._keeps_early = path, not lossless
        with ffmpeg_errors(path):
            self._container = open_container(path)
        self._start = timeline_start(self._container)
        self._stream = next(iter(self._container.streams.audio), None)
        if self._stream is None:
            self._container.close()
            raise MediaError(expected="a sound track to copy", got=f"{path.name} without one", remedy="leave audio_from out")
        codec = self._stream.codec_context.name
        if not lossless and codec not in _SOUND_IN_MP4:
            self._container.close()
            command = f"ffmpeg -i {path.name} -c:v copy -c:a aac {path.stem}-aac.mp4"
            got = f"{path.name} with {codec}"
            raise MediaError(expected="sound that .mp4 holds (AAC, MP3, AC-3, …)", got=got, remedy=f"run {command}")
        self._packets = self._container.demux(self._stream)
        self._ahead: Any = self._read()
        self._out: Any = None

    def __enter__(self) -> "_Sound":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def add_to(self, output: Any) -> None:
        """Adds a stream of the same codec to `output`."""
        self._out = output.add_stream_from_template(self._stream)

    def until(self, start_s: float, end_s: float) -> Iterator[Any]:
        """The packets that begin before `end_s`, on the frames' clock, with times counted from `start_s`."""
        shift = self._start + Fraction(start_s)
        while self._ahead is not None and self._ahead.pts * self._ahead.time_base - self._start < end_s:
            packet, self._ahead = self._ahead, self._read()
            begins = packet.pts * packet.time_base - shift
            is_whole_before = self._ahead is not None and self._ahead.pts * self._ahead.time_base - shift < 0
            # A decoder needs the packet before the first one heard; .mp4 hides it, Matroska would shift the pictures.
            if is_whole_before or (begins < 0 and not self._keeps_early):
                continue
            ticks = round(shift / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.pts - ticks, self._out
            yield packet

    def _read(self) -> Any:
        with ffmpeg_errors(self._path):
            return next((packet for packet in self._packets if packet.size and packet.pts is not None), None)
