"""One picture and where it comes from; stills in and out."""

import base64
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps, PngImagePlugin

from faceswap_lab.errors import MediaError, storing

Image = UInt8[np.ndarray, "h w 3"]
"""RGB, 8 bits a channel, sRGB unless the Frame's colour tags say otherwise. BGR lives only on lines that call OpenCV."""

MAX_PIXELS = 80_000_000
"""Larger stills are refused: a small file can claim any size and fill the memory."""

# What marks each kind of still, and the suffixes that may carry it.
_FORMATS = {
    "PNG": (b"\x89PNG\r\n\x1a\n", (".png",)),
    "JPEG": (b"\xff\xd8\xff", (".jpg", ".jpeg")),
    "BMP": (b"BM", (".bmp",)),
    "WEBP": (b"RIFF", (".webp",)),
}
_SUFFIXES = {suffix for _, suffixes in _FORMATS.values() for suffix in suffixes}
_DECODING = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, struct.error, zlib.error, ImageCms.PyCMSError)
_BOMBS = (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning)
_EXIF_DESCRIPTION = 0x010E
_JPEG_SEGMENT = 65_533
# What every file system in use takes; some count characters, which are never more.
_NAME_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """How the pixels of the source file were coded, in FFmpeg's names (`"bt709"`, `"tv"`); None where the file does not say."""

    primaries: str | None = None
    transfer: str | None = None
    matrix: str | None = None
    range: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """A picture with its origin: `"actor:21/speech:3"` or `"sha256:…"`, its number there and its time in seconds."""

    image: Image
    origin: str
    index: int = 0
    time_s: float = 0.0
    colour: ColourTags = ColourTags()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def _repr_html_(self) -> str:
        height, width = self.size
        caption = f"{self.origin} · frame {self.index} · {self.time_s:.3f} s · {width} × {height}"
        return f'<figure><img src="{inline_jpeg(self.image)}"><figcaption>{escape(caption)}</figcaption></figure>'


def inline_jpeg(image: Image, *, max_side: int = 512, max_bytes: int = 70_000) -> str:
    """A `data:` URI of a JPEG no larger than `max_bytes` before base64, shrunk to `max_side` pixels: for HTML without files."""
    height, width = image.shape[:2]
    side = max_side
    while True:
        factor = min(1.0, side / max(height, width))
        target = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = cv2.resize(image, target, interpolation=cv2.INTER_AREA) if factor < 1 else image
        for quality in (88, 75, 60):
            buffer = BytesIO()
            Pillow.fromarray(small).save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= max_bytes:
                return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        if side < 16:
            raise ValueError(f"no JPEG fits into {max_bytes} bytes")
        side //= 2


def still_format(head: bytes) -> str | None:
    """`"PNG"`, `"JPEG"`, `"BMP"` or `"WEBP"` by the first 12 bytes of a file, else None."""
    for name, (magic, _) in _FORMATS.items():
        if head.startswith(magic) and (name != "WEBP" or head[8:12] == b"WEBP"):
            return name
    return None


def read_still(path: Path) -> Image:
    """A PNG, JPEG, WebP or BMP as RGB, upright (EXIF orientation applied), converted to sRGB where it carries another profile.

    Palette and grey become RGB; an alpha channel that is opaque everywhere is dropped. MediaError for what would be guesswork or
    loss: transparency, 16 bits a channel, CMYK, animations, a suffix that belies the content, more than `MAX_PIXELS`, broken files.
    """
    found = _sniff(path)
    with _opened(path, found) as picture:
        _refuse(path, picture, found)
        return _to_rgb(path, ImageOps.exif_transpose(picture))


@contextmanager
def _opened(path: Path, found: str) -> Iterator[Pillow.Image]:
    """The picture, of which Pillow decodes only what is asked for. MediaError for what it can't read."""
    try:
        with Pillow.open(path, formats=[found]) as picture:
            yield picture
    except _BOMBS as error:
        raise _too_large(path) from error
    except _DECODING as error:
        raise MediaError(
            expected=f"a whole {found} file",
            got=f"{path.name} that cannot be decoded ({error})",
            remedy="copy it again from where it came, or open and save it in an image editor",
        ) from error


