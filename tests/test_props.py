"""Props: they occlude the face, cast shadows, and are unchanged in a recast."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.performance.props import PROPS, prop_of
from faceswap_lab.actors.performance.view import Prop
from faceswap_lab.actors.person.prop_mesh import held, mesh_casters, placed
from faceswap_lab.actors.render.render import Rendered, render
from faceswap_lab.verbs.people import record_of, reopened

SIZE = 160
HELD = [kind for kind in PROPS if kind != "none"]
BEFORE_THE_NOSE = {"hand": (0.0, -0.205, 0.70), "microphone": (0.0, -0.225, 0.66), "cup": (0.0, -0.245, 0.66)}


def shot(kind: str, actor: int = 7, source: int | None = None) -> Rendered:
    """A frontal image with the prop in the middle of the face."""
    prop = Prop(kind=kind, position_m=BEFORE_THE_NOSE[kind], roll=0.2, mirrored=False) if kind != "none" else None
    view = replace(Performance(kind="still", seed=0).view(0, 0.0), prop=prop, noise=0.0)
    take = Actor(actor).perform("still", size=SIZE)
    figure = (take if source is None else take.recast(Actor(source))).rendered(0).scene.figure
    return render(figure, view, size=SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", HELD)
def test_a_prop_occludes_the_face_in_image_and_truth(kind: str) -> None:
    bare, held = shot("none"), shot(kind)
    cover = held.maps.mask("occluder")
    assert cover.sum() > 400
    assert not bare.maps.mask("occluder").any()
    inside = cover & np.roll(cover, 2, 0) & np.roll(cover, -2, 0) & np.roll(cover, 2, 1) & np.roll(cover, -2, 1)
    assert (held.face_mask[inside] == 0).all(), "occluded pixels must not be swapped"
    assert (held.depth[inside] < bare.depth[inside]).all()
    columns, rows = held.landmarks68.round().astype(int).T
    behind = inside[rows, columns]
    assert behind.sum() >= 2
    assert not held.visible68[behind].any()
    assert np.array_equal(held.landmarks68, bare.landmarks68)


@pytest.mark.slow
@pytest.mark.parametrize("kind", HELD)
def test_a_prop_is_the_same_in_a_recast(kind: str) -> None:
    own, truth = shot(kind, 21), shot(kind, 21, source=7)
    one, other = own.maps.mask("occluder"), truth.maps.mask("occluder")
    assert (one != other).sum() < 0.02 * one.sum(), "except edge pixels, which are labelled by majority"
    inside = one & (own.face_mask == 0) & (truth.face_mask == 0)
    assert np.array_equal(own.image[inside], truth.image[inside])
    assert (own.image != truth.image).any()


@pytest.mark.slow
def test_a_hand_casts_its_shadow_on_the_face() -> None:
    bare, held = shot("none"), shot("hand")
    beside = (held.face_mask > 0.95) & ~held.maps.mask("occluder")
    darker = bare.image[beside].astype(float).mean(1) - held.image[beside].astype(float).mean(1)
    assert (darker > 15).mean() > 0.03
    assert (darker < -6).mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", HELD)
def test_a_prop_is_light_tight_and_faces_outwards(kind: str) -> None:
    prop = Prop(kind=kind, position_m=(0.0, -0.2, 0.7), roll=0.0, mirrored=False)
    skin, still = torch.tensor([0.5, 0.4, 0.3]), (torch.eye(3), torch.zeros(3))
    there = placed(prop, *still)
    mesh = held(prop, there, skin).mesh
    turned = replace(prop, mirrored=True)
    mirrored = held(turned, placed(turned, *still), skin).mesh
    for each in (mesh, mirrored):
        corner = each.points[each.tri]
        volume = (corner[:, 0] * torch.linalg.cross(corner[:, 1], corner[:, 2])).sum(1).sum() / 6
        assert 2e-5 < float(volume) < 2e-3, "cubic metres; negative if inside out"
    casters = mesh_casters(mesh.points, mesh, there.num_steps)
    centroids = mesh.points[mesh.tri].mean(1)
    nearest = torch.cdist(centroids[:200], casters).amin(1)
    assert float(nearest.max()) < 0.0022


def test_props_drift_over_time_or_are_sampled_per_frame() -> None:
    assert prop_of("none", 1, 2, 0.5, still=False) is None
    positions = [np.array(prop_of("hand", 3, i, i / 100, still=False).position_m) for i in range(300)]  # type: ignore[union-attr]
    steps = [np.linalg.norm(b - a) for a, b in pairwise(positions)]
    assert 0 < max(steps) < 0.002
    drawn = {prop_of("cup", 3, i, 0.0, still=True) for i in range(5)}
    assert len(drawn) == 5


def test_takes_record_their_prop() -> None:
    take = Actor(7).perform("speech", seconds=0.2, size=64, prop="microphone")
    assert "prop=microphone" in take.origin
    assert reopened(record_of(take)) == take
    with pytest.raises(ValueError, match="hand, microphone, cup"):
        Actor(7).perform("speech", prop="sword")
