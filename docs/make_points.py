"""Make faceswap_lab/actors/head/points.json: where the points of the sets 106 and 468 lie on the template head.

468, MediaPipe's mesh. First what the offline engine itself says: it looks at neutral actors from a few sides, and each of its
points is carried back through the picture to the place on the template that is drawn there; the median over actors and sides is a
first place on the surface. Then the anatomy: lids, lips, nose and brows are where this package's 68 points say, so those points
are set there, and a thin-plate spline takes the others along. Last, every point goes to the nearest place of the skin.
The script prints how far each step moved the points, by region: the first distance is the engine's bias on actors.

106, the order of insightface's `2d106det`: Face++'s 106 names in alphabetical order (contour, left eye and brow, mouth, nose,
right eye and brow; left is the picture's). 51 of them are iBUG's inner points; the others are set between those, by their names.
The contour is not iBUG's jaw: it begins above the eyes, before the ears, and is evenly spaced, as insightface's numbered picture.

    python docs/make_points.py
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator, make_interp_spline
from scipy.ndimage import gaussian_filter1d

from faceswap_lab.actors.gfx.raster import rasterise
from faceswap_lab.actors.head import landmarks68 as marks
from faceswap_lab.actors.head.headpack import EYE_LEFT, EYE_RIGHT, SKIN, load_headpack
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.render.render import render
from faceswap_lab.actors.render.scene import draw
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines.offline import OfflineEngine

TARGET = Path(__file__).parent.parent / "faceswap_lab" / "actors" / "head" / "points.json"
NUM_ACTORS, SIZE = 16, 384
SIDES = ((0.0, 0.0), (0.3, 0.0), (-0.3, 0.0), (0.0, 0.15), (0.0, -0.15))

# Points of MediaPipe's mesh that are one of iBUG's 68.
SAME = {33: 36, 133: 39, 362: 42, 263: 45, 168: 27, 4: 30, 2: 33, 61: 48, 291: 54, 0: 51, 17: 57, 13: 62, 14: 66, 152: 8}
LIDS = {
    (EYE_RIGHT, True): (33, 246, 161, 160, 159, 158, 157, 173, 133),
    (EYE_RIGHT, False): (33, 7, 163, 144, 145, 153, 154, 155, 133),
    (EYE_LEFT, True): (362, 398, 384, 385, 386, 387, 388, 466, 263),
    (EYE_LEFT, False): (362, 382, 381, 380, 374, 373, 390, 249, 263),
}
LIPS = {
    (True, True): (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (True, False): (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (False, True): (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (False, False): (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
}
# Upper and lower edge of the brows, outer to inner on the subject's right, inner to outer on the left; iBUG's run between them.
BROWS = {17: (70, 46), 18: (63, 53), 19: (105, 52), 20: (66, 65), 21: (107, 55)}
BROWS |= {22: (336, 285), 23: (296, 295), 24: (334, 282), 25: (293, 283), 26: (300, 276)}
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136)
OVAL += (172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
BROW_HALF_M = {17: 0.0008, 18: 0.0020, 19: 0.0027, 20: 0.0031, 21: 0.0024}

# insightface's order: its number of each of iBUG's 68. Of the jaw that is how projects convert, not where the points lie.
IN_106 = (
    *(1, 10, 12, 14, 16, 3, 5, 7, 0, 23, 21, 19, 32, 30, 28, 26, 17),
    *(43, 48, 49, 51, 50, 102, 103, 104, 105, 101),
    *(72, 73, 74, 86, 78, 79, 80, 85, 84),
    *(35, 41, 42, 39, 37, 36, 89, 95, 96, 93, 91, 90),
    *(52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55, 65, 66, 62, 70, 69, 57, 60, 54),
)
CONTOUR = (1, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 0, 24, 23, 22, 21, 20, 19, 18, 32, 31, 30, 29, 28, 27, 26, 25, 17)
# From above the eye down the cheek, before the ear, to the jaw; the smoothing takes 4 mm off its end.
EDGE = (
    (0.0715, -0.068, 0.7425),
    (0.0705, -0.071, 0.722),
    (0.0695, -0.072, 0.705),
    (0.0680, -0.072, 0.690),
    (0.0640, -0.075, 0.676),
)
EDGE = (*EDGE, (0.0580, -0.083, 0.661), *marks._JAW[5:])
LOWER_BROW = {44: 18, 45: 19, 47: 20, 46: 21, 97: 22, 98: 23, 99: 24, 100: 25}
NOSE_SIDES = {75: (-0.0100, 0.7252), 76: (-0.0150, 0.7000), 77: (-0.0185, 0.6905)}
NOSE_SIDES |= {81: (0.0100, 0.7252), 82: (0.0150, 0.7000), 83: (0.0185, 0.6905)}


def places_of_engine() -> np.ndarray:
    """Template places (metres) of what the engine marks, its 468 points' medians over actors and sides."""
    engine, rig = OfflineEngine(), load_rig()
    skin = rig.tri[rig.tri_part == SKIN]
    found = []
    for seed in range(NUM_ACTORS):
        figure = build_figure(seed, texture_rows(SIZE))
        for yaw, pitch in SIDES:
            view = replace(Performance(kind="still", seed=0).view(0, 0.0), actions={}, yaw=yaw, pitch=pitch, noise=0.0, scale=1.05)
            rendered = render(figure, view, size=SIZE)
            frame = Frame(image=rendered.image, origin=f"actor:{seed}")
            faces = engine.detect(frame)
            if not len(faces):
                continue
            points = engine.landmarks(frame, faces[:1]).landmarks[0]
            drawn = draw(rendered.scene)
            full = drawn.camera.size
            seen = rasterise(drawn.xy[rig.wedge_vertex], drawn.depth[rig.wedge_vertex], skin, size=(full, full))
            place = torch.full((full * full, 3), torch.nan)
            corners = rig.template[rig.wedge_vertex[skin[seen.face]]]
            place[seen.pixel] = (corners * seen.weights[..., None]).sum(1)
            column, row = np.floor((points + 0.5) * 2).astype(int).T.clip(0, full - 1)
            found.append(place.view(full, full, 3).numpy()[row, column])
    print(f"{len(found)} pictures with a face of {NUM_ACTORS * len(SIDES)}")
    return np.nanmedian(np.stack(found), axis=0)


