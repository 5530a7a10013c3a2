"""The verb `train`: trains a pair swapper of two people; or on actors alone a one-shot swapper, a pack, or our own eyes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter

import torch

from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.errors import LabError
from faceswap_lab.files import lab_root
from faceswap_lab.models import data_files
from faceswap_lab.models import device as devices
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.feed.shard_source import ShardSource
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.swappers.pair_net import PairNet
from faceswap_lab.models.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from faceswap_lab.models.training.config import precision_on
from faceswap_lab.models.training.loop import Session, Step
from faceswap_lab.models.training.pair import Portraits
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.models.training.team import ALONE, Parallel
from faceswap_lab.progress import Progress
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import Stop, stop_on_signals
from faceswap_lab.trust.consent.gate import check_train
from faceswap_lab.verbs.computing import Compute, computing, either
from faceswap_lab.verbs.people import Person, check_learnable, check_person, data_of, learned_from, record_of, subject_of
from faceswap_lab.verbs.recipes import EyesRecipe, OneshotRecipe, PackRecipe, PairRecipe, pair
from faceswap_lab.verbs.train import crops
from faceswap_lab.verbs.train.material import Crops, Shown, check_material, material_record, num_pictures, steps_of
from faceswap_lab.verbs.train.preview import Watch, watching
from faceswap_lab.verbs.train.ranks import GangTraining, fresh_state
from faceswap_lab.verbs.train.result import WEIGHTS, TrainRun

TRAINED_ON = "offline"
"""The engine whose points align the training crops of every pair."""

CROPS, CHECKPOINT = "crops.safetensors", "checkpoint.pt"


def train(
    recipe: PairRecipe | OneshotRecipe | PackRecipe | EyesRecipe | None = None,
    *,
    source: Person | None = None,
    target: Person | None = None,
    data: ShardSource | None = None,
    device: str = "auto",
    compute: Compute = None,
    parallel: Parallel | None = None,
    workers: int = 1,
    watch: Watch | None = None,
    force: bool = False,
) -> TrainRun:
    """Train a swapper of `source` and `target`, which works in both directions; blocks with one progress line.

    The default recipe is `recipes.pair()`.
    With two actors and `supervision` "auto" it learns from ground truth, else from each person's own pictures. An identical
    finished call returns its Run; an interrupted one resumes, with the same result as without the interruption. Raises
    ConsentError if the gate refuses either person, SplitError if one of them is a test person, ValueError for arguments that the
    recipe does not allow.

    With `data` (`lab.shards`), crops of the two actors come from a data set that was rendered before, in a folder or an object
    store: decoded once into the local cache and read from there, in place of the views that the recipe's `data` describes.

    With `compute`, a cluster (`lab.cluster`) or a text such as "local:2", ranks on its workers train together, as `parallel` says:
    with the same data at each step and the same result up to the order in which numbers are added. A rank that dies is started
    again from the newest checkpoint. Raises ComputeError for a cluster that can't do this.

    `workers` is short for that many processes of this machine.

    `watch` is called at each report with the number of the step and the swapper as it then is, to look at (see `lab.Preview`). It
    changes nothing of the result, and only sees a pair's training in this process that is not finished yet: ValueError with
    `compute`.

    With a recipe of `recipes.oneshot()`, `recipes.pack()` or `recipes.eyes()`, no people are given: the swapper for any face, the
    networks of a pack, or of the eyes, are trained on the recipe's own actors (see `verbs.oneshot.oneshot`, `verbs.pack.pack` and
    `verbs.eyes.eyes`); a pack's on the CPU.
    """
    recipe = pair() if recipe is None else recipe
    if watch is not None and (not isinstance(recipe, PairRecipe) or either(compute, workers) is not None):
        raise ValueError("watch sees the training of a pair in this process only, without compute or workers")
    if isinstance(recipe, OneshotRecipe | PackRecipe | EyesRecipe):
        people = source is not None or target is not None
        _check_on_actors(recipe, people=people, data=data is not None, device=device)
        return _train_on_actors(recipe, device, either(compute, workers), force)
    if not isinstance(recipe, PairRecipe):
        raise TypeError(f"recipe must be a training recipe, such as lab.recipes.pair(steps=900), got {type(recipe).__name__}")
    if source is None or target is None:
        raise ValueError("a swapper is trained on two people: give both source= and target=")
    compute = either(compute, workers)
    source, target = learned_from(source), learned_from(target)
    check_person(source, "source")
    check_person(target, "target")
    check_learnable(source, target)
    check_material(data, source, target)
    check_train(subject_of(source), subject_of(target), root=lab_root())
    parallel = parallel or Parallel()
    ALONE.check_batch(recipe.train.batch, parallel.accumulate)
    if compute is None:
        devices.pick(device)  # refused before there is a run
    inputs = {"source": record_of(source), "target": record_of(target)}
    inputs |= {} if data is None else {"data": material_record(data)}
    files = data_of(source, target) | ({} if data is not None else data_files.of_offline())
    run = TrainRun.start(lab_root(), "train", recipe, inputs, data=files, force=force)
    if run.finished:
        return run
    with run, devices.watched():
        card = Card(
            name=run.id,
            task="swap",
            licence="as the pictures it was trained on; for actors Apache-2.0",
            source=f"faceswap_lab run {run.id}",
            subjects=(source.subject, target.subject),
            notes=f"{recipe.train.steps} steps, seed {recipe.train.seed}, {_how(recipe, source, target)}",
        )
        with computing(run, compute, device) as (cluster, where):
            with_truth = crops.supervised(recipe, source, target)
            given: Crops | Shown
            given = _crops(run, recipe, source, target) if data is None else Shown.of(data, source, target)
            if cluster is None:
                state = _state(run, recipe, with_truth, where)
                training = partial(steps_of, state, recipe, given, with_truth, team=ALONE, how=parallel)
                seconds = _loop(run, recipe, state, training, watching(watch, state, card))
            else:
                state, seconds = _gang(run, recipe, with_truth, cluster, device, parallel, given)
        with run.write(WEIGHTS) as path:
            PairSwapper(state.averaged, card).save(path)
        loss = run.events("step", unique="step")[-1]["losses"]["loss"]
        run.finish(
            device=run.events("device")[-1]["device"],
            steps=recipe.train.steps,
            precision=_precision(run, where, recipe),
            loss=loss,
            supervision=_how(recipe, source, target),
            num_pictures=num_pictures(given, recipe.net.size),
            seconds={"crops": _spent(run, "crops"), "train": seconds},
        )
    return run


def _check_on_actors(recipe: OneshotRecipe | PackRecipe | EyesRecipe, *, people: bool, data: bool, device: str) -> None:
    """Raises ValueError for arguments that a training on the recipe's own actors does not take."""
    subject = {OneshotRecipe: "a one-shot swapper is", PackRecipe: "a pack is", EyesRecipe: "the eyes are"}[type(recipe)]
    if data:
        raise ValueError(f"{subject} trained on the actors of the recipe: give no data")
    if people:
        raise ValueError(f"{subject} trained on the actors of the recipe: give neither source nor target")
    if isinstance(recipe, PackRecipe) and device not in ("auto", "cpu"):
        raise ValueError(f"{subject} trained on the CPU, got device={device!r}")


