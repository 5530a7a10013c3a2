"""Recast: the exact face swap. The source's inner face on the target's head, in geometry, colour and occlusion."""

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.figure import Figure, build_figure, compose_texture
from faceswap_lab.actors.rig import load_rig, smoothstep, texture_map

Tone = Literal["source", "target"]


def texture_weight(rows: int) -> Float[Tensor, "h w"]:
    """1 where the texture comes from the source, 0 where it stays the target's; the same curve as the rig's face weight."""
    return smoothstep(0.06, 0.94, texture_map(rows).masks["face"])


def blend_figures(target: Figure, source: Figure, tone: Tone, weight: Float[Tensor, "h w"]) -> Figure:
    """The target with the source's face: shape and occlusion by vertex, colour by texel; the target's hair stays over it."""
    device = target.points.device
    rig = load_rig(str(device))
    by_vertex = rig.face_weight
    skin = source.skin_only
    if tone == "target":
        skin = (skin * (target.skin / source.skin)[:, None, None]).clamp(0, 1)
    hair = target.texture[3]
    lips, relief = (torch.lerp(target.texture[row], source.texture[row], weight) for row in (4, 5))
    return replace(
        target,
        points=torch.lerp(target.points, source.points, by_vertex[:, None]),
        occlusion=torch.lerp(target.occlusion, source.occlusion, by_vertex),
        texture=compose_texture(torch.lerp(target.skin_only, skin, weight), target.hair_colour_map, hair, lips, relief),
        skin_only=torch.lerp(target.skin_only, skin, weight),
        iris=source.iris,
        iris_phase=source.iris_phase,
    )


@lru_cache(maxsize=16)
def build_recast(target_seed: int, source_seed: int, tone: Tone, rows: int, device: str = "cpu") -> Figure:
    """The figure of a face swap between two seeds; of a person onto itself it is that person, to the bit."""
    target = build_figure(target_seed, rows, device)
    if target_seed == source_seed:
        return target
    return blend_figures(target, build_figure(source_seed, rows, device), tone, texture_weight(rows).to(device))
