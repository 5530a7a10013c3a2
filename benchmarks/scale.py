"""What a cluster adds and costs: `python benchmarks/scale.py [--quick] [--only curves,overhead,death,batch]`.

- *curves*: the same training in this process, on one rank and on two: by how much the losses differ, beside what rounding does (the
  first weights differ by one part in ten million).
- *overhead*: a step of two ranks under Dask and our supervision over one of the same two ranks under plain `torchrun`, in turns.
- *death*: seconds from the kill of a rank to the next step of training, for a small network.
- *batch*: frames a second of a swap on two workers over one, and whether the result has the bytes of this process.

All on this machine's CPU, with one thread for each rank or worker. Ends with one line of JSON.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import faceswap_lab as lab
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.rank import JOB
from faceswap_lab.faces import video
from faceswap_lab.models.training.pair import train_pair
from faceswap_lab.models.training.team import Parallel
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.verbs.recipes import PairRecipe
from faceswap_lab.verbs.swap import one
from faceswap_lab.verbs.train import crops
from faceswap_lab.verbs.train.ranks import ENTRY, GangTraining, fresh_state
from faceswap_lab.verbs.train.train import CROPS

PARTS = ("curves", "overhead", "death", "batch")
BARS = {"curves": 3.0, "overhead": 1.05, "death_s": 15.0, "batch": 1.8}


@contextmanager
def fresh_lab() -> Iterator[Path]:
    """A lab of its own, in which the verbs work while it is open."""
    before = os.environ.get("FACESWAP_LAB_ROOT")
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        (Path(folder) / "data_manifests").mkdir()
        os.environ["FACESWAP_LAB_ROOT"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("FACESWAP_LAB_ROOT")
            if before is not None:
                os.environ["FACESWAP_LAB_ROOT"] = before


def people() -> dict[str, Any]:
    """The two actors that all trainings are of."""
    return {"source": lab.actor(7), "target": lab.actor(32)}


def curves(cluster: Cluster, steps: int) -> dict[str, float]:
    """The largest relative difference of a reported loss from that of this process: for one and two ranks, and for first weights
    that differ by a rounding error, in both precisions."""
    found: dict[str, float] = {}
    for precision in ("fp32", "bf16"):
        base = lab.recipes.smoke()
        recipe = replace(base, train=replace(base.train, steps=steps, report_every=1, precision=precision))
        losses: dict[int, list[float]] = {}
        for ranks in (0, 1, 2):
            with fresh_lab():
                how = {"compute": cluster, "parallel": Parallel(ranks=ranks)} if ranks else {}
                run = lab.train(recipe, **people(), **how)
                losses[ranks] = [event["losses"]["loss"] for event in run.events("step")]
                if not ranks:
                    nudged = [_nudged(recipe, run.artifact(CROPS), seed) for seed in range(3)]
        for ranks in (1, 2):
            found[f"{precision}, {ranks} ranks"] = _apart(losses[0], losses[ranks])
        found[f"{precision}, rounding"] = max(_apart(losses[0], each) for each in nudged)
    return found


def _apart(one: list[float], other: list[float]) -> float:
    return max(abs(b - a) / a for a, b in zip(one, other, strict=True))


def _nudged(recipe: PairRecipe, path: Path, seed: int) -> list[float]:
    """The losses of the training in this process when each weight differs by a ten-millionth at first: about float32's rounding."""
    state, noise = fresh_state(recipe, True, torch.device("cpu")), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in state.net.parameters():
            weight.mul_(1 + 1e-7 * torch.randn(weight.shape, generator=noise))
    return [step.losses["loss"] for step in train_pair(state, crops.load(path), recipe.train)]


# --- what supervision costs ---------------------------------------------------------------------------------------------------


def overhead(cluster: Cluster, steps: int, rounds: int) -> list[tuple[float, float]]:
    """Seconds a step, in each round, under the gang and under torchrun: the same recipe, crops, ranks and threads."""
    recipe = lab.recipes.pair(steps, num_views=16)
    recipe = replace(recipe, train=replace(recipe.train, report_every=5), checkpoint_every=steps)
    found = []
    for number in range(rounds):
        with fresh_lab() as root:
            both = {}
            for kind in ("gang", "torchrun") if number % 2 else ("torchrun", "gang"):
                both[kind] = _gang_step(recipe, cluster) if kind == "gang" else _torchrun_step(recipe, root)
            found.append((both["gang"], both["torchrun"]))
            print(f"overhead, round {number + 1}: gang {both['gang']:.3f} s a step, torchrun {both['torchrun']:.3f}", flush=True)
    return found


def _gang_step(recipe: PairRecipe, cluster: Cluster) -> float:
    run = lab.train(recipe, **people(), compute=cluster, parallel=Parallel(ranks=2), force=True)
    return _step_s(recipe, run.events("step"))


def _step_s(recipe: PairRecipe, steps: list[dict[str, Any]]) -> float:
    """The median over reports but the first, in which everything is set up."""
    return statistics.median(recipe.train.samples_per_step / event["samples_per_s"] for event in steps[1:])


