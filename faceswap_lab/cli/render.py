"""`render`: actors with their ground truth as shards."""

import argparse
from pathlib import Path
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command


def offer(commands: Any) -> None:
    """Adds the command."""
    render = add_command(
        commands,
        "render",
        _render,
        "render actors with their ground truth into shards (tar files as WebDataset reads them)",
        "faceswap-lab render --actors 0:100 --views 20 --workers 2",
        "faceswap-lab render --actors 0:100 --views 20 -o shards",
        "faceswap-lab render --actors 2000000:2000050 --kind acted --kind turn --clips --seconds 2 --capture phone --recast",
        verb=True,
    )
    render.set_defaults(device="cpu")
    render.add_argument("--actors", required=True, metavar="FIRST:END", help="seeds, END not included; all of one split")
    render.add_argument("--views", type=int, default=10, help="samples of each actor")
    render.add_argument("--kind", action="append", metavar="KIND", help="performance, may be given again: they take turns")
    render.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    render.add_argument("--light", default="auto")
    render.add_argument("--capture", default="plain", help="sensor and codec: plain, clean, phone, webcam, broadcast, …")
    render.add_argument("--prop", default="none", help="what is held in front of the face: none, hand, microphone, cup")
    render.add_argument("--clips", action="store_true", help="lossless clips in place of stills")
    render.add_argument("--seconds", type=float, default=1.0, help="length of a clip")
    render.add_argument("--recast", action="store_true", help="add the true swap with another of these actors to each sample")
    render.add_argument("--no-maps", action="store_true", help="leave out labels, depth, normals and albedo")
    render.add_argument("--shard-size", type=int, default=100, help="samples in a shard")
    render.add_argument("--seed", type=int, default=0, help="of the first performance")
    render.add_argument("--workers", type=int, default=1, help="processes")
    render.add_argument(
        "--output", "-o", type=Path, metavar="FOLDER", help="let the shards out into this folder; default: they stay in the run"
    )


def _render(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs.recipes import RenderRecipe
    from faceswap_lab.verbs.render.render import render

    first, _, end = options.actors.partition(":")
    if not first.isdecimal() or not end.isdecimal():
        raise ValueError(f"actors are written FIRST:END, such as 0:100, not {options.actors!r}")
    recipe = RenderRecipe(
        first=int(first),
        num_actors=int(end) - int(first),
        num_views=options.views,
        kinds=tuple(options.kind or ["range"]),
        size=options.size,
        light=options.light,
        capture=options.capture,
        prop=options.prop,
        form="clips" if options.clips else "stills",
        seconds=options.seconds,
        recast=options.recast,
        maps=not options.no_maps,
        shard_size=options.shard_size,
        seed=options.seed,
    )
    run = render(recipe, workers=options.workers, device=options.device, force=options.force)
    return about(run) | ({"output": str(run.export(options.output))} if options.output else {})