def curves(skin: marks._Skin, view: marks._FrontView, lips: np.ndarray, guess: np.ndarray) -> dict[int, np.ndarray]:
    """Places of the points on lids and lips: each at its share of the way between the corners, on the edge that is drawn."""
    placed = {}
    for (part, upper), ring in LIDS.items():
        rows, columns = np.nonzero(view.part == part)
        candidates = np.flatnonzero(skin.front & view.visible)
        ends = columns.min(), columns.max()
        x = guess[list(ring), 0]
        for number, share in zip(ring[1:-1], (x[1:-1] - x[0]) / (x[-1] - x[0]), strict=True):
            column = round(ends[0] + (ends[1] - ends[0]) * float(np.clip(share, 0.04, 0.96)))
            there = rows[columns == column]
            across, height = view.place(float(there.min() if upper else there.max()), column)
            offset = skin.points[candidates][:, [0, 2]] - np.array([across, height])
            nearest = skin.points[candidates[np.linalg.norm(offset, axis=1).argmin()]]
            placed[number] = np.array([across, nearest[1], height])
    rows = np.flatnonzero(skin.front & (lips > 0.5) & (skin.normals[:, 1] < 0.2))
    points = skin.points[rows]
    half = np.abs(points[:, 0]).max()
    middle = points[np.abs(points[:, 0]) > half - 0.002, 2].mean()
    for (outer, upper), ring in LIPS.items():
        x = guess[list(ring), 0]
        reach = half if outer else 0.86 * half
        for number, share in zip(ring[1:-1], (x[1:-1] - x[0]) / (x[-1] - x[0]), strict=True):
            near = points[np.abs(points[:, 0] - (2 * share - 1) * reach) < 0.0024]
            near = near if outer else near[(near[:, 2] > middle) == upper]
            edge = near[:, 2].argmax() if (upper == outer) else near[:, 2].argmin()
            placed[number] = near[edge]
    return placed


def table_468(skin: marks._Skin, view: marks._FrontView, lips: np.ndarray, known: np.ndarray) -> np.ndarray:
    guess = places_of_engine()
    guides = {number: known[row] for number, row in SAME.items()}
    guides = curves(skin, view, lips, guess) | guides
    source, target = [guess[n] for n in guides], list(guides.values())
    for row, pair in BROWS.items():
        source.append(guess[list(pair)].mean(0))
        target.append(known[row])
    source, target = np.array(source), np.array(target)
    # Linear and not thin-plate: beyond the outermost guides the shift shall fade to a constant, not grow.
    warp = RBFInterpolator(source, target - source, kernel="linear", smoothing=1e-5)
    warped = guess + warp(guess)
    for number, place in guides.items():
        warped[number] = place
    final, normal = nearest_skin(warped, guides)
    regions = regions_468()
    for name, rows in regions.items():
        bias = 1e3 * np.linalg.norm(guess - final, axis=1)[rows]
        residual = 1e3 * np.linalg.norm(warped - final, axis=1)[rows]
        moved = f"engine to final {bias.mean():.2f} mm; to the skin {residual.mean():.2f}, at most {residual.max():.2f} mm"
        print(f"{name:8} {len(rows):3} points: {moved}")
    return np.concatenate([final, normal], 1)


