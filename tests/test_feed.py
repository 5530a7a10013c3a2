"""The pair's batches from shards: decoded once, the same for any number of ranks and after a resume."""

import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.feed import ACTORS, portraits, pretend_set
from faceswap_lab.actors.shards import read_shard
from faceswap_lab.errors import FaceError, MediaError, SplitError, StorageError
from faceswap_lab.faces import align
from faceswap_lab.models.feed import crops as cutting
from faceswap_lab.models.feed.crops import CropShards, crop_of, face_masks
from faceswap_lab.models.feed.pair_feed import PairFeed, PersonBatch, train_pair_from
from faceswap_lab.models.feed.shard_source import ShardSource
from faceswap_lab.models.swappers.pair import TEMPLATE
from faceswap_lab.models.swappers.pair_net import PairNetConfig
from faceswap_lab.models.training.pair import PairTraining, fresh_pair, train_pair
from faceswap_lab.storage.cache import StoreCache

CPU = torch.device("cpu")
CONFIG = PairTraining(batch=4, steps=4, report_every=1, seed=3, self_share=0.5)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ShardSource:
    return pretend_set(tmp_path_factory.mktemp("set") / "set", 2, 4, side=64)


@pytest.fixture
def crops(source: ShardSource, tmp_path: Path) -> CropShards:
    return CropShards(source=source, size=32, cache=StoreCache(tmp_path / "cache", 1 << 24))


def feed(crops: CropShards, **changes: object) -> PairFeed:
    return replace(PairFeed(crops=crops, people=ACTORS, config=CONFIG, device=CPU), **changes)


def some(given: PairFeed, count: int, start: int = 0) -> dict[int, tuple[PersonBatch, PersonBatch]]:
    batches = given.batches(start)
    try:
        return dict(next(batches) for _ in range(count))
    finally:
        batches.close()


def joined(parts: list[tuple[PersonBatch, PersonBatch]], person: int) -> torch.Tensor:
    return torch.cat([torch.cat([part[person].inputs, part[person].targets, part[person].masks], 1) for part in parts])


# --- crops ------------------------------------------------------------------------------------------------------------------


