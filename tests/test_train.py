"""Training: it learns, it can be stopped anywhere, and it is the same every time."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from faceswap_lab.errors import ConsentError, RunError, WeightsError
from faceswap_lab.models.protocols import Card, Crops, Source
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig, normalised
from faceswap_lab.models.training.loop import Step
from faceswap_lab.models.training.losses import picture_loss, ssim_map
from faceswap_lab.models.training.pair import PairTraining, Portraits, fresh_pair, train_pair
from faceswap_lab.models.training.state import TrainState

NET = PairNetConfig(size=32, width=8, code=32)
CONFIG = PairTraining(steps=8, batch=4, report_every=2, warmup=2, seed=3)
GOLDEN = replace(CONFIG, precision="fp32")
CPU = torch.device("cpu")


def blobs(seed: int, colour: tuple[int, int, int], count: int = 24) -> torch.Tensor:
    """Pictures that stand for a person: a disc of their colour, somewhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    pictures = []
    for _ in range(count):
        cx, cy, r = rng.uniform(12, 20), rng.uniform(12, 20), 8
        disc = ((x - cx) ** 2 + (y - cy) ** 2 < r * r)[..., None]
        pictures.append(np.where(disc, np.array(colour), 40).astype(np.uint8))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def people(supervised: bool = True) -> tuple[Portraits, Portraits]:
    red_1, blue_1 = blobs(1, (220, 60, 50)), blobs(1, (40, 70, 210))
    red_2, blue_2 = blobs(2, (220, 60, 50)), blobs(2, (40, 70, 210))
    mask = torch.full((24, 2, 32, 32), 255, dtype=torch.uint8)
    if not supervised:
        return Portraits(self_images=red_1, self_masks=mask), Portraits(self_images=blue_2, self_masks=mask)
    return (
        Portraits(self_images=red_1, self_masks=mask, inputs=blue_2, targets=red_2, target_masks=mask),
        Portraits(self_images=blue_2, self_masks=mask, inputs=red_1, targets=blue_1, target_masks=mask),
    )


def run(config: PairTraining = CONFIG, supervised: bool = True) -> tuple[TrainState[PairNet], list[Step]]:
    state = fresh_pair(NET, config, CPU)
    return state, list(train_pair(state, people(supervised), config))


