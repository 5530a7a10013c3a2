"""The verb `render`: renders shards of pictures of actors with their ground truth.

Shards stay in the run's folder until `ShardRun.export` exports them. Every picture is marked when it is written, and every sample
says that it is synthetic, so that exports are the bytes of the run, and copies made without an export are marked too. This mark has
no time in it: the same recipe gives the same bytes.
"""

import json
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_lab.actors import shards
from faceswap_lab.actors.cast import Take
from faceswap_lab.actors.performance.lights import check_light
from faceswap_lab.actors.performance.performance import check_kind
from faceswap_lab.actors.performance.props import check_prop
from faceswap_lab.actors.render.capture import check_capture
from faceswap_lab.actors.render.render import check_memory
from faceswap_lab.actors.splits import check_seed, split_of
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.tasks import run_tasks
from faceswap_lab.faces import video
from faceswap_lab.faces.frame import Image, write_still
from faceswap_lab.files import lab_root, sha256_file
from faceswap_lab.models import data_files
from faceswap_lab.models import device as devices
from faceswap_lab.progress import Progress
from faceswap_lab.runs.recipe import from_json, to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import Stop, never, until
from faceswap_lab.trust.consent.gate import Permission, Subject
from faceswap_lab.trust.export_dataset import MANIFEST
from faceswap_lab.trust.marks import metadata as mark
from faceswap_lab.verbs.computing import Compute, computing, either
from faceswap_lab.verbs.recipes import RenderRecipe
from faceswap_lab.verbs.render.dataset import ShardRun
from faceswap_lab.verbs.render.samples import shard_name, source_of, take_of

PARTS = "parts"


def check_recipe(recipe: RenderRecipe, workers: int) -> None:
    """Raise ValueError for an invalid recipe, DeviceError for pictures that would not fit into memory."""
    for name in ("num_actors", "num_views", "shard_size"):
        if getattr(recipe, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(recipe, name)}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if not recipe.kinds:
        raise ValueError("give at least one kind of performance")
    for kind in recipe.kinds:
        check_kind(kind)
    check_light(recipe.light)
    check_capture(recipe.capture)
    check_prop(recipe.prop)
    last = recipe.first + recipe.num_actors - 1
    check_seed(recipe.first, "the first actor")
    check_seed(last, "the last actor")
    check_seed(recipe.seed, "performance seed")
    check_seed(recipe.seed + recipe.num_samples - 1, "the last performance seed")
    if split_of(recipe.first) != split_of(last):
        raise ValueError(
            f"actors {recipe.first}..{last} are of two splits ({split_of(recipe.first)}, {split_of(last)}): render them separately"
        )
    if recipe.recast and recipe.num_actors < 2:
        raise ValueError("recast needs at least 2 actors")
    take_of(recipe, 0)  # raises the errors of an invalid take before anything is made
    check_memory(recipe.size * int(np.ceil(np.sqrt(workers))))


def render(
    recipe: RenderRecipe,
    *,
    compute: Compute = None,
    workers: int = 1,
    device: str = "cpu",
    force: bool = False,
) -> ShardRun:
    """Render a data set; blocks with one progress line. With `compute` (see `lab.cluster`), on the workers of a cluster; `workers`
    is short for that many processes of this machine. The bytes are the same.

    An identical finished call returns its Run; an interrupted one resumes with the missing shards, and the result is byte-identical
    to that without the interruption. Raises ValueError for an invalid recipe, DeviceError for pictures too large for memory.
    """
    check_recipe(recipe, workers)
    compute = either(compute, workers)
    if compute is None:
        devices.pick(device)  # refused before there is a run
    run = ShardRun.start(lab_root(), "render", recipe, {}, data=data_files.of_actors(), force=force)
    if run.finished:
        return run
    with run, devices.watched():
        with computing(run, compute, device) as (cluster, _):
            _make_shards(run, recipe, cluster, device)
        rows = [_row(run, recipe, number) for number in range(recipe.num_shards)]
        with run.write(MANIFEST) as path:
            path.write_text(json.dumps(_manifest(run, recipe, rows), indent=1) + "\n", encoding="utf-8")
        run.finish(num_samples=recipe.num_samples, num_shards=recipe.num_shards, bytes=sum(row["bytes"] for row in rows))
    return run


# --- making shards --------------------------------------------------------------------------------------------------------------


