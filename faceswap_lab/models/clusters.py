"""Face clustering by identity: average linkage on a recogniser's embeddings, in bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage

REAL_PEOPLE = 0.363
"""Cosine threshold of SFace's authors for two pictures of the same real person (OpenCV's model zoo)."""

ACTORS = 0.66
"""The same for synthetic actors, who look far more alike to SFace: its stock threshold merges all of them into one person.

Measured on 140 views of ten actors of an earlier cast: at .66 and .68 every cluster is pure and 98.6 % of the faces are in their
person's largest cluster; at .60 and .65 two of the ten are merged, at .70 there are 14 clusters.
"""

MAX_LINKED = 4_000
"""Maximum number of faces, or clusters of faces, linked at once: 64 MB of distances."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clusters:
    """`labels` count from 0, largest cluster first; equal sizes are ordered by their first face.

    `within` is the mean cosine between faces of a cluster (1 for a single face), `between` that between faces of two clusters.
    """

    labels: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, " k"]
    within: Float[np.ndarray, " k"]
    between: Float[np.ndarray, "k k"]

    def nearest_other(self, label: int) -> float:
        """Mean cosine between this cluster's faces and those of the most similar other cluster; nan if there is none."""
        others = np.delete(self.between[label], label)
        return float(others.max()) if len(others) else float("nan")


def cluster(embeddings: Float[np.ndarray, "n d"], files: Sequence[str], *, same_person: float) -> Clusters:
    """Groups faces (unit vectors) by person: clusters are merged while the mean cosine between them is at least `same_person`.

    Up to `MOST` faces are linked at once. More are linked in parts, in the order of their files, and the resulting clusters are
    then linked by their mean vectors. Raises ValueError if the number of files differs from that of faces.
    """
    if len(files) != len(embeddings):
        raise ValueError(f"{len(embeddings)} faces need as many files, got {len(files)}")
    if not len(embeddings):
        none = np.zeros(0)
        return Clusters(labels=none.astype(np.int64), sizes=none.astype(np.int64), within=none, between=np.zeros((0, 0)))
    vectors = embeddings.astype(np.float64)
    labels = _by_part(vectors, _parts(files), same_person)
    while len(vectors) > MAX_LINKED and (count := int(labels.max()) + 1) > 1:
        parts = [np.arange(start, min(start + MAX_LINKED, count)) for start in range(0, count, MAX_LINKED)]
        joined = _by_part(_means(vectors, labels), parts, same_person)
        if int(joined.max()) + 1 == count:
            break
        labels = joined[labels]
    return _ordered(vectors, labels)


def _parts(files: Sequence[str]) -> list[np.ndarray]:
    """Rows that are linked together first: neighbours in file order, at most `MOST`."""
    order = np.argsort(np.array(files), kind="stable")
    return [order[start : start + MAX_LINKED] for start in range(0, len(order), MAX_LINKED)]


def _by_part(vectors: Float[np.ndarray, "n d"], parts: list[np.ndarray], same_person: float) -> Int[np.ndarray, " n"]:
    labels = np.zeros(len(vectors), np.int64)
    used = 0
    for rows in parts:
        own = _linked(vectors[rows], same_person)
        labels[rows] = own + used
        used += int(own.max()) + 1
    return labels


def _linked(vectors: Float[np.ndarray, "n d"], same_person: float) -> Int[np.ndarray, " n"]:
    if len(vectors) == 1:
        return np.zeros(1, np.int64)
    upper = np.triu_indices(len(vectors), 1)
    distances = np.clip(1 - (vectors @ vectors.T)[upper], 0, 2)
    return np.asarray(fcluster(linkage(distances, "average"), 1 - same_person, "distance") - 1, np.int64)


def _means(vectors: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "k d"]:
    """Not renormalised: the product of two means is the mean of all products."""
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    return sums / np.bincount(labels)[:, None]


def _ordered(vectors: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> Clusters:
    sizes = np.bincount(labels)
    first = np.array([int(np.argmax(labels == label)) for label in range(len(sizes))])
    order = np.lexsort((first, -sizes))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    means = _means(vectors, rank[labels])
    sizes = sizes[order]
    pairs = np.maximum(sizes * (sizes - 1), 1)
    within = np.where(sizes > 1, (sizes**2 * (means**2).sum(1) - sizes) / pairs, 1.0)
    return Clusters(labels=rank[labels], sizes=sizes, within=within, between=means @ means.T)
