"""Files as users bring them: each case is a public bug report of this field, made small, with the right answer.

`data/heic_grid.heic` is a rendered actor as four HEVC tiles and one grid item, as phones write photographs.
"""

import base64
import shlex
import shutil
import struct
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from faceswap_lab.errors import MediaError
from faceswap_lab.faces import frame, remedies
from faceswap_lab.faces.face import Faces
from tests.media import number_of, open_clip, write_video

DATA = Path(__file__).parent / "data"
FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
COLOURS = np.kron(
    np.array([[[200, 30, 40], [20, 180, 60]], [[40, 50, 190], [120, 120, 120]]], np.uint8), np.ones((48, 64, 1), np.uint8)
)
# "Display P3", 484 bytes (Compact ICC Profiles, CC0).
P3 = base64.b64decode(
    "AAAB5GxjbXMCQAAAbW50clJHQiBYWVogB+QAAQABAAAAAAAAYWNzcAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPbWAAEAAAAA0y0AAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAJZGVzYwAAAPAAAABoY3BydAAAAVgAAAAMd3RwdAAAAWQAAAAUclhZWgAAAXgAAAAU"
    "Z1hZWgAAAYwAAAAUYlhZWgAAAaAAAAAUclRSQwAAAbQAAAAQZ1RSQwAAAcQAAAAQYlRSQwAAAdQAAAAQZGVzYwAAAAAAAAALRGlzcGxheSBQMwAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB0ZXh0AAAAAGNjMABYWVog"
    "AAAAAAAA9tYAAQAAAADTLVhZWiAAAAAAAACD3wAAPb////+7WFlaIAAAAAAAAEq/AACxNwAACrlYWVogAAAAAAAAKDgAABELAADIuWN1cnYAAAAAAAAAAQIz"
    "AABjdXJ2AAAAAAAAAAECMwAAY3VydgAAAAAAAAABAjMAAA=="
)


def refusal(path: Path) -> MediaError:
    with pytest.raises(MediaError) as caught:
        len(open_clip(path))
    return caught.value


# --- stills -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "renamed.jpg", "renamed.mp4"])
def test_a_tile_of_a_phone_photograph_is_never_taken_for_it(tmp_path: Path, name: str) -> None:
    shutil.copy(DATA / "heic_grid.heic", tmp_path / name)
    error = refusal(tmp_path / name)
    assert "HEIC" in error.got
    assert "JPEG" in error.remedy


@pytest.mark.parametrize(
    ("form", "name"), [("PNG", "a.jpg"), ("WEBP", "a.jpg"), ("JPEG", "a.jfif"), ("JPEG", "a.jpe"), ("AVIF", "a.jpg")]
)
def test_a_still_is_read_by_its_content(tmp_path: Path, form: str, name: str) -> None:
    Pillow.fromarray(COLOURS).save(tmp_path / name, form, quality=95)
    assert np.abs(open_clip(tmp_path / name)[0].image.astype(int) - COLOURS)[8:-8, 8:-8].mean() < 3


def test_an_avif_is_converted_by_its_profile_as_a_png_is(tmp_path: Path) -> None:
    for name in ("a.png", "a.avif"):
        Pillow.fromarray(COLOURS).save(tmp_path / name, icc_profile=P3, quality=100)
    png, avif = (frame.read_still(tmp_path / name).astype(int) for name in ("a.png", "a.avif"))
    assert np.abs(png - COLOURS).max() > 15, "the profile makes a difference"
    assert np.abs(png - avif)[8:40, 8:56].mean() < 2


def test_an_avif_whose_colours_only_its_box_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    Pillow.fromarray(COLOURS).save(path, quality=90)
    data = path.read_bytes()
    at = data.index(b"colrnclx") + 8
    for primaries, transfer, words in ((12, 13, "primaries 12"), (9, 16, "transfer 16")):
        path.write_bytes(data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :])
        assert words in refusal(path).got


def broken_profiles() -> Iterator[tuple[str, bytes]]:
    yield "truncated", P3[:200]
    yield "garbage", b"garbage" * 40
    yield "zeros", bytes(128)
    yield "of another kind of picture", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(("what", "profile"), list(broken_profiles()))
