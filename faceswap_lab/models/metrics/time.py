"""What only moving pictures show: flicker, and motion that is not the truth's.

Flow is in pixels from one frame to the next, (x, y) for each pixel of the first. Where the exact flow is not known, `motion`
estimates it from the truth (or, without one, from the target), never from the result, whose flicker would become its own excuse.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Float

from faceswap_lab.faces.frame import Image
from faceswap_lab.models.metrics.arguments import Mask, filled, finite, same_size
from faceswap_lab.models.metrics.identity import identity_similarity

T = TypeVar("T")
Flow = Float[np.ndarray, "h w 2"]
_LOOSE, _PROPORTION = 0.5, 0.01
"""Forward and backward flow agree within 0.5 squared pixels and a hundredth of their squared lengths (Sundaram et al. 2010)."""


def motion(before: Image, after: Image) -> Flow:
    """Flow from `before` to `after` by DIS (Kroeger et al. 2016), preset "medium", on luma; nan where it leads to no visible place.

    nan is where the flow leaves the picture, or the flow back does not return: what the next frame hides. On actors that move by
    2 pixels a frame its error is 0.4 pixels; on flat skin and under changing light it guesses.
    """
    same_size(before, after)
    one, two = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (before, after))
    there, back = _estimated(one, two), _estimated(two, one)
    returned = there + _sampled(back, there)
    lengths = (there**2).sum(axis=2) + (_sampled(back, there) ** 2).sum(axis=2)
    agrees = (returned**2).sum(axis=2) < _LOOSE + _PROPORTION * lengths
    return np.asarray(np.where((agrees & _inside(there))[..., None], there, np.nan), np.float32)


def warping_error(
    results: Sequence[Image],
    truths: Sequence[Image],
    masks: Sequence[Mask],
    flows: Sequence[Flow] | None = None,
    *,
    sigma: float = 1.0,
) -> float:
    """Flicker: mean |frame - next frame moved back along the flow| over mask and channels, in levels, less the same of the truth.

    0 is as steady as the truth; what resampling and real changes of light cost, both pay. `flows`, one for each pair of frames,
    are exact or from `motion`, nan where hidden; None estimates them from `truths`, for which real footage gives its target.
    `masks` are those of the first frame of each pair, or of all frames.
    Both are smoothed by a Gaussian of `sigma` pixels first, unlike in the literature (`sigma=0`): there, sensor noise that a swap
    leaves out makes it steadier than life (on actors a blur alone -1.6, here -.2). Measured on actors: shaking by half a pixel 1.4,
    by one 2.3; brightness flickering by 2 % 2.1, by 5 % 4.7. Cannot see slow drift, an error that moves with the face, or a
    face that is frozen while the head hardly moves (.1): `flow_difference` does.
    """
    _same_length(results, truths)
    flows = [motion(*pair) for pair in pairwise(truths)] if flows is None else flows
    if len(flows) != len(truths) - 1:
        raise ValueError(f"{len(truths)} frames have {len(truths) - 1} flows between them, got {len(flows)}")
    result, truth = ([_smooth(frame, sigma) for frame in frames] for frames in (results, truths))
    return float(np.mean([_warped(result, *step) - _warped(truth, *step) for step in _steps(masks, flows)]))


def flow_difference(results: Sequence[Image], truths: Sequence[Image], masks: Sequence[Mask]) -> float:
    """Mean length of the difference between the results' flow and the truths' over the mask, in pixels; 0 is the truth's motion.

    tOF of TecoGAN (Chu et al. 2020), with DIS in place of Farnebäck's flow, and the Euclidean length rather than the sum of
    absolute values. `masks` as in `warping_error`. Pixels that either flow finds hidden don't count. Measured on actors: shaking by
    half a pixel .8, by one 1.2; a face frozen in speech .1, in fast motion .3. Cannot see flicker of brightness without motion, and
    on skin without texture both flows are guesses.
    """
    _same_length(results, truths)
    found = []
    flows = [(motion(*result), motion(*truth)) for result, truth in zip(pairwise(results), pairwise(truths), strict=True)]
    for number, mask, (flow, wanted) in _steps(masks, flows):
        inside = filled(mask, truths[number]) & np.isfinite(flow + wanted).all(axis=2)
        if not inside.any():
            raise ValueError(f"no pixel of the mask can be followed from frame {number} to the next")
        found.append(np.linalg.norm(flow - wanted, axis=2)[inside].mean())
    return float(np.mean(found))


def identity_jitter(embeddings: Float[np.ndarray, "t d"], source_gallery: Float[np.ndarray, "n d"]) -> float:
    """Standard deviation over time of the similarity to the source, 0 is steady.

    Pose moves a recogniser's answer too, so the truth's own jitter is the floor, not 0. Cannot tell flicker from slow change.
    Raises ValueError for fewer than two frames, and for frames without an embedding (nan): leave those out of both.
    """
    if len(embeddings) < 2:
        raise ValueError(f"time needs at least two frames, got {len(embeddings)}")
    return float(np.std([identity_similarity(embedding, source_gallery) for embedding in embeddings]))


def landmark_jitter(points: Float[np.ndarray, "t k 2"], interocular: float) -> float:
    """Root mean square of the points' second differences in time over the inter-ocular distance, 0 is steady or uniform motion.

    Points with independent noise of s pixels in x and y have sqrt(12) s / interocular. Real acceleration counts, so the truth's own
    jitter by the same estimator is the floor. Cannot see drift. Raises ValueError for fewer than three frames.
    """
    if len(points) < 3:
        raise ValueError(f"second differences need at least three frames, got {len(points)}")
    if not interocular > 0:
        raise ValueError(f"interocular must be above zero, got {interocular}")
    bend = np.diff(finite("points", points).astype(np.float64), n=2, axis=0)
    return float(np.sqrt((bend**2).sum(axis=2).mean()) / interocular)


def _smooth(frame: Image, sigma: float) -> Float[np.ndarray, "h w 3"]:
    as_floats = frame.astype(np.float32)
    return np.asarray(cv2.GaussianBlur(as_floats, (0, 0), sigma)) if sigma > 0 else as_floats


def _warped(frames: Sequence[Float[np.ndarray, "h w 3"]], number: int, mask: Mask, flow: Flow) -> float:
    """Mean absolute difference, in levels, between frame `number` and the next one moved back to it."""
    here, after = frames[number], frames[number + 1]
    if flow.shape[:2] != here.shape[:2]:
        raise ValueError(f"flow {flow.shape[:2]} and picture {here.shape[:2]} differ in size")
    inside = filled(mask, here) & np.isfinite(flow).all(axis=2) & _inside(np.nan_to_num(flow))
    if not inside.any():
        raise ValueError(f"no pixel of the mask can be followed from frame {number} to the next")
    return float(np.abs(here - _sampled(after, np.nan_to_num(flow)))[inside].mean())


def _steps(masks: Sequence[Mask], flows: Sequence[T]) -> Iterator[tuple[int, Mask, T]]:
    if len(masks) not in (len(flows), len(flows) + 1):
        raise ValueError(f"{len(flows) + 1} frames need {len(flows)} masks, or one for each frame, got {len(masks)}")
    return ((number, masks[number], flow) for number, flow in enumerate(flows))


def _estimated(one: np.ndarray, two: np.ndarray) -> Flow:
    start = np.zeros((*one.shape, 2), np.float32)
    return np.asarray(cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(one, two, start))


def _sampled(image: Float[np.ndarray, "h w c"], flow: Flow) -> Float[np.ndarray, "h w c"]:
    """The picture at the places where the flow leads, bilinear."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    moved = cv2.remap(image, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved)


def _inside(flow: Flow) -> Mask:
    """Pixels whose flow leads to a place within the picture."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return np.asarray((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1))


def _same_length(results: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> None:
    if len(results) != len(truths):
        raise ValueError(f"there are {len(results)} results and {len(truths)} truths")
    if len(results) < 2:
        raise ValueError(f"time needs at least two frames, got {len(results)}")
    for result, truth in zip(results, truths, strict=True):
        same_size(result, truth)
