"""What becomes of a file's sound tracks in a video that is written, and whether that can be: known before any picture is made."""

import io
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import av

from faceswap_lab.errors import MediaError
from faceswap_lab.faces import remedies
from faceswap_lab.faces.decode import opened
from faceswap_lab.faces.sound.copied import CopiedTrack
from faceswap_lab.faces.sound.encoded import EncodedTrack

Sound = Literal["copy", "encode", "none"]
"""Copied packet by packet, encoded as AAC, or left out."""

Track = CopiedTrack | EncodedTrack

# Audio codecs that players support in .mp4; few can play files with others.
_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})


def check_sound(path: Path, sound: Sound, *, lossless: bool = False) -> None:
    """Raises MediaError, which names `path`, unless `video.encode` can write the file's sound tracks so.

    Beside the codecs it tries the container on each track's first packet: .mp4 refuses some sample rates and layouts of codecs that
    it knows. ValueError for another `sound`.
    """
    if sound not in ("copy", "encode", "none"):
        raise ValueError(f"sound must be copy, encode or none, got {sound!r}")
    if sound == "none":
        return
    with opened(path) as container:
        # Without a decoder for it a stream has no codec context.
        codecs = [getattr(stream.codec_context, "name", "") for stream in container.streams.audio]
    if not codecs:
        raise MediaError(expected="a sound track to copy", got=f"{path.name} without one", remedy="leave audio_from out")
    for number, codec in enumerate(codecs):
        if not codec or (sound == "copy" and not lossless and codec not in _IN_MP4):
            raise _refusal(path, sound, f"{codec or 'an unknown codec'}{_which(number, codecs)}")
        try:
            _try(path, number, sound, lossless=lossless)
        except (av.FFmpegError, ValueError) as error:  # PyAV itself refuses what a format can't hold, with a ValueError
            raise _refusal(path, sound, f"{codec}{_which(number, codecs)} ({error})") from error


def open_tracks(path: Path, at_s: float, sound: Sound, *, lossless: bool, stack: ExitStack) -> list[Track]:
    """The audio tracks of a file from `at_s` (s on its clock) on, closed by `stack`; without those that end before.

    MediaError as of `check_sound`.
    """
    check_sound(path, sound, lossless=lossless)
    if sound == "none":
        return []
    with opened(path) as container:
        count = len(container.streams.audio)
    tracks = [_open(path, number, at_s, sound, keep_early=not lossless) for number in range(count)]
    for track in tracks:
        stack.enter_context(track)
    # .mp4 cannot describe some codecs without a packet of theirs.
    return [track for track in tracks if not track.is_over]


def _open(path: Path, number: int, at_s: float, sound: Sound, *, keep_early: bool) -> Track:
    if sound == "encode":
        return EncodedTrack(path, number, at_s)
    return CopiedTrack(path, number, at_s, keep_early=keep_early)


def _try(path: Path, number: int, sound: Sound, *, lossless: bool) -> None:
    """Writes the beginning of a track to a container in memory. FFmpeg's error if that is refused."""
    with _open(path, number, 0.0, sound, keep_early=not lossless) as track:
        if track.is_over:
            return
        with av.open(io.BytesIO(), "w", format="matroska" if lossless else "mp4") as output:
            track.add_to(output)
            packets: list[Any] = [*track.until(0.05), *track.finish()]
            for packet in packets[:1]:
                output.mux(packet)


def _which(number: int, codecs: list[str]) -> str:
    return f" in sound track {number + 1} of {len(codecs)}" if len(codecs) > 1 else ""


def _refusal(path: Path, sound: Sound, what: str) -> MediaError:
    if sound == "encode":
        expected, remedy = "sound that FFmpeg can decode", 'leave it out: sound="none" (--sound none)'
    else:
        expected = "audio that .mp4 can contain (AAC, MP3, AC-3, …)"
        remedy = 'encode it: sound="encode" (--sound encode), or leave it out: sound="none" (--sound none)'
        remedy += f"; or run {remedies.sound_to_aac(path)} and admit that"
    return MediaError(expected=expected, got=f"{path.name} with {what}", remedy=remedy)