def _train_on_actors(recipe: OneshotRecipe | PackRecipe | EyesRecipe, device: str, compute: Compute, force: bool) -> TrainRun:
    from faceswap_lab.verbs.eyes.eyes import train_eyes
    from faceswap_lab.verbs.oneshot.oneshot import train_oneshot_swapper
    from faceswap_lab.verbs.pack.pack import train_pack

    if isinstance(recipe, PackRecipe):
        return train_pack(recipe, compute=compute, force=force)
    if isinstance(recipe, EyesRecipe):
        return train_eyes(recipe, device=device, compute=compute, force=force)
    return train_oneshot_swapper(recipe, device=device, compute=compute, force=force)


def _precision(run: Run, where: torch.device, recipe: PairRecipe) -> str:
    """The precision of the products, as the ranks said it; that of this process if there were none."""
    told = run.events("gang")
    return str(told[-1]["precision"]) if told else precision_on(where, recipe.train)


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


def _gang(
    run: Run,
    recipe: PairRecipe,
    with_truth: bool,
    compute: Cluster,
    device: str,
    parallel: Parallel,
    given: Crops | Shown,
) -> tuple[TrainState[PairNet], float]:
    """Train on the ranks of a gang; the final state, on the CPU, and the total seconds of all attempts."""
    kept = _state(run, recipe, with_truth, torch.device("cpu")).step
    training = GangTraining(
        run=run,
        recipe=recipe,
        with_truth=with_truth,
        compute=compute,
        device=device,
        parallel=parallel,
        crops_name=CROPS,
        shown=given if isinstance(given, Shown) else None,
        checkpoint=CHECKPOINT,
        kept=kept,
    )
    if kept < recipe.train.steps:
        with _telling(run, lambda: training.kept), stop_on_signals() as stop:
            training.train(stop)
    return _state(run, recipe, with_truth, torch.device("cpu")), _spent(run, "interrupted") + _spent(run, "trained")


