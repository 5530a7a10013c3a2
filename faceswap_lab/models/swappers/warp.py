"""The baseline without training: a source's face, warped by the mesh onto the target's points and relit to match the target.

It transfers the skin, brows, eyes, nose and lips of any photographed person to any target. Limitations: the face keeps the
*target's* shape, gaze and silhouette, because the texture follows the target's mesh; a side that the source never showed is
smeared; skin tone and light become the target's; hair or hands over the target's face are painted over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from faceswap_lab.errors import FaceError
from faceswap_lab.faces import align, blend
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.protocols import Card, Crops, Needs, Source, Swapped
from faceswap_lab.models.swappers import mesh468

_SOURCE_SIZE = 512
_THINNEST = 0.25  # pixels: thinner triangles are back-facing, or would displace neighbouring pixels far away
_INSET = 0.02  # of the crop's side: the source's outline includes some of its background
_CONTRAST = 0.4
_FEATHER = 0.07  # of the crop's side
_OPEN_MORE = 0.06  # of the eye distance: a mouth open that much wider than the source's keeps its own interior


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One picture of a source: an upright patch of its face, the 468 points in it, and the pose and openings to select it by."""

    patch: UInt8[np.ndarray, "s s 3"]
    points: Float[np.ndarray, "468 2"]
    pose: Float[np.ndarray, " 3"]
    mouth: float
    eyes: float


class WarpSwapper:
    """Implements `protocols.Swapper`; codes are, for each source, its `View`s. For every crop the view nearest in pose is used."""

    card: ClassVar[Card] = Card(
        name="warp",
        task="swap",
        licence="Apache-2.0",
        source="this project; no weights. The mesh's triangles are MediaPipe's (Apache-2.0)",
        notes="Texture of the source, shape of the target. A baseline for any photograph.",
    )
    needs: ClassVar[Needs] = Needs(template="face", size=256, source="crop", point_set=468, max_batch=None, on_host=True)

    def providers(self) -> dict[str, str]:
        """None: it runs on the CPU."""
        return {}

    def encode(self, sources: Sequence[Source]) -> tuple[tuple[View, ...], ...]:
        """Views of every source: the first face of each frame, if it has 468 points. Raises FaceError if there is none."""
        codes = []
        for source in sources:
            views = tuple(
                _view(frame, faces.landmarks[0])
                for frame, faces in zip(source.frames, source.faces, strict=True)
                if faces.landmarks is not None and faces.point_set == 468 and len(faces)
            )
            if not views:
                raise FaceError(
                    expected=f"a face of {source.subject} with 468 points",
                    got=f"none in {len(source.frames)} frames",
                    remedy="pass the faces through Engine.landmarks, and choose pictures that show the face",
                )
            codes.append(views)
        return tuple(codes)

    def __call__(self, crops: Crops, codes: tuple[tuple[View, ...], ...], which: Int64[np.ndarray, " n"]) -> Swapped:
        """Pixels 0..1 and mask of every crop, on the crops' device; the work is done on the CPU, crop by crop.

        Raises FaceError if the crops do not have 468 landmarks.
        """
        if crops.landmarks is None or crops.landmarks.shape[1:] != (468, 2):
            raise FaceError(expected="crops with 468 landmarks", got="none", remedy="pass the faces through Engine.landmarks first")
        size = crops.pixels.shape[-1]
        pixels = np.empty((len(crops), size, size, 3), np.float32)
        mask = np.empty((len(crops), size, size), np.float32)
        targets = crops.pixels.permute(0, 2, 3, 1).float().cpu().numpy() * 255
        for row in range(len(crops)):
            pixels[row], mask[row] = swap_one(targets[row], crops.landmarks[row], codes[which[row]])
        to = crops.pixels
        return Swapped(
            pixels=torch.from_numpy(pixels / 255).permute(0, 3, 1, 2).to(device=to.device, dtype=to.dtype),
            mask=torch.from_numpy(mask)[:, None].to(device=to.device, dtype=to.dtype),
        )