def _torchrun_step(recipe: PairRecipe, root: Path) -> float:
    """The same ranks' work under torchrun, which starts them and looks after them."""
    payload = _payload_of(recipe, root)
    job = root / "job.json"
    job.write_text(json.dumps({"entry": ENTRY, "payload": payload}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "faceswap_lab.compute.rank"]
    environment = os.environ | {JOB: str(job), "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return _step_s(recipe, [each for each in told if each["kind"] == "step"])


def _payload_of(recipe: PairRecipe, root: Path) -> dict[str, Any]:
    """The payload of a gang's ranks for a training with these crops, which a training in this process gathers."""
    first = replace(recipe, train=replace(recipe.train, steps=1, report_every=1))
    run = lab.train(first, **people())
    folder = root / "torchrun"
    folder.mkdir(exist_ok=True)
    return {
        "recipe": to_json(recipe),
        "with_truth": True,
        "device": "cpu",
        "threads": 1,
        "accumulate": 1,
        "compile": False,
        "shard": False,
        "crops": str(run.artifact(CROPS)),
        "checkpoint": "",
        "folder": str(folder),
        "key": run.key,
        "run": run.id,
    }


# --- what a death costs -------------------------------------------------------------------------------------------------------


def death(cluster: Cluster, rounds: int) -> list[float]:
    """Seconds from the kill of a rank to the next step, and whether not more than a checkpoint's interval was lost."""
    base = lab.recipes.smoke()
    recipe = replace(base, train=replace(base.train, steps=60, report_every=1), checkpoint_every=5)
    found = []
    hear = GangTraining._hear
    for _ in range(rounds):
        killed: list[float] = []
        resumed: list[float] = []

        def listen(self: GangTraining, told: Any, killed: list[float] = killed, resumed: list[float] = resumed) -> None:
            hear(self, told)
            if told["kind"] == "step" and told["step"] >= 12 and not killed:
                os.kill(_ranks()[-1], signal.SIGKILL)
                killed.append(time.perf_counter())
            elif told["kind"] == "step" and killed and not resumed and self.run.events("rank_died"):
                resumed.append(time.perf_counter())

        GangTraining._hear = listen  # type: ignore[method-assign]
        try:
            with fresh_lab():
                lab.train(recipe, **people(), compute=cluster, parallel=Parallel(ranks=2))
        finally:
            GangTraining._hear = hear  # type: ignore[method-assign]
        found.append(resumed[0] - killed[0])
        print(f"death: {found[-1]:.1f} s to the next step", flush=True)
    return found


def _ranks() -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"faceswap_lab.compute.rank" in words:
                found.append(int(process.name))
    return sorted(found)


# --- what a second worker gives -------------------------------------------------------------------------------------------------


def batch(frames: int, rounds: int) -> tuple[list[tuple[float, float]], bool]:
    """(seconds on one worker, on two) of swapping a clip in parts, in each round; and whether all had the bytes of this process."""
    one.PART_FRAMES = max(8, frames // 8)
    found, same = [], True
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "clip.mp4"
        take = lab.actor(32).perform("speech", seconds=frames / 25, size=256)
        video.encode(path, take.frames(), fps=take.fps, size=take.size)
        with lab.cluster("local", workers=1) as single, lab.cluster("local", workers=2) as double:
            for number in range(rounds + 1):  # the first one warms the workers up
                spent, digests = {}, set()
                for name, compute in (("inline", None), ("one", single), ("two", double)):
                    if name == "inline" and number:
                        continue
                    with fresh_lab():
                        clip = lab.admit(path, who="Jo Doe", basis="consent: a benchmark with an actor", uses=["anonymise"])
                        start = time.perf_counter()
                        run = lab.swap(clip, source=lab.actor(7), compute=compute)
                        spent[name] = float(sum(event["seconds"] for event in run.events("swapped")))
                        digests.add(json.dumps(run.record.artifacts, sort_keys=True))
                        print(f"batch, {name}: {spent[name]:.2f} s, {time.perf_counter() - start:.2f} in all", flush=True)
                same = same and len(digests) == 1
                if number:
                    found.append((spent["one"], spent["two"]))
    return found, same


# --- all together ---------------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run what was asked for; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    options = parser.parse_args()
    parts, quick = options.only.split(","), options.quick
    torch.set_num_threads(1)
    bars: dict[str, dict[str, Any]] = {}
    with lab.cluster("local", workers=2) as cluster:
        if "curves" in parts:
            apart = curves(cluster, 6 if quick else 30)
            for name, value in apart.items():
                rounding = apart[f"{name.partition(',')[0]}, rounding"]
                bars[f"curves: {name}"] = _bar(value, float(f"{max(BARS['curves'] * rounding, 1e-6):.2g}"))
        if "overhead" in parts:
            pairs = overhead(cluster, 30 if quick else 60, 2 if quick else 5)
            bars["overhead: gang over torchrun"] = _bar(statistics.median(a / b for a, b in pairs), BARS["overhead"])
        if "death" in parts:
            bars["death: seconds to the next step"] = _bar(statistics.median(death(cluster, 1 if quick else 3)), BARS["death_s"])
    if "batch" in parts:
        pairs, same = batch(64 if quick else 200, 1 if quick else 3)
        bars["batch: one worker's time over two's"] = _bar(statistics.median(a / b for a, b in pairs), BARS["batch"], least=True)
        bars["batch: the bytes of this process"] = {"value": same, "bar": True, "ok": same}
    for name, bar in bars.items():
        print(f"{name:<40} {bar['value']!s:<22} bar {bar['bar']:<8} {'ok' if bar['ok'] else 'MISSED'}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    print(json.dumps({"name": "scale", "machine": machine, "bars": bars}))
    return 0 if all(bar["ok"] for bar in bars.values()) else 1


def _bar(value: float, bar: float, *, least: bool = False) -> dict[str, Any]:
    return {"value": float(f"{value:.3g}"), "bar": bar, "ok": value >= bar if least else value <= bar}


if __name__ == "__main__":
    raise SystemExit(main())
