"""The recast: the target's image with the source's face and nothing else changed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.person.recast import build_recast
from faceswap_lab.actors.render.render import render

pytestmark = pytest.mark.slow

SIZE = 128


def still(actor: int, kind: str = "still") -> Take:
    return Actor(actor).perform(kind, seconds=1, size=SIZE, seed=5)


@pytest.mark.parametrize("tone", ["source", "target"])
def test_recasting_a_person_as_themselves_changes_nothing(tone: str) -> None:
    clip = still(7, "range")
    assert np.array_equal(clip.recast(Actor(7), tone=tone)[0].image, clip[0].image)


@pytest.mark.parametrize(("target", "source"), [(21, 7), (3, 12)])
@pytest.mark.parametrize("index", [0, 6])
def test_only_the_face_and_its_cast_shadow_change(target: int, source: int, index: int) -> None:
    clip = still(target, "range")
    before, after = clip.rendered(index), clip.recast(Actor(source)).rendered(index)
    touched = np.maximum(before.face_mask, after.face_mask) > 0
    near = cv2.dilate(touched.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    changed = (before.image != after.image).any(2)
    assert changed[before.face_mask > 0.9].mean() > 0.8
    nothing_there = np.isinf(before.depth) & np.isinf(after.depth)
    assert not changed[nothing_there & ~near].any(), "background and noise are the target's"
    outside = changed & ~near
    assert outside.sum() < 0.05 * touched.sum(), "outside the face only its cast shadow may change"


def test_performance_camera_and_light_are_the_targets() -> None:
    clip = still(21, "range")
    swap = clip.recast(Actor(7))
    assert all(swap.view(i) == clip.view(i) for i in range(5))
    assert np.array_equal(swap.rendered(0).head_to_camera, clip.rendered(0).head_to_camera)
    assert np.array_equal(swap.rendered(0).camera, clip.rendered(0).camera)


def test_geometry_is_the_sources_inside_and_the_targets_outside() -> None:
    rig, rows = load_rig(), texture_rows(SIZE)
    target, source, swap = build_figure(21, rows), build_figure(7, rows), build_recast(21, 7, "source", rows)
    inside, outside = rig.face_weight == 1, rig.face_weight == 0
    assert inside.sum() > 3000
    assert float((swap.points - source.points)[inside].abs().max()) < 1e-6
    assert float((swap.points - target.points)[outside].abs().max()) == 0
    eyes_and_mouth = rig.wedge_vertex[rig.tri[(rig.tri_part >= 1) & (rig.tri_part <= 6)]].unique()
    assert bool(inside[eyes_and_mouth].all())


def test_tone_selects_whose_skin_tone_is_used() -> None:
    clip = still(0)
    light, dark = (Actor(s).traits.melanin for s in (5, 0))
    assert light < 0.4 < dark
    own, source, target = (c.rendered(0) for c in (clip, clip.recast(Actor(5)), clip.recast(Actor(5), tone="target")))
    inside = own.face_mask > 0.95

    def brightness(truth: object) -> float:
        return float(truth.image[inside].mean())  # type: ignore[attr-defined]

    assert brightness(source) > brightness(own) + 25
    assert abs(brightness(target) - brightness(own)) < 20


@pytest.mark.parametrize(("target", "source"), [(21, 7), (3, 12), (7, 21)])
@pytest.mark.parametrize("index", [0, 3, 6])
def test_without_a_key_light_nothing_changes_outside_the_face(target: int, source: int, index: int) -> None:
    """No key light, so no cast shadow; before noise and codec. The rest must be bit-identical."""
    view = still(target, "range").view(index)
    dark = replace(view, light=replace(view.light, key_colour=(0.0, 0.0, 0.0)), noise=0.0)
    rows = texture_rows(SIZE)
    before, after = (
        render(figure, dark, size=SIZE) for figure in (build_figure(target, rows), build_recast(target, source, "source", rows))
    )
    touched = (before.face_mask > 0) | (after.face_mask > 0)
    near = cv2.dilate(touched.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    changed = (before.image != after.image).any(2)
    assert changed[touched].any()
    assert not changed[~near].any()


@pytest.mark.parametrize("index", [0, 3, 6])
def test_with_a_key_light_only_the_lighting_changes_outside_the_face(index: int) -> None:
    clip = still(21, "range").clean()
    before, after = clip.rendered(index), clip.recast(Actor(7)).rendered(index)
    touched = (before.face_mask > 0) | (after.face_mask > 0)
    near = cv2.dilate(touched.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    for name, least in (("labels", 0), ("normals", 1e-3), ("albedo", 1e-6)):
        one, other = getattr(before.maps, name).astype(float), getattr(after.maps, name).astype(float)
        differs = np.abs(one - other) > least
        assert (differs.any(2) if differs.ndim == 3 else differs)[~near].sum() == 0, name
    assert not (before.depth != after.depth)[~near].any()