def test_a_whole_picture_with_a_profile_that_cannot_be_used_is_read_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str, profile: bytes
) -> None:
    Pillow.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=profile)
    assert (frame.read_still(tmp_path / "a.png") == COLOURS).all()
    assert "a.png: its colour profile cannot be used" in caplog.text


def test_an_animation_is_refused_in_words(tmp_path: Path) -> None:
    pictures = [Pillow.fromarray(COLOURS), Pillow.fromarray(255 - COLOURS)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    error = refusal(tmp_path / "a.gif")
    assert "GIF" in error.got
    assert ".mp4" in error.remedy


# --- clips ------------------------------------------------------------------------------------------------------------------


def with_display_matrix(path: Path, *values: int) -> None:
    """Overwrites a, b, c, d of the video track's display matrix (16.16) in place."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, at, *(value * 65536 for value in (*values[:2], 0, *values[2:], 0, 0, 0)), 1 << 30)
    path.write_bytes(bytes(data))


# The oracle: where ISO 14496-12 sends the picture's right and its lower edge.
MATRICES = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): lambda image: np.rot90(image),
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: np.rot90(image, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_a_clip_is_shown_as_its_display_matrix_says(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    write_video(tmp_path / "a.mp4", num_frames=3, codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"})
    plain = open_clip(tmp_path / "a.mp4")[2].image
    with_display_matrix(tmp_path / "a.mp4", *matrix)
    assert (open_clip(tmp_path / "a.mp4")[2].image == MATRICES[matrix](plain)).all()


def test_a_skewed_display_matrix_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=3)
    with_display_matrix(tmp_path / "a.mp4", 1, 1, -1, 1)
    assert "display matrix" in refusal(tmp_path / "a.mp4").got


@FFMPEG
@pytest.mark.parametrize("start_s", [0.3, 0.7, 1.7])
def test_a_stretch_that_was_copied_out_keeps_every_frame_that_a_player_shows(tmp_path: Path, start_s: float) -> None:
    write_video(tmp_path / "whole.mp4", num_frames=100, sound_s=4)
    command = ["ffmpeg", "-v", "error", "-ss", str(start_s), "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "part.mp4"]
    subprocess.run(command, check=True)
    whole = [number_of(each.image) for each in open_clip(tmp_path / "whole.mp4").frames()]
    part = [number_of(each.image) for each in open_clip(tmp_path / "part.mp4").frames()]
    first = round(start_s * 25)
    assert part[0] in (first, first + 1)
    assert part == whole[part[0] :]
    again = open_clip(tmp_path / "part.mp4")
    assert [number_of(again[number].image) for number in (len(part) - 1, 0, len(part) // 2)] == [
        part[-1],
        part[0],
        part[len(part) // 2],
    ]


def edit_ends_after(path: Path, seconds: float) -> None:
    """Shortens the one entry of the video track's edit list, in place."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4 + 8
    scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 4 + 12)[0]
    struct.pack_into(">I", data, at, round(seconds * scale))
    path.write_bytes(bytes(data))


def test_an_edit_list_that_ends_early_is_no_damage(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=50)
    edit_ends_after(tmp_path / "a.mp4", 1.0)
    assert [number_of(each.image) for each in open_clip(tmp_path / "a.mp4").frames()] == list(range(25))


def test_a_file_that_breaks_off_is_still_found_with_such_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=50, options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.5)])
    assert "intact video file" in refusal(path).expected


def test_a_file_without_its_index_gets_no_advice_that_cannot_work(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=50)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: data.index(b"moov") - 8])
    error = refusal(tmp_path / "b.mp4")
    assert "Errno" not in str(error)
    assert "ffmpeg" not in error.remedy


# --- remedies ---------------------------------------------------------------------------------------------------------------


def pasted(command: str, folder: Path) -> None:
    """Runs a remedy as a user does who stands in any folder."""
    subprocess.run(command.replace("ffmpeg", "ffmpeg -v error -nostdin", 1), shell=True, check=True, cwd=folder)