def swap_one(
    target: Float32[np.ndarray, "s s 3"], points: Float[np.ndarray, "468 2"], views: Sequence[View]
) -> tuple[Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s"]]:
    """One crop (levels 0..255) with the best view's face on its `points`, and its blend mask 0..1."""
    size = target.shape[0]
    view = _nearest_view(points, views)
    to_source, covered = backward_map(points, view.points, size)
    warped = cv2.remap(view.patch, to_source[..., 0], to_source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = _mask(points, covered)
    if not mask.any():
        return target, mask
    return _in_light_of(target, np.asarray(warped, np.float32), mask), mask * (1 - _own_mouth(points, view, size))


def backward_map(
    points: Float[np.ndarray, "468 2"], source_points: Float[np.ndarray, "468 2"], size: int
) -> tuple[Float32[np.ndarray, "s s 2"], Bool[np.ndarray, "s s"]]:
    """For every target pixel its position in the source, and whether a front-facing triangle of the mesh covers it.

    Piecewise affine. Triangles are drawn back to front, by depth from a camera fitted to the points, so that in a turned face the
    nose hides the cheek. Pixels not covered by a triangle follow the affine map of the whole face.
    """
    triangles = mesh468.topology().triangles
    corners = points[triangles].astype(np.float64)
    depth = mesh468.depth(points)[triangles].mean(axis=1)
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    front = 2 * mesh468.area(corners) > _THINNEST * longest
    order = np.argsort(-depth, kind="stable")
    order = order[front[order]]
    index = np.full((size, size), -1, np.int16)
    fixed = np.round(corners * 16).astype(np.int32)
    for number in order.tolist():
        cv2.fillConvexPoly(index, fixed[number], number, lineType=cv2.LINE_8, shift=4)
    system = np.concatenate([corners, np.ones((len(corners), 3, 1))], axis=2)
    system[~front] = np.eye(3)
    affine = np.linalg.solve(system, source_points[triangles].astype(np.float64)).astype(np.float32)
    covered = index >= 0
    rows, columns = np.nonzero(covered)
    chosen = affine[index[covered]]
    found = chosen[:, 0] * columns[:, None] + chosen[:, 1] * rows[:, None] + chosen[:, 2]
    ones = np.ones((len(points), 1))
    whole = np.linalg.lstsq(np.hstack([points, ones]), source_points, rcond=None)[0].astype(np.float32)
    grid = np.arange(size, dtype=np.float32)[:, None]
    to_source = (grid * whole[0])[None, :, :] + (grid * whole[1] + whole[2])[:, None, :]
    to_source[covered] = found
    return to_source, covered


def _view(frame: Frame, landmarks: Float[np.ndarray, "468 2"]) -> View:
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    scale = (_SOURCE_SIZE - 1) / (float((high - low).max()) * 1.1)
    shift = (_SOURCE_SIZE - 1) / 2 - scale * (low + high) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    mouth, eyes = _openings(landmarks)
    return View(
        patch=align.crop(frame.image, matrix, _SOURCE_SIZE),
        points=align.transform_points(matrix, landmarks),
        pose=mesh468.line_of_sight(landmarks),
        mouth=mouth,
        eyes=eyes,
    )


def _nearest_view(points: Float[np.ndarray, "468 2"], views: Sequence[View]) -> View:
    pose = mesh468.line_of_sight(points)
    mouth, eyes = _openings(points)
    costs = [np.linalg.norm(pose - view.pose) + abs(mouth - view.mouth) + 2 * max(0.0, eyes - view.eyes) for view in views]
    return views[int(np.argmin(costs))]


def _openings(points: Float[np.ndarray, "468 2"]) -> tuple[float, float]:
    """Opening of the mouth and mean opening of the eyes, relative to the distance between the eyes' outer corners."""
    unit = float(np.linalg.norm(points[263] - points[33])) + 1e-6
    mouth = float(np.linalg.norm(points[14] - points[13]))
    eyes = float(np.linalg.norm(points[159] - points[145]) + np.linalg.norm(points[386] - points[374])) / 2
    return mouth / unit, eyes / unit


def _mask(points: Float[np.ndarray, "468 2"], covered: Bool[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s"]:
    """1 inside the covered part of the face, falling smoothly to 0 at its edge and at the crop's border."""
    size = covered.shape[0]
    outline = np.zeros((size, size), np.uint8)
    cv2.fillPoly(outline, [np.round(points[mesh468.topology().oval] * 16).astype(np.int32)], 1, shift=4)
    inside = cv2.morphologyEx(outline & covered, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    inside[[0, -1], :] = 0
    inside[:, [0, -1]] = 0
    ramp = np.clip((cv2.distanceTransform(inside, cv2.DIST_L2, 5) - _INSET * size) / (_FEATHER * size), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def _in_light_of(
    target: Float32[np.ndarray, "s s 3"], warped: Float32[np.ndarray, "s s 3"], mask: Float32[np.ndarray, "s s"]
) -> Float32[np.ndarray, "s s 3"]:
    """Matches the target's exposure and tone, part of its contrast (all of it would turn freckles black), then its shading."""
    exposed = blend.match_light(warped, target, mask, sigma=float(target.shape[0]))
    inside = (mask > 0.5).astype(np.uint8)
    mean, spread = (statistic.ravel() for statistic in cv2.meanStdDev(exposed, mask=inside))
    wanted = cv2.meanStdDev(target, mask=inside)[1].ravel()
    gain = (1 + _CONTRAST * (wanted / np.maximum(spread, 1) - 1)).clip(0.6, 1.5)
    contrasted = ((exposed - mean) * gain + mean).clip(0, 255).astype(np.float32)
    return blend.match_light(contrasted, target, mask)


def _own_mouth(points: Float[np.ndarray, "468 2"], view: View, size: int) -> Float32[np.ndarray, "s s"]:
    """1 where the target's mouth is kept: inside its lips if it is open notably wider than the source's, else nowhere."""
    inside = np.zeros((size, size), np.float32)
    if _openings(points)[0] > view.mouth + _OPEN_MORE:
        cv2.fillPoly(inside, [np.round(points[mesh468.topology().inner_lips] * 16).astype(np.int32)], 1.0, shift=4)
    return np.asarray(cv2.GaussianBlur(inside, (0, 0), size / 170), np.float32)
