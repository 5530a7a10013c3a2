"""Ground-truth maps of the renderer, each against an independent computation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.head.headpack import EYE_LEFT, EYE_RIGHT
from faceswap_lab.actors.head.landmark_sets import landmark_table
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.render.render import Rendered, check_memory, render
from faceswap_lab.actors.render.scene import pose
from faceswap_lab.actors.render.truth_maps import LABELS
from faceswap_lab.errors import DeviceError

pytestmark = pytest.mark.slow

SIZE = 160


def shot(actor: int = 7, kind: str = "range", index: int = 2, seed: int = 3) -> Rendered:
    return Actor(actor).perform(kind, seed=seed, size=SIZE).rendered(index)


def test_labels_agree_with_the_landmarks() -> None:
    truth = shot(7, "still", 0)
    maps = truth.maps

    def label_fraction(points: list[int], name: str) -> float:
        """Fraction of the area inside these landmarks with this label."""
        import cv2

        area = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillConvexPoly(area, cv2.convexHull(truth.landmarks68[points].round().astype(np.int32)), 1)
        return float(maps.mask(name)[area > 0].mean())

    assert label_fraction(list(range(36, 42)), "eyes") > 0.5
    assert label_fraction(list(range(42, 48)), "eyes") > 0.5
    assert label_fraction(list(range(48, 60)), "lips") > 0.5
    assert label_fraction([27, 31, 33, 35], "nose") > 0.7
    names = {LABELS[number] for number in np.unique(maps.labels)}
    assert {"background", "skin", "brows", "eyes", "nose", "lips", "ears", "neck", "hair"} <= names
    x, y = truth.landmarks68[8].round().astype(int)
    assert LABELS[maps.labels[y + 10, x]] == "neck"
    rows = {name: np.nonzero(maps.mask(name))[0].mean() for name in ("hair", "brows", "eyes", "nose", "lips", "neck")}
    assert sorted(rows, key=lambda name: rows[name]) == ["hair", "brows", "eyes", "nose", "lips", "neck"]


def test_an_open_mouth_shows_teeth_and_inner_mouth() -> None:
    view = replace(
        Performance(kind="still", seed=0).view(0, 0.0), actions={"jawOpen": 0.7, "mouthUpperUpLeft": 0.6, "mouthUpperUpRight": 0.6}
    )
    maps = render(build_figure(7, texture_rows(SIZE)), view, size=SIZE).maps
    assert maps.mask("teeth").sum() > 5
    assert maps.mask("inner mouth").sum() > 30
    with pytest.raises(ValueError, match="inner mouth"):
        maps.mask("mouth")


@pytest.mark.parametrize(("actor", "index"), [(7, 2), (21, 4)])
def test_background_label_depth_and_normals_agree(actor: int, index: int) -> None:
    truth = shot(actor, index=index)
    maps = truth.maps
    empty = maps.mask("background")
    assert np.isfinite(truth.depth[~empty]).all()
    assert np.isinf(truth.depth[empty]).mean() > 0.9, "except partially covered pixels"
    length = np.linalg.norm(maps.normals, axis=2)
    assert np.allclose(length[~empty], 1, atol=1e-4)
    nothing = np.isinf(truth.depth)
    assert (length[nothing] == 0).all()
    assert (maps.albedo[nothing] == 0).all()
    assert (maps.normals[maps.mask("nose"), 2] < 0.2).mean() > 0.95, "visible surfaces face the camera"


def test_normals_are_the_gradient_of_the_depth() -> None:
    """Finite differences of the depth map, back-projected, on the smooth forehead and cheeks of a bald man's frontal picture."""
    truth = Actor(7).perform("still", size=256).rendered(0)
    maps, f = truth.maps, truth.camera[0, 0]
    rows, columns = np.mgrid[0:256, 0:256]
    z = truth.depth
    points = np.stack([(columns - truth.camera[0, 2]) * z / f, (rows - truth.camera[1, 2]) * z / f, z], 2)
    with np.errstate(invalid="ignore"):
        across, down = np.roll(points, -3, 1) - np.roll(points, 3, 1), np.roll(points, -3, 0) - np.roll(points, 3, 0)
        normal = np.cross(down, across)
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    brow, nose = truth.landmarks68[27, 1], truth.landmarks68[33, 1]
    cheeks = maps.mask("skin") & (rows > brow + 25) & (rows < nose + 15) & (truth.face_mask > 0.9)
    agreement = (normal * maps.normals).sum(2)[cheeks]
    assert cheeks.sum() > 500
    assert np.nanmedian(agreement) > 0.985


def test_labels_are_the_targets_hair_in_a_recast() -> None:
    clip = Actor(21).perform("range", seed=3, size=SIZE)
    own, swap = clip.rendered(2).maps, clip.recast(Actor(7)).rendered(2).maps
    both = own.mask("hair") & swap.mask("hair")
    assert both.sum() > 0.9 * own.mask("hair").sum()


def test_all_52_actions_are_reported() -> None:
    truth = shot(kind="acted", index=10)
    assert len(truth.actions) == 52
    given = truth.scene.view.actions
    assert {name: value for name, value in truth.actions.items() if value} == {n: v for n, v in given.items() if v}


