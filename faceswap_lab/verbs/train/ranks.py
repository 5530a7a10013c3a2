"""Training a pair on the ranks of a gang: what each rank does, and the run's side of it.

Only the process that called `train` writes to the run: ranks leave checkpoints in the run's folder `ranks/`, which all workers see,
and the caller takes each over as the run's artifact, after comparing its digest.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.gang import Gang, Job, Tolerance
from faceswap_lab.compute.rank import Member
from faceswap_lab.compute.workers import WorkerFacts
from faceswap_lab.errors import ComputeError, RunError, StorageError
from faceswap_lab.files import put_in_place, sha256_file
from faceswap_lab.models import device as devices
from faceswap_lab.models.feed.shard_source import source_at
from faceswap_lab.models.swappers.pair_net import PairNet
from faceswap_lab.models.training.checkpoint import read_checkpoint, write_checkpoint
from faceswap_lab.models.training.config import precision_on
from faceswap_lab.models.training.pair import fresh_pair
from faceswap_lab.models.training.sharded import shard
from faceswap_lab.models.training.state import TrainState, require_finite
from faceswap_lab.models.training.team import Parallel, Team, joined
from faceswap_lab.progress import Progress
from faceswap_lab.runs.recipe import from_json, to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.storage.address import address_of
from faceswap_lab.verbs.recipes import PairRecipe
from faceswap_lab.verbs.train import crops
from faceswap_lab.verbs.train.material import Shown, steps_of

FOLDER = "ranks"
ENTRY = f"{__name__}:train_rank"


# --- what a rank does -------------------------------------------------------------------------------------------------------


def train_rank(payload: Mapping[str, Any], member: Member) -> None:
    """Train as one of the ranks until the recipe's last step, or until any of them is asked to stop. See `compute.rank.Entry`."""
    recipe = from_json(PairRecipe, payload["recipe"])
    where = devices.pick(payload["device"])
    if payload["threads"]:
        torch.set_num_threads(payload["threads"])
    how = Parallel(accumulate=payload["accumulate"], compile=payload["compile"], shard=payload["shard"])
    with joined(where) as team, devices.watched(*_share_in_words(recipe.train.batch, member.size, how)):
        given = crops.load(Path(payload["crops"])) if payload["crops"] else _data_set(payload)
        state = fresh_state(recipe, payload["with_truth"], where)
        if how.shard and team.size > 1:
            shard(state, recipe.train, team.size)
        if payload["checkpoint"]:
            read = read_checkpoint(Path(payload["checkpoint"]), key=payload["key"], owner=payload["run"], where=where)
            state.load_state_dict(read.state)
        precision = precision_on(where, recipe.train)
        leader = _Leader(state=state, folder=Path(payload["folder"]), key=payload["key"], member=member, team=team)
        leader.tell("training", step=state.step, device=devices.describe(where), ranks=team.size, precision=precision)
        kept = state.step
        for step in steps_of(state, recipe, given, payload["with_truth"], member.stop, team, how):
            leader.tell("step", **step.event())
            if step.number - kept >= recipe.checkpoint_every or state.step == recipe.train.steps:
                leader.keep()
                kept = step.number
        if state.step > kept:
            leader.keep()


def _share_in_words(batch: int, size: int, how: Parallel) -> tuple[str, str]:
    """What a rank needs memory for, and what needs less: for the error where it is too little."""
    share = batch // (size * how.accumulate)
    told = f"{share} of a batch of {batch} ({size} ranks, accumulate={how.accumulate})"
    parts = next((how.accumulate * more for more in range(2, share + 1) if share % more == 0), None)
    smaller = f"compute in more parts: parallel=Parallel(accumulate={parts}), the result is the same; or " if parts else ""
    return told, f"{smaller}use more ranks, a smaller recipe.train.batch or recipe.net.size; then repeat the call, which resumes"


def _data_set(payload: Mapping[str, Any]) -> Shown:
    """The data set that the caller has opened, read by this process itself. StorageError if it is another one now."""
    data = source_at(address_of(payload["address"]))
    if data.manifest != payload["manifest"]:
        raise StorageError(
            expected=f"the data set of the manifest {payload['manifest'][:12]}… at {data.address}",
            got=f"{data.manifest[:12]}…: it was replaced since",
            remedy="restore it, or train on the new one as a new run",
        )
    first, second = payload["people"]
    return Shown(data=data, people=(first, second))


def fresh_state(recipe: PairRecipe, with_truth: bool, where: torch.device) -> TrainState[PairNet]:
    """An untrained pair of the recipe: skips only with truth, normalised inputs only without."""
    return fresh_pair(replace(recipe.net, skips=with_truth, normalise=not with_truth), recipe.train, where)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Leader:
    """Reports and saves, in the rank that leads; does nothing in the others."""

    state: TrainState[PairNet]
    folder: Path
    key: str
    member: Member
    team: Team

    def tell(self, kind: str, **facts: Any) -> None:
        if self.team.leads:
            self.member.tell({"kind": kind, **facts})

    def keep(self) -> None:
        """A checkpoint under a name of its own, whole before anybody hears of it. RunError if the weights have diverged."""
        if not self.team.leads:
            # All ranks have the same weights: each refuses what is not finite. Shards are put together by all.
            require_finite(self.state.state_dict())
            return
        path = self.folder / f"checkpoint-{self.state.step:09d}.pt"
        part = path.with_name(f".{path.name}")
        write_checkpoint(part, self.state, key=self.key)
        put_in_place(part, path)
        self.tell("checkpoint", step=self.state.step, path=str(path), sha256=sha256_file(path))


