"""What makes a pair sharp: folded pixels, edges in the loss, the mesh's keypoints; and old weights draw what they drew."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from faceswap_lab.actors.cast import Actor
from faceswap_lab.models.device import has_bf16
from faceswap_lab.models.engines.offline import OfflineEngine, mesh_aligned
from faceswap_lab.models.feed.crops import changed_mask
from faceswap_lab.models.protocols import Card, Crops, Source
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.training.losses import picture_loss
from faceswap_lab.models.training.pair import jitters, moved_by
from faceswap_lab.runs.recipe import from_json
from faceswap_lab.runs.record import migrated_recipe
from faceswap_lab.verbs.recipes import PairRecipe

CPU = torch.device("cpu")
CARD = Card(name="test", task="swap", licence="Apache-2.0", source="tests", subjects=("actor:7", "actor:21"))
NEW = ("fold", "keypoints")


def picture(size: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def crops(size: int) -> Crops:
    return Crops(
        pixels=picture(size),
        frame_to_crop=np.tile(np.eye(2, 3), (2, 1, 1)),
        frame_index=np.arange(2, dtype=np.int64),
        template="whole-face",
    )


def test_a_folded_network_draws_pictures_of_the_full_size_and_works_at_half() -> None:
    folded, plain = PairNet(PairNetConfig(size=64, width=8, code=16, fold=2)), PairNet(PairNetConfig(size=32, width=8, code=16))
    assert folded(picture(64), 0).shape == (2, 4, 64, 64)
    assert folded.encoder.to_code.weight.shape == plain.encoder.to_code.weight.shape
    with pytest.raises(ValueError, match="multiple of 32"):
        PairNetConfig(size=48, fold=2)


def test_weights_of_a_config_without_the_new_fields_still_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = PairSwapper(PairNet(PairNetConfig(size=32, width=8, code=16)), CARD)
    made.save(path := tmp_path / "pair.safetensors")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    fields = json.loads(header["__metadata__"]["net"])
    assert fields == asdict(PairNetConfig(size=32, width=8, code=16))
    header["__metadata__"]["net"] = json.dumps({name: value for name, value in fields.items() if name not in NEW})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with safe_open(path, framework="pt") as file:
        assert not set(NEW) & json.loads(file.metadata()["net"]).keys()
    read = PairSwapper.load(path, CPU)
    assert read.needs == made.needs
    assert read.needs.keypoints == "detector"
    codes, which = made.encode([Source(subject="actor:7", frames=[], faces=[])]), np.zeros(2, np.int64)
    assert torch.equal(read(crops(32), codes, which).pixels, made(crops(32), codes, which).pixels)


@pytest.mark.skipif(not has_bf16(CPU), reason="needs a processor that multiplies in bfloat16")
@pytest.mark.parametrize("fold", [1, 2])
def test_a_swap_in_bfloat16_is_within_two_levels_of_one_in_single_precision(fold: int) -> None:
    torch.manual_seed(1)
    net = PairNet(PairNetConfig(size=64, width=16, code=32, fold=fold))
    drawn = PairSwapper(net, CARD)(crops(64), [0], np.zeros(2, np.int64)).pixels
    with torch.inference_mode():
        exact = net(picture(64), 0)[:, :3]
    assert 0 < (drawn - exact).abs().max() <= 2 / 255


def test_blur_costs_more_where_edges_count_and_a_constant_error_does_not() -> None:
    x, ones = picture(32, 1), torch.ones(1, 1, 32, 32)
    blurred, dimmed = torch.nn.functional.avg_pool2d(x, 3, 1, 1), x * 0.99

    def cost(drawn: torch.Tensor, edges: float) -> float:
        return float(picture_loss(drawn, x, ones, ones, edges=edges))

    assert cost(blurred, 2.0) > 1.5 * cost(blurred, 0.0)
    assert cost(x + 0.05, 2.0) == pytest.approx(cost(x + 0.05, 0.0), abs=1e-6)
    assert cost(dimmed, 2.0) < cost(blurred, 2.0)


def test_moving_by_bicubic_keeps_gradients_that_bilinear_loses() -> None:
    x, matrices = picture(64, 4), jitters(4, torch.Generator().manual_seed(2))

    def energy(y: torch.Tensor) -> float:
        return float(y.diff(dim=2).square().mean() + y.diff(dim=3).square().mean())

    assert energy(moved_by(x, matrices, "bicubic")) > 1.2 * energy(moved_by(x, matrices))


def test_what_a_truth_changes_is_masked_and_nothing_far_from_it() -> None:
    before = np.full((3, 40, 40), 100, np.uint8)
    after = before.copy()
    after[:, 10:20, 10:20] += 30
    mask = changed_mask(before, after)
    assert mask[13:17, 13:17].min() >= 250
    assert mask[28:].max() == 0
    assert not changed_mask(before, before).any()


def test_recipes_of_schema_2_are_read_with_what_they_meant() -> None:
    old = {"net": {"size": 96, "width": 32, "code": 256, "skips": True, "normalise": False}, "train": {"steps": 50}}
    schema, recipe = migrated_recipe("PairRecipe/2", old)
    read = from_json(PairRecipe, json.dumps(recipe))
    assert schema == "PairRecipe/3"
    assert (read.net.fold, read.net.keypoints, read.train.edge_weight, read.train.resampling) == (1, "detector", 0.0, "bilinear")


@pytest.mark.weights
@pytest.mark.slow
def test_the_mesh_is_nearer_to_the_true_keypoints_and_a_face_that_it_rejects_keeps_its_own() -> None:
    engine, take = OfflineEngine(), Actor(21).perform("range", seconds=0.32, seed=5, size=192)
    errors = []
    for frame in take.frames():
        found = engine.detect(frame)[:1]
        if not len(found):
            continue
        true = take.rendered(frame.index).keypoints5
        both = (found, mesh_aligned(engine, frame, found))
        errors.append([np.linalg.norm(faces.keypoints[0] - true, axis=1).mean() for faces in both])
    detector, mesh = np.mean(errors, axis=0)
    assert mesh < detector
    blank = replace(take[0], image=np.zeros_like(take[0].image))
    np.testing.assert_array_equal(mesh_aligned(engine, blank, found).keypoints, found.keypoints)
