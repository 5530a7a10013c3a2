"""Pictures rendered and networks trained in any process, each resumable: what making a pack, the eyes and the one-shot share."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, TypeVar

from torch import nn

from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.tasks import run_tasks
from faceswap_lab.files import put_in_place
from faceswap_lab.models.training.checkpoint import read_checkpoint, write_checkpoint
from faceswap_lab.models.training.loop import Session, Step
from faceswap_lab.models.training.state import N, TrainState, require_finite
from faceswap_lab.progress import Progress
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import Stop, never, stop_on_signals

T = TypeVar("T")
Made = Generator[T, None, None]
S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained network: its file, its `step` events, its number of parameters, and the total seconds of all attempts."""

    task: str
    path: Path
    events: list[dict[str, Any]]
    num_parameters: int
    seconds: float


def num_parameters(net: nn.Module) -> int:
    """All parameters of a network."""
    return sum(value.numel() for value in net.parameters())


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(Generic[N]):
    """The specifics of a network: its initial state, its training from the current state, its export, and its size there."""

    state: TrainState[N]
    train: Callable[[Stop], Iterator[Step]]
    export: Callable[[N, Path], Path]
    count: Callable[[N], int] = num_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Where a network's state is kept while it is trained, every `every` steps, and for which run. `owner` names that in errors."""

    place: Path
    key: str
    every: int
    owner: str


def train_network(task: str, training: Training[N], path: Path, keeping: Keeping, stop: Stop = never) -> Trained:
    """Train one network to the end and write its file to `path`, resuming from a state that was kept for the same run.

    Raises KeyboardInterrupt, with the state of the last step kept, when `stop()` becomes true or a signal arrives.
    """
    clock = perf_counter()
    events, spent = _resume(training.state, keeping)

    def seconds() -> float:
        return round(spent + perf_counter() - clock, 2)

    def keep() -> None:
        part = keeping.place.with_name(f".{keeping.place.name}")
        write_checkpoint(part, training.state, key=keeping.key, notes={"events": events, "seconds": seconds()})
        put_in_place(part, keeping.place)

    session = Session(state=training.state, keep=keep, keep_every=keeping.every)
    with stop_on_signals() as signalled:
        session.run(training.train, lambda step: events.append(step.event()), lambda: stop() or signalled())
    # No checkpoint is written after the last step, which may have made the weights diverge.
    require_finite(training.state.state_dict())
    averaged = training.state.averaged
    file = training.export(averaged, path)
    return Trained(task=task, path=file, events=events, num_parameters=training.count(averaged), seconds=seconds())


def write_pictures(run: Run, wanted: Mapping[str, S], render: Callable[[Mapping[str, S]], Made[tuple[str, Path]]]) -> None:
    """Have the run's parts of pictures, name to seeds, rendered that it doesn't have yet."""
    missing = {name: seeds for name, seeds in wanted.items() if not run.has(name)}
    for name, place in told(run, "pictures", len(wanted), len(missing), render(missing)):
        with run.write(name) as path:
            place.replace(path)


def write_networks(run: Run, files: Mapping[str, str], train: Callable[[list[str]], Made[Trained]]) -> None:
    """Have the networks trained that the run doesn't have yet: `files` is task to artifact. Their events become the run's."""
    missing = [task for task, name in files.items() if not run.has(name)]
    for network in told(run, "networks", len(files), len(missing), train(missing)):
        with run.write(files[network.task]) as path:
            network.path.replace(path)
        for event in network.events:
            run.emit("step", network=network.task, **event)
        run.emit("trained", network=network.task, seconds=network.seconds, parameters=network.num_parameters)
        run.flush()


def told(run: Run, what: str, number: int, missing: int, made: Made[T]) -> Made[T]:
    """The results as they come, with a progress line of `number` parts of which some are there, and an event of the seconds."""
    if not missing:
        return
    line = Progress(what, number, unit="parts", done=number - missing)
    with closing(made):
        for done, result in enumerate(made, 1):
            yield result
            line.update(number - missing + done)
    run.emit(what, seconds=round(line.close(), 2), parts=missing)
    run.flush()


def as_they_come(tasks: Sequence[Callable[[Stop], T]], compute: Cluster | None) -> Made[T]:
    """The results as they come. A signal stops all tasks, each where its progress is saved; so does the first error."""
    with stop_on_signals() as stop, closing(run_tasks(tasks, compute, stop)) as made:
        for outcome in made:
            yield outcome.result()


def _resume(state: TrainState[N], keeping: Keeping) -> tuple[list[dict[str, Any]], float]:
    """Resume from the checkpoint, if there is one; its events so far and the seconds spent."""
    if not keeping.place.is_file():
        return [], 0.0
    saved = read_checkpoint(keeping.place, key=keeping.key, owner=keeping.owner, where=state.device)
    state.load_state_dict(saved.state)
    return list(saved.notes.get("events", [])), float(saved.notes.get("seconds", 0.0))
