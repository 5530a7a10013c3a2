"""`evaluate`: score a swap against its floor and ceiling."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command, cluster_of
from faceswap_lab.cli.recipe_flags import add_recipe, recipe_of


def offer(commands: Any) -> None:
    """Adds the command."""
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "score a swap, with floor and ceiling of each score",
        "faceswap-lab evaluate swap-52c1",
        "faceswap-lab evaluate swap-52c1 --tone target --gallery-size 32 --json",
        verb=True,
        cluster=True,
    )
    evaluate.add_argument("run", help="a swap run's id")
    evaluate.add_argument(
        "--truth", default="auto", choices=["auto", "none"], help="auto: rendered if source and target are actors; default: auto"
    )
    evaluate.add_argument("--tone", choices=["source", "target"], help="whose skin tone the truth has; default: source")
    add_recipe(evaluate, _recipe)


def _recipe(_: str | None) -> object:
    from faceswap_lab.verbs.recipes import EvaluateRecipe

    return EvaluateRecipe


def _evaluate(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs.evaluate.evaluate import evaluate
    from faceswap_lab.verbs.recipes import EvaluateRecipe

    with cluster_of(options) as compute:
        run = evaluate(
            options.run,
            truth=None if options.truth == "none" else "auto",
            tone=options.tone,
            recipe=recipe_of(options, EvaluateRecipe()),
            compute=compute,
            device=options.device,
            force=options.force,
        )
    unknown = "not requested" if options.truth == "none" else "unknown: the target is real footage"
    return about(run) | {"truth": "rendered" if run.inputs.get("truth") else unknown}
