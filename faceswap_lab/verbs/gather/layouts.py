"""Where people keep faces: folders of stills and clips, aligned folders of DeepFaceLab and faceswap, and FaceForensics++.

Other programs' metadata is never executed: DeepFaceLab keeps a Python pickle in its JPEGs (segment APP15), which nobody but its
own writer should load, and faceswap the text of a Python dict in its PNGs (chunk iTXt). Of the first only the file's name is
used, of the second two short fields are read by pattern, from a text of limited length.
"""

import json
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from faceswap_lab.errors import MediaError
from faceswap_lab.faces.frame import STILL_SUFFIXES
from faceswap_lab.verbs.recipes import Layout

LAYOUTS: tuple[str, ...] = get_args(Layout)

CLIPS = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".mpg",
        ".mpeg",
        ".ts",
        ".mts",
        ".m2ts",
        ".flv",
        ".ogv",
        ".wmv",
        ".3gp",
        ".mxf",
    }
)
FRAME_RATE = 25.0
"""Frames a second of a clip of which only numbered pictures are left: nobody knows the true rate, and only gaps depend on it."""

MAX_HEADER = 1 << 20
"""Bytes of a PNG's text that are looked at. faceswap's own, with masks, have some ten thousand."""

_LOOKED_AT = 8
_NUMBERED = re.compile(r"^(.*?)(\d+)$")
_DFL = re.compile(r"^(\d{3,})(?:_(\d+))?$")
_FFPP = re.compile(r"^(?:original|manipulated)_sequences/([^/]+)/(?:raw|c\d+)/videos/([^/]+)\.mp4$")
_FFPP_PAIR = re.compile(r"^(\d{3})(?:_(\d{3}))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A file to look at. `strand` names the clip that a numbered still was taken from, at `time_s`; empty for a file of its own."""

    path: Path
    sequence: str = ""
    time_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies at the paths given: material in the order of its path, and what was passed over with the reason."""

    layout: Layout
    material: tuple[Material, ...]
    passed_over: tuple[tuple[Path, str], ...]


def find(paths: Iterable[Path], layout: Layout = "auto") -> Found:
    """Every picture and clip at or below `paths`. Hidden files and folders are not entered; links to folders neither.

    "auto" looks at a few files of each kind. MediaError for a path that is not there, or if there is nothing to look at; ValueError
    for another layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"a layout to look for faces in is one of {', '.join(LAYOUTS)}, not {layout!r}")
    files: list[Path] = []
    passed: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_file():
            files.append(path)
        elif path.is_dir():
            for file in _walk(path):
                known = file.suffix.lower() in STILL_SUFFIXES | CLIPS
                files.append(file) if known else passed.append(
                    (file, f"no picture or clip that the lab reads ({file.suffix or 'no suffix'})")
                )
        else:
            raise MediaError(expected="a file or folder", got=f"nothing at {path}", remedy="check the path")
    files = sorted(dict.fromkeys(files))
    if not files:
        raise MediaError(
            expected="pictures (.png, .jpg, .webp, .bmp) or clips (.mp4, .mov, .mkv …)",
            got=f"none among {len(passed)} files",
            remedy="give a folder that has some, or the files themselves",
        )
    chosen = _guess(files) if layout == "auto" else layout
    return Found(layout=chosen, material=tuple(_material(file, chosen) for file in files), passed_over=tuple(passed))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _guess(files: list[Path]) -> Layout:
    pngs = [file for file in files if file.suffix.lower() == ".png"][:_LOOKED_AT]
    if pngs and all(faceswap_source(file) for file in pngs):
        return "faceswap"
    jpegs = [file for file in files if file.suffix.lower() in {".jpg", ".jpeg"}][:_LOOKED_AT]
    return "deepfacelab" if jpegs and all(_has_dfl_segment(file) for file in jpegs) else "folder"


def _material(path: Path, layout: Layout) -> Material:
    if layout == "folder" or path.suffix.lower() not in STILL_SUFFIXES:
        return Material(path=path)
    folder = path.parent.name
    if layout == "faceswap" and (source := faceswap_source(path)):
        # faceswap names a frame of a video after it: clip_000123.png.
        name, number = _numbered(Path(source).stem)
        return Material(path=path, sequence=f"{folder}/{name}", time_s=number / FRAME_RATE) if number >= 0 else Material(path=path)
    if layout == "deepfacelab":
        hit = _DFL.match(path.stem)
        return Material(path=path, sequence=folder, time_s=int(hit[1][:12]) / FRAME_RATE) if hit else Material(path=path)
    # faceswap's own names of faces end with the number of the face in the frame: clip_000123_0.png.
    stem = re.sub(r"_\d{1,2}$", "", path.stem) if layout == "faceswap" else path.stem
    name, number = _numbered(stem)
    return Material(path=path, sequence=f"{folder}/{name}", time_s=number / FRAME_RATE) if number >= 0 else Material(path=path)