def test_rows_hold_what_the_samples_show(crops: CropShards, source: ShardSource) -> None:
    samples = [sample for shard in range(2) for sample in read_shard(Path(source.address.path) / source.shards[shard].name)]
    for number, sample in enumerate(samples):
        stacks, row = crops.stacks(number // 4), number % 4
        for name, value in crop_of(sample, 32).items():
            np.testing.assert_array_equal(stacks[name][row], value)
        assert (stacks["actor"][row], stacks["source"][row]) == (ACTORS[number % 2], ACTORS[1 - number % 2])
        assert not np.array_equal(stacks["images"][row], stacks["truths"][row])
    assert crops.rows(7).tolist() == crops.rows(7, source=8).tolist() == [[0, 0], [0, 2], [1, 0], [1, 2]]
    assert len(crops.rows(7, source=7)) == len(crops.rows(9)) == 0


def test_a_crop_has_its_keypoints_where_the_template_has_them(source: ShardSource) -> None:
    """A mark on a keypoint of the frame lies on the template's point of the crop; the truth is cut in the same place."""
    sample = next(read_shard(Path(source.address.path) / source.shards[0].name))
    points = np.array(sample.facts["points"]["5"]["xy"], np.float32)
    matrix = align.frame_to_crop(points, template=TEMPLATE, size=32)
    mask = np.zeros((64, 64), np.uint8)
    x, y = points[2].round().astype(int)
    mask[y - 1 : y + 2, x - 1 : x + 2] = 255
    found = face_masks(mask, np.full((68, 2), -99.0), matrix, 32)[0]
    rows, columns = np.nonzero(found > 0.5)
    expected = align.transform_points(matrix, np.array([[x, y]], np.float64))[0]
    assert np.hypot(columns.mean() - expected[0], rows.mean() - expected[1]) < 1


def test_a_shard_is_decoded_once_for_all_processes(
    source: ShardSource, crops: CropShards, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert crops.decode(0) == 4
    before = np.array(crops.stacks(0)["images"])
    monkeypatch.setattr(cutting, "crop_of", lambda *_: pytest.fail("decoded again"))
    other = CropShards(source=source, size=32, cache=StoreCache(tmp_path / "cache", 1 << 24))
    np.testing.assert_array_equal(other.stacks(0)["images"], before)
    with pytest.raises(pytest.fail.Exception):
        other.stacks(1)


def test_crops_stay_readable_when_the_cache_removes_them(source: ShardSource, tmp_path: Path) -> None:
    one = CropShards(source=source, size=32, cache=StoreCache(tmp_path / "cache", 60_000))
    first, mapped = np.array(one.stacks(0)["images"]), one.stacks(0)["images"]
    one.stacks(1)
    assert len([path for path in (tmp_path / "cache" / "entries").rglob("*") if path.is_file()]) == 1
    np.testing.assert_array_equal(mapped, first)


def test_a_worker_gets_the_names_and_not_the_pictures(crops: CropShards) -> None:
    crops.stacks(0)
    told = pickle.dumps(feed(crops))
    assert len(told) < 4000
    there = pickle.loads(told).crops
    np.testing.assert_array_equal(there.stacks(0)["images"], crops.stacks(0)["images"])


def decoded(crops: CropShards, shard: int) -> int:
    return crops.decode(shard)


@pytest.mark.slow
def test_workers_decode_into_one_cache(crops: CropShards) -> None:
    """Two processes, each asked for each shard: all of it is there afterwards, once, and whole."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(decoded, [crops] * 4, [0, 0, 1, 1])) == [4] * 4
    files = [path for path in (crops.cache.folder / "entries").rglob("*") if path.is_file()]
    assert len(files) == 2
    np.testing.assert_array_equal(crops.stacks(0)["images"][0], crop_of(next(crops.source.samples(crops.cache)), 32)["images"])


def test_samples_without_maps_or_stills_are_refused(source: ShardSource) -> None:
    sample = next(read_shard(Path(source.address.path) / source.shards[0].name))
    for name in ("npz", "png"):
        members = {key: value for key, value in sample.members.items() if key != name}
        with pytest.raises(MediaError, match=f"without {name}"):
            crop_of(replace(sample, members=members), 32)


def rows_of(crops: CropShards, name: str, rows: np.ndarray) -> list[bytes]:
    return [crops.stacks(int(shard))[name][row].tobytes() for shard, row in rows]


# --- batches ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_see_together_what_one_sees_alone(crops: CropShards, ranks: int, supervised: bool) -> None:
    alone = some(feed(crops, supervised=supervised), 3)
    parts = [some(feed(crops, supervised=supervised, rank=rank, ranks=ranks), 3) for rank in range(ranks)]
    for step in range(3):
        for person in (0, 1):
            torch.testing.assert_close(
                joined([part[step] for part in parts], person), joined([alone[step]], person), rtol=0, atol=1e-6
            )


def test_a_resumed_feed_goes_on_with_the_same_batches(crops: CropShards) -> None:
    whole, rest = some(feed(crops), 5), some(feed(crops), 2, start=3)
    for step in (3, 4):
        for person in (0, 1):
            assert torch.equal(joined([whole[step]], person), joined([rest[step]], person))
    assert not torch.equal(joined([whole[3]], 0), joined([whole[4]], 0))
    other = some(feed(crops, config=replace(CONFIG, seed=4)), 1)
    assert not torch.equal(joined([whole[0]], 0), joined([other[0]], 0))


def test_a_batch_shows_the_right_people(crops: CropShards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without transforms: own crops are their own target, the others are the other actor with this one's truth as the target."""
    monkeypatch.setattr("faceswap_lab.models.feed.pair_feed.moved_by", lambda levels, _: levels)
    for person, actor in enumerate(ACTORS):
        own, true = crops.rows(actor), crops.rows(ACTORS[1 - person], source=actor)
        known = {"images": rows_of(crops, "images", own), "truths": rows_of(crops, "truths", true)}
        inputs = rows_of(crops, "images", true)
        seen = set()
        for batch in some(feed(crops), 4).values():
            levels = {name: (getattr(batch[person], name) * 255).round().byte().numpy() for name in ("inputs", "targets")}
            for row in range(2):
                assert levels["inputs"][row].tobytes() == levels["targets"][row].tobytes()
                assert levels["targets"][row].tobytes() in known["images"]
            for row in (2, 3):
                place = known["truths"].index(levels["targets"][row].tobytes())
                assert levels["inputs"][row].tobytes() == inputs[place]
                seen.add(place)
        assert len(seen) == 4, "two epochs of the four"


def test_what_the_data_set_cannot_show_is_said(crops: CropShards, source: ShardSource, tmp_path: Path) -> None:
    with pytest.raises(FaceError, match="actor:9"):
        next(feed(crops, people=(7, 9)).batches())
    with pytest.raises(SplitError):
        next(feed(replace(crops, source=replace(source, split="test"))).batches())
    gone = replace(source, shards=(replace(source.shards[0], name="shards/gone.tar"),))
    with pytest.raises(StorageError):
        next(feed(CropShards(source=gone, size=32, cache=StoreCache(tmp_path / "other", 1 << 24))).batches())


@pytest.fixture
def small() -> Iterator[PairNetConfig]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield PairNetConfig(size=32, width=8, code=16)
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_training_from_a_feed_resumes_bit_for_bit_and_learns_what_training_in_memory_does(
    crops: CropShards, small: PairNetConfig
) -> None:
    config = replace(CONFIG, steps=30, batch=8, self_share=0.25)
    whole, half = fresh_pair(small, config, CPU), fresh_pair(small, config, CPU)
    losses = [step.losses["loss"] for step in train_pair_from(whole, feed(crops, config=config))]
    list(train_pair_from(half, feed(crops, config=config), lambda: half.step >= 11))
    assert 0 < half.step < 30
    list(train_pair_from(half, feed(crops, config=config)))
    for one, other in zip(whole.net.parameters(), half.net.parameters(), strict=True):
        assert torch.equal(one, other)
    in_memory = [step.losses["loss"] for step in train_pair(fresh_pair(small, config, CPU), portraits(crops), config)]
    assert losses[-1] < 0.9 * losses[0]
    assert abs(losses[-1] / in_memory[-1] - 1) < 0.1
