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
        "train a swapper of two people",
        "faceswap-lab train --source actor:7 --target actor:32 --steps 900",
        "faceswap-lab train --source actor:7 --target actor:32 --recipe recipe.json --device cuda",
        verb=True,
    )
    train.add_argument("--source", required=True, metavar="WHO", help="actor:7, or a file with a manifest entry")
    train.add_argument("--target", required=True, metavar="WHO")
    train.add_argument("--steps", type=int, default=None, help="default: the recipe's")
    train.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe as JSON (`runs show` prints one)")


def _train(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import recipes
    from faceswap_lab.runs.recipe import from_json
    from faceswap_lab.runs.train import train

    if options.recipe and options.steps is not None:
        raise ValueError("give --recipe or --steps, not both: a recipe says its own steps")
    recipe = from_json(recipes.PairRecipe, options.recipe.read_text()) if options.recipe else recipes.pair(options.steps or 900)
    source, target = person(options.source), person(options.target)
    return about(train(recipe, source=source, target=target, device=options.device, again=options.again))
