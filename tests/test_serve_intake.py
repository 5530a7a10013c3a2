"""What the demo takes in: every kind of upload that must be refused, by its content and before it is decoded."""

import io
import os
import zlib
from fractions import Fraction
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from faceswap_lab.errors import LabError, MediaError
from faceswap_lab.serve import intake
from faceswap_lab.serve.intake import Upload, label_of, take_in
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.refusals import TooLargeError, status_of
from tests.media import write_video

LIMITS = Limits()


@pytest.fixture
def arrivals(tmp_path: Path) -> Path:
    (tmp_path / "arrivals").mkdir()
    (tmp_path / "visit").mkdir()
    return tmp_path / "arrivals"


def taken(path: Path | str, limits: Limits = LIMITS, name: str = "holiday.jpg") -> Upload:
    within = path.parent if isinstance(path, Path) else Path("/nowhere")
    folder = next(each for each in (within, *within.parents) if (each / "visit").is_dir()) / "visit"
    return take_in(path, name, limits, within=folder.parent / "arrivals", folder=folder)


def picture(path: Path, kind: str = "PNG", size: tuple[int, int] = (48, 32), **options: object) -> Path:
    ramp = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    Pillow.fromarray(ramp).save(path, kind, **options)
    return path


def refused(path: Path | str, limits: Limits = LIMITS, name: str = "holiday.jpg") -> LabError:
    """The error; nothing of the file is left in the visit's folder, and neither places nor stored names are told."""
    with pytest.raises(MediaError) as found:
        taken(path, limits, name)
    text = str(found.value)
    assert "/visit" not in text
    assert not [word for word in text.split() if len(word) == 32 and word.isalnum()]
    if isinstance(path, Path):
        assert list((path.parent.parent / "visit").iterdir()) == []
    return found.value


# --- what is taken ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_picture_is_taken_for_what_it_is_whatever_its_name_says(arrivals: Path, kind: str) -> None:
    upload = taken(picture(arrivals / "video.mp4", kind), name="video.mp4")
    assert (upload.kind, upload.size, upload.label) == ("picture", (32, 48), "video.mp4")
    assert upload.path.read_bytes() == (arrivals / "video.mp4").read_bytes()
    assert upload.path.name.isalnum()
    assert upload.path.stat().st_mode & 0o777 == 0o600


def test_a_clip_is_taken_with_its_length(arrivals: Path) -> None:
    write_video(arrivals / "clip.mp4", num_frames=30)
    (arrivals / "clip.mp4").rename(arrivals / "clip.jpg")
    upload = taken(arrivals / "clip.jpg")
    assert (upload.kind, upload.size, upload.num_frames, round(upload.seconds, 3)) == ("clip", (48, 64), 30, 1.2)


