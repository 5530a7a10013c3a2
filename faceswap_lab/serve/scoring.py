"""Figures of a demo's result: against the truth where an actor performs, else what can be told without it."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.caches import cached
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Image
from faceswap_lab.models import metrics
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.registry import open_engine
from faceswap_lab.models.stream.probes import gallery_of
from faceswap_lab.verbs.evaluate.evaluate import summarised
from faceswap_lab.verbs.evaluate.judge import Judge
from faceswap_lab.verbs.people import Person, footage_of
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.result import SwapRun

_MOST = 8
_WORDS = {
    "id_similarity": "likeness to the source",
    "id_leak": "likeness to the person in the original",
    "id_nearer_source": "frames nearer to the source",
    "face_found": "frames with a face",
    "psnr_face": "agreement with the truth (PSNR)",
    "ssim_face": "agreement with the truth (SSIM)",
    "landmark_error": "distance of the points from the truth",
    "seam": "seam around the face",
    "spill": "changed outside the face",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure, in words and in numbers. `floor` is that of the untouched original, `ceiling` that of the truth; nan if
    unknown."""

    name: str
    words: str
    value: float
    floor: float
    ceiling: float
    unit: str
    higher_is_better: bool


@cached(most=4)
def engine_of(name: str) -> Engine:
    """The engine, kept: its networks are loaded once."""
    return open_engine(name, torch.device("cpu"))


@cached(most=64)
def _gallery(seed: int, recipe: SwapRecipe) -> np.ndarray:
    """Embeddings of the pictures of an actor that a swap is given, which are thereby rendered."""
    shown = footage_of(Actor(seed), performance="still", num_frames=recipe.num_source_frames, seed=0, size=512)
    return gallery_of(shown, engine_of(recipe.engine), num_frames=recipe.num_source_frames)


def warm(seed: int) -> None:
    """Render and measure what a swap from this actor needs, so that the first visitor doesn't wait for it."""
    _gallery(seed, SwapRecipe())


def figures(run: SwapRun) -> tuple[Row, ...]:
    """The figures of at most eight frames, evenly spread. With the truth if an actor's take got another actor's face."""
    source, target = run.people()
    assert isinstance(target, Footage)
    shown, recipe = run.footage(), run.recipe(SwapRecipe)
    judge = Judge(
        engine=engine_of(recipe.engine),
        source_gallery=_gallery_of(source, recipe),
        target_gallery=_gallery_of(target, recipe),
        corrections=Corrections(),
        origin=target.origin,
    )
    truth = target.recast(source) if isinstance(target, Take) and isinstance(source, Actor) else None
    rows = []
    for number in np.unique(np.linspace(0, len(shown) - 1, _MOST).astype(int)):
        after, before = shown[int(number)], target[int(number)]
        if truth is not None:
            rows.append(judge.with_truth(after, before, truth, int(number)))
        else:
            rows.append(judge.alone(after, before, int(number)) | _seams(after.image, before.image))
    return tuple(
        Row(
            name=name,
            words=_WORDS.get(name, name),
            value=score.value,
            floor=score.floor,
            ceiling=score.ceiling,
            unit=score.unit,
            higher_is_better=score.higher_is_better,
        )
        for name, score in summarised(rows).items()
    )


def _gallery_of(person: Person, recipe: SwapRecipe) -> np.ndarray:
    if isinstance(person, Take):
        person = person.actor
    if isinstance(person, Actor):
        return _gallery(person.seed, recipe)
    return gallery_of(person, engine_of(recipe.engine), num_frames=recipe.num_source_frames)


def _seams(after: Image, before: Image) -> dict[str, float]:
    """The seam around what the swap changed, there and in the original; nan where nothing was changed, or up to the edges."""
    changed = metrics.changed_region(before, after).astype(np.uint8)
    outlines, _ = cv2.findContours(changed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.asarray(cv2.drawContours(np.zeros(changed.shape, np.uint8), outlines, -1, 1, cv2.FILLED), bool)
    try:
        return {"value.seam": metrics.seam(after, whole), "floor.seam": metrics.seam(before, whole)}
    except ValueError:
        return {"value.seam": math.nan, "floor.seam": math.nan}
