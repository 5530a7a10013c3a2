"""The sections of material in a report: rendered samples, and facesets as far as their pictures may leave."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image as Pillow

from faceswap_lab.actors import shards
from faceswap_lab.faces.frame import read_still
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.library import SHEET, FacesetRun
from faceswap_lab.verbs.recipes import RenderRecipe
from faceswap_lab.verbs.render.dataset import ShardRun
from faceswap_lab.verbs.render.samples import shard_name
from faceswap_lab.views.images import AnyImage
from faceswap_lab.views.report.blocks import Block, Facts, Notice, Picture, Section, Sheet
from faceswap_lab.views.report.record import recipe_block
from faceswap_lab.views.report.scope import Scope
from faceswap_lab.views.report.training import figures_of

_MOST_SAMPLES, _MOST_SHARDS = 12, 3


def rendered(run: ShardRun, scope: Scope) -> Section:
    """A render run: what was rendered, and a few of its samples, which show actors only."""
    blocks: list[Block] = [Facts(rows=figures_of(run, scope))] if run.finished else []
    if run.finished:
        samples = list(_samples(run))
        caption = f"{len(samples)} of {run.summary['num_samples']} samples, spread over its shards."
        blocks += [Sheet(images=[image for image, _ in samples], labels=[label for _, label in samples], caption=caption)]
    return Section(title="Rendered samples", blocks=[*blocks, recipe_block(run, scope)])


def faceset(run: FacesetRun, scope: Scope) -> Section:
    """A faceset: what was kept and dropped, and its contact sheet if nobody real is on it."""
    blocks: list[Block] = [Facts(rows=figures_of(run, scope))] if run.finished else []
    if run.finished and run.id in scope.real:
        text = (
            "The contact sheet is withheld. It shows a real person as they are, and no consent covers that such a picture leaves "
            "the lab; what leaves is the result of a swap that they agreed to."
        )
        blocks += [Notice(text=text, kind="withheld")]
    elif run.finished and run.has(SHEET):
        image = read_still(run.artifact(SHEET))
        caption = "The faces that were kept, from right to left profile; a row is a person, or a part of one. Nobody real is shown."
        blocks += [Picture(image=image, caption=caption, alt="Contact sheet of the faceset")]
    return Section(title="Faceset", blocks=[*blocks, recipe_block(run, scope)])


def _samples(run: ShardRun) -> Iterator[tuple[AnyImage, str]]:
    """A few samples of a few shards, with the actor's name; of clips nothing is shown."""
    count = run.recipe(RenderRecipe).num_shards
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_SHARDS)).round().astype(int))
    each = _MOST_SAMPLES // len(chosen)
    for number in chosen:
        found = [sample for sample in shards.read_shard(run.artifact(shard_name(int(number)))) if "png" in sample.members]
        for place in np.unique(np.linspace(0, max(0, len(found) - 1), min(len(found), each)).round().astype(int)):
            sample = found[place]
            image = np.asarray(Pillow.open(io.BytesIO(sample.members["png"])).convert("RGB"))
            yield image, f"actor:{sample.facts['actor']}"


def of_other(run: Run, scope: Scope) -> Section:
    """A run of another verb: its figures and settings."""
    facts: list[Block] = [Facts(rows=found)] if (found := figures_of(run, scope)) else []
    return Section(title=f"Run of {run.verb}", blocks=[*facts, recipe_block(run, scope)])
