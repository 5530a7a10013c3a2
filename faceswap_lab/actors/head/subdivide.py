"""One Catmull-Clark step as a sparse weight matrix, so that any shape of the coarse mesh is refined by one gather."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refinement:
    """Fine vertices as weighted sums of coarse ones, in compressed sparse rows; `quads` index fine vertices.

    Fine vertices are ordered: coarse vertices, edge points, face points. Each coarse quad gives four fine ones, grouped by corner:
    fine quad `k * num_quads + q` is corner k of coarse quad q.
    """

    offsets: Int[np.ndarray, " fine"]
    columns: Int[np.ndarray, " entries"]
    weights: Float[np.ndarray, " entries"]
    quads: Int[np.ndarray, "f 4"]
    corner_values: Float[np.ndarray, "f 4 d"]


def _edges(quads: Int[np.ndarray, "q 4"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unique edges, the edge index of each side of each quad, and the number of quads that share each edge."""
    sides = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges, which, shared = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    return edges, which.reshape(-1, 4), shared


class _Entries:
    """Collects (row, column, weight) triples; duplicate entries are summed."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray | float) -> None:
        shape = np.broadcast_shapes(rows.shape, columns.shape)
        self._parts.append(
            (np.broadcast_to(rows, shape).ravel(), np.broadcast_to(columns, shape).ravel(), np.broadcast_to(weights, shape).ravel())
        )

    def compress(self, num_rows: int, num_columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, columns, weights = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        places, inverse = np.unique(rows * num_columns + columns, return_inverse=True)
        summed = np.bincount(inverse, weights)
        keep = np.abs(summed) > 1e-12
        places, summed = places[keep], summed[keep]
        offsets = np.searchsorted(places // num_columns, np.arange(num_rows))
        return offsets, places % num_columns, summed


def catmull_clark(quads: Int[np.ndarray, "q 4"], num_vertices: int, corner_values: Float[np.ndarray, "q 4 d"]) -> Refinement:
    """One step on a quad mesh with boundary; `corner_values` (UV coordinates) are interpolated bilinearly.

    Source: E. Catmull, J. Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes" (1978); boundary
    vertices follow the cubic B-spline rule 1/8, 3/4, 1/8.
    """
    num_quads = len(quads)
    edges, side_edge, shared = _edges(quads)
    num_edges = len(edges)
    boundary = shared != 2
    entries = _Entries()
    _add_edge_points(entries, quads, edges, side_edge, boundary, num_vertices)
    _add_vertex_points(entries, quads, edges, boundary, num_vertices)
    face_rows = num_vertices + num_edges + np.arange(num_quads)
    entries.add(face_rows[:, None], quads, 0.25)
    offsets, columns, weights = entries.compress(num_vertices + num_edges + num_quads, num_vertices)
    fine, values = [], []
    centre = corner_values.mean(axis=1)
    for k in range(4):
        after, before = (k + 1) % 4, (k - 1) % 4
        fine.append(np.stack([quads[:, k], num_vertices + side_edge[:, k], face_rows, num_vertices + side_edge[:, before]], axis=1))
        mid = [(corner_values[:, k] + corner_values[:, other]) / 2 for other in (after, before)]
        values.append(np.stack([corner_values[:, k], mid[0], centre, mid[1]], axis=1))
    return Refinement(
        offsets=offsets, columns=columns, weights=weights, quads=np.concatenate(fine), corner_values=np.concatenate(values)
    )


def _add_edge_points(
    entries: _Entries, quads: np.ndarray, edges: np.ndarray, side_edge: np.ndarray, boundary: np.ndarray, num_vertices: int
) -> None:
    rows = num_vertices + np.arange(len(edges))
    entries.add(rows[:, None], edges, np.where(boundary, 0.5, 0.25)[:, None])
    inner = ~boundary[side_edge]
    for k in range(4):
        which = inner[:, k]
        entries.add(rows[side_edge[which, k]][:, None], quads[which], 1 / 16)


def _add_vertex_points(entries: _Entries, quads: np.ndarray, edges: np.ndarray, boundary: np.ndarray, num_vertices: int) -> None:
    vertices = np.arange(num_vertices)
    num_faces = np.bincount(quads.ravel(), minlength=num_vertices).clip(1)
    num_sides = np.bincount(edges.ravel(), minlength=num_vertices).clip(1)
    on_boundary = np.zeros(num_vertices, bool)
    on_boundary[edges[boundary]] = True
    inside = ~on_boundary
    valence = num_faces.astype(np.float64)
    entries.add(vertices, vertices, np.where(inside, (valence - 3) / valence, 0.5))
    for k in range(4):
        corner = quads[:, k]
        entries.add(corner[:, None], quads, (inside[corner] * 0.25 / valence[corner] ** 2)[:, None])
    for k in range(2):
        end = edges[:, k]
        entries.add(end[:, None], edges, (inside[end] / (valence[end] * num_sides[end]))[:, None])
    rim = edges[boundary]
    num_rim = np.bincount(rim.ravel(), minlength=num_vertices).clip(1)
    for k in range(2):
        entries.add(rim[:, k][:, None], rim, (0.25 / num_rim[rim[:, k]])[:, None])
