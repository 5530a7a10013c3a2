"""Folder layouts of faces: folders of stills and clips, aligned folders of DeepFaceLab and faceswap, and FaceForensics++.

Other programs' metadata is never executed: DeepFaceLab stores a Python pickle in its JPEGs (segment APP15), which is unsafe to
load, and faceswap the text of a Python dict in its PNGs (chunk iTXt). Of the former only the file name is used, of the latter two
short fields are parsed by pattern, from a text of limited length.
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
"""Frames per second assumed for a clip given as numbered stills: the true rate is unknown, and only gaps depend on it."""

MAX_HEADER = 1 << 20
"""Size limit of a PNG text chunk, in bytes. faceswap's own, with masks, have some ten thousand."""

_LOOKED_AT = 8
_NUMBERED = re.compile(r"^(.*?)(\d+)$")
_DFL = re.compile(r"^(\d{3,})(?:_(\d+))?$")
_FFPP = re.compile(r"^(?:original|manipulated)_sequences/([^/]+)/(?:raw|c\d+)/videos/([^/]+)\.mp4$")
_FFPP_PAIR = re.compile(r"^(\d{3})(?:_(\d{3}))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """An input file. `sequence` names the clip that a numbered still was taken from, at `time_s`; empty for other files."""

    path: Path
    sequence: str = ""
    time_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The files found at the given paths: material sorted by path, and skipped files with the reason."""

    layout: Layout
    material: tuple[Material, ...]
    passed_over: tuple[tuple[Path, str], ...]


def find(paths: Iterable[Path], layout: Layout = "auto") -> Found:
    """All pictures and clips at or below `paths`. Hidden files and folders and links to folders are skipped.

    "auto" inspects a few files of each kind. MediaError for a path that does not exist, or if there are no pictures or clips;
    ValueError for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
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
            remedy="give a folder that contains some, or the files themselves",
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
        # faceswap names the frames of a video after it: clip_000123.png.
        name, number = _numbered(Path(source).stem)
        return Material(path=path, sequence=f"{folder}/{name}", time_s=number / FRAME_RATE) if number >= 0 else Material(path=path)
    if layout == "deepfacelab":
        hit = _DFL.match(path.stem)
        return Material(path=path, sequence=folder, time_s=int(hit[1][:12]) / FRAME_RATE) if hit else Material(path=path)
    # faceswap's face files end with the number of the face in the frame: clip_000123_0.png.
    stem = re.sub(r"_\d{1,2}$", "", path.stem) if layout == "faceswap" else path.stem
    name, number = _numbered(stem)
    return Material(path=path, sequence=f"{folder}/{name}", time_s=number / FRAME_RATE) if number >= 0 else Material(path=path)


def _numbered(stem: str) -> tuple[str, int]:
    """A name's text and the number it ends with; -1 if there is none."""
    hit = _NUMBERED.match(stem)
    return (hit[1], int(hit[2][-12:])) if hit else (stem, -1)


def faceswap_source(path: Path) -> str:
    """The source frame named in an aligned PNG of faceswap; empty for any other file.

    The chunk is `faceswap`, five zero bytes, and the text of a Python dict (faceswap's lib/image.py).
    """
    for kind, data in _png_chunks(path):
        if kind == b"iTXt" and data.startswith(b"faceswap\0"):
            text = data.decode("utf-8", "replace")
            hit = re.search(r"""['"]source_filename['"]\s*:\s*['"]([^'"]{1,400})['"]""", text)
            return hit[1] if hit else path.name
    return ""


def _png_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of the iTXt chunks before a PNG's pixels; chunks of more than `MAX_HEADER` bytes are skipped unread."""
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
        return  # an unreadable file is reported when it is admitted


def _has_dfl_segment(path: Path) -> bool:
    """Whether a JPEG has the segment that holds DeepFaceLab's pickle. Its content is not read."""
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
        pass  # reported when it is admitted
    return False


# --- FaceForensics++ ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A clip of the data set: its path, its uri in a manifest, and its split in the set's own lists."""

    path: Path
    uri: str
    split: str


def find_ffpp(root: Path) -> list[Listed]:
    """The clips of a FaceForensics++ folder (`original_sequences|manipulated_sequences/<name>/<c23>/videos/*.mp4`).

    Splits are read from `splits/train.json`, `val.json` and `test.json` (lists of pairs of names) in that folder or in `dataset/`
    below it, as in the set's repository; without them, and for the set's clips of actors, the split is empty. MediaError if there
    is no such clip, or a list is malformed.
    """
    splits = _ffpp_splits(root)
    listed = []
    for path in _walk(root) if root.is_dir() else ():
        inside = path.relative_to(root).as_posix()
        if hit := _FFPP.match(inside):
            # The set's lists cover its clips from YouTube; those of paid actors have a different naming scheme.
            pair = _FFPP_PAIR.match(hit[2])
            known = {splits.get(name, "") for name in pair.groups() if name} if pair else {""}
            listed.append(Listed(path=path, uri=f"ffpp://{inside}", split=known.pop() if len(known) == 1 else ""))
    if not listed:
        raise MediaError(
            expected="FaceForensics++: original_sequences/youtube/c23/videos/000.mp4 and so on",
            got=f"none below {root}",
            remedy="give the output folder of the set's download script",
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
                    expected=f"a list of pairs of names in {path}", got=str(error), remedy="copy it from the set's repository again"
                ) from error
    return names
