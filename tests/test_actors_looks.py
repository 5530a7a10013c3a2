"""Looks of actors: hair in the right places, facial hair that follows the skin, accessories that remain the target's."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.head.headpack import BEARD, BROW, EYE_LEFT, GLASSES, HAIR, HAT, LASH, LENS
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.performance.view import View
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.person.hair import Skull, grow_hair
from faceswap_lab.actors.person.haircuts import HANGING
from faceswap_lab.actors.person.recast import build_recast
from faceswap_lab.actors.person.strands import Lines, Strands, draw_strands, even_ranks, place_rooted
from faceswap_lab.actors.person.traits import OLDEST, YOUNG_ADULT, sample_traits
from faceswap_lab.actors.person.wear import Wears, sample_wear
from faceswap_lab.actors.render.render import render
from faceswap_lab.actors.render.scene import Drawn, Scene, draw
from faceswap_lab.actors.render.wrinkles import slopes

pytestmark = pytest.mark.slow

SIZE = 96


def still(**actions: float) -> View:
    return replace(Performance(kind="still", seed=0).view(0, 0.0), noise=0.0, actions=actions)


def drawn(seed: int, view: View, *, wears: Wears = "none", size: int = SIZE) -> Drawn:
    return draw(Scene(figure=build_figure(seed, texture_rows(SIZE), wears=wears), view=view, size=size, supersampling=2))


def seed_where(condition: str) -> int:
    """The first seed whose traits satisfy a condition."""
    return next(seed for seed in range(2000) if eval(condition, {"person": sample_traits(seed), "HANGING": HANGING}))


# --- drawing strands -------------------------------------------------------------------------------------------------------------


def some_strands(count: int, knots: int = 4) -> Lines:
    draw_numbers = np.random.default_rng(5)
    points = torch.from_numpy(draw_numbers.uniform(0.0, 30.0, (count, 1, 3)).astype(np.float32))
    points = points + torch.from_numpy(draw_numbers.uniform(-4.0, 4.0, (count, knots, 3)).astype(np.float32)).cumsum(1)
    points[..., 2] = points[..., 2].abs() / 30 + 1
    strands = Strands(
        rooted=False,
        knots=points,
        normal=torch.ones_like(points),
        light=torch.ones(count, knots),
        root=torch.zeros(count, 3, dtype=torch.long),
        weights=torch.zeros(count, 3),
        colour=torch.zeros(count, 3),
        width_m=torch.full((count,), 1.0),
        part=torch.full((count,), HAIR),
        face=torch.zeros(count),
        rank=even_ranks(count),
    )
    return Lines(strands=strands, points=points, normals=torch.ones_like(points))


def test_each_sample_shows_the_nearest_strand_found_by_a_reference_traversal() -> None:
    lines, width = some_strands(40), 32
    samples = draw_strands(
        lines, lambda points: (points[:, :2], points[:, 2]), torch.full((width * width,), 1.6), width=width, sample_m=1.0
    )
    nearest: dict[int, tuple[float, int]] = {}
    for number, line in enumerate(lines.points.double().numpy()):
        for start, end in itertools.pairwise(line):
            steps = max(1, int(np.ceil(np.abs(end - start)[:2].max())))
            for k in range(steps):
                x, y, depth = start + (end - start) * (k + 0.5) / steps
                if 0 <= x < width and 0 <= y < width and depth < 1.6:
                    pixel = int(y) * width + int(x)
                    nearest[pixel] = min(nearest.get(pixel, (9.0, -1)), (depth, number))
    found = dict(zip(samples.pixel.tolist(), zip(samples.depth.tolist(), samples.strand.tolist(), strict=True), strict=True))
    missing = set(nearest) ^ set(found)
    assert len(missing) <= 0.03 * len(nearest), "a step on the boundary between two samples may round either way"
    agree = [found[pixel][1] == nearest[pixel][1] for pixel in set(nearest) & set(found)]
    assert np.mean(agree) > 0.97


def test_strands_behind_the_mesh_are_not_drawn() -> None:
    lines = some_strands(40)
    hidden = draw_strands(lines, lambda points: (points[:, :2], points[:, 2]), torch.zeros(32 * 32), width=32, sample_m=1.0)
    assert len(hidden.pixel) == 0


def test_early_culling_does_not_depend_on_the_mesh() -> None:
    """A recast changes the face in front of the hair; strands beside it must be bit-identical."""
    lines, width = some_strands(300), 32
    ball = [(torch.tensor([15.0, 15.0, 1.3]), 0.2)]

    def drawn_before(z_buffer: torch.Tensor) -> dict[int, tuple[float, int]]:
        samples = draw_strands(
            lines, lambda points: (points[:, :2], points[:, 2]), z_buffer, width=width, sample_m=0.05, balls=ball
        )
        return dict(zip(samples.pixel.tolist(), zip(samples.depth.tolist(), samples.strand.tolist(), strict=True), strict=True))

    nothing = torch.full((width * width,), torch.inf)
    half = nothing.clone()
    half[: width * width // 2] = 1.2
    without, behind_half = drawn_before(nothing), drawn_before(half)
    below = {pixel: value for pixel, value in without.items() if pixel >= width * width // 2}
    assert below == {pixel: value for pixel, value in behind_half.items() if pixel >= width * width // 2}
    assert len(below) > 50


def test_fewer_strands_are_drawn_where_samples_are_wider_than_a_strand() -> None:
    strands = some_strands(400).strands
    assert len(strands.drawn_at(2.0).part) == 200
    assert len(strands.drawn_at(0.5).part) == 400


# --- scalp hair ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(0, 24, 2))
def test_hair_is_finite_outside_the_skull_and_near_the_head(seed: int) -> None:
    figure, rig = build_figure(seed, texture_rows(SIZE)), load_rig()
    hair = grow_hair(sample_traits(seed), figure.points)
    assert len(hair.part) > 200
    knots = hair.knots
    assert bool(torch.isfinite(knots).all())
    assert float((knots - rig.template[rig.on_skin > 0].mean(0)).norm(dim=-1).max()) < 0.40
    skull = Skull(rig, figure.points)
    offset = knots[:, 1:] - skull.centre
    above = (offset.norm(dim=-1) - skull.radius(offset / offset.norm(dim=-1, keepdim=True)))[knots[:, 1:, 2] > 0.70]
    assert float((above > -0.006).float().mean()) > 0.97


@pytest.mark.parametrize("seed", range(1, 40, 3))
def test_hair_does_not_occlude_eyes_and_mouth(seed: int) -> None:
    picture = drawn(seed, still())
    surface, rig = picture.surface, picture.rig
    z_buffer = torch.full((picture.camera.size**2,), torch.inf)
    hair = surface.part == HAIR
    z_buffer[surface.pixel[hair]] = surface.depth[hair]
    points = rig.landmark_vertices[36:68]
    column, row = picture.xy[points].long().unbind(1)
    assert not bool((z_buffer[row * picture.camera.size + column] < picture.depth[points]).any())


def test_long_hair_covers_the_ears_and_a_bald_head_has_none_on_top() -> None:
    long, bald = seed_where("person.cut.style in HANGING"), seed_where("person.cut.style == 'bald'")
    tops = []
    for seed in (long, bald):
        surface = drawn(seed, still()).surface
        top = (surface.template[:, 2] > 0.82) & (surface.num_mesh <= torch.arange(len(surface.part)))
        tops.append(int((top & (surface.part == HAIR)).sum()))
    assert tops[0] > 500
    assert tops[1] == 0


def test_a_small_image_matches_the_downscaled_large_one() -> None:
    """Hair is as dense at 96 pixels as at 192: the level of detail changes the number of strands, not their coverage."""
    seed = seed_where("person.cut.style == 'long'")
    figure = build_figure(seed, texture_rows(SIZE))
    small, large = (render(figure, still(), size=size).image.astype(float) for size in (96, 192))
    halved = large.reshape(96, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(small.mean((0, 1)) - halved.mean((0, 1))).max() < 2.5
    assert np.abs(small - halved).mean() < 6


# --- facial hair -----------------------------------------------------------------------------------------------------------------


def test_lashes_follow_the_lid_and_a_beard_the_jaw() -> None:
    seed = seed_where("person.beard > 0.6 and person.beard_style == 'full'")
    face_hair = build_figure(seed, texture_rows(SIZE)).face_hair
    moved = {}
    for name, part, action in (("lash", LASH, "eyeBlinkLeft"), ("beard", BEARD, "jawOpen")):
        rest, acted = (place_rooted(face_hair, drawn(seed, still(**actions)).posed.points) for actions in ({}, {action: 1.0}))
        change = (acted.points - rest.points)[face_hair.part == part]
        assert float((change[:, -1] - change[:, 0]).norm(dim=1).max()) < 0.02, "a strand keeps its length"
        moved[name] = float(change[:, -1, 2].min())
    assert moved["lash"] < -0.006
    assert moved["beard"] < -0.010


@pytest.mark.parametrize("seed", [3, 7, 21])
def test_lashes_start_at_the_rim_of_the_eye_and_brows_above_it(seed: int) -> None:
    rig, figure = load_rig(), build_figure(seed, texture_rows(SIZE))
    placed = place_rooted(figure.face_hair, figure.points)
    eye = figure.points[rig.wedge_vertex[rig.tri[rig.tri_part == EYE_LEFT]].unique()]
    roots = placed.points[:, 0]
    lash = roots[(figure.face_hair.part == LASH) & (roots[:, 0] > 0)]
    brow = roots[(figure.face_hair.part == BROW) & (roots[:, 0] > 0)]
    assert float(torch.cdist(lash, eye).amin(1).max()) < 0.010
    assert float(brow[:, 2].min()) > float(lash[:, 2].mean())
    assert figure.face_hair.face[figure.face_hair.part != BEARD].min() > 0.5, "brows and lashes are swapped with the face"


# --- wrinkles --------------------------------------------------------------------------------------------------------------------


def test_raised_brows_wrinkle_the_forehead_and_a_young_face_at_rest_is_smooth() -> None:
    rig = load_rig()
    along_x, along_z = slopes(rig.template, {}, age=0.0, phase=1.0)
    assert float(along_x.abs().max() + along_z.abs().max()) == 0
    _, raised = slopes(rig.template, {"browInnerUp": 1.0}, age=0.0, phase=1.0)
    folded = rig.template[raised.abs() > 0.02]
    assert len(folded) > 50
    assert float(folded[:, 2].min()) > 0.74
    older = slopes(rig.template, {}, age=1.0, phase=1.0)
    assert all(float(part.abs().max()) > 0.1 for part in older)


# --- accessories -----------------------------------------------------------------------------------------------------------------


def test_unknown_accessories_are_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match="glasses, sunglasses, hat"):
        Actor(1).perform("still", wears="crown")


def test_most_people_wear_nothing_and_auto_is_the_default_of_the_person() -> None:
    people = {seed: sample_wear(seed, is_male=sample_traits(seed).is_male) for seed in range(300)}
    assert 0.7 < np.mean([wear == "none" for wear in people.values()]) < 0.9
    spectacled = next(seed for seed, wear in people.items() if wear == "glasses")
    auto, explicit, bare = (
        Actor(spectacled).perform("still", seconds=1, size=SIZE, wears=wears)[0].image for wears in ("auto", "glasses", "none")
    )
    assert np.array_equal(auto, explicit)
    assert not np.array_equal(auto, bare)


@pytest.mark.parametrize(
    ("wears", "part"), [("glasses", GLASSES), ("sunglasses", LENS), ("hat", HAT), ("cap", HAT), ("headscarf", HAT)]
)
def test_accessories_are_rendered_and_occlude_what_they_should(wears: Wears, part: int) -> None:
    surface, bare = drawn(7, still(), wears=wears).surface, drawn(7, still()).surface
    assert int((surface.part == part).sum()) > 150
    eyes = [int(((s.part == EYE_LEFT) | (s.part == EYE_LEFT + 1)).sum()) for s in (surface, bare)]
    assert eyes[0] < 0.05 * eyes[1] if wears == "sunglasses" else eyes[0] > 0.8 * eyes[1]
    if wears == "headscarf":
        assert int((surface.part == HAIR).sum()) == 0


@pytest.mark.parametrize("wears", ["glasses", "hat"])
def test_a_recast_keeps_the_targets_accessories_and_hair(wears: Wears) -> None:
    clip = Actor(21).perform("range", seconds=1, size=SIZE, seed=5, wears=wears)
    for index in (0, 6):
        before, after = clip.rendered(index), clip.recast(Actor(7)).rendered(index)
        for label in ("glasses" if wears == "glasses" else "hat", "hair"):
            one, two = before.maps.mask(label), after.maps.mask(label)
            assert (one & two).sum() > (0.8 if label == "glasses" else 0.9) * (one | two).sum(), (label, index)


def test_a_recast_has_the_sources_brows_and_age() -> None:
    one, two = build_figure(21, texture_rows(SIZE)), build_figure(7, texture_rows(SIZE))
    swap = build_recast(21, 7, "source", texture_rows(SIZE))
    assert int((swap.face_hair.part == BROW).sum()) == int((two.face_hair.part == BROW).sum())
    assert swap.age == two.age != one.age
    assert torch.equal(swap.strands.knots, one.strands.knots)


# --- identity --------------------------------------------------------------------------------------------------------------------


def test_actors_are_diverse_and_adult() -> None:
    people = [sample_traits(seed) for seed in range(400)]
    assert min(person.age for person in people) >= YOUNG_ADULT
    assert max(person.age for person in people) <= OLDEST
    assert len({person.cut.style for person in people}) >= 12
    assert max(person.melanin for person in people) > 0.8
    assert min(person.melanin for person in people) < 0.1
    assert any(person.grey > 0.8 for person in people)
