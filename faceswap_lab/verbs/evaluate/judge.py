"""What is measured of each frame of a swap: the judge, with the galleries of both people."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from faceswap_lab.actors.cast import Take
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models import metrics
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.stream.probes import gallery_of
from faceswap_lab.verbs.people import Person, footage_of
from faceswap_lab.verbs.recipes import EvaluateRecipe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """The engine, the galleries of source and target that every frame is compared with, and the manual corrections of the swap.

    `origin` is the target's, whose frames the corrections are of.
    """

    engine: Engine
    source_gallery: np.ndarray
    target_gallery: np.ndarray
    corrections: Corrections
    origin: str

    @classmethod
    def of(cls, source: Person, target: Footage, recipe: EvaluateRecipe, engine: Engine, corrections: Corrections) -> "Judge":
        """The judge of a swap of `source` onto `target`."""
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
        features = metrics.features_mask(rendered.landmarks68, right.image.shape[:2])
        apart = float(np.linalg.norm(rendered.keypoints5[0] - rendered.keypoints5[1]))
        for role, frame in (("value", swapped), ("floor", before), ("ceiling", right)):
            face = self.face(frame, number)
            figures = self.identity(frame, face)
            figures["psnr"] = metrics.psnr(frame.image, right.image, region)
            figures["ssim"] = metrics.ssim(frame.image, right.image, region)
            figures["sharp"] = metrics.sharpness(frame.image, right.image, features) if features.any() else math.nan
            figures["seam"] = metrics.seam(frame.image, whole)
            figures["spill"] = metrics.spill(frame.image, before.image, whole)
            figures["landmarks"] = metrics.landmark_error(face.keypoints[0], rendered.keypoints5, apart) if len(face) else math.nan
            row |= {f"{role}.{name}": figure for name, figure in figures.items()}
        return row


def _without_holes(region: np.ndarray) -> np.ndarray:
    """The region with its holes filled: a seam runs around the face, not around the teeth, which may be the same in both."""
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(region.shape, np.uint8), outlines, -1, 1, cv2.FILLED), bool)
