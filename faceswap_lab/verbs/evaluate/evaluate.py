"""The verb `evaluate`: scores a swap against its ground truth, with a floor and a ceiling for each score."""

import json
import math
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Literal

import cv2
import numpy as np

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.files import lab_root
from faceswap_lab.models import data_files, metrics
from faceswap_lab.models import device as devices
from faceswap_lab.models.metrics import Score
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.registry import open_engine
from faceswap_lab.models.stream.probes import gallery_of
from faceswap_lab.progress import Progress
from faceswap_lab.trust.consent.gate import check_evaluate, check_train
from faceswap_lab.verbs.evaluate.scores import PER_FRAME, SCORES, ScoreRun
from faceswap_lab.verbs.people import Person, data_of, footage_of, record_of, subject_of
from faceswap_lab.verbs.recipes import EvaluateRecipe
from faceswap_lab.verbs.swap.result import CORRECTIONS, SwapRun


def evaluate(
    result: SwapRun | str,
    *,
    truth: Take | Literal["auto"] | None = "auto",
    tone: Literal["source", "target"] | None = None,
    recipe: EvaluateRecipe | None = None,
    engine: str | None = None,
    device: str = "auto",
    force: bool = False,
) -> ScoreRun:
    """Score the swap `result` (or the run of that id) against its ground truth if known; else compute the scores that need none.

    `truth` "auto" renders it if the target is an actor's take and the source an actor, with the skin tone of `tone` (default: the
    source's); a take (`take.recast(source)`) is used as is; None disables it. `engine` takes precedence over `recipe.engine`.

    Each score has a floor (that of the unchanged target) and a ceiling (that of the truth itself under the same measure).
    `device` is for the networks of judges other than the offline one, which runs on the CPU.
    Raises ValueError if the truth does not belong to this target, ConsentError if a person shown has not agreed to be measured.
    """
    result = SwapRun.open(result) if isinstance(result, str) else result
    if not isinstance(result, SwapRun):
        raise TypeError(f"result must be a Run returned by lab.swap, got {type(result).__name__}")
    recipe = (recipe or EvaluateRecipe()).with_(**({} if engine is None else {"engine": engine}))
    source, target = result.people()
    check_evaluate(subject_of(source), subject_of(target), root=lab_root())
    check_train(*result.trained_on(), root=lab_root())
    truth = _truth(result, truth, tone, source, target)
    asked = devices.pick(device)
    where = devices.pick("cpu") if recipe.engine == "offline" else asked
    judging = open_engine(recipe.engine, where)
    inputs = {"result": result.id, "truth": record_of(truth) if truth is not None else "", "engine": judging.record}
    data = data_of(source, target) | data_files.of_engine(judging) | {"result": result.record.artifacts[result.result]}
    run = ScoreRun.start(lab_root(), "evaluate", recipe, inputs, data=data, force=force)
    if run.finished:
        return run
    with run:
        start = perf_counter()
        providers = judging.providers()
        run.emit("device", device=devices.describe(where), providers=providers)
        if providers:
            print(f"{run.id}: on {devices.describe(where)}; {providers}", file=sys.stderr)
        assert isinstance(target, Footage)
        judge = _Judge.of(source, target, recipe, judging, _corrections_of(result))
        rows = _rows(judge, result.footage(), target, truth)
        scores = summarised(rows)
        with run.write(PER_FRAME) as path:
            path.write_text(json.dumps(_plain(rows)))
        with run.write(SCORES) as path:
            path.write_text(json.dumps(_plain({name: asdict(score) for name, score in scores.items()}), indent=1))
        run.finish(
            scores={name: _plain(asdict(score)) for name, score in scores.items()},
            embedder=judge.engine.embedder,
            gallery_size=recipe.gallery_size,
            num_frames=len(rows),
            landmark_error_ratio=_ratio(scores),
            seconds={"evaluate": round(perf_counter() - start, 2)},
        )
    return run


