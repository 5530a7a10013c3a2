"""The one-shot swapper: its pictures, its network, its training as one call, and a swap with what was trained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import faceswap_lab as lab
from faceswap_lab.actors.splits import split_of
from faceswap_lab.errors import FaceError, WeightsError
from faceswap_lab.faces.face import Faces
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.oneshot.casting import TROUPE, OneshotSets, takers, view_of, wears_in
from faceswap_lab.models.oneshot.net import Draped, OneshotNet, OneshotNetConfig
from faceswap_lab.models.oneshot.pictures import make_part, read_part
from faceswap_lab.models.oneshot.shape import Shape, ShapeConfig
from faceswap_lab.models.protocols import Card, Source
from faceswap_lab.models.swappers.oneshot import OneshotSwapper
from faceswap_lab.models.training.oneshot import OneshotTraining, detail, losses_of, resized, slopes, train_oneshot, varied
from faceswap_lab.models.weights import bundled
from faceswap_lab.verbs.oneshot import oneshot as verb
from faceswap_lab.verbs.oneshot.stages import FOLDS, fold_of

SIZE = 64


# --- who plays whom -----------------------------------------------------------------------------------------------------------


def test_every_actor_of_a_troupe_takes_every_other_face_and_never_its_own() -> None:
    sets = OneshotSets()
    for member in range(TROUPE):
        seen = {other for number in range(sets.num_views) for other, _ in takers(sets, member, number)}
        assert member not in seen
        assert seen == set(range(TROUPE)) - {member}, "eight chances for seven others"
    tones = [tone for member in range(TROUPE) for number in range(200) for _, tone in takers(sets, member, number)]
    assert 0.25 < tones.count("target") / len(tones) < 0.35


def test_default_sets_keep_the_splits_and_the_folds() -> None:
    sets = OneshotSets()
    parts = sets.parts()
    seeds = [seed for troupe in parts.values() for seed in troupe]
    assert len(seeds) == len(set(seeds)) == sets.num_train + sets.num_val
    assert all(split_of(seed) == ("val" if "/val-" in name else "train") for name, troupe in parts.items() for seed in troupe)
    folds = [fold_of(name, sets) for name in parts if "/train-" in name]
    assert set(folds) == set(range(FOLDS))
    assert {fold_of(name, sets) for name in parts if "/val-" in name} == {-1}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"num_train": 12}, "multiple of 8"),
        ({"first_train": 999_999}, "not all of the split train"),
        ({"first_val": 2_000_000}, "not all of the split val"),
        ({"num_views": 1}, "num_views"),
        ({"num_sources": 8}, "num_sources"),
        ({"target_tone": 1.5}, "target_tone"),
    ],
)
def test_wrong_sets_are_refused(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        OneshotSets(**wrong)  # type: ignore[arg-type]


def test_views_and_what_is_worn_depend_on_seed_and_number_alone() -> None:
    assert view_of(200_000, 1) == view_of(200_000, 1) != view_of(200_000, 2)
    assert {wears_in(seed, number) for seed in range(200_000, 200_060) for number in (0, 1)} == {"none"}
    assert any(wears_in(seed, 2) != "none" for seed in range(200_000, 200_030))


@pytest.mark.slow
def test_a_part_is_the_same_file_again_and_reads_back(tmp_path: Path) -> None:
    sets = OneshotSets(num_views=2, num_sources=1, size=96)
    for name in ("one", "two"):
        make_part(tmp_path / name, (200_000, 200_001, 200_002, 200_003, 200_004, 200_005, 200_006, 200_007), sets, OfflineEngine())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    views = read_part(tmp_path / "one")
    assert len(views) == TROUPE * 2 * 2
    assert (views.source[::2] == -1).all()
    assert (views.source[1::2] != views.identity[1::2]).all()
    taken = lab.actor(200_000)
    assert views.identity[0] == taken.seed
    # A true swap differs from its view where the mask says so, and (but for JPEG) nowhere else.
    for row in range(0, 8, 2):
        differs = np.abs(views.images[row].astype(int) - views.images[row + 1]).max(2)
        assert differs[views.masks[row + 1] > 128].mean() > 4 * differs[views.masks[row + 1] == 0].mean()


# --- the network --------------------------------------------------------------------------------------------------------------


def draped(seed: int = 0, size: int = SIZE, b: int = 2, shown: float | None = None) -> Draped:
    random = torch.Generator().manual_seed(seed)

    def pixels(channels: int, side: int = size) -> torch.Tensor:
        return torch.rand(b, channels, side, side, generator=random)

    return Draped(
        target=pixels(3),
        moved=pixels(3),
        source=pixels(3),
        shown=pixels(1) if shown is None else torch.full((b, 1, size, size), shown),
        place=2 * pixels(3) - 1,
        portrait=pixels(3, size // 2),
        keeps_tone=torch.tensor([0.0, 1.0])[:b],
    )


def small(is_draped: bool = True) -> OneshotNet:
    torch.manual_seed(0)
    return OneshotNet(OneshotNetConfig(size=SIZE, widths=(8, 16, 16, 24), code=16, draped=is_draped)).eval()


def test_an_untrained_network_keeps_the_sources_own_pixels_where_they_are_shown() -> None:
    net = small()
    with torch.inference_mode():
        everywhere, nowhere = draped(shown=1.0), draped(shown=0.0)
        assert (
            net(everywhere)[:, :3] - torch.lerp(everywhere.moved, everywhere.source, torch.sigmoid(torch.tensor(2.0)))
        ).abs().max() < 0.05
        assert (
            net(nowhere)[:, :3] - torch.lerp(nowhere.moved, nowhere.source, torch.sigmoid(torch.tensor(-2.0)))
        ).abs().max() < 0.05


@pytest.mark.parametrize("is_draped", [True, False])
def test_pictures_and_masks_are_within_bounds_and_rows_are_independent(is_draped: bool) -> None:
    net = small(is_draped)
    with torch.inference_mode():
        both = net(draped())
        one = net(Draped(**{name: getattr(draped(), name)[:1] for name in Draped.__slots__}))
    assert both.shape == (2, 4, SIZE, SIZE)
    assert both.min() >= 0
    assert both.max() <= 1
    assert torch.allclose(both[:1], one, atol=1e-5)


def test_the_network_for_comparison_sees_nothing_but_target_and_portrait() -> None:
    net, seen = small(is_draped=False), draped()
    for style in (block.style for block in [*net.inward, *net.outward]):
        torch.nn.init.normal_(style.weight)
    with torch.inference_mode():
        base = net(seen)
        for name in ("moved", "source", "shown", "place"):
            assert torch.equal(net(replace(seen, **{name: torch.zeros_like(getattr(seen, name))})), base), name
        assert not torch.equal(net(replace(seen, portrait=torch.zeros_like(seen.portrait))), base)


def test_losses_vanish_for_the_true_answer_and_only_for_it() -> None:
    seen, truth = draped(), torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(2, 1, SIZE, SIZE)
    right = losses_of(torch.cat([truth, mask], 1), seen.target, truth, mask, OneshotTraining())
    assert float(right["loss"]) < 1e-5
    for wrong in (torch.cat([truth + 0.02, mask], 1), torch.cat([truth, mask * 0.9], 1), torch.cat([truth.flip(2), mask], 1)):
        assert float(losses_of(wrong, seen.target, truth, mask, OneshotTraining())["loss"]) > 1e-3


def test_detail_is_how_much_there_is_wherever_it_is() -> None:
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    moved, flat = noise.roll((8, 16), (2, 3)), torch.full_like(noise, 0.5)
    blurred = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
    assert detail(noise).shape[1] == 1
    assert torch.allclose(detail(noise).mean(), detail(moved).mean(), rtol=0.02)
    assert float(detail(flat).max()) < 2e-3
    assert float(detail(blurred).mean()) < 0.4 * float(detail(noise).mean())
    mask = torch.ones(1, 1, 64, 64)
    found = [
        losses_of(torch.cat([noise, mask], 1), noise, noise, mask, OneshotTraining(), texture=texture) for texture in (True, False)
    ]
    assert "texture" in found[0]
    assert "texture" not in found[1], "not in the small steps, whose detail is another"
    assert float(found[0]["texture"]) < 1e-6


def test_slopes_are_differences_of_neighbours() -> None:
    ramp = torch.arange(8.0)[None, None, None, :].expand(1, 1, 8, 8)
    found = slopes(ramp + 3 * ramp.transpose(2, 3))
    assert torch.equal(found[:, 0], torch.ones(1, 7, 7))
    assert torch.equal(found[:, 1], 3 * torch.ones(1, 7, 7))


def test_the_first_steps_see_the_same_at_a_smaller_size() -> None:
    seen, mask = draped(), torch.rand(2, 1, SIZE, SIZE)
    made, truth, small_mask = resized(seen, seen.target, mask, 32)
    assert torch.equal(made.target, truth)
    assert made.target.shape == (2, 3, 32, 32)
    assert made.portrait.shape == (2, 3, 16, 16)
    assert torch.allclose(small_mask.mean(), mask.mean(), atol=1e-5), "by the mean of the area"
    with torch.inference_mode():
        assert small()(made).shape == (2, 4, 32, 32)


@pytest.mark.parametrize("wrong", [{"small_size": 48}, {"small_size": 0}, {"small_share": 1.5}])
def test_a_wrong_training_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="small_"):
        OneshotTraining(**wrong)  # type: ignore[arg-type]


def test_variation_changes_target_and_truth_alike_and_mirrors_places() -> None:
    seen, mask = draped(), torch.rand(2, 1, SIZE, SIZE)
    found = [varied(seen, seen.target, mask, 0.1, np.random.default_rng(number)) for number in range(6)]
    assert all(torch.equal(made.target, truth) for made, truth, _ in found)
    mirrored = [made for made, _, turned in found if torch.equal(turned, mask.flip(-1))]
    assert 0 < len(mirrored) < 6
    assert all(torch.equal(made.place[:, 0], -seen.place[:, 0].flip(-1)) for made in mirrored)
    assert all(torch.equal(made.place[:, 1:], seen.place[:, 1:].flip(-1)) for made in mirrored)


# --- the swapper --------------------------------------------------------------------------------------------------------------


def swapper() -> OneshotSwapper:
    shape = Shape(ShapeConfig(components=4, products=2, moves=4))
    shape.feature_spread.fill_(1)
    card = Card(name="test", task="swap", licence="Apache-2.0", source="a test")
    return OneshotSwapper(small(), shape, card)


def test_what_is_saved_is_read_again_and_draws_the_same(tmp_path: Path) -> None:
    one = swapper()
    one.save(tmp_path / "one.safetensors")
    other = OneshotSwapper.load(tmp_path / "one.safetensors", torch.device("cpu"), "target")
    assert other.card == one.card
    assert (other.tone, other.needs) == ("target", one.needs)
    other.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    with torch.inference_mode():
        before, after = one.net(draped()), other.net(draped())
    assert not torch.equal(before, after), "weights are rounded to half precision"
    assert float((before - after).abs().max()) < 1 / 255


def test_the_shipped_weights_are_small_and_in_half_precision() -> None:

    made = OneshotSwapper.load(bundled.oneshot(), torch.device("cpu"))
    assert bundled.oneshot().stat().st_size < 12e6
    assert all(torch.equal(value, value.half().float()) for value in made.net.parameters())


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="one-shot"):
        OneshotSwapper.load(tmp_path / "x.safetensors", torch.device("cpu"))


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    one = swapper()
    with torch.no_grad():
        next(one._net.parameters())[0] = torch.nan
    with pytest.raises(WeightsError, match="finite"):
        one.save(tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.slow
@pytest.mark.weights
def test_a_swap_has_the_same_bytes_whatever_is_swapped_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers and resumed runs have other batches, and another number of threads."""
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    take = lab.actor(32).perform("speech", seconds=5 / 25, size=128)
    threads, made = torch.get_num_threads(), []
    for batch, number in ((1, 1), (5, 2)):
        torch.set_num_threads(number)
        made.append(lab.swap(take, source=lab.actor(7), recipe=lab.recipes.SwapRecipe().with_(stream__batch=batch), device="cpu"))
    torch.set_num_threads(threads)
    for one, other in zip(*(run.footage().frames() for run in made), strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_a_source_without_a_face_is_refused() -> None:
    frame = lab.actor(7).perform("still", size=96)[0]
    with pytest.raises(FaceError, match="468"):
        swapper().encode([Source(subject="actor:7", frames=[frame], faces=[Faces.none()])])


# --- training and use as one --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_call_trains_a_swapper_that_swaps_and_an_interrupted_one_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "a"))
    run = lab.train(lab.recipes.oneshot("smoke"), device="cpu")
    card = json.loads(run.artifact("card.json").read_text())
    assert card["files"]["oneshot.safetensors"]["bytes"] == run.artifact("oneshot.safetensors").stat().st_size
    assert card["scores"]["examples"] > 0
    assert not (run.path / "examples").exists()
    assert lab.train(lab.recipes.oneshot("smoke"), device="cpu").id == run.id

    take = lab.actor(32).perform("speech", seconds=2 / 25, size=96)
    results = [lab.swap(take, source=lab.actor(7), swapper=run, tone=tone, device="cpu") for tone in ("source", "target")]
    assert results[0].id != results[1].id
    assert all(result.summary["num_faces"] == 2 for result in results)

    # Stopped after two steps, in another lab: the same weights in the end.
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "b"))
    train = train_oneshot

    def stopping(*args: object) -> object:
        for step in train(*args[:3]):  # type: ignore[arg-type]
            yield step
            raise KeyboardInterrupt

    monkeypatch.setattr(verb, "train_oneshot", stopping)
    with pytest.raises(KeyboardInterrupt):
        lab.train(lab.recipes.oneshot("smoke"), device="cpu")
    monkeypatch.setattr(verb, "train_oneshot", train)
    again = lab.train(lab.recipes.oneshot("smoke"), device="cpu")
    assert [event["step"] for event in again.events("step", unique="step")] == [2, 4]
    one, other = (
        OneshotSwapper.load(each.artifact("oneshot.safetensors"), torch.device("cpu"))._net.state_dict() for each in (run, again)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_people_are_not_given_to_a_training_on_the_recipes_actors() -> None:
    with pytest.raises(ValueError, match="one-shot"):
        lab.train(lab.recipes.oneshot("smoke"), source=lab.actor(7), target=lab.actor(32))


def test_only_the_one_shot_is_told_a_tone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    take = lab.actor(32).perform("still", seconds=1, fps=1, size=96)
    with pytest.raises(ValueError, match="tone"):
        lab.swap(take, source=lab.actor(7), swapper="warp", tone="target")
    assert not (tmp_path / "runs").exists(), "refused before there is a run"
