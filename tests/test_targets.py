"""Targets as people bring them: without a face, with several, lying, upside down, cut by the border, and only a part of a clip."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import FaceError
from faceswap_lab.faces import remedies, video
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import largest
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import ColourTags, Frame, Image, read_still, write_still
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.stream.probes import turn_to_upright
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs.people import admit
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.swap import swap
from tests.media import open_clip, sound_packets, tags_of, write_tracks, write_video

pytestmark = [pytest.mark.weights, pytest.mark.slow]

HERO = Actor(7)
RECIPE = SwapRecipe(num_source_frames=1)
MEADOW = np.full((240, 320, 3), (90, 120, 60), np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESWAP_LAB_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def faces() -> list[Image]:
    """Two people, from the front."""
    return [next(iter(Actor(seed).perform("still", seconds=0.04, size=240, seed=1).frames())).image for seed in (21, 32)]


def brought(folder: Path, image: Image, name: str = "a.png") -> Clip:
    write_still(folder / name, image)
    return admit(folder / name, who="synthetic:somebody", basis="synthetic: actors drawn here", uses=["anonymise"])


def changed(run: Run, before: Image) -> np.ndarray:
    return np.abs(run.footage()[0].image.astype(int) - before).max(2) > 0


@pytest.mark.parametrize("name", ["meadow.png", "meadow.mp4"])
def test_no_face_in_any_frame_is_an_error_and_nothing_is_kept(root: Path, tmp_path: Path, name: str) -> None:
    if name.endswith("mp4"):
        frames = [Frame(image=MEADOW, origin="x", index=n, time_s=n / 25) for n in range(6)]
        video.encode(tmp_path / name, frames, fps=25)
        clip = admit(tmp_path / name, who="nobody", basis="public domain (made here)", uses=["anonymise"])
    else:
        clip = brought(tmp_path, MEADOW, name)
    for _ in range(2):
        with pytest.raises(FaceError, match=f"a face in {name}.*none in any of its {len(clip)} frames.*at least 20 pixels"):
            swap(clip, source=HERO, swapper="warp", recipe=RECIPE, device="cpu")
    runs = [run for run in Run.find(finished=False) if clip.origin in run.inputs["target"]]
    assert len(runs) == 1, "the same call takes the same run up again"
    assert not list((runs[0].path / "artifacts").rglob("*"))
    output = tmp_path / "out.png"
    arguments = ["swap", "--source", "actor:7", "--target", str(clip.path), "-o", str(output)]
    assert command_line.main(arguments) == 1
    assert not output.exists()


@pytest.mark.parametrize(("turn", "filters"), [(90, "transpose=clock"), (180, "hflip,vflip"), (270, "transpose=cclock")])
def test_a_turned_picture_is_told_how_to_turn_it(root: Path, tmp_path: Path, faces: list[Image], turn: int, filters: str) -> None:
    image = np.full((240, 240, 3), 128, np.uint8)
    image[100:160, 100:160] = cv2.resize(faces[1], (60, 60), interpolation=cv2.INTER_AREA)
    clip = brought(tmp_path, np.ascontiguousarray(np.rot90(image, turn // 90)))
    assert turn_to_upright(clip, OfflineEngine()) == turn
    with pytest.raises(FaceError) as caught:
        swap(clip, source=HERO, swapper="warp", recipe=RECIPE, device="cpu")
    assert f"turned by {turn} degrees clockwise" in caught.value.remedy
    assert f"-vf {filters}" in caught.value.remedy
    command = remedies.turned(clip.path, turn)
    assert f"({command})" in caught.value.remedy
    if shutil.which("ffmpeg"):
        subprocess.run(command, shell=True, check=True, capture_output=True)
        assert len(OfflineEngine().detect(Frame(image=read_still(clip.path.with_name("a-turned.png")), origin="turned"))) == 1
    upright = brought(tmp_path, np.ascontiguousarray(np.rot90(clip[0].image, -turn // 90)), "b.png")
    assert len(OfflineEngine().detect(upright[0])) == 1
    assert turn_to_upright(upright, OfflineEngine()) is None


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_large_face_that_lies_is_found_and_said_to_lie(
    root: Path, tmp_path: Path, faces: list[Image], turn: int, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = brought(tmp_path, np.ascontiguousarray(np.rot90(faces[0], turn // 90)))
    run = swap(clip, source=HERO, swapper="warp", recipe=RECIPE, device="cpu")
    assert run.summary["turn_to_upright"] == turn
    assert f"turned by {turn} degrees clockwise" in capsys.readouterr().err


def test_a_hand_puts_a_face_where_none_is_found(root: Path, tmp_path: Path, faces: list[Image]) -> None:
    image = np.full((240, 240, 3), 128, np.uint8)
    image[100:160, 100:160] = cv2.resize(faces[0], (60, 60), interpolation=cv2.INTER_AREA)
    found = largest(OfflineEngine().detect(Frame(image=image, origin="x"))).keypoints[0]
    lying = np.ascontiguousarray(np.rot90(image, 2))
    clip = brought(tmp_path, lying)
    points = (239 - found).astype(np.float32)
    corrections = Corrections().with_points(clip.origin, 0, points)
    run = swap(clip, source=HERO, swapper="warp", corrections=corrections, recipe=RECIPE, device="cpu")
    assert (run.summary["num_faces"], run.summary["num_frames_without_face"]) == (1, 0)
    where = np.argwhere(changed(run, lying))
    assert np.abs(where.mean(0)[::-1] - points.mean(0)).max() < 30


def test_several_faces(root: Path, tmp_path: Path, faces: list[Image], capsys: pytest.CaptureFixture[str]) -> None:
    image = _side_by_side(faces)
    clip = brought(tmp_path, image)
    one = swap(clip, source=HERO, swapper="warp", recipe=RECIPE, device="cpu")
    assert (one.summary["num_faces"], one.summary["num_faces_left"]) == (1, 1)
    assert "1 faces other than the largest are unchanged" in capsys.readouterr().err
    both = SwapRecipe(num_source_frames=1, stream=StreamConfig(select="all"))
    two = swap(clip, source=HERO, swapper="warp", recipe=both, device="cpu")
    assert (two.summary["num_faces"], two.summary["num_faces_left"]) == (2, 0)
    halves = [[changed(run, image)[:, :240].any(), changed(run, image)[:, 240:].any()] for run in (one, two)]
    assert halves == [[True, False], [True, True]]


def _side_by_side(faces: list[Image]) -> Image:
    """The second at three quarters of its size: which is the largest is then no matter of luck."""
    small = cv2.resize(faces[1], (180, 180), interpolation=cv2.INTER_AREA)
    image = np.full((240, 480, 3), 128, np.uint8)
    image[:, :240], image[30:210, 270:450] = faces[0], small
    return image


@pytest.mark.parametrize(("dx", "dy"), [(-70, 0), (70, 0), (0, -60), (0, 60), (-50, -40)])
def test_faces_cut_by_the_border(root: Path, tmp_path: Path, faces: list[Image], dx: int, dy: int) -> None:
    image = np.full((240, 240, 3), 128, np.uint8)
    into = (slice(max(dy, 0), 240 + min(dy, 0)), slice(max(dx, 0), 240 + min(dx, 0)))
    out_of = (slice(max(-dy, 0), 240 - max(dy, 0)), slice(max(-dx, 0), 240 - max(dx, 0)))
    image[into] = faces[0][out_of]
    clip = brought(tmp_path, image)
    whole = largest(OfflineEngine().detect(Frame(image=faces[0], origin="x")))
    points = whole.keypoints[0] + (dx, dy)
    corrections = Corrections().with_points(clip.origin, 0, points.astype(np.float32))
    box = whole.boxes[0] + (dx, dy, dx, dy)
    assert (box[:2] < 0).any() or (box[2:] > 240).any(), "the box leaves the picture"
    run = swap(clip, source=HERO, swapper="warp", corrections=corrections, recipe=RECIPE, device="cpu")
    assert run.summary["num_faces"] == 1
    mask = changed(run, image)
    assert mask.sum() > 300
    margin = 0.35 * (box[2:] - box[:2])
    rows, columns = np.mgrid[:240, :240]
    near = (
        (columns > box[0] - margin[0]) & (columns < box[2] + margin[0]) & (rows > box[1] - margin[1]) & (rows < box[3] + margin[1])
    )
    assert not mask[~near].any(), "what is not the face keeps its bits"


# --- a part of a clip, with sound in two languages and colours of its own -----------------------------------------------------

TAGS = ColourTags(primaries="smpte170m", transfer="smpte170m", matrix="smpte170m", range="pc")


@pytest.fixture(scope="module")
def film(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("film")
    take = Actor(21).perform("speech", seconds=0.8, size=160, seed=3)
    video.encode(folder / "pictures.mp4", take.frames(), fps=25, colour=TAGS)
    write_video(folder / "sound.mp4", num_frames=5, sound_s=0.8)
    tracks = [(folder / "sound.mp4", {"language": language, "title": language.upper()}) for language in ("deu", "fra")]
    write_tracks(folder / "film.mp4", folder / "pictures.mp4", tracks)
    return admit(folder / "film.mp4", who="synthetic:double", basis="synthetic: an actor filmed here", uses=["anonymise"])


def test_an_excerpt_is_swapped_and_leaves_with_its_sound_and_colours(film: Clip, tmp_path: Path) -> None:
    part = film.cut(5, 15)
    run = swap(part, source=HERO, swapper="warp", recipe=RECIPE, device="cpu")
    shown = run.footage()
    for number, frame in enumerate(shown.frames()):
        differs = np.abs(frame.image.astype(int) - film[5 + number].image).max(2) > 0
        assert differs.any()
        assert not differs[:6].any()
    out = run.export(tmp_path / "part.mp4")
    assert read_mark(out)
    left = open_clip(out)
    np.testing.assert_allclose(left.times_s, np.arange(10) / 25, atol=1e-6)
    assert film[0].colour == left[0].colour == TAGS
    assert tags_of(out) == [("aac", "deu", None), ("aac", "fra", None)], "titles stay behind"
    for track in (0, 1):
        place = {content: when for when, content in sound_packets(film.path, track)}
        copied = sound_packets(out, track)
        assert [float(place[content] - when) for when, content in copied] == pytest.approx([0.2] * len(copied), abs=0.0015)
        assert 0.4 <= float(copied[-1][0] - copied[0][0]) + 1024 / 44_100 < 0.4 + 3 * 1024 / 44_100
    borders = [np.abs(frame.image[:6].astype(int) - film[5 + n].image[:6]).mean() for n, frame in enumerate(left.frames())]
    assert max(borders) < 3, "what was not swapped looks as it did, by its own tags"


def test_the_command_line_cuts(film: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "part.mp4"
    words = ["swap", "--source", "actor:7", "--target", str(film.path), "-o", str(out), "--json"]
    assert command_line.main([*words, "--start", "0.28", "--stop", "frame:12"]) == 0
    assert '"num_frames": 5' in capsys.readouterr().out
    assert len(open_clip(out)) == 5
    for wrong in (["--start", "soon"], ["--stop", "frame:x"], ["--start", "9"], ["--start", "-1"]):
        assert command_line.main([*words[:-1], *wrong]) == 2
    assert command_line.main(["swap", "--source", "actor:7", "--target", "actor:21", "--start", "1"]) == 2
