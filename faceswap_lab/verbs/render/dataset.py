"""What a render run made, as samples that can be read and a folder that can leave."""

from collections.abc import Iterator
from pathlib import Path

from faceswap_lab.actors import shards
from faceswap_lab.errors import RunError
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.export_dataset import MANIFEST, export_dataset
from faceswap_lab.verbs.render.render import RenderRecipe, shard_name, source_of, target_of

FILES = frozenset({".tar", ".zip", ".mp4", ".mkv", ".mov", ".png", ".jpg", ".jpeg"})
"""Suffixes that no folder has."""


def read(run: Run) -> Iterator[shards.Sample]:
    """All samples of a finished render run in order. Raises RunError for another run or an altered shard, MediaError for a shard of
    another format."""
    _insist_finished(run)
    for number in range(run.recipe(RenderRecipe).num_shards):
        yield from shards.read_shard(run.artifact(shard_name(number)))


def export(run: Run, path: str | Path) -> Path:
    """Let a render run's shards out as a folder with their manifest: through the gate, logged, whole or not at all.

    Every mark is read back first. The bytes are those of the run. An older export of that name is replaced. Raises ValueError for a
    file's name, RunError for another run, and as `trust.export_dataset.export_dataset`.
    """
    _insist_finished(run)
    destination = Path(path).absolute()
    if destination.suffix.lower() in FILES:
        raise ValueError(f"a render run is exported as a folder, not as {destination.name!r}")
    manifest = run.artifact(MANIFEST)
    pairs = people(run.recipe(RenderRecipe))
    return export_dataset(manifest.parent, destination, run=run.id, pairs=pairs, root=run.root).path


def people(recipe: RenderRecipe) -> set[tuple[str, str]]:
    """(source, target) subjects of all pictures: everybody as themselves, and with `recast` as who gives the face."""
    targets = [target_of(recipe, number) for number in range(recipe.num_samples)]
    pairs = {(target.subject, target.subject) for target in targets}
    if recipe.recast:
        pairs |= {(source_of(recipe, number).subject, target.subject) for number, target in enumerate(targets)}
    return pairs


def _insist_finished(run: Run) -> None:
    if run.verb != "render" or not run.finished:
        raise RunError(
            expected="a finished render run", got=f"{run.id} ({run.record.status})", remedy="give the Run that render returned"
        )
