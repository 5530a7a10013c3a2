"""`render`: render actors with their ground truth as shards."""

import argparse
import re
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command, cluster_of
from faceswap_lab.cli.parsing import ArgumentValueError
from faceswap_lab.cli.recipe_flags import PREFIX, add_recipe, changes, recipe_of

if TYPE_CHECKING:
    from faceswap_lab.verbs.recipes import RenderRecipe

CLIPS = "lossless clips in place of stills: --form clips"


def offer(commands: Any) -> None:
    """Adds the command."""
    render = add_command(
        commands,
        "render",
        _render,
        "render actors with their ground truth into shards (tar files in WebDataset's format)",
        "faceswap-lab render --actors 0:100 --views 20 --workers 2",
        "faceswap-lab render --actors 0:100 --views 20 -o shards",
        "faceswap-lab render --actors 2000000:2000050 --kind acted --kind turn --clips --seconds 2 --capture phone --recast",
        verb=True,
        cluster=True,
    )
    render.set_defaults(device="cpu")
    render.add_argument("--actors", metavar="FIRST:END", help="seeds, END excluded; all of one split")
    render.add_argument("--kind", action="append", metavar="KIND", help="one of --kinds; repeatable: kinds alternate")
    render.add_argument("--clips", dest=f"{PREFIX}form", action="store_const", const="clips", default=argparse.SUPPRESS, help=CLIPS)
    render.add_argument("--workers", type=int, default=1, metavar="N", help="short for --compute local:N")
    render.add_argument(
        "--output",
        "-o",
        metavar="FOLDER",
        help="export the shards to this folder, or to a store (s3://BUCKET/FOLDER); default: they stay in the run",
    )
    add_recipe(render, _class, short={"num_views": "--views"})


def _class(_: str | None) -> object:
    from faceswap_lab.verbs.recipes import RenderRecipe

    return RenderRecipe


def _recipe(options: argparse.Namespace) -> "RenderRecipe":
    from faceswap_lab.verbs.recipes import RenderRecipe

    recipe = recipe_of(options, RenderRecipe())
    if options.actors is None and not options.recipe and not {"first", "num_actors"} & set(changes(options)):
        raise ArgumentValueError(expected="which actors to render", got="none", remedy="give --actors FIRST:END, such as 0:100")
    if options.actors is not None:
        match = re.fullmatch(r"([0-9]+):([0-9]+)", options.actors)
        if match is None:
            got, remedy = repr(options.actors), "give the first seed and the one after the last"
            raise ArgumentValueError(expected="actors as FIRST:END, such as 0:100", got=got, remedy=remedy)
        first, end = int(match[1]), int(match[2])
        recipe = recipe.with_(first=first, num_actors=end - first)
    return recipe.with_(kinds=tuple(options.kind)) if options.kind else recipe


def _render(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs.render.render import render

    with cluster_of(options) as compute:
        run = render(_recipe(options), compute=compute, workers=options.workers, device=options.device, force=options.force)
    return about(run) | ({"output": str(run.export(options.output))} if options.output else {})