def _numbered(stem: str) -> tuple[str, int]:
    """A name's text and the number it ends with; -1 if it ends with none."""
    hit = _NUMBERED.match(stem)
    return (hit[1], int(hit[2][-12:])) if hit else (stem, -1)


def faceswap_source(path: Path) -> str:
    """The frame that an aligned PNG of faceswap names as its source; empty for any other file.

    The chunk is `faceswap`, five zero bytes, and the text of a Python dict (faceswap's lib/image.py).
    """
    for kind, data in _png_chunks(path):
        if kind == b"iTXt" and data.startswith(b"faceswap\0"):
            text = data.decode("utf-8", "replace")
            hit = re.search(r"""['"]source_filename['"]\s*:\s*['"]([^'"]{1,400})['"]""", text)
            return hit[1] if hit else path.name
    return ""


def _png_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of a PNG's chunks before its pixels; data of more than `MAX_HEADER` bytes is passed over unread."""
    try:
        with path.open("rb") as file:
            if file.read(8) != b"\x89PNG\r\n\x1a\n":
                return
            while len(head := file.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind in (b"IDAT", b"IEND"):
                    return
                if kind == b"iTXt" and length <= MAX_HEADER:
                    yield kind, file.read(length)
                    file.seek(4, os.SEEK_CUR)
                else:
                    file.seek(length + 4, os.SEEK_CUR)
    except OSError:
        return  # a file that cannot be read is told of when it is let in


def _has_dfl_segment(path: Path) -> bool:
    """Whether a JPEG has the segment that DeepFaceLab's pickle lies in. Its content is not looked at."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"\xff\xd8":
                return False
            while len(head := file.read(4)) == 4:
                mark, kind, length = struct.unpack(">BBH", head)
                if mark != 0xFF or kind == 0xDA or length < 2:
                    return False
                if kind == 0xEF:
                    return True
                file.seek(length - 2, os.SEEK_CUR)
    except OSError:
        pass  # told of when it is let in
    return False


# --- FaceForensics++ ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A clip of the data set: its place, the uri that a manifest names it by, and the split that the set's own lists give it."""

    path: Path
    uri: str
    split: str


def find_ffpp(root: Path) -> list[Listed]:
    """The clips of a FaceForensics++ folder (`original_sequences|manipulated_sequences/<name>/<c23>/videos/*.mp4`).

    Splits are read from `splits/train.json`, `val.json` and `test.json` (lists of pairs of names) in that folder or in `dataset/`
    below it, as the set's repository has them; without them, and for the set's clips of actors, a clip has none. MediaError if
    there is no such clip, or a list is not what it should be.
    """
    splits = _ffpp_splits(root)
    listed = []
    for path in _walk(root) if root.is_dir() else ():
        inside = path.relative_to(root).as_posix()
        if hit := _FFPP.match(inside):
            # The set's lists speak of its clips from YouTube; those of paid actors have names of another form.
            pair = _FFPP_PAIR.match(hit[2])
            known = {splits.get(name, "") for name in pair.groups() if name} if pair else {""}
            listed.append(Listed(path=path, uri=f"ffpp://{inside}", split=known.pop() if len(known) == 1 else ""))
    if not listed:
        raise MediaError(
            expected="FaceForensics++: original_sequences/youtube/c23/videos/000.mp4 and so on",
            got=f"none below {root}",
            remedy="give the folder that the set's download script filled",
        )
    return listed


def _ffpp_splits(root: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for folder in (root / "splits", root / "dataset" / "splits"):
        for split in ("train", "val", "test"):
            path = folder / f"{split}.json"
            if not path.is_file():
                continue
            try:
                pairs = json.loads(path.read_text(encoding="utf-8"))
                names |= {str(name): split for pair in pairs for name in pair}
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise MediaError(
                    expected=f"a list of pairs of names in {path}", got=str(error), remedy="take it from the set's repository again"
                ) from error
    return names
