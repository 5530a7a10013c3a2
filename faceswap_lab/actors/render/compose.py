"""Composites hair, cloth, glasses and props over the bare mesh, per sample, before shading."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.raster import Fragments, rasterise
from faceswap_lab.actors.gfx.selected import Selected, rows_where
from faceswap_lab.actors.gfx.transfer import constant
from faceswap_lab.actors.gfx.vectors import pick, unit
from faceswap_lab.actors.head.headpack import HAT, LENS, SKIN
from faceswap_lab.actors.head.rig import Rig, smoothstep
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.person.prop_mesh import Held, mesh_casters
from faceswap_lab.actors.person.skin import SKULL_CENTRE
from faceswap_lab.actors.person.strands import Lines, draw_strands, place_on_head, place_rooted, strand_casters
from faceswap_lab.actors.person.wear import WornMesh, under_cloth
from faceswap_lab.actors.render.surface import Surface, append_samples, strand_columns, surface_of
from faceswap_lab.actors.render.wrinkles import fold, slopes

_INNER_SPHERES = ((*SKULL_CENTRE, 0.064), (0.0, -0.045, 0.690, 0.050), (0.0, -0.025, 0.640, 0.030))
"""Spheres (x, y, z, radius in metres) that are inside every head and neck."""

Columns = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stance:
    """A posed figure and its camera: world-space vertices and normals, rotations of head and shoulders.

    `project` gives continuous sample coordinates and depth; the image has `size` x `size` samples of `sample_m` at the head.
    `held` is a prop, which rotates with the head.
    """

    points: Float[Tensor, "v 3"]
    normals: Float[Tensor, "v 3"]
    turn: Float[Tensor, "3 3"]
    base: Float[Tensor, "3 3"]
    project: Callable[[Tensor], tuple[Tensor, Tensor]]
    size: int
    sample_m: float
    held: Held | None = None


def compose(rig: Rig, figure: Figure, stance: Stance, fragments: Fragments, actions: Mapping[str, float]) -> tuple[Surface, Tensor]:
    """All visible samples, and the points of hair and accessories that cast shadows. Hidden samples are culled early."""
    num_pixels, device = stance.size * stance.size, stance.points.device
    z_buffer = torch.full((num_pixels,), torch.inf, device=device)
    z_buffer.scatter_(0, fragments.pixel, fragments.depth)
    owner = torch.zeros(num_pixels, dtype=torch.int8, device=device)
    hair, face_hair = _posed_hair(rig, figure, stance)
    casters, layers = [strand_casters(hair, rig.neck)], list[Columns]()

    def add_layer(columns: Columns) -> None:
        layers.append(columns)
        _cover(z_buffer, owner, columns, len(layers))

    balls = [((constant(ball[:3], device) - rig.neck) @ stance.turn.T + rig.neck, ball[3]) for ball in _INNER_SPHERES]
    for lines, hiding in ((hair, balls), (face_hair, [])):
        samples = draw_strands(lines, stance.project, z_buffer, width=stance.size, sample_m=stance.sample_m, balls=hiding)
        add_layer(strand_columns(lines.strands, samples, rig.template))
    if figure.worn is not None:
        posed = (figure.worn.points - rig.neck) @ stance.turn.T + rig.neck
        add_layer(_worn_columns(figure.worn, posed, stance, z_buffer))
        casters.append(posed)
    if stance.held is not None:
        add_layer(_worn_columns(stance.held.mesh, stance.held.posed, stance, z_buffer))
        casters.append(mesh_casters(stance.held.posed, stance.held.mesh, stance.held.num_steps))
    bare, *kept = _seen(owner, fragments, layers)
    visible = [{name: pick(column, rows) for name, column in each.items()} for each, rows in zip(layers, kept, strict=True)]
    shown = replace(
        fragments,
        pixel=pick(fragments.pixel, bare),
        face=pick(fragments.face, bare),
        weights=pick(fragments.weights, bare),
        depth=pick(fragments.depth, bare),
    )
    surface = surface_of(rig, figure, shown, points=stance.points, normals=stance.normals)
    surface = append_samples(_wrinkled(figure, _clothed(figure, surface), actions, stance.turn), visible)
    return _behind_lenses(figure, surface, stance, rig.neck), torch.cat(casters)


def _posed_hair(rig: Rig, figure: Figure, stance: Stance) -> tuple[Lines, Lines]:
    """The strands of scalp and face in world space, as many as are drawn."""
    hair, shown = figure.strands.shown(stance.sample_m, stance.turn)
    on_head = replace(place_on_head(hair, stance.turn, stance.base, rig.neck, _follow), shown=shown)
    face_hair, shown = figure.face_hair.shown(stance.sample_m)
    return on_head, replace(place_rooted(face_hair, stance.points), shown=shown)


def _cover(z_buffer: Tensor, owner: Tensor, columns: Columns, number: int) -> None:
    """Enters a layer's samples, which are in front of all before, in the depth buffer and as their pixels' owner."""
    pixel, depth = columns["pixel"], columns["depth"]
    if pixel.device.type == "cpu":
        z_buffer.scatter_(0, pixel, depth)
        owner[pixel] = number
    elif len(pixel):  # all pixels: see StrandSamples
        drawn = depth < torch.inf
        z_buffer.copy_(torch.where(drawn, depth, z_buffer))
        owner.masked_fill_(drawn, number)


def _seen(owner: Tensor, fragments: Fragments, layers: Sequence[Columns]) -> list[Tensor]:
    """The rows of the mesh's samples, and of each layer's, that nothing is in front of."""
    pixels = [fragments.pixel, *(columns["pixel"] for columns in layers)]
    masks = [pick(owner, pixel) == number for number, pixel in enumerate(pixels)]
    if owner.device.type != "cpu":
        depths = [fragments.depth, *(columns["depth"] for columns in layers)]
        masks = [mask & (depth < torch.inf) for mask, depth in zip(masks, depths, strict=True)]
    return rows_where(*masks)


def _follow(height: Tensor) -> Tensor:
    """How far (0..1) hair `height` metres above the neck joint rotates with the head rather than with the shoulders."""
    return smoothstep(-0.09, 0.04, height)


def _clothed(figure: Figure, surface: Surface) -> Surface:
    """Marks skin under a hat or a scarf as cloth, which remains the target's in a recast."""
    if figure.wears in ("none", "glasses", "sunglasses"):
        return surface
    cloth = (surface.part == SKIN) & (under_cloth(surface.template, figure.wears) > 0)
    return replace(surface, part=torch.where(cloth, HAT, surface.part), face=torch.where(cloth, 0.0, surface.face))