def _rows(judge: "_Judge", shown: Footage, target: Footage, truth: Take | None) -> list[dict[str, float]]:
    """The figures of each frame, with one progress line."""
    line = Progress("evaluate", len(shown), unit="frames")
    rows = []
    for number, (swapped, before) in enumerate(zip(shown.frames(), target.frames(0, len(shown)), strict=True)):
        rows.append(judge.with_truth(swapped, before, truth, number) if truth is not None else judge.alone(swapped, before, number))
        line.update(number + 1)
    line.close()
    return rows


def _corrections_of(result: SwapRun) -> Corrections:
    """The corrections that the swap was given; none if it has only their digest, as those of older versions."""
    return result.corrections() if result.has(CORRECTIONS) else Corrections()


def _truth(
    result: SwapRun, truth: Take | Literal["auto"] | None, tone: Literal["source", "target"] | None, source: Person, target: Person
) -> Take | None:
    """The ground truth: rendered, as given, or None."""
    if truth == "auto":
        if isinstance(source, Actor) and isinstance(target, Take):
            return target.recast(source, tone=tone or "source")
        return None
    if tone is not None:
        raise ValueError(f"tone={tone!r} applies to truth='auto' only; a take given as truth has its own")
    if truth is not None and not _belongs(truth, source, target):
        raise ValueError(f"{truth.origin} is not the truth of {result.id}: use the swap's own target, recast as its source")
    return truth


def _belongs(truth: Take, source: Person, target: Person) -> bool:
    if not (isinstance(source, Actor) and isinstance(target, Take)) or len(truth) != len(target):
        return False
    return target.recast(source, tone=truth.tone).origin == truth.origin


