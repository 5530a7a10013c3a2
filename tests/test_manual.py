"""Manual corrections in the swap: whom they mean, what they move, and that the run keeps them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.errors import RunError
from faceswap_lab.faces.corrections import Corrected, Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.stream.manual import fitted, keypoints_of
from faceswap_lab.models.stream.probes import source_of
from faceswap_lab.models.stream.swap_frames import StreamConfig, swap_frames
from faceswap_lab.models.swappers.warp import WarpSwapper
from faceswap_lab.verbs.evaluate.judge import Judge
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.result import CORRECTIONS, SwapRun
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.views.align import AlignView

CPU = torch.device("cpu")
SIZE = 200


class Pair:
    """Two people side by side, the second at 60 %: `largest` is the first; the detector is surer of the second."""

    origin, subject, fps, size = "test:pair", "actor:21", 25.0, (SIZE, 2 * SIZE)

    def __init__(self, count: int = 1) -> None:
        image = np.full((SIZE, 2 * SIZE, 3), 110, np.uint8)
        image[:, :SIZE] = Actor(21).perform("still", seconds=0.04, size=SIZE, seed=1)[0].image
        image[40:160, SIZE + 40 : SIZE + 160] = Actor(32).perform("still", seconds=0.04, size=120, seed=1)[0].image
        self._images = [image] * count

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Frame:
        return Frame(image=self._images[index], origin=self.origin, index=index, time_s=index / self.fps)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        yield from (self[index] for index in range(len(self))[start:stop])


class Surer(OfflineEngine):
    """Lists the face on the right first, as if it were surer of it."""

    def detect(self, frame: Frame) -> Faces:
        found = super().detect(frame)
        return found[np.argsort(-found.boxes[:, 0])]


@pytest.fixture(scope="module")
def engine() -> Surer:
    return Surer()


@pytest.fixture(scope="module")
def codes(engine: Surer) -> Any:
    return WarpSwapper().encode([source_of(Actor(7).perform("still", seconds=0.04, size=160), engine)])


def swapped(footage: Pair, engine: Surer, codes: Any, corrections: Corrections, **config: Any) -> list[np.ndarray]:
    """Where each frame was changed."""
    frames = swap_frames(
        footage,
        engine=engine,
        swapper=WarpSwapper(),
        codes=codes,
        config=StreamConfig(**config),
        device=CPU,
        corrections=corrections,
    )
    return [np.abs(each.frame.image.astype(int) - footage[0].image).max(2) > 0 for each in frames]


def centre(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(0)[::-1]


@pytest.mark.slow
@pytest.mark.parametrize("point_set", [68, 106, 468])
def test_the_five_keypoints_are_found_in_every_point_set(point_set: Any) -> None:
    rendered = Actor(21).perform("still", size=256).rendered(0)
    points = rendered.points(point_set).xy
    apart = np.linalg.norm(rendered.keypoints5[0] - rendered.keypoints5[1])
    assert np.linalg.norm(keypoints_of(points) - rendered.keypoints5, axis=1).max() < 0.12 * apart
    with pytest.raises(ValueError, match="68, 106 and 468"):
        keypoints_of(points[:-1])


def test_landmarks_are_bent_to_the_moved_points_only() -> None:
    draw = np.random.default_rng(0)
    points = draw.uniform(0, 100, (468, 2)).astype(np.float32)
    five = keypoints_of(points)

    def bent(keypoints: np.ndarray, moved: list[bool]) -> np.ndarray:
        faces = Faces(
            frame_index=np.zeros(1, np.int64),
            boxes=np.array([[0, 0, 100, 100]], np.float32),
            keypoints=keypoints[None].astype(np.float32),
            scores=np.ones(1, np.float32),
        )
        dense = Faces(
            **{name: getattr(faces, name) for name in ("frame_index", "boxes", "keypoints", "scores")},
            landmarks=points[None],
            point_set=468,
        )
        answer = fitted(dense, Corrected(faces=faces, row=0, moved=np.array(moved))).landmarks
        assert answer is not None
        return answer[0]

    np.testing.assert_array_equal(bent(five + 9, [False] * 5), points)
    np.testing.assert_allclose(bent(five + 9, [True] * 5), points + 9, atol=1e-3)
    nose = np.array([[0, 0], [0, 0], [15, 0], [0, 0], [0, 0]])
    one = bent(five + nose, [False, False, True, False, False])
    np.testing.assert_allclose(keypoints_of(one)[2], five[2] + (15, 0), atol=1e-2)
    shifts = one - points
    assert shifts[:, 0].min() > -1e-3
    assert shifts[:, 0].max() < 15.01


@pytest.mark.slow
@pytest.mark.weights
def test_the_view_shows_the_face_that_is_swapped_before_and_after_a_correction(engine: Surer, codes: Any) -> None:
    footage = Pair()
    view = AlignView(footage, engine.detect)
    view._repr_mimebundle_()
    (before,) = swapped(footage, engine, codes, Corrections())
    assert before[:, :SIZE].any()
    assert not before[:, SIZE:].any()
    assert np.array(view.points)[:, 0].max() < SIZE, "the align view shows the face on the left too"
    view.move(2, *(np.array(view.points[2]) + 3))
    (nudged,) = swapped(footage, engine, codes, view.corrections)
    assert not nudged[:, SIZE:].any(), "moving a point of the face on the left does not move the swap to the right"
    other = engine.detect(footage[0])[0].keypoints[0]
    for point, (x, y) in enumerate(other + 1):
        view.move(point, float(x), float(y))
    (after,) = swapped(footage, engine, codes, view.corrections)
    assert not after[:, :SIZE].any()
    assert after[:, SIZE:].any(), "who was pointed at is swapped"


@pytest.mark.slow
@pytest.mark.weights
def test_warp_goes_where_the_points_were_put(engine: Surer, codes: Any) -> None:
    footage = Pair()
    found = engine.detect(footage[0])[1].keypoints[0]
    (as_found,) = swapped(footage, engine, codes, Corrections())
    for shift in ((15, 0), (0, -15)):
        (moved,) = swapped(footage, engine, codes, Corrections().with_points(footage.origin, 0, found + np.float32(shift)))
        # The mesh's own keypoints differ from the detector's, so the face moves by about as much.
        assert np.linalg.norm(centre(moved) - centre(as_found) - shift) < 6
        assert (moved != as_found).sum() > 0.15 * as_found.sum()


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("corrected", [0, 1])
def test_a_correction_is_tracked_until_the_next_detection(engine: Surer, codes: Any, corrected: int) -> None:
    footage = Pair(6)
    other = engine.detect(footage[0])[0].keypoints[0]
    corrections = Corrections().with_points(footage.origin, corrected, other + 1)
    sides = [bool(mask[:, SIZE:].any()) for mask in swapped(footage, engine, codes, corrections, every=3)]
    # Who is pointed at in the first frame is who is followed.
    assert sides == ([True] * 6 if corrected == 0 else [False, True, True, False, False, False])


@pytest.mark.slow
@pytest.mark.weights
def test_an_evaluation_looks_at_the_face_that_was_corrected(engine: Surer) -> None:
    footage = Pair()
    left, right = sorted(engine.detect(footage[0]).keypoints, key=lambda points: points[:, 0].mean())

    def judged(points: np.ndarray | None) -> float:
        corrections = Corrections() if points is None else Corrections().with_points(footage.origin, 0, points)
        judge = Judge(
            engine=engine,
            source_gallery=np.zeros((1, 1)),
            target_gallery=np.zeros((1, 1)),
            corrections=corrections,
            origin="test:pair",
        )
        face = judge.face(footage[0], 0)
        return float(face.keypoints[0, :, 0].mean()) if len(face) else -1.0

    assert judged(None) == judged(left + 2) == pytest.approx(left[:, 0].mean())
    assert judged(right + 2) == pytest.approx(right[:, 0].mean()), "by the detector's points, not the corrected ones"
    assert judged(np.zeros((5, 2), np.float32) + np.arange(5)[:, None]) == -1.0, "nobody was detected there"


# --- in the run ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def take() -> Take:
    return Actor(21).perform("still", seconds=0.08, size=128)


@pytest.mark.slow
@pytest.mark.weights
def test_a_run_keeps_the_corrections_that_it_was_given(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    points = take.rendered(0).keypoints5 + 4
    given = Corrections().with_points(take.origin, 0, points)
    recipe = SwapRecipe(num_source_frames=1)
    run = swap(take, source=Actor(7), corrections=given, recipe=recipe, device="cpu")
    kept = SwapRun.open(run.id).corrections()
    assert kept == given
    assert run.summary["num_frames_corrected"] == 1
    assert CORRECTIONS in run.record.artifacts
    view = AlignView(take, OfflineEngine().detect, corrections=kept)
    view._repr_mimebundle_()
    np.testing.assert_allclose(view.points, points)
    assert view.corrected == [0]
    again = swap(take, source=Actor(7), corrections=kept, recipe=recipe, device="cpu", force=True)
    assert (again.key, again.id == run.id) == (run.key, False)
    assert again.record.artifacts[CORRECTIONS] == run.record.artifacts[CORRECTIONS]
    for one, two in zip(run.footage().frames(), again.footage().frames(), strict=True):
        np.testing.assert_array_equal(one.image, two.image)
    arguments = ["swap", "--source", "actor:7", "--target", "actor:21", "--corrections", run.id, "--preview", "1", "--json"]
    assert command_line.main(arguments) == 0
    assert "none of the 1 corrections is of this footage" in capsys.readouterr().err
    run.artifact(CORRECTIONS).unlink()
    with pytest.raises(RunError, match="only their digest"):
        run.corrections()


@pytest.mark.slow
@pytest.mark.weights
def test_a_swap_without_corrections_has_none(take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    run = swap(take, source=Actor(7), recipe=SwapRecipe(num_source_frames=1), device="cpu")
    assert run.corrections() == Corrections()
    assert not run.has(CORRECTIONS)
    assert command_line.main(["swap", "--source", "actor:7", "--target", "actor:21", "--corrections", "nothing"]) == 2
