"""Actors: determined by seed, adult, and rendered with correct ground truth."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.head.headpack import EYE_LEFT, EYE_RIGHT, load_headpack
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.performance.acting import PROFILE_YAW
from faceswap_lab.actors.performance.performance import KINDS, Performance
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.person.traits import _MEAN_CHANGES, OLDEST, YOUNG_ADULT, sample_traits
from faceswap_lab.actors.render.render import pose, render
from faceswap_lab.faces.footage import Footage

pytestmark = pytest.mark.slow

SIZE = 128


def take(actor: int = 7, kind: str = "range", seed: int = 3, **more: float) -> Take:
    return Actor(actor).perform(kind, seed=seed, size=SIZE, **more)


# --- identity ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_outside_the_range_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        Actor(seed)
    with pytest.raises(ValueError, match="seed"):
        Actor(1).perform("speech", seed=seed)


def test_every_actor_is_an_adult_within_bounds() -> None:
    people = [sample_traits(seed) for seed in range(500)]
    assert all(YOUNG_ADULT <= person.age <= OLDEST for person in people)
    assert YOUNG_ADULT >= 2 / 3, "anny's young adult anchor; smaller values are children"
    assert all(max(map(abs, person.local_changes.values())) < 1.1 for person in people)
    assert 0.4 < np.mean([person.is_male for person in people]) < 0.6


def test_mean_changes_name_existing_local_changes() -> None:
    names = {str(name).removeprefix("l-") for name in load_headpack().local_names}
    assert set(_MEAN_CHANGES[True]) | set(_MEAN_CHANGES[False]) <= names


def test_different_seeds_are_different_shapes() -> None:
    one, two = (build_figure(seed, texture_rows(SIZE)).points for seed in (7, 21))
    assert float((one - two).norm(dim=1).median()) > 1e-3


# --- performances --------------------------------------------------------------------------------------------------------------


def test_an_unknown_performance_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="speech, range, still"):
        Actor(1).perform("dance")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), start=st.floats(0, 60))
def test_speech_is_continuous_and_keeps_its_light(seed: int, start: float) -> None:
    performance = Performance(kind="speech", seed=seed)
    before, after = performance.view(0, start), performance.view(0, start + 0.001)
    for name in set(before.actions) | set(after.actions):
        assert abs(before.actions.get(name, 0.0) - after.actions.get(name, 0.0)) < 0.03, name
    assert max(abs(before.yaw - after.yaw), abs(before.pitch - after.pitch), abs(before.roll - after.roll)) < 0.002
    assert (before.light, before.background_seed) == (after.light, after.background_seed)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), index=st.integers(0, 5000), kind=st.sampled_from(KINDS))
def test_views_hold_known_actions_within_range(seed: int, index: int, kind: str) -> None:
    view = Performance(kind=kind, seed=seed).view(index, index / 25)
    names = set(load_rig().action_names)
    assert set(view.actions) <= names
    assert all(0 <= value <= 1 for value in view.actions.values())
    assert abs(view.yaw) <= (PROFILE_YAW if kind == "turn" else 1.0)


def test_speech_moves_the_mouth_and_blinks() -> None:
    views = [Performance(kind="speech", seed=0).view(i, i / 25) for i in range(250)]
    jaw = np.array([view.actions.get("jawOpen", 0.0) for view in views])
    assert jaw.max() > 0.2
    assert jaw.min() < 0.03
    assert max(view.actions["eyeBlinkLeft"] for view in views) > 0.8


# --- the take ------------------------------------------------------------------------------------------------------------------


def test_a_take_is_lazy_footage_with_a_descriptive_origin() -> None:
    clip = take(21, "speech", 3, seconds=2, fps=10)
    assert isinstance(clip, Footage)
    assert (len(clip), clip.fps, clip.size, clip.subject) == (20, 10.0, (SIZE, SIZE), "actor:21")
    assert clip.origin == f"actor:21/speech:3@{SIZE}x{SIZE},10fps"
    assert clip.recast(Actor(7)).origin == clip.origin + "/as:7,tone=source"
    assert clip.recast(Actor(7)).subject == "actor:21"
    assert clip[-1].index == 19
    assert clip[5].time_s == 0.5
    assert [frame.index for frame in clip.frames(3, 5)] == [3, 4]
    with pytest.raises(IndexError):
        clip[20]


def test_a_take_pickles_as_seeds() -> None:
    clip = take().recast(Actor(21), tone="target")
    clip[0]
    packed = pickle.dumps(clip)
    assert len(packed) < 2000
    assert pickle.loads(packed) == clip


def test_takes_and_actors_have_small_html_representations() -> None:
    assert len(take()._repr_html_()) < 100_000
    assert len(Actor(7)._repr_html_()) < 100_000


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"fps": 0}])
def test_takes_without_frames_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"frame|fps"):
        Actor(7).perform("speech", **wrong)


# --- pixels --------------------------------------------------------------------------------------------------------------------

_DIGEST = """
import hashlib, torch
torch.set_num_threads({threads})
from faceswap_lab.actors.performance.acting import PROFILE_YAW
from faceswap_lab.actors.cast import Actor
r = Actor(7).perform("range", seed=3, size=128).rendered(2)
print(hashlib.sha256(r.image.tobytes() + r.landmarks68.tobytes() + r.face_mask.tobytes() + r.depth.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_rendering_is_bit_identical_across_processes_and_thread_counts() -> None:
    runs = [[sys.executable, "-c", _DIGEST.format(threads=threads)] for threads in (1, 2)]
    digests = {subprocess.run(run, check=True, capture_output=True, text=True).stdout for run in runs}
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_rendering_twice_is_bit_identical() -> None:
    figure = build_figure(7, texture_rows(SIZE))
    view = take().view(2)
    one, two = render(figure, view, size=SIZE), render(figure, view, size=SIZE)
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.depth, two.depth)


@pytest.mark.parametrize(("actor", "index"), [(7, 0), (21, 4), (3, 9)])
def test_landmarks_match_an_independent_projection_of_the_vertices(actor: int, index: int) -> None:
    clip = take(actor)
    truth = clip.rendered(index)
    rig, figure = load_rig(), build_figure(actor, texture_rows(SIZE))
    still = replace(clip.view(index), yaw=0.0, pitch=0.0, roll=0.0)
    rest = pose(rig, figure, still).points[rig.landmark_vertices].double().numpy()
    rigid = rig.head_follow[rig.landmark_vertices].numpy() > 0.999
    seen = np.hstack([rest, np.ones((68, 1))]) @ truth.head_to_camera.T
    pixels = seen[:, :3] @ truth.camera.T
    expected = pixels[:, :2] / pixels[:, 2:]
    assert rigid[17:].all()
    assert np.abs(truth.landmarks68[rigid] - expected[rigid]).max() < 0.02


@pytest.mark.parametrize("actor", [7, 21, 3])
def test_a_marked_texture_spot_is_rendered_at_its_landmark(actor: int) -> None:
    """Paints the texture black except a disc of two texels around one landmark, and locates the disc in the image."""
    size, rows = 256, 1024
    rig, figure = load_rig(), build_figure(actor, rows)
    flat = replace(Performance(kind="still", seed=0).view(0, 0.0), noise=0.0, actions={})
    height, width = figure.texture.shape[1:]
    uv_of = dict(zip(rig.wedge_vertex.tolist(), rig.wedge_uv, strict=True))
    visible = render(figure, flat, size=size).visible68
    assert visible[[27, 28, 33, 57, 21]].sum() >= 3
    for landmark in (k for k in (27, 28, 33, 57, 21) if visible[k]):
        uv = uv_of[int(rig.landmark_vertices[landmark])] * torch.tensor([width, height])
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        disc = (((x - uv[0]) ** 2 + (y - uv[1]) ** 2) < 5).float()
        pictures = []
        for spot in (0.0, 1.0):
            texture = figure.texture.clone()
            texture[:3] = spot * disc
            pictures.append(render(replace(figure, texture=texture), flat, size=size))
        difference = np.abs(pictures[1].image.astype(float) - pictures[0].image).sum(2)
        down, across = np.indices(difference.shape)
        found = np.array([(difference * across).sum(), (difference * down).sum()]) / difference.sum()
        assert np.linalg.norm(found - pictures[0].landmarks68[landmark]) < 1.0, landmark


def test_eye_landmarks_surround_the_rendered_eyes() -> None:
    """Projects the eyeballs' vertices: their centre is between the eye corners and between the lids."""
    truth = Actor(7).perform("still", seconds=1).rendered(0)
    rig, figure = load_rig(), build_figure(7, texture_rows(256))
    points = pose(rig, figure, Actor(7).perform("still").view(0)).points.double().numpy()
    for part, corners, upper, lower in ((EYE_RIGHT, (36, 39), (37, 38), (40, 41)), (EYE_LEFT, (42, 45), (43, 44), (46, 47))):
        rows = rig.wedge_vertex[rig.tri[rig.tri_part == part]].unique().numpy()
        seen = np.append(points[rows].mean(0), 1.0) @ truth.head_to_camera.T
        pixel = seen[:3] @ truth.camera.T
        x, y = pixel[:2] / pixel[2]
        left, right = sorted(truth.landmarks68[list(corners), 0])
        assert left < x < right
        assert truth.landmarks68[list(upper), 1].mean() < y < truth.landmarks68[list(lower), 1].mean()


def test_left_is_the_subjects_left() -> None:
    truth = Actor(7).perform("still", seconds=1).rendered(0)
    right_eye, left_eye, nose, right_mouth, left_mouth = truth.keypoints5
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < nose[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_landmarks_that_face_away_are_not_visible() -> None:
    view = replace(Performance(kind="still", seed=0).view(0, 0.0), yaw=1.0)
    truth = render(build_figure(0, texture_rows(SIZE)), view, size=SIZE)
    assert not truth.visible68[45], "the subject's left eye is behind its nose"
    assert truth.visible68[[37, 38, 48]].all()


def test_mask_box_and_depth_agree() -> None:
    truth = take().rendered(1)
    x1, y1, x2, y2 = truth.box
    rows, columns = np.nonzero(truth.face_mask > 0.6)
    assert rows.size > 0.02 * SIZE * SIZE
    assert columns.min() >= x1 - 2
    assert columns.max() <= x2 + 2
    assert rows.min() >= y1 - 2
    assert rows.max() <= y2 + 2
    assert np.isfinite(truth.depth[truth.face_mask > 0]).all()
    assert np.isinf(truth.depth).any()
    assert 0.2 < np.median(truth.depth[np.isfinite(truth.depth)]) < 3


def test_the_head_shape_is_the_same_in_every_view() -> None:
    """Distances between rigid landmarks do not change with pose, camera or light."""
    rig, figure = load_rig(), build_figure(7, texture_rows(SIZE))
    rigid = rig.landmark_vertices[[27, 28, 39, 42]]
    shapes = []
    for index in range(6):
        view = replace(take().view(index), actions={})
        shapes.append(torch.cdist(pose(rig, figure, view).points[rigid], pose(rig, figure, view).points[rigid]))
    assert float((torch.stack(shapes) - shapes[0]).abs().max()) < 1e-5