def _state(run: Run, recipe: PairRecipe, with_truth: bool, where: torch.device) -> TrainState[PairNet]:
    state = fresh_state(recipe, with_truth, where)
    if run.has(CHECKPOINT):
        state.load_state_dict(_kept(run, where).state)
        run.emit("resumed", step=state.step)
    return state


def _kept(run: Run, where: torch.device) -> Checkpoint:
    """This run's checkpoint, read only after `artifact` has verified its digest."""
    return read_checkpoint(run.artifact(CHECKPOINT), key=run.key, owner=run.id, where=where)


def _keep(run: Run, state: TrainState[PairNet]) -> None:
    """Save a checkpoint; the last good one is kept if this one is not finite."""
    with run.write(CHECKPOINT) as path:
        write_checkpoint(path, state, key=run.key)


def _loop(
    run: Run,
    recipe: PairRecipe,
    state: TrainState[PairNet],
    training: Callable[[Stop], Iterator[Step]],
    look: Callable[[int], None],
) -> float:
    """Train to the end, saving checkpoints, also on a signal. Returns the total seconds of all attempts."""
    line = Progress("train", recipe.train.steps, unit="steps", done=state.step)
    session = Session(state=state, keep=partial(_keep, run, state), keep_every=recipe.checkpoint_every)

    def report(step: Step) -> None:
        run.emit("step", **step.event())
        line.update(step.number, f"loss {step.losses['loss']:.4f}")
        look(step.number)

    with _telling(run, lambda: session.kept), stop_on_signals() as stop:
        session.run(training, report, stop)
    line.close()
    return _spent(run, "interrupted") + _spent(run, "trained")


@contextmanager
def _telling(run: Run, kept: Callable[[], int]) -> Iterator[None]:
    """Emits the seconds of a training, whether it ends or stops: diverged, disk full, over the quota, interrupted, no worker left.

    What was saved before, at step `kept()`, is consistent.
    """
    start = perf_counter()
    try:
        yield
    except (KeyboardInterrupt, LabError) as error:
        run.emit("interrupted", step=kept(), seconds=round(perf_counter() - start, 2))
        _tell_stopped(run, kept(), error)
        raise
    run.emit("trained", seconds=round(perf_counter() - start, 2))
    run.flush()


def _tell_stopped(run: Run, kept: int, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        print(f"stopped; {run.id} is saved at step {kept}: repeat the call to resume", flush=True)
    else:
        print(f"stopped; {run.id} keeps its state at step {kept}", file=sys.stderr, flush=True)


def _spent(run: Run, kind: str) -> float:
    return round(sum(float(event["seconds"]) for event in run.events(kind)), 2)