def _ratio(scores: dict[str, Score]) -> float | None:
    error = scores.get("landmark_error")
    return None if error is None else round(metrics.landmark_error_ratio(error.value, error.ceiling), 4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judge:
    """The engine, the galleries of source and target that every frame is compared with, and the manual corrections of the swap.

    `origin` is the target's, whose frames the corrections are of.
    """

    engine: Engine
    source_gallery: np.ndarray
    target_gallery: np.ndarray
    corrections: Corrections
    origin: str

    @classmethod
    def of(cls, source: Person, target: Footage, recipe: EvaluateRecipe, engine: Engine, corrections: Corrections) -> "_Judge":
        galleries = []
        for person in (source, target):
            # An actor's gallery comes from a separate performance, so that no scored frame is compared with itself.
            who = person.actor if isinstance(person, Take) else person
            shown = footage_of(who, performance="range", num_frames=recipe.gallery_size, seed=recipe.gallery_seed, size=256)
            galleries.append(gallery_of(shown, engine, num_frames=recipe.gallery_size))
        return cls(
            engine=engine,
            source_gallery=galleries[0],
            target_gallery=galleries[1],
            corrections=corrections,
            origin=target.origin,
        )

    def face(self, frame: Frame, index: int) -> Faces:
        """The detection of the face that was swapped in frame number `index`, as `faces.corrections.selected` has it; or none.

        With the detector's own points, also in a corrected frame: they are what is measured.
        """
        found = self.engine.detect(frame)
        row = self.corrections.of_frame(self.origin, index, found).row
        if row is None:
            return largest(found)
        return found[row] if row < len(found) else Faces.none()

    def identity(self, frame: Frame, face: Faces) -> dict[str, float]:
        """Cosines to both people; nan if no face is found."""
        if not len(face):
            return {"found": 0.0, "to_source": math.nan, "to_target": math.nan, "nearer": 0.0}
        vectors = self.engine.embed(frame, face).embeddings
        assert vectors is not None
        return {
            "found": 1.0,
            "to_source": metrics.identity_similarity(vectors[0], self.source_gallery),
            "to_target": metrics.identity_similarity(vectors[0], self.target_gallery),
            "nearer": float(metrics.nearer_source(vectors[0], self.source_gallery, self.target_gallery)),
        }

    def alone(self, swapped: Frame, before: Frame, number: int) -> dict[str, float]:
        """The scores that need no truth: identity in the result ("value") and in the unchanged target ("floor")."""
        row: dict[str, float] = {}
        own = self.own_face(before, number)
        for role, frame, face in (("value", swapped, self.face_at(swapped, own, number)), ("floor", before, own)):
            row |= {f"{role}.{name}": figure for name, figure in self.identity(frame, face).items()}
        return row

    def own_face(self, before: Frame, number: int) -> Faces:
        """The face of the target person: of several in the frame the most alike, as a swap follows one person too; in a corrected
        frame the face that was corrected."""
        found = self.engine.detect(before)
        if self.corrections.points(self.origin, number) is not None:
            return self.face(before, number)
        if len(found) < 2:
            return found
        vectors = self.engine.embed(before, found).embeddings
        assert vectors is not None
        return found[int(np.argmax([metrics.identity_similarity(vector, self.target_gallery) for vector in vectors]))]

    def face_at(self, frame: Frame, place: Faces, number: int) -> Faces:
        """The face of a frame nearest to where another frame has one; the largest if that has none; in a corrected frame the face
        that was corrected."""
        if self.corrections.points(self.origin, number) is not None:
            return self.face(frame, number)
        found = self.engine.detect(frame)
        if not len(place) or len(found) < 2:
            return largest(found)
        centres, wanted = ((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 for faces in (found, place))
        return found[int(np.argmin(np.linalg.norm(centres - wanted[0], axis=1)))]

    def with_truth(self, swapped: Frame, before: Frame, truth: Take, number: int) -> dict[str, float]:
        """All scores of one frame, for the result ("value"), the target ("floor") and the truth ("ceiling")."""
        rendered = truth.rendered(number)
        right = Frame(image=rendered.image, origin=truth.origin, index=swapped.index, time_s=swapped.time_s)
        region = metrics.changed_region(before.image, right.image)
        row: dict[str, float] = {}
        if not region.any():
            return row
        whole = _without_holes(region)
        # Measured in the image, not in 3D: head yaw raises the error, but in value, floor and ceiling alike.
        apart = float(np.linalg.norm(rendered.keypoints5[0] - rendered.keypoints5[1]))
        for role, frame in (("value", swapped), ("floor", before), ("ceiling", right)):
            face = self.face(frame, number)
            figures = self.identity(frame, face)
            figures["psnr"] = metrics.psnr(frame.image, right.image, region)
            figures["ssim"] = metrics.ssim(frame.image, right.image, region)
            figures["seam"] = metrics.seam(frame.image, whole)
            figures["spill"] = metrics.spill(frame.image, before.image, whole)
            figures["landmarks"] = metrics.landmark_error(face.keypoints[0], rendered.keypoints5, apart) if len(face) else math.nan
            row |= {f"{role}.{name}": figure for name, figure in figures.items()}
        return row


def _without_holes(region: np.ndarray) -> np.ndarray:
    """The region with its holes filled: a seam runs around the face, not around the teeth, which may be the same in both."""
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(region.shape, np.uint8), outlines, -1, 1, cv2.FILLED), bool)


# Column: name, unit ("" for cosines, fractions of frames, and fractions of the interocular distance), whether higher is better.
_NAMES = {
    "psnr": ("psnr_face", "dB", True),
    "ssim": ("ssim_face", "", True),
    "to_source": ("id_similarity", "", True),
    "to_target": ("id_leak", "", False),
    "nearer": ("id_nearer_source", "", True),
    "landmarks": ("landmark_error", "", False),
    "seam": ("seam", "levels/px", False),
    "spill": ("spill", "", False),
    "found": ("face_found", "", True),
}


def summarised(rows: list[dict[str, float]]) -> dict[str, Score]:
    """Means over frames. Frames without a figure are left out of its mean; `face_found` accounts for them."""
    columns: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, figure in row.items():
            if not math.isnan(figure):
                columns[name].append(figure)
    scores = {}
    for short, (name, unit, higher) in _NAMES.items():
        if values := columns.get(f"value.{short}"):
            parts = {role: columns.get(f"{role}.{short}", []) for role in ("floor", "ceiling")}
            floor, ceiling = (float(np.mean(part)) if part else math.nan for part in parts.values())
            scores[name] = Score(value=float(np.mean(values)), floor=floor, ceiling=ceiling, unit=unit, higher_is_better=higher)
    return scores


def _plain(value: object) -> object:
    """A JSON value, rounded, with nan and infinity as null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