def test_a_rotated_photograph_has_its_size_as_displayed(arrivals: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    assert taken(picture(arrivals / "a.jpg", "JPEG", exif=exif)).size == (48, 32)


# --- what isn't media -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"just text, for a long while", "none of these"),
        (b"\x7fELF" + bytes(500), "none of these"),
        (b"%PDF-1.7\n" + bytes(500), "none of these"),
        (b"PK\x03\x04" + bytes(500), "none of these"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://example.org/a.png'/></svg>", "document"),
        (b"\xef\xbb\xbf \n<!doctype html><script>alert(1)</script>", "document"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://example.org/a.ts\n", "none of these"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "none of these"),
    ],
    ids=["empty", "text", "program", "pdf", "zip", "svg", "html", "playlist", "concat"],
)
def test_what_is_no_medium_is_refused_whatever_its_name_says(arrivals: Path, content: bytes, said: str) -> None:
    (arrivals / "holiday.png").write_bytes(content)
    error = refused(arrivals / "holiday.png")
    assert said in error.got
    assert status_of(error) == 415


def test_an_animated_picture_is_refused(arrivals: Path) -> None:
    frames = [Pillow.fromarray(np.full((32, 32, 3), level, np.uint8)) for level in (0, 128, 255)]
    for kind, suffix in (("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp")):
        frames[0].save(arrivals / f"moving.{suffix}", kind, save_all=True, append_images=frames[1:])
        assert "mp4" in refused(arrivals / f"moving.{suffix}").remedy


def test_sound_alone_is_refused(arrivals: Path) -> None:
    with av.open(str(arrivals / "song.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=44_100)
        for start in range(10):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 44_100, start * 1024, Fraction(1, 44_100)
            output.mux(stream.encode(sound))
        output.mux(stream.encode())
    assert "without a video stream" in refused(arrivals / "song.mp4").got


def test_a_truncated_file_is_refused(arrivals: Path) -> None:
    whole = picture(arrivals / "a.jpg", "JPEG", size=(400, 300)).read_bytes()
    (arrivals / "a.jpg").write_bytes(whole[: len(whole) // 2])
    assert "cannot be decoded" in refused(arrivals / "a.jpg").got
    write_video(arrivals / "a.mp4", num_frames=60)
    whole = (arrivals / "a.mp4").read_bytes()
    (arrivals / "a.mp4").write_bytes(whole[: len(whole) // 2])
    refused(arrivals / "a.mp4")


# --- what is too large ------------------------------------------------------------------------------------------------------


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [5_000, 20_000, 2**31 - 1])
def test_a_picture_bomb_is_refused_by_its_header(arrivals: Path, side: int) -> None:
    (arrivals / "bomb.png").write_bytes(png_claiming(side, side))
    with mock.patch.object(intake, "read_still", side_effect=AssertionError("it was decoded")):
        error = refused(arrivals / "bomb.png")
    assert "pixels" in error.expected


def test_a_large_picture_is_refused_as_too_large(arrivals: Path) -> None:
    error = refused(picture(arrivals / "a.png", size=(101, 100)), Limits(max_pixels=10_000))
    assert isinstance(error, TooLargeError)
    assert status_of(error) == 413
    assert "101 x 100" in error.got
    assert taken(picture(arrivals / "b.png", size=(100, 100)), Limits(max_pixels=10_000)).size == (100, 100)


def test_too_many_bytes_are_refused_and_no_more_of_them_are_read(arrivals: Path) -> None:
    data = picture(arrivals / "a.png").read_bytes()
    assert isinstance(refused(arrivals / "a.png", Limits(max_bytes=len(data) - 1)), TooLargeError)
    assert taken(arrivals / "a.png", Limits(max_bytes=len(data))).num_bytes == len(data)


def test_a_clip_with_too_many_frames_or_seconds_is_refused_before_its_index_is_built(arrivals: Path) -> None:
    write_video(arrivals / "a.mp4", num_frames=30)
    with mock.patch.object(intake, "read_index", side_effect=AssertionError("it was indexed")):
        assert isinstance(refused(arrivals / "a.mp4", Limits(max_frames=29)), TooLargeError)
        assert isinstance(refused(arrivals / "a.mp4", Limits(max_frame_pixels=64 * 48 - 1)), TooLargeError)
    assert isinstance(refused(arrivals / "a.mp4", Limits(max_seconds=1.1)), TooLargeError)
    assert taken(arrivals / "a.mp4", Limits(max_frames=30, max_frame_pixels=64 * 48, max_seconds=1.2)).num_frames == 30


# --- names and places -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("<img src=x onerror=alert(1)>.png", "_img src_x onerror_alert(1)_.png"),
        ("a\u202egnp.exe\n\x00.png", "a_gnp.exe__.png"),
        ("été à Paris.jpg", "été à Paris.jpg"),
        ("", "upload"),
        ("../..", "upload"),
        ("x" * 300 + ".jpeg", "x" * 55 + ".jpeg"),
    ],
)
def test_a_name_is_shown_without_path_and_markup(arrivals: Path, name: str, label: str) -> None:
    assert label_of(name) == label
    upload = taken(picture(arrivals / "a.png"), name=name)
    assert (upload.label, upload.path.parent) == (label, arrivals.parent / "visit")


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/a.png", "https://example.org/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA", " FTP:x"],
)
def test_an_address_is_refused_and_nothing_is_fetched(arrivals: Path, address: str) -> None:
    with pytest.raises(MediaError, match="none is fetched"):
        take_in(address, "a.png", LIMITS, within=arrivals, folder=arrivals.parent / "visit")


def test_a_file_outside_the_uploads_is_refused_also_through_a_link(arrivals: Path) -> None:
    private = picture(arrivals.parent / "private.png")
    (arrivals / "link.png").symlink_to(private)
    (arrivals / "folder").symlink_to(arrivals.parent)
    os.mkfifo(arrivals / "pipe.png")
    beside = [private, arrivals / ".." / "private.png", arrivals / "link.png", arrivals / "folder" / "private.png"]
    for path in (*beside, arrivals, arrivals / "missing.png", arrivals / "pipe.png", arrivals / ("x" * 5000)):
        with pytest.raises(MediaError, match=r"among the uploads|an uploaded file"):
            take_in(path, "a.png", LIMITS, within=arrivals, folder=arrivals.parent / "visit")
    assert list((arrivals.parent / "visit").iterdir()) == []


def test_a_link_inside_the_uploads_is_refused_as_well(arrivals: Path) -> None:
    picture(arrivals / "somebody-elses.png")
    (arrivals / "mine.png").symlink_to(arrivals / "somebody-elses.png")
    refused(arrivals / "mine.png")


def test_limits_are_checked() -> None:
    for wrong in ({"max_bytes": 0}, {"keep_s": -1}, {"max_seconds": float("nan")}, {"max_pixels": 10**9}, {"max_waiting": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Limits(max_bytes="50 MB")  # type: ignore[arg-type]
    assert Limits(max_waiting=0).max_waiting == 0


def test_a_picture_within_a_picture_file_counts_as_the_picture(arrivals: Path) -> None:
    """HTML after a JPEG's end is a document to a browser that guesses; here it stays a picture."""
    buffer = io.BytesIO()
    Pillow.fromarray(np.zeros((32, 32, 3), np.uint8)).save(buffer, "JPEG")
    (arrivals / "both.html").write_bytes(buffer.getvalue() + b"<script>alert(1)</script>")
    assert taken(arrivals / "both.html", name="both.html").kind == "picture"
