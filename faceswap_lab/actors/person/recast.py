"""Recast, the ground-truth face swap: the source's inner face on the target's head, in geometry, colour and occlusion."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.head.rig import Rig, load_rig, smoothstep, texture_map
from faceswap_lab.actors.person.figure import Figure, build_figure, compose_texture
from faceswap_lab.actors.person.wear import Wears
from faceswap_lab.caches import cached

Tone = Literal["source", "target"]


def texture_weight(rows: int) -> Float[Tensor, "h w"]:
    """1 where the texture is the source's, 0 where it is the target's; the same curve as the rig's face weight."""
    return smoothstep(0.06, 0.94, texture_map(rows).masks["face"])


def _inner(rig: Rig) -> Float[Tensor, " v"]:
    """0 at the outermost vertices of the swapped face, 1 inside: moving the outermost would change normals outside the face."""
    moved = torch.cat([rig.face_weight, rig.face_weight.new_ones(1)])
    for _ in range(2):
        moved = torch.cat([torch.minimum(moved[:-1], moved[rig.neighbours].amin(1)), moved[-1:]])
    return (moved[:-1] > 0).float()


def blend_figures(target: Figure, source: Figure, tone: Tone, weight: Float[Tensor, "h w"]) -> Figure:
    """The target with the source's face: shape and occlusion per vertex, colour per texel, under the target's hair."""
    device = target.points.device
    rig = load_rig(str(device))
    by_vertex = rig.face_weight * (1 - target.cloth_weight) * _inner(rig)
    skin = source.skin_only
    if tone == "target":
        skin = (skin * (target.skin / source.skin)[:, None, None]).clamp(0, 1)
    hair = target.texture[3]
    lips, relief = (torch.lerp(target.texture[rows], source.texture[rows], weight) for rows in (4, slice(5, None)))
    return replace(
        target,
        points=torch.lerp(target.points, source.points, by_vertex[:, None]),
        occlusion=torch.lerp(target.occlusion, source.occlusion, by_vertex),
        texture=compose_texture(torch.lerp(target.skin_only, skin, weight), target.hair_colour_map, hair, lips, relief),
        skin_only=torch.lerp(target.skin_only, skin, weight),
        brows=torch.lerp(target.brows, source.brows, weight),
        face_hair=source.face_hair.where(source.face_hair.face >= 0.5).joined(target.face_hair.where(target.face_hair.face < 0.5)),
        iris=source.iris,
        iris_phase=source.iris_phase,
        age=source.age,
        oil=source.oil,
    )


@cached(most=16)
def build_recast(target_seed: int, source_seed: int, tone: Tone, rows: int, device: str = "cpu", wears: Wears = "none") -> Figure:
    """The figure of a face swap between two seeds; if both are equal, it is bit-identical to that person's own figure.

    The target keeps its hair and what it `wears`; the source contributes its bare face.
    """
    target = build_figure(target_seed, rows, device, wears)
    if target_seed == source_seed:
        return target
    return blend_figures(target, build_figure(source_seed, rows, device), tone, texture_weight(rows).to(device))
