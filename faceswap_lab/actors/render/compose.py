"""Composites hair, cloth, glasses and props over the bare mesh, per sample, before shading."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.raster import Fragments, rasterise
from faceswap_lab.actors.gfx.vectors import pick, unit
from faceswap_lab.actors.head.headpack import HAT, LENS, SKIN
from faceswap_lab.actors.head.rig import Rig, smoothstep
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.person.prop_mesh import mesh_casters
from faceswap_lab.actors.person.skin import SKULL_CENTRE
from faceswap_lab.actors.person.strands import draw_strands, place_on_head, place_rooted, strand_casters
from faceswap_lab.actors.person.wear import WornMesh, under_cloth
from faceswap_lab.actors.render.surface import Surface, append_samples, strand_columns, surface_of
from faceswap_lab.actors.render.wrinkles import fold, slopes

_DARK_TINT = 0.4
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
    held: WornMesh | None = None


def compose(rig: Rig, figure: Figure, stance: Stance, fragments: Fragments, actions: Mapping[str, float]) -> tuple[Surface, Tensor]:
    """All visible samples, and the points of hair and accessories that cast shadows. Hidden samples are culled early."""
    num_pixels, device = stance.size * stance.size, stance.points.device
    z_buffer = torch.full((num_pixels,), torch.inf, device=device)
    z_buffer.scatter_(0, fragments.pixel, fragments.depth)
    owner = torch.zeros(num_pixels, dtype=torch.int8, device=device)
    hair = place_on_head(figure.strands.drawn_at(stance.sample_m).facing(stance.turn), stance.turn, stance.base, rig.neck, _follow)
    face_hair = place_rooted(figure.face_hair.drawn_at(stance.sample_m), stance.points)
    casters, layers = [strand_casters(hair)], list[Columns]()

    def add_layer(columns: Columns) -> None:
        z_buffer.scatter_(0, columns["pixel"], columns["depth"])
        layers.append(columns)
        owner[columns["pixel"]] = len(layers)

    balls = [((torch.tensor(ball[:3], device=device) - rig.neck) @ stance.turn.T + rig.neck, ball[3]) for ball in _INNER_SPHERES]
    for lines, hiding in ((hair, balls), (face_hair, [])):
        samples = draw_strands(lines, stance.project, z_buffer, width=stance.size, sample_m=stance.sample_m, balls=hiding)
        add_layer(strand_columns(lines.strands, samples, rig.template))
    if figure.worn is not None:
        posed = (figure.worn.points - rig.neck) @ stance.turn.T + rig.neck
        add_layer(_worn_columns(figure.worn, posed, stance, z_buffer))
        casters.append(posed)
    if stance.held is not None:
        posed = (stance.held.points - rig.neck) @ stance.turn.T + rig.neck
        add_layer(_worn_columns(stance.held, posed, stance, z_buffer))
        casters.append(mesh_casters(posed, stance.held))
    visible = []
    for number, columns in enumerate(layers, start=1):
        kept = (pick(owner, columns["pixel"]) == number).nonzero()[:, 0]
        visible.append({name: pick(column, kept) for name, column in columns.items()})
    bare = (pick(owner, fragments.pixel) == 0).nonzero()[:, 0]
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
    rows = ((surface.part == SKIN) & (surface.face > 0)).nonzero()[:, 0]
    along_x, along_z = slopes(pick(surface.template, rows), actions, age=figure.age, phase=figure.iris_phase)
    folded = ((along_x != 0) | (along_z != 0)).nonzero()[:, 0]
    rows = pick(rows, folded)
    share = pick(surface.face, rows)
    normal = surface.normal.clone()
    normal[rows] = fold(pick(surface.normal, rows), pick(along_x, folded) * share, pick(along_z, folded) * share, turn)
    return replace(surface, normal=normal)


def _drawn(worn: WornMesh, posed: Tensor, stance: Stance, first: int, last: int) -> Fragments:
    xy, depth = stance.project(posed)
    return rasterise(xy, depth, worn.tri[first:last], size=(stance.size, stance.size), cull=False)


def _worn_columns(worn: WornMesh, posed: Tensor, stance: Stance, z_buffer: Tensor) -> Columns:
    """Samples of glasses frames, a cap's peak or a prop that pass the depth test."""
    drawn = _drawn(worn, posed, stance, 0, worn.num_opaque)
    front = (drawn.depth < pick(z_buffer, drawn.pixel)).nonzero()[:, 0]
    corner, weights = pick(worn.tri, pick(drawn.face, front)), pick(drawn.weights, front)[..., None]
    count, device = len(front), posed.device
    position = (pick(posed, corner) * weights).sum(1)
    normal = unit((pick(worn.normals @ stance.turn.T, corner) * weights).sum(1))
    return {
        "pixel": drawn.pixel[front],
        "depth": drawn.depth[front],
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
    ahead = stance.turn @ torch.tensor([0.0, -1.0, 0.0], device=posed.device)
    normals[drawn.pixel] = unit(ahead + 4.0 * bulge)
    behind = (pick(depth, surface.pixel) < surface.depth).nonzero()[:, 0]
    glass = torch.zeros_like(surface.position)
    glass[behind] = normals[surface.pixel[behind]]
    part = surface.part
    if float(worn.tint.max()) < _DARK_TINT:
        part = part.clone()
        part[behind] = LENS
    return replace(surface, glass=glass, part=part)
