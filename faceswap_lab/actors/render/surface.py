"""Geometry of each rendered sample, before material and light: of the mesh, of strands, of accessories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.gfx.raster import Fragments
from faceswap_lab.actors.gfx.vectors import pick, unit
from faceswap_lab.actors.head.rig import Rig
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.person.strands import Strands, StrandSamples, root_positions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """p rendered samples: pixel and depth, part, world position and normal, template position, texture UV, swap weight (`face`).

    The first `num_mesh` samples belong to the mesh, the rest to strands and accessories, which have a `tangent` and a `colour`
    instead of a texture. `glass` is the normal of a lens in front of a sample, 0 where there is none.
    """

    pixel: Int[Tensor, " p"]
    depth: Float[Tensor, " p"]
    part: Int[Tensor, " p"]
    position: Float[Tensor, "p 3"]
    normal: Float[Tensor, "p 3"]
    template: Float[Tensor, "p 3"]
    occlusion: Float[Tensor, " p"]
    uv: Float[Tensor, "p 2"]
    face: Float[Tensor, " p"]
    num_mesh: int
    tangent: Float[Tensor, "s 3"]
    colour: Float[Tensor, "s 3"]
    glass: Float[Tensor, "p 3"]

    def mesh(self) -> "Surface":
        """The samples of the mesh only."""
        columns = [name for name in self.__slots__ if name not in ("num_mesh", "tangent", "colour")]
        rows: dict[str, Any] = {name: getattr(self, name)[: self.num_mesh] for name in columns}
        return replace(self, tangent=self.tangent[:0], colour=self.colour[:0], **rows)


def surface_of(
    rig: Rig, figure: Figure, drawn: Fragments, *, points: Float[Tensor, "v 3"], normals: Float[Tensor, "v 3"]
) -> Surface:
    """Interpolates vertex attributes at the rasterised samples of the mesh."""
    columns = torch.cat([points, normals, rig.template, figure.occlusion[:, None], rig.face_weight[:, None]], 1)
    table = torch.cat([pick(columns, rig.wedge_vertex), rig.wedge_uv], 1)
    values = F.embedding_bag(pick(rig.tri, drawn.face), table, mode="sum", per_sample_weights=drawn.weights)
    return Surface(
        pixel=drawn.pixel,
        depth=drawn.depth,
        num_mesh=len(drawn.pixel),
        tangent=values[:0, :3],
        colour=values[:0, :3],
        glass=torch.zeros_like(values[:, :3]),
        part=pick(rig.tri_part, drawn.face),
        position=values[:, 0:3],
        normal=unit(values[:, 3:6]),
        template=values[:, 6:9],
        occlusion=values[:, 9],
        face=values[:, 10],
        uv=values[:, 11:13],
    )


def strand_columns(strands: Strands, samples: StrandSamples, template: Float[Tensor, "v 3"]) -> dict[str, Tensor]:
    """Samples of strands as columns for `append_samples`."""
    rows = samples.strand
    return {
        "pixel": samples.pixel,
        "depth": samples.depth,
        "part": pick(strands.part, rows),
        "position": samples.position,
        "normal": samples.normal,
        "template": pick(root_positions(template, strands.root, strands.weights), rows),
        "occlusion": samples.light,
        "uv": torch.full((len(rows), 2), -1.0, device=rows.device),
        "face": pick(strands.face, rows),
        "tangent": samples.tangent,
        "colour": pick(strands.colour, rows) * (0.85 + 0.35 * samples.along)[:, None],
    }


def append_samples(surface: Surface, rest: Sequence[Mapping[str, Tensor]]) -> Surface:
    """Appends other layers' samples to those of the mesh; no two may share a pixel."""
    merged: dict[str, Any] = {name: torch.cat([getattr(surface, name), *(columns[name] for columns in rest)]) for name in rest[0]}
    return replace(surface, glass=torch.zeros_like(merged["position"]), **merged)
