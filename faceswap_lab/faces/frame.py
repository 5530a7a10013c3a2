"""A single image and its origin; reading and writing still images."""

import base64
import json
import logging
import os
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

from faceswap_lab.errors import MediaError, fitting, storing
from faceswap_lab.faces import remedies

log = logging.getLogger(__name__)

Image = UInt8[np.ndarray, "h w 3"]
"""RGB, 8 bits per channel, sRGB unless the Frame's colour tags say otherwise. BGR occurs only on lines that call OpenCV."""

MAX_PIXELS = 80_000_000
"""Larger stills are refused: a small file can declare any size and exhaust memory (a decompression bomb)."""

STILL_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".avif", ".heic", ".heif"})
"""Suffixes of stills. The format itself is detected from the content."""

HEAD_BYTES = 64
"""Length of the prefix from which `still_format` detects the format."""

_MAGIC = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "BMP": b"BM", "GIF": b"GIF8", "WEBP": b"RIFF"}
# Brands of ISO base media files that hold pictures (ISO 23008-12, annex B; AV1 Image File Format, section 6).
_AVIF_BRANDS, _HEIF_BRANDS = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_UNREADABLE = {
    "HEIC": "convert it to PNG or JPEG in an image program (an iPhone writes JPEG with the camera setting 'Most Compatible')",
    "GIF": "convert the animation to .mp4, or one of its pictures to PNG",
}
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, struct.error, zlib.error, ImageCms.PyCMSError)
_BOMB_ERRORS = (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning)
# Rec. 709 or unspecified (ITU-T H.273, table 2); PQ and HLG (table 3).
_SRGB_PRIMARIES, _HDR_TRANSFERS = {0, 1, 2}, {16, 18}
_EXIF_DESCRIPTION = 0x010E
_JPEG_SEGMENT = 65_533
# Maximum length on every common file system; some count characters instead of bytes, which is never stricter.
_NAME_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """Colour metadata of the source file, in FFmpeg's names (`"bt709"`, `"tv"`); None where the file does not specify it."""

    primaries: str | None = None
    transfer: str | None = None
    matrix: str | None = None
    range: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """An image with its origin (`"actor:21/speech:3"` or `"sha256:…"`), its frame index there and its time in seconds."""

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
    """A JPEG `data:` URI for self-contained HTML, at most `max_side` pixels a side and `max_bytes` before base64."""
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
    """`"PNG"`, `"JPEG"`, `"BMP"`, `"WEBP"`, `"GIF"`, `"AVIF"` or `"HEIC"` by the first `HEAD_BYTES` of a file, else None."""
    for name, magic in _MAGIC.items():
        if head.startswith(magic) and (name != "WEBP" or head[8:12] == b"WEBP"):
            return name
    if head[4:8] != b"ftyp":
        return None
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), len(head) - 3), 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if head[8:12] in _HEIF_BRANDS else None


def read_still(path: Path) -> Image:
    """Reads a PNG, JPEG, WebP, AVIF or BMP as upright RGB (EXIF orientation applied), converted to sRGB from any other ICC profile.

    The format is detected from the content, whatever the suffix. Palette and greyscale become RGB; a fully opaque alpha channel is
    dropped; an unusable colour profile is ignored with a logged warning. MediaError for anything ambiguous or lossy: transparency,
    more than 8 bits per channel, CMYK, animations, HEIC, more than `MAX_PIXELS` or the memory holds, broken files.
    """
    found = _sniff(path)
    with _opened(path, found) as picture:
        _refuse(path, picture, found)
        with fitting(path.name, (picture.height, picture.width)):
            return _to_rgb(path, ImageOps.exif_transpose(picture))


def still_size(path: Path) -> tuple[int, int]:
    """(height, width) that a still's header claims, as stored; nothing is decoded. MediaError if no header of a still is there."""
    found = _sniff(path)
    with _opened(path, found) as picture:
        return picture.height, picture.width


@contextmanager
def _opened(path: Path, found: str) -> Iterator[Pillow.Image]:
    """Opens a picture lazily with Pillow; decoding errors, here or in the body, become MediaError."""
    try:
        with Pillow.open(path, formats=[found]) as picture:
            yield picture
    except _BOMB_ERRORS as error:
        raise _too_large(path) from error
    except _DECODE_ERRORS as error:
        raise MediaError(
            expected=f"a complete {found} file",
            got=f"{path.name}, which cannot be decoded ({error})",
            remedy="copy it again from its source, or open and save it in an image editor",
        ) from error


