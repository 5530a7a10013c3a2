"""Small files for the tests of reading and writing: clips with sound, made on the spot."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from faceswap_lab.faces.footage import Clip, Grant, digest
from faceswap_lab.trust.grants import issue


def granted(path: Path, **changes: Any) -> Grant:
    """A grant that a lab in the file's folder issued."""
    fields = {"path": path, "sha256": digest(path), "subject": "actor:7", "basis": "derived"} | changes
    return issue(path.parent, Grant(**fields))


def open_clip(path: Path) -> Clip:
    return Clip(granted(path))


def numbered(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that tells its number: the binary digits as black and white blocks that any codec keeps, over a moving ramp."""
    ramp = (np.arange(width)[None, :, None] * 2 + number * 3) % 128 + 64
    image = np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8).copy()
    for bit in range(8):
        image[:16, bit * 8 : bit * 8 + 8] = 255 if number >> bit & 1 else 0
    return image


def number_of(image: np.ndarray) -> int:
    return sum(1 << bit for bit in range(8) if image[4:12, bit * 8 + 2 : bit * 8 + 6].mean() > 127)


def write_video(
    path: Path,
    *,
    num_frames: int = 60,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 25,
    options: dict[str, str] | None = None,
    rotation: int | None = None,
    pts: list[int] | None = None,
    tags: dict[str, int] | None = None,
    sound_s: float = 0.0,
    sound_codec: str = "aac",
    sample_aspect: Fraction | None = None,
) -> None:
    """Numbered frames, by default with B-frames and 40 frames between keyframes; `pts` in milliseconds for variable rates."""
    with av.open(str(path), "w") as output:
        default = {"g": "40", "bf": "3", "x264-params": "scenecut=0:keyint=40:min-keyint=40"} if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=rate, options=default if options is None else options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        sound = output.add_stream(sound_codec, rate=44_100) if sound_s else None
        for number in range(num_frames):
            picture = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            if pts is not None:
                picture.pts, picture.time_base = pts[number], Fraction(1, 1000)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
        if sound is not None:
            _write_sound(output, sound, sound_s)


def _write_sound(output: Any, stream: Any, seconds: float) -> None:
    count = round(seconds * 44_100)
    samples = 0.3 * np.sin(np.arange(count) * 2 * np.pi * 440 / 44_100) * np.linspace(0.2, 1, count)
    for start in range(0, count, 1024):
        block = samples[start : start + 1024].astype(np.float32)
        layout = stream.codec_context.format.name
        if layout == "fltp":
            sound = av.AudioFrame.from_ndarray(np.stack([block, block]), format="fltp", layout="stereo")
        else:
            interleaved = np.repeat((block * 32767).astype(np.int16), 2)[None]
            sound = av.AudioFrame.from_ndarray(interleaved, format="s16", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = 44_100, start, Fraction(1, 44_100)
        output.mux(stream.encode(sound))
    output.mux(stream.encode())


def write_tracks(path: Path, pictures: Path, tracks: list[tuple[Path, dict[str, str]]]) -> None:
    """The pictures of one file with the first sound track of each of `tracks`, which gets these tags; all copied."""
    with ExitStack() as stack, av.open(str(path), "w") as output:
        inputs = []
        for source, kind, tags in [(pictures, "video", {}), *((sound, "audio", tags) for sound, tags in tracks)]:
            container = stack.enter_context(av.open(str(source)))
            stream = getattr(container.streams, kind)[0]
            copied = output.add_stream_from_template(stream)
            copied.metadata.update(tags)
            inputs.append((container.demux(stream), copied))
        for packets, copied in inputs:
            for packet in packets:
                if packet.size:
                    packet.stream = copied
                    output.mux(packet)


def sound_packets(path: Path, track: int = 0) -> list[tuple[Fraction, bytes]]:
    """(time, content) of each packet of a sound track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(stream) if packet.size]


def tags_of(path: Path) -> list[tuple[str, str | None, str | None]]:
    """Codec, language and title of each sound track; .mp4 calls a title name."""
    with av.open(str(path)) as container:
        tags = [(stream.codec_context.name, stream.metadata) for stream in container.streams.audio]
        return [(codec, each.get("language"), each.get("title") or each.get("name")) for codec, each in tags]