def _sniff(path: Path) -> str:
    """The file's format by content; MediaError if it is missing, empty, unknown, or not what its suffix says."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise MediaError(expected="a picture file", got=f"{path.name}: {error.strerror}", remedy="check the path") from error
    found = still_format(head)
    if found is None:
        got = f"{path.name}, which is empty" if not head else f"{path.name}, whose content is none of them"
        raise MediaError(expected="a PNG, JPEG, WebP or BMP", got=got, remedy="export the picture as PNG")
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES and suffix not in _FORMATS[found][1]:
        got, remedy = f"{path.name}, which holds {found}", f"rename it to {path.stem}{_FORMATS[found][1][0]}"
        raise MediaError(expected=f"what the suffix {suffix} says", got=got, remedy=remedy)
    if found == "PNG" and len(head) > 24 and head[24] > 8:
        remedy = f"convert it: ffmpeg -i {path.name} -pix_fmt rgb24 {path.stem}-8bit.png"
        raise MediaError(expected="8 bits a channel", got=f"{path.name} with {head[24]}", remedy=remedy)
    return found


def _refuse(path: Path, opened: Pillow.Image, found: str) -> None:
    if opened.width * opened.height > MAX_PIXELS:
        raise _too_large(path)
    # A phone's JPEG may carry a second picture (depth, a thumbnail); the first is the photograph.
    if found != "JPEG" and getattr(opened, "n_frames", 1) > 1:
        got, remedy = f"{path.name} with {opened.n_frames} frames", "convert the animation to .mp4"  # type: ignore[attr-defined]
        raise MediaError(expected="one picture", got=got, remedy=remedy)
    if opened.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}:
        got, remedy = f"{path.name} in mode {opened.mode}", "convert it to 8-bit sRGB in an image editor"
        raise MediaError(expected="grey, palette or RGB with 8 bits a channel", got=got, remedy=remedy)


def _to_rgb(path: Path, picture: Pillow.Image) -> Image:
    profile = picture.info.get("icc_profile")
    if picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if np.asarray(picture)[..., 3].min() < 255:
            remedy = "flatten it onto a background in an image editor"
            raise MediaError(expected="an opaque picture", got=f"{path.name} with transparent pixels", remedy=remedy)
    grey = picture.mode in {"1", "L", "LA"}
    rgb = picture.convert("RGB")
    if profile and not grey:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if not ImageCms.getProfileDescription(source).strip().lower().startswith("srgb"):
            rgb = ImageCms.profileToProfile(rgb, source, ImageCms.createProfile("sRGB")) or rgb
    return np.array(rgb, np.uint8)


def _too_large(path: Path) -> MediaError:
    limit = f"at most {MAX_PIXELS // 1_000_000} million pixels"
    return MediaError(expected=limit, got=f"{path.name}, which claims more", remedy="shrink the picture if you trust its origin")


def write_still(path: Path, image: Image, *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a PNG (exact) or JPEG (quality 95, full chroma), as the suffix says, under a temporary name that is then renamed.

    `metadata` goes into PNG text chunks, or as one JSON text into JPEG's comment and EXIF ImageDescription; `read_metadata` gives
    it back. ValueError for a key that not every format can hold, MediaError for another suffix or too much metadata for a JPEG.
    """
    checked = check_metadata(metadata or {})
    suffix = path.suffix.lower()
    if suffix not in {".png", ".jpg", ".jpeg"}:
        raise MediaError(expected="a file name that ends in .png or .jpg", got=path.name, remedy="choose one of them")
    picture = Pillow.fromarray(np.ascontiguousarray(image))
    with written_whole(path) as temporary:
        if suffix == ".png":
            chunks = PngImagePlugin.PngInfo()
            for key, value in checked.items():
                chunks.add_itxt(key, value)
            picture.save(temporary, "PNG", pnginfo=chunks)
        else:
            text = metadata_to_json(checked)
            # EXIF shares its segment with the tag table, hence the margin.
            if len(text) > _JPEG_SEGMENT - 100:
                got, remedy = f"{len(text)} bytes", "write a PNG"
                raise MediaError(expected=f"metadata of at most {_JPEG_SEGMENT - 100} bytes", got=got, remedy=remedy)
            exif = Pillow.Exif()
            if checked:
                exif[_EXIF_DESCRIPTION] = text
            comment = text.encode("ascii") if checked else b""
            picture.save(temporary, "JPEG", quality=95, subsampling=0, exif=exif, comment=comment)


def read_metadata(path: Path) -> dict[str, str]:
    """What `write_still` stored, or other programs' PNG texts, or JPEG comment as `{"comment": …}`. MediaError as `read_still`."""
    with _opened(path, _sniff(path)) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise _too_large(path)
        if isinstance(picture, PngImagePlugin.PngImageFile):
            return {str(key): str(value) for key, value in picture.text.items()}
        comment = picture.info.get("comment") or picture.getexif().get(_EXIF_DESCRIPTION) or ""
    text = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    return metadata_from_json(text) or ({"comment": text} if text else {})


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """A copy; ValueError for keys other than 1 to 79 letters, digits, `_`, `-`, `.` and inner blanks, which all formats hold."""
    for key in metadata:
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_.\- ]{0,77}[A-Za-z0-9_.\-])?", key):
            raise ValueError(f"a metadata key has 1 to 79 letters, digits, '_', '-', '.' or inner blanks, got {key!r}")
    return dict(metadata)


def metadata_to_json(metadata: Mapping[str, str]) -> str:
    """One line of ASCII: the form in which formats with a single comment hold the metadata."""
    return json.dumps(dict(metadata), sort_keys=True, ensure_ascii=True)


def metadata_from_json(text: str) -> dict[str, str] | None:
    """What `metadata_to_json` wrote, or None if `text` is another program's comment."""
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict) or not all(isinstance(value, str) for value in loaded.values()):
        return None
    return loaded


def hidden_beside(path: Path, tag: str) -> Path:
    """A hidden name in the same folder, with the suffix and `tag`; the stem is cut so that it is no longer than systems take."""
    room = _NAME_BYTES - len(f"..{tag}{path.suffix}".encode())
    stem = path.stem.encode()[: max(0, room)].decode(errors="ignore")
    return path.with_name(f".{stem}.{tag}{path.suffix}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, with its suffix. Renamed to `path` at the end, deleted on any error: never half a file.

    Raises StorageError for what the system refuses meanwhile.
    """
    temporary = hidden_beside(path, uuid4().hex[:8])
    with storing(path):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete `path` and what killed writers of it left under the names of `written_whole`. The caller keeps other writers away."""
    before, _, after = re.escape(hidden_beside(path, "0" * 8).name).rpartition("0" * 8)
    name = re.compile(f"{before}[0-9a-f]{{8}}{after}")
    for found in path.parent.iterdir():
        if found == path or name.fullmatch(found.name):
            found.unlink(missing_ok=True)