def _make_shards(run: Run, recipe: RenderRecipe, compute: Cluster | None, device: str) -> None:
    missing = [number for number in range(recipe.num_shards) if not run.has(shard_name(number))]
    parts = run.path / PARTS
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    line = Progress("render", recipe.num_shards, unit="shards", done=recipe.num_shards - len(missing))
    text = to_json(recipe)
    tasks = (Shard(recipe=text, number=number, folder=str(parts), run=run.id, device=device) for number in missing)
    try:
        with closing(run_tasks(tasks, compute, never)) as made:
            for done, outcome in enumerate(made, 1):
                number, part = outcome.result()
                with run.write(shard_name(number)) as path:
                    Path(part).replace(path)
                line.update(recipe.num_shards - len(missing) + done)
    except KeyboardInterrupt:
        print(f"stopped; {run.id} keeps its finished shards: repeat the call to resume", flush=True)
        raise
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    line.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The task of rendering one shard of a recipe (as JSON) into a folder, in any process; gives its number and path."""

    recipe: str
    number: int
    folder: str
    run: str
    device: str

    def __call__(self, stop: Stop) -> tuple[int, str]:
        """See `compute.tasks.Task`."""
        recipe = from_json(RenderRecipe, self.recipe)
        device = str(devices.pick(self.device))
        whole = Path(self.folder) / f"{self.number:06d}.tar"
        first = self.number * recipe.shard_size
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            part = Path(scratch) / "shard.tar"
            with shards.writing(part) as shard:
                for sample in until(stop, range(first, min(first + recipe.shard_size, recipe.num_samples))):
                    shard.add(sample, _members(recipe, sample, self.run, device, Path(scratch)))
            part.replace(whole)
        return self.number, str(whole)


def _members(recipe: RenderRecipe, number: int, run: str, device: str, scratch: Path) -> dict[str, bytes]:
    take, row = take_of(recipe, number)
    take = take.on(device)
    versions = {"": take}
    if recipe.recast:
        versions["truth."] = take.recast(source_of(recipe, number), tone=recipe.tone)
    make = _clip if recipe.form == "clips" else _still
    members: dict[str, bytes] = {}
    for prefix, version in versions.items():
        members |= {prefix + ending: content for ending, content in make(recipe, version, row, run, scratch).items()}
    return members


def _still(recipe: RenderRecipe, take: Take, row: int, run: str, scratch: Path) -> dict[str, bytes]:
    rendered = take.rendered(row)
    members = {"png": _png(rendered.image, _mark(take, run), scratch), "json": shards.to_json(shards.facts_of(take, row, rendered))}
    return members | ({"npz": shards.to_npz(shards.arrays_of(rendered))} if recipe.maps else {})


def _clip(recipe: RenderRecipe, take: Take, _: int, run: str, scratch: Path) -> dict[str, bytes]:
    path = scratch / "clip.mkv"
    video.encode(path, take.frames(), fps=take.fps, size=take.size, metadata=_mark(take, run), lossless=True)
    facts, arrays = [], []
    for row in range(len(take)):
        rendered = take.rendered(row)
        facts.append(shards.facts_of(take, row, rendered))
        arrays.append(shards.arrays_of(rendered) if recipe.maps else {})
    members = {"mkv": path.read_bytes(), "json": shards.to_json({"synthetic": True, "frames": facts})}
    path.unlink()
    if recipe.maps:
        members["npz"] = shards.to_npz({name: np.stack([each[name] for each in arrays]) for name in arrays[0]})
    return members


def _png(image: Image, metadata: dict[str, str], scratch: Path) -> bytes:
    path = scratch / "still.png"
    write_still(path, image, metadata=metadata)
    return path.read_bytes()


def _mark(take: Take, run: str) -> dict[str, str]:
    """The mark of a rendered picture, without the time."""
    target = Subject(seed=take.actor.seed)
    source = target if take.source is None else Subject(seed=take.source.seed)
    lineage = mark.Lineage(run=run, source=source, target=target, trained=False)
    return mark.kept_metadata(lineage, Permission())


def _row(run: Run, recipe: RenderRecipe, number: int) -> dict[str, Any]:
    path = run.artifact(shard_name(number))
    first = number * recipe.shard_size
    count = min(recipe.shard_size, recipe.num_samples - first)
    return {"name": shard_name(number), "sha256": sha256_file(path), "bytes": path.stat().st_size, "first": first, "count": count}


def _manifest(run: Run, recipe: RenderRecipe, rows: list[dict[str, Any]]) -> dict[str, Any]:
    last = recipe.first + recipe.num_actors - 1
    return {
        "format": shards.FORMAT,
        "code": run.record.code,
        "run": run.id,
        "tool": mark.TOOL,
        "synthetic": True,
        "digital_source_type": mark.SOURCE_TYPES + "algorithmicMedia",
        "split": split_of(recipe.first),
        "actors": [recipe.first, last],
        "performance_seeds": [recipe.seed, recipe.seed + recipe.num_samples - 1],
        "recipe": run.record.recipe,
        "num_samples": recipe.num_samples,
        "shards": rows,
    }
