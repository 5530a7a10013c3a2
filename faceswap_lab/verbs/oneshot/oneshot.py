"""The verb `train` with the recipe `oneshot`: renders actors with their true swaps, and trains the swapper for any face.

The run's artifacts are `oneshot.safetensors`, which `swapper=` takes by the run's id, and `card.json` with recipe, data and scores.
"""

import json
import platform
import shutil
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from faceswap_lab import __version__
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.files import lab_root, sha256_file
from faceswap_lab.models import data_files
from faceswap_lab.models import device as devices
from faceswap_lab.models.oneshot.examples import Examples, map_examples
from faceswap_lab.models.oneshot.net import OneshotNet
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.swappers.oneshot import OneshotSwapper
from faceswap_lab.models.training.checkpoint import read_checkpoint, write_checkpoint
from faceswap_lab.models.training.loop import Session, Step
from faceswap_lab.models.training.oneshot import fresh_oneshot, train_oneshot
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.progress import Progress
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import stop_on_signals
from faceswap_lab.verbs.computing import Compute, computing
from faceswap_lab.verbs.networks import told, write_pictures
from faceswap_lab.verbs.oneshot.scores import score_examples
from faceswap_lab.verbs.oneshot.stages import drape_parts, fit_shapes, fold_of, read_shape, render_parts
from faceswap_lab.verbs.recipes import OneshotRecipe
from faceswap_lab.verbs.train.result import ONESHOT, TrainRun

CARD, CHECKPOINT = "card.json", "checkpoint.pt"
_EXAMPLES = "examples"


def train_oneshot_swapper(recipe: OneshotRecipe, *, device: str = "auto", compute: Compute = None, force: bool = False) -> TrainRun:
    """Make a one-shot swapper; blocks with one progress line per stage. With `compute`, its workers render and drape.

    The network that heals is trained in this process, on `device`. An identical finished call returns its Run; an interrupted one
    resumes with the missing pictures and steps, and the weights are the same as without the interruption. Raises WeightsError
    without the offline engine's weights, whose points the pictures are cut by.
    """
    devices.pick(device)  # refused before there is a run
    data = data_files.of_actors() | data_files.of_offline() | data_files.of_warp()
    run = TrainRun.start(lab_root(), "train", recipe, {}, data=data, force=force)
    if run.finished:
        return run
    with run, devices.watched():
        scratch = run.path / _EXAMPLES
        scratch.mkdir(exist_ok=True)
        try:
            with computing(run, compute, "cpu") as (cluster, _):
                write_pictures(run, recipe.sets.parts(), lambda missing: render_parts(recipe.sets, missing, scratch, cluster))
                shapes = _shapes(run, recipe, scratch, cluster)
                examples = _drape(run, recipe, shapes, scratch, cluster)
            state = _heal(run, recipe, _chosen(examples, "train"), devices.pick(device))
        except KeyboardInterrupt:
            print(f"stopped; {run.id} keeps its pictures and checkpoints: repeat the call to resume", flush=True)
            raise
        _write(run, recipe, state, shapes[-1], _chosen(examples, "val"))
        shutil.rmtree(scratch)
    return run


def _shapes(run: Run, recipe: OneshotRecipe, scratch: Path, compute: Cluster | None) -> dict[int, Path]:
    """Fold to the shape that was not fitted to it; -1 is fitted to all."""
    names = {fold: scratch / f"shape-{fold}.pt" for fold in (-1, 0, 1)}
    if not all(path.is_file() for path in names.values()):
        parts = [(fold_of(name, recipe.sets), run.artifact(name)) for name in recipe.sets.parts() if "/train-" in name]
        made = fit_shapes(parts, recipe.net.size, recipe.shape, scratch, compute)
        for fold, place in told(run, "shapes", len(names), len(names), made):
            place.replace(names[fold])
    return names


def _drape(run: Run, recipe: OneshotRecipe, shapes: dict[int, Path], scratch: Path, compute: Cluster | None) -> dict[str, Path]:
    """Name of a part to the file of its examples."""
    files = {name: scratch / f"{Path(name).stem}.safetensors" for name in recipe.sets.parts()}
    missing = {name: (run.artifact(name), shapes[fold_of(name, recipe.sets)]) for name, path in files.items() if not path.is_file()}
    made = drape_parts(missing, recipe.shape, recipe.net.size, recipe.train.seed, scratch, compute)
    for name, place in told(run, "examples", len(files), len(missing), made):
        place.replace(files[name])
    return files


def _chosen(files: dict[str, Path], split: str) -> Examples:
    return map_examples([path for name, path in files.items() if f"/{split}-" in name])


def _heal(run: Run, recipe: OneshotRecipe, examples: Examples, where: torch.device) -> TrainState[OneshotNet]:
    state = fresh_oneshot(recipe.net, recipe.train, where)
    if run.has(CHECKPOINT):
        saved = read_checkpoint(run.artifact(CHECKPOINT), key=run.key, owner=run.id, where=where)
        state.load_state_dict(saved.state)

    def keep() -> None:
        with run.write(CHECKPOINT) as path:
            write_checkpoint(path, state, key=run.key)

    line, clock = Progress("train", recipe.train.steps, unit="steps", done=state.step), perf_counter()

    def told(step: Step) -> None:
        run.emit("step", **step.event())
        line.update(step.number, f"loss {step.losses['loss']:.4f}")

    session = Session(state=state, keep=keep, keep_every=recipe.checkpoint_every)
    try:
        with stop_on_signals() as stop:
            session.run(partial(train_oneshot, state, examples, recipe.train), told, stop)
    finally:
        run.emit("trained", seconds=round(perf_counter() - clock, 2), steps=state.step, device=devices.describe(where))
        run.flush()
    line.close()
    return state


def _write(run: Run, recipe: OneshotRecipe, state: TrainState[OneshotNet], shape: Path, examples: Examples) -> None:
    card = Card(
        name=run.id,
        task="swap",
        licence="Apache-2.0",
        source="trained by faceswap_lab on its own synthetic actors and their true swaps; no picture of a real person",
        notes=f"{recipe.sets.num_train} actors, {recipe.train.steps} steps at {recipe.net.size} px, seed {recipe.train.seed}",
    )
    with run.write(ONESHOT) as path:
        OneshotSwapper(state.averaged, read_shape(shape, recipe.shape), card).save(path)
    rounded = OneshotSwapper.load(run.artifact(ONESHOT), state.device)
    scores = score_examples(rounded.net, examples)
    with run.write(CARD) as path:
        path.write_text(json.dumps(_card(run, recipe, card, scores), indent=1) + "\n", encoding="utf-8")
    run.finish(
        steps=recipe.train.steps,
        loss=run.events("step", unique="step")[-1]["losses"]["loss"],
        supervision="truth",
        scores=scores,
        seconds=_seconds(run),
    )


def _card(run: Run, recipe: OneshotRecipe, card: Card, scores: dict[str, Any]) -> dict[str, Any]:
    path = run.artifact(ONESHOT)
    return {
        "name": card.name,
        "licence": card.licence,
        "source": card.source,
        "command": "faceswap-lab train --recipe oneshot",
        "version": __version__,
        "code": run.record.code,
        "recipe": run.record.recipe,
        "machine": platform.machine(),
        "seconds": _seconds(run),
        "files": {path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size}},
        "scores": scores,
    }


def _seconds(run: Run) -> dict[str, float]:
    names = ("pictures", "shapes", "examples", "trained")
    return {name: round(sum(float(event["seconds"]) for event in run.events(name)), 2) for name in names}
