"""The studio's sliders are the view that is rendered; sheets hold the pictures they say."""

import math

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.views import sheets
from faceswap_lab.views.studio import EXPRESSIONS, studio


def test_every_slider_of_the_face_moves_actions_that_exist() -> None:
    known = set(load_rig().action_names)
    assert all(set(actions) <= known for actions in EXPRESSIONS.values())


@pytest.mark.slow
def test_sliders_are_the_view_and_the_picture_follows() -> None:
    stage = studio(Actor(7), side=64)
    before = stage.picture()
    stage.set(yaw=30, smile=0.5, mouth_open=1, look_aside=-0.5, light="side", lens=40)
    view = stage.view
    assert view.yaw == pytest.approx(math.radians(30))
    assert (view.actions["mouthSmileLeft"], view.actions["jawOpen"], view.fov_deg) == (0.5, 0.8, 40)
    assert (view.actions["eyeLookOutRight"], view.actions["eyeLookInRight"]) == (0.5, 0.0)
    assert stage.rendered.head_pose.yaw == pytest.approx(math.radians(30))
    assert np.abs(stage.picture().astype(int) - before).mean() > 5
    stage.set(actor=8)
    assert stage.rendered.maps.labels.shape == (64, 64)
    assert stage.actor == Actor(8)


def test_the_film_is_of_this_actor_in_this_light() -> None:
    stage = studio(Actor(7), side=64)
    stage.set(light="back", lens=40, performance="acted", seconds=0.4)
    take = stage.take
    assert (take.actor, take.performance.kind, len(take)) == (Actor(7), "acted", 10)
    assert (take.view(0).light, take.view(0).fov_deg) == (stage.view.light, 40)


def test_an_unknown_control_is_named_and_the_known_are_listed() -> None:
    with pytest.raises(ValueError, match=r"no control 'smyle'; there are .*smile"):
        studio(Actor(7), side=64).set(smyle=1)


@pytest.mark.slow
def test_without_a_browser_it_is_a_picture() -> None:
    bundle = studio(Actor(7), side=64)._repr_mimebundle_()
    assert "image/png" in bundle
    assert bundle["text/plain"] == "StudioView(actor:7)"


def test_a_sheet_lays_pictures_in_reading_order() -> None:
    pictures = [np.full((4, 6, 3), level, np.uint8) for level in (10, 20, 30)]
    page = sheets.sheet(pictures, columns=2).image
    assert page.shape == (11, 15, 3)
    assert (page[0, 0, 0], page[0, 9, 0], page[7, 0, 0], page[7, 9, 0]) == (10, 20, 30, 255)
    with pytest.raises(ValueError, match="one size"):
        sheets.sheet([pictures[0], pictures[0][:2]], columns=2)


@pytest.mark.slow
def test_conditions_differ_and_the_cast_does_too() -> None:
    side = 48
    for page in (sheets.conditions_sheet(Actor(7), 4, side=side, columns=4), sheets.cast_sheet(range(4), side=side, columns=4)):
        cells = [page.image[:, (side + 3) * number :][:, :side].astype(int) for number in range(4)]
        assert all(np.abs(cells[a] - cells[b]).mean() > 3 for a in range(4) for b in range(a))


def test_the_truth_sheet_has_six_pictures_and_names_its_labels() -> None:
    found = sheets.truth_sheet(Actor(7).perform("still", seconds=1, fps=1, size=64).rendered(0))
    assert found.image.shape == (2 * 64 + 3, 3 * 64 + 6, 3)
    assert "skin" in found.caption
    assert "glasses" not in found.caption