# --- the run's side ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class GangTraining:
    """The training of `run` by a gang on `compute`. `crops_name` and `checkpoint` are names of artifacts."""

    run: Run
    recipe: PairRecipe
    with_truth: bool
    compute: Cluster
    device: str
    parallel: Parallel
    crops_name: str
    checkpoint: str
    shown: Shown | None = None
    kept: int = 0
    attempt: int = 0
    line: Progress | None = None

    def train(self, stop: Callable[[], bool]) -> float:
        """Train to the last step; seconds that it took. KeyboardInterrupt after `stop()`, with the state saved."""
        start = perf_counter()
        if self.compute.is_adaptive:
            raise ComputeError(
                expected="a cluster whose workers stay for a training",
                got="one whose number follows the work",
                remedy="open another cluster for it, without adapt()",
            )
        workers = self.compute.workers()
        sizes = self.parallel.sizes(self.recipe.train.batch, len(workers))
        folder = self.run.path / FOLDER
        folder.mkdir(exist_ok=True)
        job = Job(entry=ENTRY, payload=lambda size: self._payload(size, workers), logs=folder)
        tolerance = Tolerance(fewest=self.parallel.fewest)
        self.line = Progress("train", self.recipe.train.steps, unit="steps", done=self.kept)
        try:
            Gang(self.compute, job, sizes=sizes, hear=self._hear, tolerance=tolerance).run(stop)
        finally:
            self._keep_logs(folder)
        if self.kept != self.recipe.train.steps:
            raise RunError(
                expected=f"the checkpoint of step {self.recipe.train.steps}",
                got=f"the one of step {self.kept} as the newest whole one",
                remedy="repeat the call: it resumes from there",
            )
        self.line.close()
        return perf_counter() - start

    def _payload(self, size: int, workers: Sequence[WorkerFacts]) -> dict[str, Any]:
        run = self.run
        begun = run.has(self.checkpoint)
        return {
            "recipe": to_json(self.recipe),
            "with_truth": self.with_truth,
            "device": self.device,
            "threads": _threads(size, workers),
            "accumulate": self.parallel.accumulate,
            "compile": self.parallel.compile,
            "shard": self.parallel.shard,
            **self._material(),
            "checkpoint": str(run.artifact(self.checkpoint)) if begun else "",
            "folder": str(self._new_folder()),
            "key": run.key,
            "run": run.id,
        }

    def _new_folder(self) -> Path:
        """For one attempt's checkpoints: a rank behind a cut link may go on with an earlier one for a while."""
        self.attempt += 1
        folder = self.run.path / FOLDER / f"attempt-{self.attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _material(self) -> dict[str, Any]:
        """The crops' file, or the data set's address, which ranks read by themselves."""
        shown = self.shown
        if shown is None:
            return {"crops": str(self.run.artifact(self.crops_name))}
        return {"crops": "", "address": str(shown.data.address), "manifest": shown.data.manifest, "people": list(shown.people)}

    def _hear(self, told: Mapping[str, Any]) -> None:
        facts = {name: value for name, value in told.items() if name not in ("kind", "rank", "number")}
        match told["kind"]:
            case "step":
                self.run.emit("step", **facts)
                assert self.line is not None
                notes = (f"loss {facts['losses']['loss']:.4f}", self.compute.bill())
                self.line.update(facts["step"], "; ".join(filter(None, notes)))
            case "checkpoint":
                self._take_over(Path(facts["path"]), facts["sha256"], facts["step"])
            case "training":
                self.run.emit("gang", **facts)
                self.run.flush()
            case "rank_died":
                self.run.emit("rank_died", rank=told["rank"], **facts)
                self.run.flush()

    def _take_over(self, path: Path, sha256: str, step: int) -> None:
        """Make a rank's checkpoint the run's. One that is not what the rank wrote is left: the one before it stays in force."""
        if not path.is_file() or sha256_file(path) != sha256:
            self.run.emit("warning", text=f"the checkpoint of step {step} is not what its rank wrote; it is not used")
            return
        with self.run.write(self.checkpoint) as place:
            path.replace(place)
        self.kept = step

    def _keep_logs(self, folder: Path) -> None:
        """The ranks' logs become artifacts; checkpoints that nobody took over are dropped."""
        for log in sorted(folder.glob("rank-*.log")):
            with self.run.write(f"logs/{log.name}") as place:
                log.replace(place)
        shutil.rmtree(folder, ignore_errors=True)


def _threads(size: int, workers: Sequence[WorkerFacts]) -> int:
    """Threads for each rank: a host's cores, shared by the ranks that it may get."""
    if not workers:
        return 0
    ranks = Counter(each.host for each in workers[:size])
    return max(1, min(int(each.cores / ranks[each.host]) for each in workers[:size]))