def _sniff(path: Path) -> str:
    """Detects the file's format by content; MediaError if it is missing, empty, or of an unknown or unsupported format."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise MediaError(expected="a picture file", got=f"{path.name}: {error.strerror}", remedy="check the path") from error
    found = still_format(head)
    if found is None:
        got = f"{path.name}, which is empty" if not head else f"{path.name}, whose content is none of these"
        raise MediaError(expected="a PNG, JPEG, WebP, AVIF or BMP", got=got, remedy="export the picture as PNG")
    if found in _UNREADABLE:
        raise MediaError(expected="a PNG, JPEG, WebP, AVIF or BMP", got=f"{path.name}, which is {found}", remedy=_UNREADABLE[found])
    if found == "PNG" and len(head) > 24 and head[24] > 8:
        remedy = f"convert it: {remedies.to_png(path)}"
        raise MediaError(expected="8 bits per channel", got=f"{path.name} with {head[24]}", remedy=remedy)
    if found == "AVIF":
        _refuse_deep_avif(path)
    return found


def _refuse_deep_avif(path: Path) -> None:
    """Refuses AVIF with 10 or 12 bits, or with colours given only by an `nclx` box: the decoder drops both silently."""
    with path.open("rb") as file:
        boxes = file.read(1 << 16)
    remedy = "convert it to 8-bit sRGB in an image editor"
    if (at := boxes.find(b"av1C")) >= 0 and len(boxes) > at + 6 and boxes[at + 6] & 0x40:
        raise MediaError(expected="8 bits per channel", got=f"{path.name} with more", remedy=remedy)
    if (at := boxes.find(b"colrnclx")) >= 0 and b"colrprof" not in boxes and b"colrrICC" not in boxes:
        primaries, transfer = struct.unpack(">HH", boxes[at + 8 : at + 12].ljust(4, b"\0"))
        if primaries not in _SRGB_PRIMARIES or transfer in _HDR_TRANSFERS:
            got = f"{path.name} with colour primaries {primaries} and transfer {transfer} (H.273)"
            raise MediaError(expected="sRGB or a colour profile", got=got, remedy=remedy)


def _refuse(path: Path, opened: Pillow.Image, found: str) -> None:
    if opened.width * opened.height > MAX_PIXELS:
        raise _too_large(path)
    # A phone's JPEG may contain a second image (depth map, thumbnail); the first is the photograph.
    if found != "JPEG" and getattr(opened, "n_frames", 1) > 1:
        got, remedy = f"{path.name} with {opened.n_frames} frames", "convert the animation to .mp4"  # type: ignore[attr-defined]
        raise MediaError(expected="one picture", got=got, remedy=remedy)
    if opened.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}:
        got, remedy = f"{path.name} in mode {opened.mode}", "convert it to 8-bit sRGB in an image editor"
        raise MediaError(expected="greyscale, palette or RGB with 8 bits per channel", got=got, remedy=remedy)


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
        rgb = _to_srgb(path, rgb, profile)
    return np.array(rgb, np.uint8)


def _to_srgb(path: Path, rgb: Pillow.Image, profile: bytes) -> Pillow.Image:
    """Converts to sRGB. A damaged profile, or one for another colour space, is ignored with a warning, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if ImageCms.getProfileDescription(source).strip().lower().startswith("srgb"):
            return rgb
        return ImageCms.profileToProfile(rgb, source, ImageCms.createProfile("sRGB")) or rgb
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning("%s: its colour profile cannot be used (%s) and is ignored: the picture is read as sRGB", path.name, error)
        return rgb


def _too_large(path: Path) -> MediaError:
    limit = f"at most {MAX_PIXELS // 1_000_000} million pixels"
    return MediaError(expected=limit, got=f"{path.name}, which claims more", remedy="shrink the picture if you trust its source")


def write_still(path: Path, image: Image, *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a PNG (lossless) or JPEG (quality 95, 4:4:4), depending on the suffix, atomically through a temporary file.

    `metadata` goes into PNG text chunks, or as one JSON string into JPEG's comment and EXIF ImageDescription; `read_metadata` reads
    it back. ValueError for a key that some format cannot store, MediaError for another suffix or too much metadata for a JPEG.
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
    """Metadata from `write_still`, else PNG text chunks or the JPEG comment as `{"comment": …}`. MediaError as `read_still`."""
    with _opened(path, _sniff(path)) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise _too_large(path)
        if isinstance(picture, PngImagePlugin.PngImageFile):
            return {str(key): str(value) for key, value in picture.text.items()}
        comment = picture.info.get("comment") or picture.getexif().get(_EXIF_DESCRIPTION) or ""
    text = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    return metadata_from_json(text) or ({"comment": text} if text else {})


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns a copy; ValueError unless keys are 1 to 79 letters, digits, `_`, `-`, `.` or inner blanks: safe in all formats."""
    for key in metadata:
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_.\- ]{0,77}[A-Za-z0-9_.\-])?", key):
            raise ValueError(f"a metadata key has 1 to 79 letters, digits, '_', '-', '.' or inner blanks, got {key!r}")
    return dict(metadata)


def container_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata as a video container's tags: containers change or drop unknown keys, so the comment holds all of them once more."""
    return {**metadata, "comment": metadata_to_json(metadata)} if metadata else {}


def metadata_to_json(metadata: Mapping[str, str]) -> str:
    """One line of ASCII JSON, for formats that have a single comment field."""
    return json.dumps(dict(metadata), sort_keys=True, ensure_ascii=True)


def metadata_from_json(text: str) -> dict[str, str] | None:
    """Parses the output of `metadata_to_json`; None if `text` is another program's comment."""
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict) or not all(isinstance(value, str) for value in loaded.values()):
        return None
    return loaded


def hidden_beside(path: Path, tag: str) -> Path:
    """A hidden name in the same folder, with the same suffix and `tag`; the stem is truncated to the maximum name length."""
    room = _NAME_BYTES - len(os.fsencode(f"..{tag}{path.suffix}"))
    stem = os.fsencode(path.stem)[: max(0, room)].decode(errors="ignore")
    return path.with_name(f".{stem}.{tag}{path.suffix}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Atomic write: yields a temporary path beside `path`, with its suffix, renamed to `path` on success and deleted on error.

    Raises StorageError if the system refuses a write.
    """
    temporary = hidden_beside(path, uuid4().hex[:8])
    with storing(path):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Deletes `path` and temporary files of `written_whole` left by killed writers. The caller must exclude concurrent writers."""
    before, _, after = re.escape(hidden_beside(path, "0" * 8).name).rpartition("0" * 8)
    name = re.compile(f"{before}[0-9a-f]{{8}}{after}")
    for found in path.parent.iterdir():
        if found == path or name.fullmatch(found.name):
            found.unlink(missing_ok=True)
