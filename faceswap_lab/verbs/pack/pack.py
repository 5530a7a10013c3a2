"""The verb `train` with the recipe `pack`: renders actors, and trains three networks in insightface's layout, with a model card.

The run's artifact `pack/` is a folder that insightface's `FaceAnalysis` and the engine `insight:FOLDER` can load as is.
"""

import json
import platform
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from faceswap_lab import __version__
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.errors import RunError
from faceswap_lab.files import lab_root, sha256_file
from faceswap_lab.models import data_files
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.computing import Compute, computing
from faceswap_lab.verbs.networks import Trained, write_networks, write_pictures
from faceswap_lab.verbs.pack.scores import check_judges, score_pack
from faceswap_lab.verbs.pack.stages import FILES, render_parts, train_networks
from faceswap_lab.verbs.recipes import PackRecipe
from faceswap_lab.verbs.train.result import TrainRun

FOLDER, CARD, PARTS = "pack", "pack/card.json", "parts"


def train_pack(recipe: PackRecipe, *, compute: Compute = None, force: bool = False) -> TrainRun:
    """Make a pack; blocks with one progress line per stage. With `compute`, its workers render pictures and train the networks.

    An identical finished call returns its Run; an interrupted one resumes with the missing pictures and steps, and the networks
    are the same as without the interruption. Raises WeightsError without insightface or the offline engine's weights, which
    the scores need.
    """
    check_judges()  # before hours of work, since the scores at the end need them
    data = data_files.of_actors() | data_files.of_offline()
    run = TrainRun.start(lab_root(), "train", recipe, {}, data=data, force=force)
    if run.finished:
        return run
    with run:
        parts = run.path / PARTS
        parts.mkdir(exist_ok=True)
        try:
            with computing(run, compute, "cpu") as (cluster, _):
                write_pictures(run, recipe.sets.parts(), lambda missing: render_parts(recipe.sets, missing, parts, cluster))
                _train(run, recipe, parts, cluster)
        except KeyboardInterrupt:
            print(f"stopped; {run.id} keeps its pictures and checkpoints: repeat the call to resume", flush=True)
            raise
        card = _card(run, recipe)
        with run.write(CARD) as path:
            path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(parts)
        run.finish(scores=card["scores"], num_pictures=card["num_pictures"], seconds=card["seconds"])
    return run


def pack_of(run: Run) -> Path:
    """The folder made by a finished run with the recipe `pack`. Raises RunError for any other run, or an altered file."""
    if run.verb != "train" or not run.finished or not run.has(CARD):
        raise RunError(
            expected="a finished run that trained a pack",
            got=f"{run.id} ({run.record.status})",
            remedy="pass the Run returned by lab.train(lab.recipes.pack())",
        )
    for name in FILES.values():
        run.artifact(f"{FOLDER}/{name}")
    return run.artifact(CARD).parent


def _train(run: Run, recipe: PackRecipe, parts: Path, compute: Cluster | None) -> None:
    pictures = [name for name in recipe.sets.parts() if "/train-" in name]

    def trained(missing: list[str]) -> Generator[Trained, None, None]:
        return train_networks(missing, to_json(recipe), list(map(run.artifact, pictures)), parts, compute, key=run.key)

    write_networks(run, {task: f"{FOLDER}/{name}" for task, name in FILES.items()}, trained)


def _card(run: Run, recipe: PackRecipe) -> dict[str, Any]:
    """The model card: how the pack was made, from what, and its scores."""
    trained = {event["network"]: event for event in run.events("trained", unique="network")}
    folder = run.artifact(f"{FOLDER}/{FILES['detector']}").parent
    spent = {task: event["seconds"] for task, event in trained.items()}
    spent["pictures"] = round(sum(float(event["seconds"]) for event in run.events("pictures")), 2)
    files = {}
    for task, name in FILES.items():
        path = folder / name
        files[name] = {
            "for": task,
            "sha256": sha256_file(path),
            "bytes": path.stat().st_size,
            "parameters": trained[task]["parameters"],
        }
    return {
        "name": recipe.name,
        "licence": "Apache-2.0",
        "source": "trained by faceswap_lab on its own synthetic actors; no picture of a real person, no weights of others",
        "command": "faceswap-lab train --recipe pack",
        "version": __version__,
        "code": run.record.code,
        "recipe": run.record.recipe,
        "num_pictures": {split: len(recipe.sets.seeds(split)) * recipe.sets.num_views for split in ("train", "val")},
        "machine": platform.machine(),
        "seconds": spent,
        "files": files,
        "scores": score_pack(folder, recipe.scores),
    }
