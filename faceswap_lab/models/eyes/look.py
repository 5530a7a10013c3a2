"""Using the eyes: from a picture and a detection's five keypoints to points, labels, actions, gaze and pose of that face."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8

from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.render.truth_maps import HeadPose
from faceswap_lab.faces import align
from faceswap_lab.faces.frame import Image
from faceswap_lab.models.device import onnx_session
from faceswap_lab.models.eyes import expression_net, shape_net
from faceswap_lab.models.eyes.labels import COVERS, LABELS
from faceswap_lab.models.eyes.layers import MEAN, SCALE, SIZE
from faceswap_lab.models.eyes.places import keypoints5_of
from faceswap_lab.models.eyes.rotations import head_pose, in_plane, orthonormal
from faceswap_lab.models.eyes.weights import EXPRESSION, SHAPE, bundled, verified
from faceswap_lab.models.onnx_runtime import onnxruntime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """What the first network sees: 106 points in frame pixels, the probability that each is visible, and labels.

    `shares` are the labels' probabilities (in the order of `labels.LABELS`) in a crop, to which `frame_to_crop` leads.
    """

    points106: Float32[np.ndarray, "106 2"]
    visible: Float32[np.ndarray, " 106"]
    shares: Float32[np.ndarray, "l s s"]
    frame_to_crop: Float[np.ndarray, "2 3"]

    @property
    def keypoints5(self) -> Float32[np.ndarray, "5 2"]:
        """The five keypoints that the 106 points give; more exact than the detector's."""
        return keypoints5_of(self.points106)

    def labels_in(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
        """The label map of a frame of `size` (height, width), 0 (background) outside the crop."""
        found = self.shares.argmax(0).astype(np.uint8)
        back, shape = align.invert(self.frame_to_crop), (size[1], size[0])
        if align.scale_of(back) <= 1:
            return np.asarray(cv2.warpAffine(found, back, shape, flags=cv2.INTER_NEAREST), np.uint8)
        # Enlarged, labels would have steps: where each is the likeliest is decided in the frame's pixels.
        inside = cv2.warpAffine(np.ones((SIZE, SIZE), np.float32), back, shape) > 0.5
        left, top, width, height = cv2.boundingRect(inside.astype(np.uint8))
        shifted = back - np.array([[0, 0, left], [0, 0, top]])
        likeliest = np.stack([cv2.warpAffine(share, shifted, (width, height)) for share in self.shares]).argmax(0)
        labels = np.zeros(size, np.uint8)
        labels[top : top + height, left : left + width] = likeliest
        return np.asarray(labels * inside, np.uint8)

    def mask_in(self, size: tuple[int, int], *names: str) -> Bool[np.ndarray, "h w"]:
        """Where a frame of `size` (height, width) has one of these labels. Raises ValueError for an unknown one."""
        return np.isin(self.labels_in(size), _rows(names))

    def covered(self, frame_to_other: Float[np.ndarray, "2 3"], size: int) -> Float32[np.ndarray, "s s"]:
        """How much (0..1) hair, glasses, a hat or an occluder covers each pixel of another crop of this face; 0 beyond its own."""
        cover = self.shares[_rows(COVERS)].sum(0)
        to_frame = np.vstack([align.invert(self.frame_to_crop), [0, 0, 1]])
        matrix = frame_to_other.astype(np.float64) @ to_frame
        return np.asarray(align.warp(cover, matrix, (size, size), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What both networks see of a face.

    `outline` has points and labels; `actions` are the 52 facial actions by name, 0..1; `gaze` holds unit vectors of the right and
    the left eye in the camera's frame (x right, y down, z forward); `rotation` turns the head's axes into that frame, `pose` is the
    same as angles. All as the renderer defines them (`actors.render`): for real faces they are estimates by networks that have seen
    rendered heads only.
    """

    outline: Outline
    actions: MappingProxyType[str, float]
    gaze: Float32[np.ndarray, "2 3"]
    rotation: Float[np.ndarray, "3 3"]
    pose: HeadPose


class Eyes:
    """Both networks, loaded when first used; may be used by several threads at once.

    `folder` holds their files and the card: default is what comes with the package. Raises WeightsError without them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def outline(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Outline:
        """Points and labels of the face with these keypoints. Raises FaceError for keypoints that no crop can be made of."""
        matrix = align.frame_to_crop(keypoints5, template=shape_net.TEMPLATE, size=SIZE)
        points, visible, shares = self._shape.run(["points", "visible", "labels"], {"data": _input(image, matrix)})
        placed = align.transform_points(align.invert(matrix), points[0]).astype(np.float32)
        return Outline(points106=placed, visible=visible[0], shares=shares[0], frame_to_crop=matrix)

    def look(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Seen:
        """All that is seen of the face with these keypoints, RGB `image` and points in its pixels. Raises as `outline`."""
        outline = self.outline(image, keypoints5)
        matrix = align.frame_to_crop(outline.keypoints5, template=expression_net.TEMPLATE, size=SIZE)
        actions, gaze, turn = self._expression.run(["actions", "gaze", "turn"], {"data": _input(image, matrix)})
        to_camera = in_plane(matrix).T
        rotation = to_camera @ orthonormal(turn.reshape(2, 3))
        directions = gaze.reshape(2, 3) / np.linalg.norm(gaze.reshape(2, 3), axis=1, keepdims=True).clip(1e-6)
        return Seen(
            outline=outline,
            actions=MappingProxyType(dict(zip(action_names(), actions[0].tolist(), strict=True))),
            gaze=np.asarray(directions @ to_camera.T, np.float32),
            rotation=rotation,
            pose=head_pose(rotation),
        )

    @cached_property
    def _verified(self) -> Path:
        return verified(self._folder or bundled())

    @cached_property
    def _shape(self) -> onnxruntime.InferenceSession:
        return onnx_session(self._verified / SHAPE, torch.device("cpu"))

    @cached_property
    def _expression(self) -> onnxruntime.InferenceSession:
        return onnx_session(self._verified / EXPRESSION, torch.device("cpu"))


def look(image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Seen:
    """`Eyes.look` of the networks that come with the package."""
    return shipped().look(image, keypoints5)


@cache
def shipped() -> Eyes:
    """The networks that come with the package, loaded once."""
    return Eyes()


def action_names() -> Sequence[str]:
    """The 52 actions in the networks' order."""
    return load_rig().action_names


def _rows(names: Sequence[str]) -> list[int]:
    for name in names:
        if name not in LABELS:
            raise ValueError(f"no label {name!r}; choose from {', '.join(LABELS)}")
    return [LABELS.index(name) for name in names]


def _input(image: Image, matrix: Float[np.ndarray, "2 3"]) -> Any:
    crop = align.warp(image, matrix, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(((crop.astype(np.float32) - MEAN) / SCALE).transpose(2, 0, 1)[None])
