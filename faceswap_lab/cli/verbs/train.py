"""`train`: a swapper of two people."""

import argparse
from pathlib import Path
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command, person


def offer(commands: Any) -> None:
    """Adds the command."""
    train = add_command(
        commands,
        "train",
        _train,
        "train a swapper of two people, or a pack of networks that find and know faces",
        "faceswap-lab train --source actor:7 --target actor:32 --steps 900",
        "faceswap-lab train --source actor:7 --target actor:32 --recipe recipe.json --device cuda",
        "faceswap-lab train --recipe pack --workers 2",
        verb=True,
    )
    train.add_argument("--source", metavar="WHO", help="actor:7, or a file with a manifest entry; of a swapper, with --target")
    train.add_argument("--target", metavar="WHO")
    train.add_argument("--steps", type=int, default=None, help="default: the recipe's")
    train.add_argument("--recipe", metavar="FILE", help="a recipe as JSON (`runs show` prints one), or pack, or pack-smoke")
    train.add_argument("--workers", type=int, default=1, help="processes, for a pack; default: 1")


def _train(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.recipe import from_json
    from faceswap_lab.verbs import recipes
    from faceswap_lab.verbs.train.train import train

    if options.recipe and options.steps is not None:
        raise ValueError("give --recipe or --steps, not both: a recipe says its own steps")
    recipe: recipes.PairRecipe | recipes.PackRecipe
    if options.recipe in ("pack", "pack-smoke"):
        recipe = recipes.pack("smoke" if options.recipe == "pack-smoke" else "small")
    elif options.recipe:
        text = Path(options.recipe).read_text()
        recipe = from_json(recipes.PackRecipe, text) if '"sets"' in text else from_json(recipes.PairRecipe, text)
    else:
        recipe = recipes.pair(options.steps or 900)
    source, target = (person(who) if who else None for who in (options.source, options.target))
    done = train(recipe, source=source, target=target, device=options.device, workers=options.workers, force=options.force)
    return about(done)
