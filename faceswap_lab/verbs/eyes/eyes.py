"""The verb `train` with the recipe `eyes`: renders actors, trains both networks of `models.eyes`, scores them and writes a card.

The run's artifact `eyes/` is a folder for `models.eyes.look.Eyes`.
"""

import json
import platform
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from faceswap_lab import __version__
from faceswap_lab.actors.splits import Split
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.errors import RunError
from faceswap_lab.files import lab_root, sha256_file
from faceswap_lab.models import data_files
from faceswap_lab.models import device as devices
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.eyes import weights
from faceswap_lab.models.eyes.render import read_parts
from faceswap_lab.models.weights import catalogue
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.computing import Compute, computing
from faceswap_lab.verbs.eyes.scores import score_eyes
from faceswap_lab.verbs.eyes.stages import FILES, render_parts, train_networks
from faceswap_lab.verbs.networks import Trained, write_networks, write_pictures
from faceswap_lab.verbs.recipes import EyesRecipe
from faceswap_lab.verbs.train.result import TrainRun

FOLDER, PARTS = "eyes", "parts"
CARD = f"{FOLDER}/{weights.CARD}"


def train_eyes(recipe: EyesRecipe, *, device: str = "auto", compute: Compute = None, force: bool = False) -> TrainRun:
    """Make the eyes; blocks with one progress line per stage.

    Pictures are rendered on the CPU, by the workers of `compute` if it is given. The networks are trained on `device`, or by
    those workers on the CPU.

    An identical finished call returns its Run; an interrupted one resumes with the missing pictures and steps; on the CPU the
    networks are the same as without the interruption. Raises WeightsError without the offline engine's weights: its detector
    aligns the crops.
    """
    for name in catalogue.MODELS:
        catalogue.path(name)
    if compute is None:
        devices.pick(device)  # refused before there is a run
    data = data_files.of_actors() | data_files.of_offline()
    run = TrainRun.start(lab_root(), "train", recipe, {}, data=data, force=force)
    if run.finished:
        return run
    with run:
        parts = run.path / PARTS
        parts.mkdir(exist_ok=True)
        try:
            with computing(run, compute, device if compute is None else "cpu") as (cluster, where):
                _render(run, recipe, "train", parts, cluster)
                _train(run, recipe, parts, cluster, str(where))
                _render(run, recipe, "test", parts, cluster)
        except KeyboardInterrupt:
            print(f"stopped; {run.id} keeps its pictures and checkpoints: repeat the call to resume", flush=True)
            raise
        card = _card(run, recipe, parts)
        with run.write(CARD) as path:
            path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(parts)
        run.finish(scores=card["scores"], num_pictures=card["num_pictures"], seconds=card["seconds"])
    return run


def eyes_of(run: Run) -> Path:
    """The folder made by a finished run with the recipe `eyes`. Raises RunError for any other run, or an altered file."""
    if run.verb != "train" or not run.finished or not run.has(CARD):
        raise RunError(
            expected="a finished run that trained the eyes",
            got=f"{run.id} ({run.record.status})",
            remedy="pass the Run returned by lab.train(lab.recipes.eyes())",
        )
    for name in FILES.values():
        run.artifact(f"{FOLDER}/{name}")
    return run.artifact(CARD).parent


def _render(run: Run, recipe: EyesRecipe, split: Split, parts: Path, compute: Cluster | None) -> None:
    write_pictures(run, recipe.sets.parts(split), lambda missing: render_parts(recipe.sets, missing, parts, compute))


def _train(run: Run, recipe: EyesRecipe, parts: Path, compute: Cluster | None, device: str) -> None:
    pictures = list(map(run.artifact, recipe.sets.parts("train")))

    def trained(missing: list[str]) -> Generator[Trained, None, None]:
        return train_networks(missing, to_json(recipe), pictures, parts, compute, key=run.key, device=device)

    write_networks(run, {task: f"{FOLDER}/{name}" for task, name in FILES.items()}, trained)


def _card(run: Run, recipe: EyesRecipe, parts: Path) -> dict[str, Any]:
    """The model card: how the eyes were made, from what, and their scores."""
    trained = {event["network"]: event for event in run.events("trained", unique="network")}
    folder = run.artifact(f"{FOLDER}/{weights.SHAPE}").parent
    spent = {task: event["seconds"] for task, event in trained.items()}
    spent["pictures"] = round(sum(float(event["seconds"]) for event in run.events("pictures")), 2)
    test = read_parts([run.artifact(name) for name in recipe.sets.parts("test")], "test", parts)
    return {
        "name": recipe.name,
        "licence": "Apache-2.0",
        "source": "trained by faceswap_lab on its own synthetic actors; no picture of a real person, no weights of others",
        "command": "faceswap-lab train --recipe eyes",
        "version": __version__,
        "code": run.record.code,
        "recipe": run.record.recipe,
        "num_pictures": {split: len(recipe.sets.seeds(split)) * recipe.sets.num_views for split in ("train", "test")},
        "machine": platform.machine(),
        "seconds": spent,
        "files": {name: _about(folder / name, task, trained[task]["parameters"]) for task, name in FILES.items()},
        "scores": score_eyes(folder, test, OfflineEngine()),
    }


def _about(path: Path, task: str, parameters: int) -> dict[str, Any]:
    return {"for": task, "sha256": sha256_file(path), "bytes": path.stat().st_size, "parameters": parameters}
