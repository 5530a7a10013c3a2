"""What a visitor uploads, looked at before anything is made of it: by its content, never by its name, and only inside its folder.

The bytes are copied as they are: what a file's metadata says of its origin is what `admit` asks for. Nothing of that metadata gets
into a result, which is written from pixels.
"""

import os
import re
import secrets
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faceswap_lab.errors import LabError, MediaError, storing
from faceswap_lab.faces.decode import Index, opened, read_index, video_stream
from faceswap_lab.faces.frame import HEAD_BYTES, read_still, still_format, still_size
from faceswap_lab.faces.patches.store import is_patches
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.refusals import TooLargeError

KINDS = "a picture (PNG, JPEG, WebP, AVIF, BMP) or a clip (MP4, MOV, WebM, MKV, AVI)"

_CHUNK = 1 << 20
_LABEL = 60
_MARKUP = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<", re.DOTALL)
_OTHER_PACKETS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A picture or clip that was looked at: `path` is the lab's own copy under a random name, `label` the visitor's name for it,
    fit to be shown. `size` is (height, width) as displayed; `seconds` is 0 for a picture."""

    path: Path
    label: str
    kind: Literal["picture", "clip"]
    size: tuple[int, int]
    num_frames: int = 1
    seconds: float = 0.0
    num_bytes: int = 0


def take_in(path: str | Path, name: str, limits: Limits, *, within: Path, folder: Path) -> Upload:
    """Copy an uploaded file from `within`, where uploads arrive, into the private `folder`, and look at the copy.

    Raises MediaError for an address, a path that is elsewhere or a link, an empty file, and whatever isn't a whole picture or clip
    that the lab decodes; `TooLargeError` beyond the limits. Then nothing is left in `folder`.
    """
    label = label_of(name)
    place = folder / secrets.token_hex(16)
    try:
        num_bytes = _copy(path, label, place, limits, within)
        with place.open("rb") as file:
            head = file.read(HEAD_BYTES)
        look = _picture if still_format(head) else _clip
        upload = look(place, label, limits, num_bytes)
    except LabError as error:
        place.unlink(missing_ok=True)
        raise _about(label, place, error) from error
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    return upload


def label_of(name: str) -> str:
    """A file's name as it may be shown and logged: its last part, without markup, control or direction characters; never empty."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = "".join(char if char.isalnum() or char in " ._-()" else "_" for char in last).strip(" .")
    if len(plain) > _LABEL:
        stem, dot, suffix = plain.rpartition(".")
        plain = f"{stem[: _LABEL - len(suffix) - 1]}.{suffix}" if dot and 0 < len(suffix) <= 5 else plain[:_LABEL]
    return plain or "upload"


def _copy(path: str | Path, label: str, place: Path, limits: Limits, within: Path) -> int:
    """Copies at most `max_bytes` of a regular file in `within`; returns its size. What is checked is what is then read."""
    source = _inside(path, label, within)
    try:
        handle = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise MediaError(expected="an uploaded file", got=f"{label}: {error.strerror}", remedy="upload it again") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise MediaError(expected="an uploaded file", got=f"{label}, which is none", remedy="upload a file")
    with os.fdopen(handle, "rb") as file, storing(place):
        count = 0
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
            while chunk := file.read(_CHUNK):
                count += len(chunk)
                if count > limits.max_bytes:
                    raise _too_large(
                        f"at most {limits.max_bytes / 1e6:.0f} MB", f"{label}, which is larger", "shrink or shorten it"
                    )
                copy.write(chunk)
    if not count:
        raise MediaError(expected=KINDS, got=f"{label}, which is empty", remedy="upload it again, or choose another file")
    return count


def _inside(path: str | Path, label: str, within: Path) -> Path:
    """The path, resolved. MediaError for an address, a link, and whatever lies outside `within`."""
    text = os.fspath(path)
    if re.match(r"\s*[a-z][a-z0-9+.-]+:", text, flags=re.IGNORECASE) or "\0" in text:
        got = "an address" if "\0" not in text else "a name that no file has"
        raise MediaError(expected="an uploaded file", got=got, remedy="download it yourself, then upload the file: none is fetched")
    place = Path(text)
    refused = MediaError(expected="a file among the uploads", got=f"{label}, which is elsewhere", remedy="upload the file itself")
    try:
        found = place.resolve(strict=True)
        if place.is_symlink() or not found.is_relative_to(within.resolve()):
            raise refused
    except (OSError, RuntimeError) as error:  # missing, a name too long, or links in a circle
        raise refused from error
    return found