def _wrinkled(figure: Figure, surface: Surface, actions: Mapping[str, float], turn: Tensor) -> Surface:
    """Applies wrinkles of age and expression within the face only, so that a recast changes nothing outside it."""
    inner = Selected.where((surface.part == SKIN) & (surface.face > 0))
    along_x, along_z = slopes(inner.pick(surface.template), actions, age=figure.age, phase=figure.iris_phase)
    folded = Selected.where((along_x != 0) | (along_z != 0))
    within = inner.narrowed(folded)
    share = within.pick(surface.face)
    normal = surface.normal.clone()
    within.put(normal, fold(within.pick(surface.normal), folded.pick(along_x) * share, folded.pick(along_z) * share, turn))
    return replace(surface, normal=normal)


def _drawn(worn: WornMesh, posed: Tensor, stance: Stance, first: int, last: int) -> Fragments:
    xy, depth = stance.project(posed)
    return rasterise(xy, depth, worn.tri[first:last], size=(stance.size, stance.size), cull=False)


def _worn_columns(worn: WornMesh, posed: Tensor, stance: Stance, z_buffer: Tensor) -> Columns:
    """Samples of glasses frames, a cap's peak or a prop that pass the depth test."""
    drawn = _drawn(worn, posed, stance, 0, worn.num_opaque)
    front = Selected.where(drawn.depth < pick(z_buffer, drawn.pixel))
    corner, weights = pick(worn.tri, front.pick(drawn.face)), front.pick(drawn.weights)[..., None]
    pixel, depth, device = front.pick(drawn.pixel), front.pick(drawn.depth), posed.device
    if front.rows is None:
        depth = torch.where(front.mask, depth, torch.inf)
    count = len(pixel)
    position = (pick(posed, corner) * weights).sum(1)
    normal = unit((pick(worn.normals @ stance.turn.T, corner) * weights).sum(1))
    return {
        "pixel": pixel,
        "depth": depth,
        "part": torch.full((count,), worn.part, device=device),
        "position": position,
        "normal": normal,
        "template": (pick(worn.points, corner) * weights).sum(1),
        "occlusion": torch.full((count,), 0.8, device=device),
        "uv": torch.full((count, 2), -1.0, device=device),
        "face": torch.zeros(count, device=device),
        "tangent": torch.zeros_like(position),
        "colour": (pick(worn.colour, corner) * weights).sum(1),
    }


def _behind_lenses(figure: Figure, surface: Surface, stance: Stance, neck: Tensor) -> Surface:
    """Gives samples behind a lens the lens's normal; samples behind a dark lens become part of the lens."""
    worn = figure.worn
    if worn is None or len(worn.tri) == worn.num_opaque:
        return surface
    posed = (worn.points - neck) @ stance.turn.T + neck
    drawn = _drawn(worn, posed, stance, worn.num_opaque, len(worn.tri))
    corner, weights = pick(worn.tri[worn.num_opaque :], drawn.face), drawn.weights[..., None]
    depth = torch.full((stance.size * stance.size,), torch.inf, device=posed.device)
    depth[drawn.pixel] = drawn.depth
    normals = torch.zeros(stance.size * stance.size, 3, device=posed.device)
    # A flat lens would reflect a single spot of the surroundings; a real one is slightly curved.
    bulge = (pick(posed, corner) * weights).sum(1) - posed.mean(0)
    ahead = stance.turn @ constant((0.0, -1.0, 0.0), posed.device)
    normals[drawn.pixel] = unit(ahead + 4.0 * bulge)
    behind = Selected.where(pick(depth, surface.pixel) < surface.depth)
    glass = torch.zeros_like(surface.position)
    behind.put(glass, pick(normals, behind.pick(surface.pixel)))
    part = surface.part
    if worn.are_dark:
        part = part.clone()
        behind.put(part, LENS)
    return replace(surface, glass=glass, part=part)
