"""The verb `train`: two people and a recipe in, a Run with a pair swapper's weights out; or with the recipe `pack`, a pack."""

import io
import pickle
import sys
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch

from faceswap_lab.errors import LabError, RunError
from faceswap_lab.models import data_files
from faceswap_lab.models import device as devices
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.training.loop import Step, require_finite
from faceswap_lab.models.training.pair import Portraits, TrainState, precision_on
from faceswap_lab.models.training.pair import train as train_steps
from faceswap_lab.progress import Progress
from faceswap_lab.runs.root import lab_root
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.consent.gate import check_train
from faceswap_lab.verbs.people import Person, check_learnable, check_person, data_of, learned_from, record_of, subject_of
from faceswap_lab.verbs.recipes import PackRecipe, PairRecipe
from faceswap_lab.verbs.train import crops
from faceswap_lab.verbs.train.result import WEIGHTS, TrainRun

TRAINED_ON = "offline"
"""The engine whose points place the crops of every training of a pair."""

CROPS, CHECKPOINT = "crops.safetensors", "checkpoint.pt"


def train(
    recipe: PairRecipe | PackRecipe,
    *,
    source: Person | None = None,
    target: Person | None = None,
    device: str = "auto",
    workers: int = 1,
    force: bool = False,
) -> TrainRun:
    """Train a swapper of `source` and `target`, either of whom it can then put on the other; blocks with one progress line.

    With two actors and `supervision` "auto" it learns from truth, else from each person's own pictures. The same finished call
    returns its Run; an interrupted one goes on where it stopped, with the same result as if it had not. Raises ConsentError if
    the gate refuses either person, SplitError if one of them is a test person, ValueError for what does not go with the recipe.

    With a recipe of `recipes.pack()` nobody is named: what is trained are the three networks of a pack, by `workers` processes on
    the CPU (see `verbs.pack.pack`).
    """
    if isinstance(recipe, PackRecipe):
        return _train_pack(recipe, source, target, device, workers, force)
    if not isinstance(recipe, PairRecipe):
        raise TypeError(f"a training needs a recipe, such as lab.recipes.pair(steps=900), got {type(recipe).__name__}")
    if source is None or target is None:
        raise ValueError("a swapper is trained of two people: give both, source= and target=")
    if workers != 1:
        raise ValueError(f"workers are for the recipe `pack`; a swapper is trained by one, got workers={workers}")
    source, target = learned_from(source), learned_from(target)
    check_person(source, "source")
    check_person(target, "target")
    check_learnable(source, target)
    check_train(subject_of(source), subject_of(target), root=lab_root())
    where = devices.pick(device)
    inputs = {"source": record_of(source), "target": record_of(target)}
    data = data_of(source, target) | data_files.of_offline()
    run = TrainRun.start(lab_root(), "train", recipe, inputs, data=data, force=force)
    if run.finished:
        return run
    with run:
        run.emit("device", device=devices.describe(where))
        people = _crops(run, recipe, source, target)
        state = _state(run, recipe, crops.supervised(recipe, source, target), where)
        seconds = _loop(run, recipe, state, people)
        card = Card(
            name=run.id,
            task="swap",
            licence="as the pictures it was trained on; for actors Apache-2.0",
            source=f"faceswap_lab run {run.id}",
            subjects=(source.subject, target.subject),
            notes=f"{recipe.train.steps} steps, seed {recipe.train.seed}, {_how(recipe, source, target)}",
        )
        with run.write(WEIGHTS) as path:
            PairSwapper(state.average, card).save(path)
        loss = run.events("step", unique="step")[-1]["losses"]["loss"]
        run.finish(
            device=devices.describe(where),
            steps=recipe.train.steps,
            precision=precision_on(where, recipe.train),
            loss=loss,
            supervision=_how(recipe, source, target),
            num_pictures=[len(portraits.self_images) for portraits in people],
            seconds={"crops": _spent(run, "crops"), "train": seconds},
        )
    return run


def _train_pack(
    recipe: PackRecipe, source: Person | None, target: Person | None, device: str, workers: int, force: bool
) -> TrainRun:
    from faceswap_lab.verbs.pack.pack import train_pack

    if source is not None or target is not None:
        raise ValueError("the pack learns from actors of its own recipe: give neither source nor target")
    if device not in ("auto", "cpu"):
        raise ValueError(f"the pack is trained on the CPU, got device={device!r}")
    return train_pack(recipe, workers=workers, force=force)


