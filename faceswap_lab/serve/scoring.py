"""Figures of a demo's result: against the truth where an actor performs, else what can be told without it."""

import math

import cv2
import numpy as np
import torch

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.caches import cached
from faceswap_lab.errors import FaceError
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import metrics
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.registry import open_engine
from faceswap_lab.models.stream.probes import gallery_of
from faceswap_lab.serve.orders import Row
from faceswap_lab.verbs.evaluate.evaluate import summarised
from faceswap_lab.verbs.evaluate.judge import Judge
from faceswap_lab.verbs.people import Person, footage_of
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.result import SwapRun

_MOST = 8
_MARGIN = 24
"""Pixels around what was changed that a seam is compared with."""

_WORDS = {
    "id_similarity": "likeness to the source",
    "id_leak": "likeness to the person in the original",
    "id_nearer_source": "frames nearer to the source",
    "face_found": "frames with a face",
    "psnr_face": "agreement with the truth (PSNR)",
    "ssim_face": "agreement with the truth (SSIM)",
    "sharpness": "sharpness of eyes, brows and mouth",
    "landmark_error": "distance of the points from the truth",
    "seam": "seam around the face",
    "spill": "changed outside the face",
}


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


def figures(run: SwapRun, source: Person, target: Footage) -> tuple[Row, ...]:
    """The figures of at most eight frames, evenly spread. With the truth if an actor's take got another actor's face.

    `source` and `target` are those of the run. An original without a face has figures of what is in the result alone.
    """
    shown, recipe = run.footage(), run.recipe(SwapRecipe)
    engine, giver = engine_of(recipe.engine), _gallery_of(source, recipe)
    truth = target.recast(source) if isinstance(target, Take) and isinstance(source, Actor) else None
    is_measured_once = truth is None and len(shown) == 1
    own, taker = _own_face(target[0], engine) if is_measured_once else (Faces.none(), _gallery_of(target, recipe))
    judge = Judge(engine=engine, source_gallery=giver, target_gallery=taker, corrections=Corrections(), origin=target.origin)
    rows = []
    for number in map(int, np.unique(np.linspace(0, len(shown) - 1, _MOST).astype(int))):
        after, before = shown[number], target[number]
        if truth is not None:
            rows.append(judge.with_truth(after, before, truth, number))
        else:
            told = _of_still(judge, after, own) if is_measured_once else judge.alone(after, before, number)
            rows.append(told | _seams(after.image, before.image))
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


def _own_face(before: Frame, engine: Engine) -> tuple[Faces, np.ndarray]:
    """The largest face of a still and its embedding, (1, d). FaceError if there is none."""
    face = largest(engine.detect(before))
    if not len(face):
        raise FaceError(expected="a face in the original", got="none", remedy="choose a picture that shows one")
    vectors = engine.embed(before, face).embeddings
    assert vectors is not None
    return face, vectors


def _of_still(judge: Judge, after: Frame, own: Faces) -> dict[str, float]:
    """As `Judge.alone`, for a still whose original face was measured already: it is the gallery that the result is compared
    with."""
    vector = judge.target_gallery[0]
    floor = {
        "found": 1.0,
        "to_source": metrics.identity_similarity(vector, judge.source_gallery),
        "to_target": 1.0,
        "nearer": float(metrics.nearer_source(vector, judge.source_gallery, judge.target_gallery)),
    }
    value = judge.identity(after, judge.face_at(after, own, 0))
    return {f"value.{name}": figure for name, figure in value.items()} | {f"floor.{name}": each for name, each in floor.items()}


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
    left, top, width, height = cv2.boundingRect(changed)
    part = slice(max(0, top - _MARGIN), top + height + _MARGIN), slice(max(0, left - _MARGIN), left + width + _MARGIN)
    try:
        return {f"{role}.seam": metrics.seam(image[part], whole[part]) for role, image in (("value", after), ("floor", before))}
    except ValueError:
        return {"value.seam": math.nan, "floor.seam": math.nan}
