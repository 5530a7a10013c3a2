"""Make faceswap_lab/models/swappers/mesh468.json: the triangles of MediaPipe's face mesh (Apache-2.0) and a mean head.

The triangles are read, not imported, from `face_mesh_connections.py` in the wheel that carries the weights: every three edges of
its tessellation are one triangle. The mean head is the generalised Procrustes mean of what the mesh network sees in neutral
portraits of synthetic actors, turned so that the eyes lie along x and the line from forehead to chin along y.

    python docs/make_mesh468.py mediapipe-0.10.21-….whl
"""

import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

from faceswap_lab.actors.cast import Actor
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines.offline import OfflineEngine, mesh_region

NUM_ACTORS = 40
TARGET = Path(__file__).parent.parent / "faceswap_lab" / "models" / "swappers" / "mesh468.json"


def triangles(wheel: Path) -> list[list[int]]:
    with zipfile.ZipFile(wheel) as members:
        source = members.read("mediapipe/python/solutions/face_mesh_connections.py").decode()
    listed = re.search(r"FACEMESH_TESSELATION = frozenset\(\[(.*?)\]\)", source, re.DOTALL)
    assert listed
    starts = [int(start) for start, _ in re.findall(r"\((\d+), (\d+)\)", listed.group(1))]
    return [starts[first : first + 3] for first in range(0, len(starts), 3)]


def head(engine: OfflineEngine, seed: int) -> np.ndarray:
    frame = Frame(image=Actor(seed).portrait(256), origin=f"actor:{seed}")
    faces = engine.landmarks(frame, engine.detect(frame))
    assert len(faces) == 1
    assert faces.landmarks is not None
    points = faces.landmarks[0]
    return unit(engine.mesh(frame.image, mesh_region(points, points[[33, 263]])).astype(np.float64))


def unit(points: np.ndarray) -> np.ndarray:
    centred = points - points.mean(axis=0)
    return centred / np.linalg.norm(centred)


def turned_onto(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(points.T @ reference)
    return points @ left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right


def upright(points: np.ndarray) -> np.ndarray:
    across = points[263] - points[33]
    across /= np.linalg.norm(across)
    down = points[152] - points[10]
    down -= across * (down @ across)
    down /= np.linalg.norm(down)
    return points @ np.stack([across, down, np.cross(across, down)], axis=1)


def main(wheel: Path) -> None:
    engine = OfflineEngine()
    heads = [head(engine, seed) for seed in range(NUM_ACTORS)]
    mean = heads[0]
    for _ in range(10):
        mean = unit(np.mean([turned_onto(points, mean) for points in heads], axis=0))
    shape = (upright(mean) * 1000).round(2).tolist()
    TARGET.write_text(
        json.dumps({"triangles": triangles(wheel), "shape_thousandths": shape}, separators=(",", ":")) + "\n", "ascii"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
