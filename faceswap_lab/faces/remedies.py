"""Commands that an error message offers to make a file readable: they run when pasted into a shell, whatever the file is called."""

import shlex
from collections.abc import Sequence
from pathlib import Path

# H.264 in 4:2:0 has even sides; a row or column at most is lost.
_EVEN = "crop=trunc(iw/2)*2:trunc(ih/2)*2"
_H264 = ("-c:v", "libx264", "-crf", "14", "-pix_fmt", "yuv420p", "-c:a", "aac")
DEINTERLACE = "bwdif=mode=send_frame"
TO_SDR = "zscale=t=linear:npl=100,tonemap=hable,zscale=p=bt709:t=bt709:m=bt709:r=tv"
SQUARE_PIXELS = "scale=round(iw*sar/2)*2:ih,setsar=1"


def beside(path: Path, what: str, suffix: str) -> Path:
    """A name for the outcome that is not the file's own: `clip.mov` becomes `clip-readable.mp4`."""
    return path.with_name(f"{path.stem}-{what}{suffix}")


def to_mp4(path: Path, *, filters: Sequence[str] = (), demux: Sequence[str] = (), what: str = "readable") -> str:
    """The command that writes a file as 8-bit H.264 with AAC sound beside it. `filters` are applied in order, `demux` stand before
    the input. Fields come before any scaling: bring `DEINTERLACE` first."""
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
    """The command that writes a still as 8-bit PNG beside it."""
    return shlex.join(["ffmpeg", "-i", _operand(path), "-pix_fmt", "rgb24", _operand(beside(path, "8bit", ".png"))])


def sound_to_aac(path: Path) -> str:
    """The command that keeps the pictures and writes every sound track as AAC."""
    words = ["-map", "0:v", "-map", "0:a", "-c:v", "copy", "-c:a", "aac"]
    return shlex.join(["ffmpeg", "-i", _operand(path), *words, _operand(beside(path, "aac", path.suffix or ".mp4"))])


def _operand(path: Path) -> str:
    """The file's path as FFmpeg takes it: a name that begins with a dash is no option, one with a colon no protocol."""
    return str(path) if path.is_absolute() else f"./{path}"
