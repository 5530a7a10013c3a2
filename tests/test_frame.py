import base64
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms, ImageFile

from faceswap_lab.errors import MediaError
from faceswap_lab.faces import frame
from faceswap_lab.faces.frame import Frame

PICTURE = np.random.default_rng(0).integers(0, 256, (13, 22, 3), dtype=np.uint8)


def png16(path: Path) -> None:
    """Writes a 16-bit RGB PNG without Pillow, which cannot write one and silently reads one as 8 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(6 * 4) for _ in range(3))
    head = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_exact_formats_come_back_exactly(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Pillow.fromarray(PICTURE).save(path)
    np.testing.assert_array_equal(frame.read_still(path), PICTURE)


def test_written_png_is_exact_and_jpeg_near(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (1, 48, 3))
    for suffix, allowed in ((".png", 0), (".jpg", 3), (".JPEG", 3)):
        path = tmp_path / f"a{suffix}"
        frame.write_still(path, smooth)
        assert np.abs(frame.read_still(path).astype(int) - smooth).max() <= allowed
        assert frame.read_metadata(path) == {}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(tmp_path, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(PICTURE).save(tmp_path / "a.png", exif=exif)
    upright = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.swapaxes(0, 1),
        6: np.rot90(PICTURE, -1),
        7: PICTURE[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(PICTURE, 1),
    }
    np.testing.assert_array_equal(frame.read_still(tmp_path / "a.png"), upright[orientation])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_grey_palette_and_opaque_alpha_become_rgb(tmp_path, mode):
    picture = Pillow.fromarray(PICTURE).convert(mode)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(frame.read_still(tmp_path / "a.png"), np.asarray(picture.convert("RGB")))


def test_colours_of_another_profile_are_converted_to_srgb(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Pillow.fromarray(PICTURE).save(tmp_path / "srgb.png", icc_profile=srgb)
    np.testing.assert_array_equal(frame.read_still(tmp_path / "srgb.png"), PICTURE)
    # sRGB with its red and blue primaries exchanged, under another name: what it calls red is blue.
    swapped = (
        srgb.replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ").replace(b"s\0R\0G\0B", b"x\0R\0G\0B")
    )
    Pillow.fromarray(PICTURE).save(tmp_path / "other.png", icc_profile=swapped)
    assert np.abs(frame.read_still(tmp_path / "other.png").astype(int) - PICTURE[..., ::-1]).max() <= 2
    # One that cannot be used costs nobody the picture (Pillow#6666).
    Pillow.fromarray(PICTURE).save(tmp_path / "broken.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(frame.read_still(tmp_path / "broken.png"), PICTURE)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(MediaError) as caught:
        frame.read_still(path)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.remedy


def test_ambiguous_or_lossy_input_is_refused(tmp_path):
    png16(tmp_path / "deep.png")
    refused(tmp_path / "deep.png", "8 bits", "16", "ffmpeg")
    Pillow.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4)).save(tmp_path / "deepgrey.png")
    refused(tmp_path / "deepgrey.png", "8 bits")
    clear = Pillow.fromarray(PICTURE).convert("RGBA")
    clear.putpixel((3, 3), (1, 2, 3, 254))
    clear.save(tmp_path / "clear.png")
    refused(tmp_path / "clear.png", "opaque", "flatten")
    Pillow.fromarray(PICTURE).convert("CMYK").save(tmp_path / "print.jpg")
    refused(tmp_path / "print.jpg", "CMYK")
    frames = [Pillow.fromarray(PICTURE), Pillow.fromarray(PICTURE[::-1].copy())]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "moving.png", "one picture")


def test_files_that_contradict_their_suffix_are_refused(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    refused(tmp_path / "empty.png", "empty")
    (tmp_path / "text.png").write_text("This is not a picture.")
    refused(tmp_path / "text.png", "none of these")
    Pillow.fromarray(PICTURE).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "really_png.jpg")
    # A wrong suffix is no reason: the content decides (facefusion's pull request 208).
    np.testing.assert_array_equal(frame.read_still(tmp_path / "really_png.jpg"), PICTURE)
    refused(tmp_path / "absent.png", "No such file")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused_by_name(tmp_path, suffix, fraction):
    path = tmp_path / f"a{suffix}"
    Pillow.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    refused(path, path.name)


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path):
    for side in (9_100, 10_000, 60_000):
        body = zlib.compress(b"\0" * 1000)
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = b""
        for kind, data in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b"")):
            chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
        refused(tmp_path / "bomb.png", "million pixels")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
metadata = st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,20}", fullmatch=True), texts, max_size=4)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@given(metadata=metadata)
def test_metadata_round_trips(tmp_path_factory, suffix, metadata):
    path = tmp_path_factory.mktemp("metadata") / f"a{suffix}"
    frame.write_still(path, PICTURE, metadata=metadata)
    assert frame.read_metadata(path) == metadata


def test_other_programs_comments_are_read_too(tmp_path):
    Pillow.fromarray(PICTURE).save(tmp_path / "a.jpg", comment=b"holiday")
    assert frame.read_metadata(tmp_path / "a.jpg") == {"comment": "holiday"}


def test_jpeg_metadata_is_in_exif_as_well(tmp_path):
    frame.write_still(tmp_path / "a.jpg", PICTURE, metadata={"made": "synthetic"})
    with Pillow.open(tmp_path / "a.jpg") as opened:
        assert "synthetic" in opened.getexif()[0x010E]


@pytest.mark.parametrize("key", ["", " a", "a ", "ä", "a=b", "x" * 80, "a\n"])
def test_keys_that_some_format_cannot_hold_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match="metadata key"):
        frame.write_still(tmp_path / "a.png", PICTURE, metadata={key: "x"})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.jpg"
    frame.write_still(path, PICTURE, metadata={"n": "1"})
    before = path.read_bytes()
    with pytest.raises(MediaError, match="write a PNG"):
        frame.write_still(path, PICTURE, metadata={"n": "x" * 70_000})
    with pytest.raises(MediaError, match=r"\.png or \.jpg"):
        frame.write_still(tmp_path / "a.gif", PICTURE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(13, 22, 3), (1, 1, 3), (2000, 3000, 3), (4000, 3, 3)])
def test_the_html_representation_of_a_frame_is_below_100_kb(shape):
    image = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    html = Frame(image=image, origin="actor:<7>", index=3, time_s=0.12)._repr_html_()
    assert len(html) < 100_000
    assert "actor:&lt;7&gt;" in html
    encoded = html.split("base64,")[1].split('"')[0]
    with Pillow.open(BytesIO(base64.b64decode(encoded))) as shown:
        height, width = shape[:2]
        assert abs(shown.height / shown.width - height / width) < 0.05 * height / width or min(shown.size) == 1


def test_the_size_that_a_header_claims_is_read_without_decoding(tmp_path, monkeypatch):
    Pillow.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg", "JPEG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    assert frame.still_size(tmp_path / "a.jpg") == (20, 30)
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(MediaError):
        frame.still_size(tmp_path / "a.png")