def same(a: TrainState[PairNet], b: TrainState[PairNet]) -> bool:
    pairs = zip(a.average.state_dict().values(), b.average.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_ssim_agrees_with_scikit_image() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((40, 36), np.float32)
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype(np.float32)
    ours = ssim_map(torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None])[0, 0].numpy()
    _, theirs = structural_similarity(
        a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    np.testing.assert_allclose(ours[5:-5, 5:-5], theirs[5:-5, 5:-5], atol=2e-4)


def test_the_loss_is_zero_for_the_truth_and_heeds_eyes_and_mouth_most_then_the_face() -> None:
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    face, focus = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    face[..., 8:28, 8:28] = 1
    focus[..., 9:14, 9:14] = 1
    assert picture_loss(x, x, face, focus).item() == pytest.approx(0, abs=1e-5)

    def cost(row: int, column: int) -> torch.Tensor:
        wrong = x.clone()
        wrong[..., row : row + 4, column : column + 4] += 0.3
        return picture_loss(wrong, x, face, focus)

    assert cost(10, 10) > 1.5 * cost(22, 22) > 3 * cost(0, 0)


def test_normalising_takes_exposure_out() -> None:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5
    torch.testing.assert_close(normalised(x), normalised(x * 1.7 + 0.1), atol=2e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("supervised", [True, False])
def test_a_stop_at_any_report_and_a_resume_equal_an_unbroken_run(supervised: bool) -> None:
    unbroken, steps = run(supervised=supervised)
    assert [step.number for step in steps] == [2, 4, 6, 8]
    for stop in (0, 2):
        first = fresh_pair(NET, CONFIG, CPU)
        for done, _ in enumerate(train_pair(first, people(supervised), CONFIG)):
            if done == stop:
                break
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second = fresh_pair(NET, replace(CONFIG, seed=99), CPU)
        second.load_state_dict(torch.load(file, weights_only=True))
        list(train_pair(second, people(supervised), CONFIG))
        assert same(second, unbroken)


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_a_stop_at_any_step_and_a_resume_equal_an_unbroken_run(stop_at: int) -> None:
    unbroken, _ = run()
    first = fresh_pair(NET, CONFIG, CPU)
    assert [step.number for step in train_pair(first, people(), CONFIG, lambda: first.step == stop_at)][-1] == stop_at
    second = fresh_pair(NET, replace(CONFIG, seed=99), CPU)
    second.load_state_dict(first.state_dict())
    assert [step.number for step in train_pair(second, people(), CONFIG)] == [n for n in (2, 4, 6, 8) if n > stop_at]
    assert same(second, unbroken)


def test_losses_are_the_golden_ones() -> None:
    golden = json.loads((Path(__file__).parent / "golden" / "train_losses.json").read_text())
    _, steps = run(GOLDEN)
    # Sums round differently from one CPU family to the next: the tolerance is theirs, a changed recipe is far outside it.
    np.testing.assert_allclose([step.losses["loss"] for step in steps], golden, rtol=1e-3)


@pytest.mark.slow
def test_it_learns_to_recolour_what_it_never_saw() -> None:
    config = replace(CONFIG, steps=300, batch=8, learning_rate=3e-3, report_every=50, self_share=0.25)
    state, steps = run(config)
    unseen, targets = blobs(7, (40, 70, 210)).float() / 255, blobs(7, (220, 60, 50)).float() / 255
    drawn = state.average(unseen, 0)[:, :3].float()
    assert steps[-1].losses["loss"] < 0.5 * steps[0].losses["loss"]
    assert (drawn - targets).square().mean() < 0.25 * (unseen - targets).square().mean()


def test_a_checkpoint_of_another_network_is_named() -> None:
    saved = fresh_pair(replace(NET, width=12), CONFIG, CPU).state_dict()
    with pytest.raises(RunError, match="this recipe's network"):
        fresh_pair(NET, CONFIG, CPU).load_state_dict(saved)


def test_a_diverging_run_stops_with_a_sentence() -> None:
    state = fresh_pair(NET, CONFIG, CPU)
    with torch.no_grad():
        next(state.net.parameters()).fill_(float("nan"))
    with pytest.raises(RunError, match="learning rate"):
        list(train_pair(state, people(), CONFIG))


def card() -> Card:
    return Card(name="test", task="swap", licence="Apache-2.0", source="tests", subjects=("actor:7", "actor:21"))


def crops(count: int = 5) -> Crops:
    return Crops(
        pixels=torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        frame_to_crop=np.tile(np.eye(2, 3), (count, 1, 1)),
        frame_index=np.arange(count, dtype=np.int64),
        template="face",
    )


def test_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    """safetensors alone writes the metadata in either order."""
    made = PairSwapper(PairNet(NET), card())
    written = set()
    for _ in range(20):
        made.save(tmp_path / "pair.safetensors")
        written.add((tmp_path / "pair.safetensors").read_bytes())
    assert len(written) == 1


def test_the_pair_swapper_survives_its_file_and_batches_like_a_loop(tmp_path: Path) -> None:
    made = PairSwapper(PairNet(NET), card())
    made.save(tmp_path / "pair.safetensors")
    read = PairSwapper.load(tmp_path / "pair.safetensors", CPU)
    assert read.card == made.card
    assert read.needs == made.needs
    people_codes = read.encode([Source(subject="actor:21", frames=[], faces=[]), Source(subject="actor:7", frames=[], faces=[])])
    which = np.array([0, 1, 0, 1, 1])
    batch, alone = crops(), read(crops(), people_codes, which)
    for row in range(len(batch)):
        single = made(batch[row : row + 1], people_codes, which[row : row + 1])
        torch.testing.assert_close(single.pixels[0], alone.pixels[row], atol=1e-5, rtol=0)
    assert alone.mask is not None
    assert 0 <= alone.pixels.min() <= alone.pixels.max() <= 1


def test_the_pair_swapper_refuses_strangers() -> None:
    with pytest.raises(ConsentError, match="actor:9"):
        PairSwapper(PairNet(NET), card()).encode([Source(subject="actor:9", frames=[], faces=[])])


def test_a_foreign_weight_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match="train the pair again"):
        PairSwapper.load(tmp_path / "bad.safetensors", CPU)


if __name__ == "__main__":  # python -m tests.test_train writes the golden losses
    target = Path(__file__).parent / "golden" / "train_losses.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([step.losses["loss"] for step in run(GOLDEN)[1]]) + "\n")
