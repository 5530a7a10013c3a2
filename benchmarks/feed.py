"""What the input pipeline costs a training step of the pair: `python benchmarks/feed.py [--quick] [--device cpu]`.

The same network, losses and optimiser on three inputs, side by side in rounds: *ready*, augmented batches that lie on the device
and are used in turn; *memory*, crops in memory and augmented in the step, as `lab.train` does; *feed*, crops from the decoded cache
through `PairFeed`, augmented in the step as well. The bars are on feed over ready: the whole price of the input. Ratios of CPU time
(of all threads) are printed beside those by the clock: neighbours on the cores disturb them less. The shards hold noise in place of
faces: what lies in a crop changes none of the work. Decoding the shards into the cache is timed apart. Ends with one line of JSON.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from faceswap_lab.actors.shards import FORMAT, to_json, to_npz, writing
from faceswap_lab.files import sha256_file
from faceswap_lab.models.feed.crops import CropShards
from faceswap_lab.models.feed.pair_feed import PairFeed, pair_losses
from faceswap_lab.models.feed.shard_source import MANIFEST, ShardSource, source_at
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.training.loop import StepContext, train
from faceswap_lab.models.training.pair import PairTraining, Portraits, fresh_pair, train_pair
from faceswap_lab.storage.address import address_of
from faceswap_lab.storage.cache import StoreCache

ACTORS = (7, 8)
BARS = {"cpu": 1.20, "cuda": 1.05}


def pretend_set(folder: Path, num_shards: int, per_shard: int, side: int = 128, seed: int = 0) -> ShardSource:
    """Shards as `lab.render` writes them with recast, of two actors in turn, with noise in place of pictures."""
    draw, rows = np.random.default_rng(seed), []
    (folder / "shards").mkdir(parents=True)
    for shard in range(num_shards):
        path = folder / "shards" / f"{shard:06d}.tar"
        with writing(path) as tar:
            for sample in range(shard * per_shard, (shard + 1) * per_shard):
                actor, other = ACTORS[sample % 2], ACTORS[1 - sample % 2]
                members = _version(draw, side, actor, None)
                members |= {f"truth.{ending}": content for ending, content in _version(draw, side, actor, other).items()}
                tar.add(sample, members)
        rows.append({"name": f"shards/{path.name}", "sha256": sha256_file(path), "bytes": path.stat().st_size, "count": per_shard})
    about = {"format": FORMAT, "synthetic": True, "split": "train", "actors": list(ACTORS), "run": "pretend", "shards": rows}
    (folder / MANIFEST).write_text(json.dumps(about))
    return source_at(address_of(folder))


def _version(draw: np.random.Generator, side: int, actor: int, shown: int | None) -> dict[str, bytes]:
    file = io.BytesIO()
    Pillow.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "PNG", compress_level=0)
    middle, spread = side / 2, side / 5
    five = np.array([[-1, -1], [1, -1], [0, 0], [-0.7, 1], [0.7, 1]]) * spread + middle + draw.normal(0, 1, (5, 2))
    points = {"5": {"xy": five.tolist()}, "68": {"xy": (middle + draw.normal(0, spread / 2, (68, 2))).tolist()}}
    mask = np.zeros((side, side), np.uint8)
    mask[side // 5 : -side // 5, side // 5 : -side // 5] = 255
    facts = {"synthetic": True, "actor": actor, "as": shown, "points": points}
    return {"png": file.getvalue(), "json": to_json(facts), "npz": to_npz({"face_mask": mask})}


def portraits(crops: CropShards) -> tuple[Portraits, Portraits]:
    """The same crops in memory, as `train` gathers them."""

    def of(actor: int, other: int) -> Portraits:
        def stack(name: str, rows: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.stack([crops.stacks(int(shard))[name][row] for shard, row in rows]))

        own, true = crops.rows(actor), crops.rows(other, source=actor)
        return Portraits(
            self_images=stack("images", own),
            self_masks=stack("masks", own),
            inputs=stack("images", true),
            targets=stack("truths", true),
            target_masks=stack("truth_masks", true),
        )

    return of(*ACTORS), of(*reversed(ACTORS))


class Timed:
    """One network in training on one input."""

    def __init__(self, steps: Iterator[object], device: torch.device) -> None:
        self._steps, self._device = steps, device

    def step(self, count: int) -> tuple[float, float]:
        """Seconds of one step by the clock, and of CPU time, over `count` steps."""
        self._wait()
        start, worked = time.perf_counter(), time.process_time()
        for _ in range(count):
            next(self._steps)
        self._wait()
        return (time.perf_counter() - start) / count, (time.process_time() - worked) / count

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def inputs(crops: CropShards, net: PairNetConfig, config: PairTraining, device: torch.device) -> dict[str, Timed]:
    """The three trainings. `report_every` is 1, so that each Step is a step."""
    config = replace(config, steps=10**6, report_every=1)
    feed = PairFeed(crops=crops, people=ACTORS, config=config, device=device)
    given = feed.batches()
    ready = [next(given)[1] for _ in range(8)]
    given.close()
    fed = feed.batches()

    def on(draw: Callable[[int], object]) -> Iterator[object]:
        def losses(model: PairNet, context: StepContext) -> dict[str, torch.Tensor]:
            return pair_losses(model, draw(context.step), config, context)  # type: ignore[arg-type]

        return train(fresh_pair(net, config, device), losses, config)

    return {
        "ready": Timed(on(lambda step: ready[step % len(ready)]), device),
        "memory": Timed(train_pair(fresh_pair(net, config, device), portraits(crops), config), device),
        "feed": Timed(on(lambda _: next(fed)[1]), device),
    }


def _over_ready(found: dict[str, list[tuple[float, float]]], name: str, which: int) -> float:
    """The median of the rounds' ratios, each taken within its round."""
    return statistics.median(a[which] / b[which] for a, b in zip(found[name], found["ready"], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and crops")
    parser.add_argument("--tiny", action="store_true", help="every part once at a small size; no verdict")
    parser.add_argument("--device", default="cpu", choices=BARS)
    options = parser.parse_args()
    device = torch.device(options.device)
    rounds, count = (2, 1) if options.tiny else (5, 3) if options.quick else (15, 10)
    net = PairNetConfig(size=32, width=8, code=16) if options.tiny else PairNetConfig()
    with tempfile.TemporaryDirectory(prefix="faceswap-lab-feed-") as scratch:
        shards, each = (2, 4) if options.tiny else (4, 64) if options.quick else (16, 64)
        source = pretend_set(Path(scratch) / "set", shards, each)
        crops = CropShards(source=source, size=net.size, cache=StoreCache(Path(scratch) / "cache"))
        start = time.perf_counter()
        decoded = sum(crops.decode(number) for number in range(len(source.shards)))
        per_s = decoded / (time.perf_counter() - start)
        timed = inputs(crops, net, PairTraining(batch=2 if options.tiny else 8), device)
        for each_input in timed.values():
            each_input.step(count)  # warm
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
        for number in range(rounds):
            for name in list(timed)[:: 1 if number % 2 else -1]:
                found[name].append(timed[name].step(count))
    clock, work = ({name: _over_ready(found, name, which) for name in found} for which in (0, 1))
    for name, times in found.items():
        median = 1e3 * statistics.median(seconds for seconds, _ in times)
        print(f"{name:8} {median:8.1f} ms a step, {clock[name]:.3f} of ready; of its CPU time {work[name]:.3f}")
    print(f"decoding {per_s:8.1f} samples a second with their truth, into {decoded} rows of the cache")
    bar = BARS[options.device]
    bars = {} if options.tiny else {"feed_over_ready": {"bar": bar, "value": round(clock["feed"], 3), "ok": clock["feed"] <= bar}}
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {options.device}"
    figures = {f"{name}_ms": round(1e3 * statistics.median(seconds for seconds, _ in times), 2) for name, times in found.items()}
    figures |= {f"{name}_over_ready_cpu_time": round(work[name], 3) for name in ("memory", "feed")}
    figures |= {"memory_over_ready": round(clock["memory"], 3), "decoded_per_s": round(per_s, 1)}
    print(json.dumps({"name": "feed", "machine": machine, "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
