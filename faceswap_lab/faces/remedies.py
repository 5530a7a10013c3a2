"""Shell commands that error messages suggest to make a file readable, quoted safely whatever the file is called."""

import shlex
from collections.abc import Sequence
from pathlib import Path

# H.264 in 4:2:0 needs even sides; at most a row and a column are cropped.
_EVEN = "crop=trunc(iw/2)*2:trunc(ih/2)*2"
_H264 = ("-c:v", "libx264", "-crf", "14", "-pix_fmt", "yuv420p", "-c:a", "aac")
_TURNS = {90: "transpose=clock", 180: "hflip,vflip", 270: "transpose=cclock"}
DEINTERLACE = "bwdif=mode=send_frame"
TO_SDR = "zscale=t=linear:npl=100,tonemap=hable,zscale=p=bt709:t=bt709:m=bt709:r=tv"
SQUARE_PIXELS = "scale=round(iw*sar/2)*2:ih,setsar=1"


def beside(path: Path, what: str, suffix: str) -> Path:
    """An output path that differs from the input: `clip.mov` becomes `clip-readable.mp4`."""
    return path.with_name(f"{path.stem}-{what}{suffix}")


def to_mp4(path: Path, *, filters: Sequence[str] = (), demux: Sequence[str] = (), what: str = "readable") -> str:
    """The command that converts a file to 8-bit H.264 with AAC audio beside it. `filters` are applied in order, `demux` options
    precede the input. Interlaced fields must be merged before scaling: pass `DEINTERLACE` first."""
    words = [
        "ffmpeg",
        *demux,
        "-i",
        _operand(path),
        "-vf",
        ",".join([*filters, _EVEN]),
        *_H264,
        _operand(beside(path, what, ".mp4")),
    ]
    return shlex.join(words)


def to_png(path: Path) -> str:
    """The command that converts a still to 8-bit PNG beside it."""
    return shlex.join(["ffmpeg", "-i", _operand(path), "-pix_fmt", "rgb24", _operand(beside(path, "8bit", ".png"))])


def turned(path: Path, degrees: int) -> str:
    """The command that writes a still or clip turned clockwise by 90, 180 or 270 degrees beside it."""
    words = ["-vf", _TURNS[degrees], "-c:a", "copy", _operand(beside(path, "turned", path.suffix))]
    return shlex.join(["ffmpeg", "-i", _operand(path), *words])


def sound_to_aac(path: Path) -> str:
    """The command that copies the video stream and re-encodes all audio tracks as AAC."""
    words = ["-map", "0:v", "-map", "0:a", "-c:v", "copy", "-c:a", "aac"]
    return shlex.join(["ffmpeg", "-i", _operand(path), *words, _operand(beside(path, "aac", path.suffix or ".mp4"))])


def _operand(path: Path) -> str:
    """The path as an FFmpeg operand: a leading dash is not parsed as an option, nor a colon as a protocol."""
    return str(path) if path.is_absolute() else f"./{path}"
