"""The handle of a render run: samples that can be read, and a folder that can leave."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from faceswap_lab.runs.run import Run
from faceswap_lab.trust.export_dataset import MANIFEST, export_dataset

if TYPE_CHECKING:
    from faceswap_lab.actors import shards
    from faceswap_lab.verbs.recipes import RenderRecipe

FILES = frozenset({".tar", ".zip", ".mp4", ".mkv", ".mov", ".png", ".jpg", ".jpeg"})
"""Suffixes that no folder has."""


class ShardRun(Run):
    """What `render` returns."""

    VERB: ClassVar[str | None] = "render"
    RESULT_VERSION: ClassVar[int] = 1

    def samples(self) -> "Iterator[shards.Sample]":
        """All samples in order. RunError for an unfinished run or an altered shard, MediaError for a shard of another format."""
        from faceswap_lab.actors import shards
        from faceswap_lab.verbs.recipes import RenderRecipe
        from faceswap_lab.verbs.render.samples import shard_name

        self.require_finished()
        for number in range(self.recipe(RenderRecipe).num_shards):
            yield from shards.read_shard(self.artifact(shard_name(number)))

    def export(self, path: str | Path) -> Path:
        """Let the shards out as a folder with their manifest: through the gate, logged, all or none.

        Every mark is read back first. The bytes are those of the run. An older export of that name is replaced. Raises ValueError
        for a file's name, RunError for an unfinished run, and as `trust.export_dataset.export_dataset`.
        """
        from faceswap_lab.verbs.recipes import RenderRecipe

        self.require_finished()
        destination = Path(path).absolute()
        if destination.suffix.lower() in FILES:
            raise ValueError(f"a render run is exported as a folder, not as {destination.name!r}")
        manifest = self.artifact(MANIFEST)
        pairs = subjects(self.recipe(RenderRecipe))
        return export_dataset(manifest.parent, destination, run=self.id, pairs=pairs, root=self.root).path


def subjects(recipe: "RenderRecipe") -> set[tuple[str, str]]:
    """(source, target) subjects of all pictures: everybody as themselves, and with `recast` as who gives the face."""
    from faceswap_lab.verbs.render.samples import source_of, target_of

    targets = [target_of(recipe, number) for number in range(recipe.num_samples)]
    pairs = {(target.subject, target.subject) for target in targets}
    if recipe.recast:
        pairs |= {(source_of(recipe, number).subject, target.subject) for number, target in enumerate(targets)}
    return pairs