def test_gaze_points_at_the_rendered_pupil() -> None:
    for look in ({}, {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8}, {"eyeLookDownLeft": 0.6, "eyeLookDownRight": 0.6}):
        view = replace(Performance(kind="still", seed=0).view(0, 0.0), actions=look, yaw=0.3)
        truth = render(build_figure(7, texture_rows(SIZE)), view, size=SIZE)
        rig = load_rig()
        points = pose(rig, truth.scene.figure, view).points.double().numpy()
        for part, gaze, centre in ((EYE_RIGHT, truth.gaze[0], rig.eye_right), (EYE_LEFT, truth.gaze[1], rig.eye_left)):
            rows = torch.unique(rig.wedge_vertex[rig.tri[rig.tri_part == part]]).numpy()
            ray = rig.template.double().numpy()[rows] - centre.numpy()
            pupil = rows[ray[:, 1] / np.linalg.norm(ray, axis=1) < -0.97]
            x, y, z = points[pupil].mean(0) - points[rows].mean(0)
            drawn = np.array([x, -z, y]) / np.linalg.norm([x, y, z])
            assert np.degrees(np.arccos(np.clip(drawn @ gaze, -1, 1))) < 1.5
            assert abs(np.linalg.norm(gaze) - 1) < 1e-6


def test_an_eye_that_looks_left_looks_to_the_frames_right() -> None:
    still = Performance(kind="still", seed=0).view(0, 0.0)
    figure = build_figure(7, texture_rows(64))
    ahead, left = (
        render(figure, replace(still, actions=actions), size=64).gaze
        for actions in ({}, {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8})
    )
    assert (left[:, 0] > ahead[:, 0] + 0.1).all()


@pytest.mark.parametrize("point_set", [5, 68, 106, 468])
def test_point_sets_have_their_size_and_points_facing_away_are_invisible(point_set: int) -> None:
    figure = build_figure(0, texture_rows(SIZE))
    front, side = (
        render(figure, replace(Performance(kind="still", seed=0).view(0, 0.0), yaw=yaw, actions={}), size=SIZE).points(point_set)
        for yaw in (0.0, 1.2)
    )
    assert front.xy.shape == (point_set, 2)
    assert front.visible.shape == (point_set,)
    assert front.visible.mean() > 0.6
    assert side.visible.mean() < front.visible.mean() - 0.08
    with pytest.raises(ValueError, match="5, 68, 106, 468"):
        landmark_table(load_rig(), 98)


def test_the_5_and_68_sets_match_the_rendered_landmarks() -> None:
    truth = shot()
    assert np.abs(truth.points(68).xy - truth.landmarks68).max() < 1e-3
    assert np.abs(truth.points(5).xy - truth.keypoints5).max() < 1e-3
    assert (truth.points(68).visible == truth.visible68).all()


# MediaPipe's numbers and insightface's for points that iBUG has too: corners of eyes and mouth, tip and base of the nose, bridge.
SHARED = {
    36: (33, 35),
    39: (133, 39),
    42: (362, 89),
    45: (263, 93),
    48: (61, 52),
    54: (291, 61),
    30: (4, 86),
    33: (2, 80),
    27: (168, 72),
}


@pytest.mark.parametrize("index", [2, 5])
def test_points_common_to_several_sets_coincide(index: int) -> None:
    truth = shot(21, index=index)
    apart = np.linalg.norm(truth.landmarks68[36] - truth.landmarks68[45])
    for row, (mesh, other) in SHARED.items():
        assert np.linalg.norm(truth.points(468).xy[mesh] - truth.landmarks68[row]) < 0.02 * apart + 0.5, row
        assert np.linalg.norm(truth.points(106).xy[other] - truth.landmarks68[row]) < 0.02 * apart + 0.5, row


def test_sets_are_mirror_symmetric_like_their_layouts() -> None:
    """On the symmetric template, a point's mirror image is its counterpart in the layout."""
    rig = load_rig()
    for point_set, pairs, most_m in (
        (106, ((43, 101), (35, 93), (52, 61), (33, 87), (44, 100), (77, 83), (1, 17)), 0.003),
        (468, ((33, 263), (61, 291), (234, 454), (70, 300), (205, 425), (136, 365)), 0.006),
    ):
        corners, weights = landmark_table(rig, point_set)
        place = (rig.template[corners] * weights[..., None]).sum(1).numpy()
        for right, left in pairs:
            assert place[right, 0] < 0 < place[left, 0], (point_set, right)
            assert np.abs(place[right] * np.array([-1, 1, 1]) - place[left]).max() < most_m, (point_set, right)


def test_pupils_move_with_the_gaze_and_lids_do_not() -> None:
    still = Performance(kind="still", seed=0).view(0, 0.0)
    figure = build_figure(7, texture_rows(SIZE))
    ahead, aside = (
        render(figure, replace(still, actions=actions), size=SIZE).points(106).xy
        for actions in ({}, {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8})
    )
    moved = np.linalg.norm(aside - ahead, axis=1)
    assert moved[[38, 92]].min() > 1.0
    assert moved[[35, 39, 89, 93, 52, 86]].max() < 0.5


def test_an_unknown_action_suggests_similar_names() -> None:
    view = replace(Performance(kind="still", seed=0).view(0, 0.0), actions={"jawOpn": 0.5})
    with pytest.raises(ValueError, match="jawOpen"):
        render(build_figure(7, texture_rows(64)), view, size=64)


def test_an_image_that_does_not_fit_in_memory_is_refused_before_rendering() -> None:
    check_memory(256)
    with pytest.raises(DeviceError, match="render smaller"):
        check_memory(2**20)
    with pytest.raises(ValueError, match="4096"):
        Actor(7).perform("still", size=5000)
