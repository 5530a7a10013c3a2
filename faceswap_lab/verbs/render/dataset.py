"""The class of render runs: reading their samples, and exporting them as a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from faceswap_lab.runs.run import Run
from faceswap_lab.storage.address import address_of
from faceswap_lab.trust.export_dataset import MANIFEST, export_dataset
from faceswap_lab.trust.export_to_store import put_dataset

if TYPE_CHECKING:
    from faceswap_lab.actors import shards
    from faceswap_lab.verbs.recipes import RenderRecipe

FILES = frozenset({".tar", ".zip", ".mp4", ".mkv", ".mov", ".png", ".jpg", ".jpeg"})
"""Suffixes of files, rejected as the name of a folder."""


class ShardRun(Run):
    """A render run, as returned by `lab.render`."""

    VERB: ClassVar[str | None] = "render"
    RESULT_VERSION: ClassVar[int] = 2

    def samples(self) -> "Iterator[shards.Sample]":
        """All samples in order. RunError for an unfinished run or an altered shard, MediaError for a shard of another format."""
        from faceswap_lab.actors import shards
        from faceswap_lab.verbs.recipes import RenderRecipe
        from faceswap_lab.verbs.render.samples import shard_name

        self.require_finished()
        for number in range(self.recipe(RenderRecipe).num_shards):
            yield from shards.read_shard(self.artifact(shard_name(number)))

    def export(self, path: str | Path) -> Path | str:
        """Export the shards as a folder with their manifest, or to a store (`s3://bucket/folder`): checked by the gate, and logged.

        Every mark is read back first. The bytes are those of the run. An older export of that name is replaced. A folder appears
        at once; in a store the manifest comes last, and the same call resumes an upload that broke off. Returns the folder, or the
        store's address. Raises ValueError for a file name, RunError for an unfinished run; other errors as in
        `trust.export_dataset.export_dataset` and `trust.export_to_store.put_dataset`.
        """
        from faceswap_lab.verbs.recipes import RenderRecipe

        self.require_finished()
        address = address_of(path)
        destination = Path(address.path)
        if destination.suffix.lower() in FILES:
            raise ValueError(f"a render run must be exported as a folder, got {destination.name!r}")
        manifest = self.artifact(MANIFEST)
        pairs = subjects(self.recipe(RenderRecipe))
        if not address.is_local:
            return str(put_dataset(manifest.parent, address, run=self.id, pairs=pairs, root=self.root).address)
        return export_dataset(manifest.parent, destination, run=self.id, pairs=pairs, root=self.root).path


def subjects(recipe: "RenderRecipe") -> set[tuple[str, str]]:
    """(source, target) subjects of all pictures: each actor as themselves, and with `recast` those of the true swaps."""
    from faceswap_lab.verbs.render.samples import source_of, target_of

    targets = [target_of(recipe, number) for number in range(recipe.num_samples)]
    pairs = {(target.subject, target.subject) for target in targets}
    if recipe.recast:
        pairs |= {(source_of(recipe, number).subject, target.subject) for number, target in enumerate(targets)}
    return pairs
