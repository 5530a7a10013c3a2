"""How far two sets of pictures are apart, as distributions. Never by the Fréchet distance: at fifty pictures it calls two halves of
one set as different as two sets of people."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from faceswap_lab.models.metrics.arguments import finite

_FEWEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """An unbiased estimate with its standard error. It may be below zero: two samples of one set are, half the time."""

    value: float
    error: float


def kid(one: Float[np.ndarray, "n d"], two: Float[np.ndarray, "m d"], *, subsets: int = 100, seed: int = 0) -> Distance:
    """Kernel distance between two sets of features (Bińkowski et al. 2018): unbiased MMD^2, kernel (x . y + 1)^3; 0 if alike.

    Features are scaled to unit length first, as the cubic kernel explodes otherwise, so it is within 0..8. The value is that
    of all pictures. The error is the standard deviation over `subsets` random halves of both sets (delete-half jackknife), which is
    the error of the whole where the sets differ, and about twice that where they are alike. What is near or far is the features'
    opinion: those of a recogniser see other people and hardly artefacts, those of ImageNet the reverse; name the network.
    Cannot be compared with the KID of Inception features, nor see which picture is wrong.
    Raises ValueError for fewer than 8 pictures in a set, and for a feature of no length.
    """
    for features in (one, two):
        if len(features) < _FEWEST:
            raise ValueError(f"a distance between sets needs at least {_FEWEST} pictures in each, got {len(features)}")
    if subsets < 2:
        raise ValueError(f"subsets must be at least 2, got {subsets}")
    x, y = _unit_length(one), _unit_length(two)
    kernels = tuple((a @ b.T + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    draw = np.random.default_rng(seed)
    halves = []
    for _ in range(subsets):
        rows, columns = (draw.choice(len(features), len(features) // 2, replace=False) for features in (x, y))
        halves.append(
            _unbiased(kernels[0][np.ix_(rows, rows)], kernels[1][np.ix_(columns, columns)], kernels[2][np.ix_(rows, columns)])
        )
    return Distance(value=_unbiased(*kernels), error=float(np.std(halves)))


def _unbiased(xx: Float[np.ndarray, "n n"], yy: Float[np.ndarray, "m m"], xy: Float[np.ndarray, "n m"]) -> float:
    """MMD^2 without the pairs of a picture with itself (Gretton et al. 2012, eq. 3)."""
    within = sum((kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in (xx, yy))
    return float(within - 2 * xy.mean())


def _unit_length(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    lengths = np.linalg.norm(finite("features", features).astype(np.float64), axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError("a feature vector has no direction: all its values are zero")
    return np.asarray(features / lengths)