def regions_468() -> dict[str, list[int]]:
    eyes = sorted({n for ring in LIDS.values() for n in ring})
    lips = sorted({n for ring in LIPS.values() for n in ring})
    brows = sorted({n for pair in BROWS.values() for n in pair})
    nose = [168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 64, 294, 48, 278, 115, 344, 220, 440, 45, 275, 44, 274]
    named = {"eyes": eyes, "lips": lips, "brows": brows, "nose": nose, "oval": list(OVAL)}
    taken = {n for rows in named.values() for n in rows}
    return named | {"rest": [n for n in range(468) if n not in taken]}


def nearest_skin(points: np.ndarray, exact: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest places of the outer skin and the normals there."""
    from faceswap_lab.actors.head.landmark_sets import closest

    rig = load_rig()
    front = rig.tri[rig.tri_part == SKIN]
    corners = rig.template[rig.wedge_vertex[front]].double().numpy()
    outside = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outside /= np.linalg.norm(outside, axis=1, keepdims=True).clip(1e-12)
    keep = (corners[:, :, 1].min(1) < -0.02) & (outside[:, 1] < 0.5)
    row, weights = closest(points, None, corners[keep])
    place = (corners[keep][row] * weights[..., None]).sum(1)
    return place, outside[keep][row]


def contour() -> tuple[np.ndarray, np.ndarray]:
    """Places and normals of the 33 points along the face's edge, from the picture's left to its right, evenly spaced."""
    half = np.array(EDGE)
    line = np.concatenate([half * np.array([-1, 1, 1]), half[-2::-1]])
    smooth = make_interp_spline(_way(line), line)(np.linspace(0, _way(line)[-1], 401))
    # The hand-set line lies a little off the skin, so that its nearest places jump: they are evened out before they are counted.
    on_skin = gaussian_filter1d(nearest_skin(smooth, {})[0], 12, axis=0, mode="nearest")
    way = _way(on_skin)
    return nearest_skin(np.stack([np.interp(np.linspace(0, way[-1], 33), way, axis) for axis in on_skin.T], 1), {})


def _way(line: np.ndarray) -> np.ndarray:
    """How long the line is up to each of its points, as it is seen from the front."""
    return np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line[:, [0, 2]], axis=0), axis=1))])


def table_106(skin: marks._Skin, view: marks._FrontView, known: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, list[int]]:
    places, normals = np.full((106, 3), np.nan), np.zeros((106, 3))

    def put(number: int, vertex: int) -> None:
        places[number], normals[number] = skin.points[vertex], skin.normals[vertex]

    places[list(CONTOUR)], normals[list(CONTOUR)] = contour()
    for row, number in list(enumerate(IN_106))[17:]:
        put(number, int(vertices[row]))
    mirror = {row: 43 - row for row in range(22, 27)}
    for row in (*range(18, 22), *range(22, 26)):
        half = BROW_HALF_M[mirror.get(row, row)]
        put(IN_106[row], skin.seen_at(known[row, 0], known[row, 2] + half))
    for number, row in LOWER_BROW.items():
        half = BROW_HALF_M[mirror.get(row, row)]
        put(number, skin.seen_at(known[row, 0], known[row, 2] - half))
    for number, (x, z) in NOSE_SIDES.items():
        put(number, skin.seen_at(x, z))
    pack, on_eye = load_headpack(), []
    for part, bottom, top, numbers, centre in (
        (EYE_RIGHT, 33, 40, (34, 38), pack.eye_right),
        (EYE_LEFT, 87, 94, (88, 92), pack.eye_left),
    ):
        rows, columns = np.nonzero(view.part == part)
        column = round((columns.min() + columns.max()) / 2)
        there = rows[columns == column]
        candidates = np.flatnonzero(skin.front & view.visible)
        for number, row in ((bottom, there.max()), (top, there.min())):
            offset = skin.points[candidates][:, [0, 2]] - np.array(view.place(float(row), column))
            put(number, int(candidates[np.linalg.norm(offset, axis=1).argmin()]))
        for number in numbers:
            places[number], normals[number] = centre - np.array([0, 0.0125, 0]), (0, -1, 0)
            on_eye.append(number)
    assert not np.isnan(places).any()
    return np.concatenate([places, normals], 1), on_eye


def main() -> None:
    pack, rig = load_headpack(), load_rig()
    template = pack.refine(pack.vertices)
    skin, view = marks._Skin(pack, template), marks._FrontView(pack, template)
    lips = marks._lip_values(pack, len(template))
    vertices = rig.landmark_vertices.numpy()
    known = template[vertices].astype(np.float64)
    points_106, on_eye = table_106(skin, view, known, vertices)
    stored = {
        "106": points_106.round(5).tolist(),
        "106_on_eye": on_eye,
        "468": table_468(skin, view, lips, known).round(5).tolist(),
    }
    TARGET.write_text(json.dumps(stored, separators=(",", ":")) + "\n", "ascii")


if __name__ == "__main__":
    main()