def _how(recipe: PairRecipe, source: Person, target: Person) -> str:
    return "from truth" if crops.supervised(recipe, source, target) else "without truth"


def _crops(run: Run, recipe: PairRecipe, source: Person, target: Person) -> tuple[Portraits, Portraits]:
    if not run.has(CROPS):
        line = Progress("crops", 2 * recipe.data.num_views, unit="views")
        people = crops.gather(recipe, source, target, OfflineEngine(), line)
        with run.write(CROPS) as path:
            crops.save(path, people)
        run.emit("crops", seconds=round(line.close(), 2))
        run.flush()
    return crops.load(run.artifact(CROPS))


def _state(run: Run, recipe: PairRecipe, with_truth: bool, where: torch.device) -> TrainState:
    state = TrainState.fresh(replace(recipe.net, skips=with_truth, normalise=not with_truth), recipe.train, where)
    if run.has(CHECKPOINT):
        # Only this run's own file, whose digest `artifact` checks; tensors and numbers only.
        state.load_state_dict(_kept(run, where))
        run.emit("resumed", step=state.step)
    return state


def _kept(run: Run, where: torch.device) -> dict[str, Any]:
    """What `_keep` wrote. Raises RunError for a file that is damaged or of another recipe, people or code."""
    path = run.artifact(CHECKPOINT)
    try:
        saved = torch.load(path, map_location=where, weights_only=True)
        key, state = saved["key"], saved["state"]
    except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            expected=f"a training state in {path}",
            got=(str(error).splitlines() or [type(error).__name__])[0][:200],
            remedy="remove the file: the same call then begins at step 0; or train with force=True",
        ) from error
    if key != run.key:
        raise RunError(
            expected=f"a checkpoint of {run.id}",
            got=f"one of another recipe, people or code (key {str(key)[:8]})",
            remedy="remove the file: the same call then begins at step 0; or train with force=True",
        )
    assert isinstance(state, dict)
    return state


def _loop(run: Run, recipe: PairRecipe, state: TrainState, people: tuple[Portraits, Portraits]) -> float:
    """Train to the end, keeping checkpoints; an interrupt saves first. Returns the seconds of all attempts together."""
    line = Progress("train", recipe.train.steps, unit="steps")
    start, kept = perf_counter(), state.step
    try:
        for step in train_steps(state, people, recipe.train):
            run.emit(
                "step",
                step=step.number,
                losses=step.losses,
                learning_rate=step.learning_rate,
                samples_per_s=round(step.samples_per_s, 1),
            )
            line.update(step.number, _note(step))
            if step.number - kept >= recipe.checkpoint_every:
                _keep(run, state)
                kept = step.number
    except KeyboardInterrupt:
        # The state is whole only at a Step: what came after the last one is done again from the last checkpoint.
        run.emit("interrupted", step=kept, seconds=round(perf_counter() - start, 2))
        print(f"stopped; {run.id} is saved at step {kept}: the same call goes on from there", flush=True)
        raise
    except LabError:
        # Diverged, out of room, over the quota: what was kept before is whole.
        run.emit("interrupted", step=kept, seconds=round(perf_counter() - start, 2))
        print(f"stopped; what is kept of {run.id} is its state at step {kept}", file=sys.stderr, flush=True)
        raise
    line.close()
    run.emit("trained", seconds=round(perf_counter() - start, 2))
    run.flush()
    return _spent(run, "interrupted") + _spent(run, "trained")


def _note(step: Step) -> str:
    return f"loss {step.losses['loss']:.4f}"


def _keep(run: Run, state: TrainState) -> None:
    """Keep a checkpoint; the last good one stays if this one is not finite."""
    saved = state.state_dict()
    # Losses were finite before the last step, which may have thrown the weights off.
    require_finite(saved)
    file = io.BytesIO()
    torch.save({"key": run.key, "state": saved}, file)
    with run.write(CHECKPOINT) as path:
        path.write_bytes(file.getbuffer())


def _spent(run: Run, kind: str) -> float:
    return round(sum(float(event["seconds"]) for event in run.events(kind)), 2)
