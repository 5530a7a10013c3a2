"""Whose face it is: cosines between unit vectors of a recogniser.

A recogniser's figure depends on the recogniser, so report which one, with its digest; judge with one that the method was neither
trained with nor selected by. Stock thresholds do not hold on actors, who look alike: a perfect swap has a cosine of 0.81 to its
source and 0.50 to its target.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from faceswap_lab.models.metrics.arguments import finite
from faceswap_lab.models.metrics.score import normalised


def identity_similarity(embedding: Float[np.ndarray, " d"], gallery: Float[np.ndarray, "n d"]) -> float:
    """Cosine between an embedding and the mean direction of a person's gallery, -1..1.

    `gallery` holds unit embeddings of n images of one person by the same recogniser, at least 5 for a stable mean. Cannot see what
    the recogniser ignores, and depends on it: report it with the figure. Its stock thresholds do not hold on actors.
    """
    mean = finite("a gallery's embeddings", gallery).mean(axis=0)
    length = float(np.linalg.norm(finite("an embedding", embedding)) * np.linalg.norm(mean))
    if not length > 0:
        raise ValueError("an embedding, or a gallery's mean, has no direction: all its values are zero")
    return float(embedding @ mean / length)


def nearer_source(
    embedding: Float[np.ndarray, " d"], source_gallery: Float[np.ndarray, "n d"], target_gallery: Float[np.ndarray, "m d"]
) -> bool:
    """Whether the embedding is nearer to the source's gallery than to the target's; the share reported is its mean over frames.

    Needs no threshold. Cannot see by how much, nor a third person who would be even nearer.
    """
    return identity_similarity(embedding, source_gallery) > identity_similarity(embedding, target_gallery)


def identity_margin(
    embedding: Float[np.ndarray, " d"], source_gallery: Float[np.ndarray, "n d"], target_gallery: Float[np.ndarray, "m d"]
) -> float:
    """Similarity to the source less that to the target, -2..2: above 0 the source is nearer.

    Needs neither truth nor threshold, so it is what real footage has instead of `leak_normalised`. Cannot tell a face that is
    nobody's from one between the two: both have a margin of 0.
    """
    return identity_similarity(embedding, source_gallery) - identity_similarity(embedding, target_gallery)


def rank1(embedding: Float[np.ndarray, " d"], galleries: Mapping[str, Float[np.ndarray, "_ d"]], own: str) -> bool:
    """Whether `own` is the nearest of all people in `galleries`; the share reported is its mean over pictures.

    The retrieval score of the field, which depends on how many galleries there are and how alike their people: state the number,
    and put the target among them. Cannot see by how much. A tie is no retrieval. Raises ValueError unless `own` and one more have a
    gallery.
    """
    if own not in galleries or len(galleries) < 2:
        raise ValueError(f"galleries must hold {own!r} and at least one other person, got {', '.join(galleries) or 'none'}")
    similarities = {name: identity_similarity(embedding, gallery) for name, gallery in galleries.items()}
    return all(similarities[own] > similarity for name, similarity in similarities.items() if name != own)


def leak(embedding: Float[np.ndarray, " d"], target_gallery: Float[np.ndarray, "m d"]) -> float:
    """Similarity to the *target*, -1..1: how much of the person is left whose face was replaced.

    Means nothing alone, as actors are alike: a perfect swap leaks .50. See `leak_normalised`. Cannot see whether what is left is
    the face, or hair and outline, which a face swap leaves alone.
    """
    return identity_similarity(embedding, target_gallery)


def leak_normalised(result: float, target: float, truth: float) -> float:
    """Mean leak of the results between that of the truths (0) and that of the untouched targets (1).

    Below 0 it is less than truth's. From means over pictures, as small differences would rule a mean of ratios. nan if target and
    truth leak alike.
    """
    return 1 - normalised(result, target, truth)