def _picture(place: Path, label: str, limits: Limits, num_bytes: int) -> Upload:
    """The size comes from the header: a bomb is refused before it is decoded."""
    height, width = still_size(place)
    if height * width > limits.max_pixels:
        most = f"a picture of at most {limits.max_pixels / 1e6:g} million pixels"
        raise _too_large(most, f"{label} with {width} x {height}", "shrink it")
    shape = read_still(place).shape
    return Upload(path=place, label=label, kind="picture", size=(shape[0], shape[1]), num_bytes=num_bytes)


def _clip(place: Path, label: str, limits: Limits, num_bytes: int) -> Upload:
    with place.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if is_patches(head) or _MARKUP.match(head):
        what = "the patches of a swap" if is_patches(head) else "a document (HTML, SVG or other markup)"
        raise MediaError(expected=KINDS, got=f"{label}, {what}", remedy="export a picture as PNG, a clip as MP4")
    _require_bounded(place, label, limits)
    index = read_index(place)
    height, width = index.size
    if height * width > limits.max_frame_pixels:
        raise _frame_too_large(label, limits, index.size)
    seconds = _seconds(index)
    if len(index.pts) > limits.max_frames or seconds > limits.max_seconds:
        raise _too_long(label, limits, f"{len(index.pts)} frames, {seconds:.1f} s")
    return Upload(
        path=place, label=label, kind="clip", size=index.size, num_frames=len(index.pts), seconds=seconds, num_bytes=num_bytes
    )


def _require_bounded(place: Path, label: str, limits: Limits) -> None:
    """Counts packets and reads the claimed size, decoding nothing, so that no index of endless frames is ever built."""
    try:
        with opened(place) as container:
            stream = video_stream(place, container)
            if stream.width * stream.height > limits.max_frame_pixels:
                raise _frame_too_large(label, limits, (stream.height, stream.width))
            shown = others = 0
            for packet in container.demux():
                if packet.stream_index == stream.index:
                    shown += packet.size > 0
                else:
                    others += 1
                if shown > limits.max_frames or others > _OTHER_PACKETS * limits.max_frames:
                    raise _too_long(label, limits, "more")
    except TooLargeError:
        raise
    except MediaError as error:
        if error.expected == "an intact video file":
            raise MediaError(expected=KINDS, got=f"{label}, which is none of these or damaged", remedy=_REMEDY) from error
        raise


_REMEDY = "copy it again from its source, or export it as PNG or MP4"


def _seconds(index: Index) -> float:
    """The length of a clip; the last frame is shown for as long as the mean one."""
    return index.times_s[-1] - index.times_s[0] + (1 / index.fps if index.fps > 0 else 0.0)


def _frame_too_large(label: str, limits: Limits, size: tuple[int, int]) -> TooLargeError:
    most = f"a clip of at most {limits.max_frame_pixels / 1e6:g} million pixels a frame"
    return _too_large(most, f"{label} with {size[1]} x {size[0]}", "shrink it")


def _too_long(label: str, limits: Limits, found: str) -> TooLargeError:
    return _too_large(
        f"a clip of at most {limits.max_frames} frames and {limits.max_seconds:g} s", f"{label} with {found}", "cut it"
    )


def _too_large(expected: str, got: str, remedy: str) -> TooLargeError:
    return TooLargeError(expected=expected, got=got, remedy=remedy)


def _about(label: str, place: Path, error: LabError) -> LabError:
    """The same error about the visitor's file: the name of the copy, and where it lies, are nobody's business."""
    said = {part: getattr(error, part) for part in ("expected", "got", "remedy")}
    return type(error)(**{part: text.replace(str(place), label).replace(place.name, label) for part, text in said.items()})