@FFMPEG
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"pix_fmt": "yuv420p10le"},
        {"tags": {"color_trc": 16, "color_primaries": 9, "colorspace": 9}},
        {"sample_aspect": Fraction(64, 45)},
        {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}},
        {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}, "sample_aspect": Fraction(64, 45), "sound_s": 0.4},
        {"codec": "qtrle", "pix_fmt": "argb", "options": {}, "sound_s": 0.4, "sound_codec": "pcm_s16le"},
    ],
    ids=["10 bits", "HDR", "aspect", "fields", "fields and aspect", "alpha, PCM"],
)
def test_every_remedy_for_a_clip_works_when_pasted(tmp_path: Path, options: dict) -> None:
    name = 'it\'s "my" clip; $HOME.mov'
    write_video(tmp_path / name, num_frames=10, **options)
    error = refusal(tmp_path / name)
    pasted(error.remedy.removeprefix("run "), DATA)
    clip = open_clip(remedies.beside(tmp_path / name, "readable", ".mp4"))
    assert len(clip) == 10
    height, width = clip.size
    assert width == pytest.approx(64 * float(options.get("sample_aspect", 1)), abs=2)
    assert height == 48
    assert clip.has_audio == ("sound_s" in options)


@FFMPEG
@pytest.mark.slow
def test_the_remedy_for_a_deep_still_works_when_pasted(tmp_path: Path) -> None:
    path = tmp_path / "- a 'deep' one.png"
    Pillow.fromarray(COLOURS[..., 0].astype(np.uint16) * 257).save(path)
    error = refusal(path)
    pasted(error.remedy.removeprefix("convert it: "), DATA)
    assert np.abs(open_clip(remedies.beside(path, "8bit", ".png"))[0].image[..., 0].astype(int) - COLOURS[..., 0]).max() <= 1


@FFMPEG
@pytest.mark.slow
def test_the_remedy_for_an_odd_width_works(tmp_path: Path) -> None:
    source = tmp_path / "odd 853.mkv"
    make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=853x480:d=0.2,format=yuv420p10le", "-c:v", "ffv1", source]
    subprocess.run(make, check=True)
    pasted(refusal(source).remedy.removeprefix("run "), DATA)
    assert open_clip(remedies.beside(source, "readable", ".mp4")).size == (480, 852)


def test_remedies_quote_and_never_name_the_file_itself(tmp_path: Path) -> None:
    for name in ("a b.mp4", "-rf.mp4", "x:y.mp4", "'.mp4"):
        for command in (remedies.to_mp4(Path(name)), remedies.sound_to_aac(Path(name))):
            words = shlex.split(command)
            assert words[words.index("-i") + 1] == f"./{name}"
            assert words[-1] != f"./{name}"


# --- faces as a sequence ----------------------------------------------------------------------------------------------------


def three_faces() -> Faces:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 40, 20], [50, 0, 55, 5]], np.float32)
    return Faces(
        frame_index=np.arange(3),
        boxes=boxes,
        keypoints=np.zeros((3, 5, 2), np.float32),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
    )


def test_faces_end_when_iterated() -> None:
    faces = three_faces()
    assert [int(face.frame_index[0]) for face in faces] == [0, 1, 2]
    assert all(len(face) == 1 for face in faces)
    assert list(Faces.none()) == []


def test_a_face_that_is_not_there_is_an_index_error() -> None:
    faces = three_faces()
    for number in (3, 7, -4):
        with pytest.raises(IndexError, match=f"face {number} of 3"):
            faces[number]
    with pytest.raises(IndexError):
        faces[:1][1]


def test_faces_take_numpy_numbers_and_count_from_the_end() -> None:
    faces = three_faces()
    assert faces[np.argmax(faces.boxes[:, 2])].frame_index.tolist() == [2]
    assert faces[-1].frame_index.tolist() == faces[np.int64(-1)].frame_index.tolist() == [2]
    assert faces[np.array([2, 0])].frame_index.tolist() == [2, 0]
    assert faces[faces.scores > 0.75].frame_index.tolist() == [0, 1]
    assert len(faces[1:]) == 2
