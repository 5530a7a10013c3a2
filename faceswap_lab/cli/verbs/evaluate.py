"""`evaluate`: a swap beside its floor and its ceiling."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command


def offer(commands: Any) -> None:
    """Adds the command."""
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "score a swap beside floor and ceiling",
        "faceswap-lab evaluate swap-52c1",
        "faceswap-lab evaluate swap-52c1 --tone target --json",
        verb=True,
    )
    evaluate.add_argument("run", help="a swap run's id")
    evaluate.add_argument("--engine", default="offline", metavar="NAME", help="the judge: offline, or insight: and a pack")
    evaluate.add_argument("--tone", default="source", choices=["source", "target"], help="whose skin tone the truth has")


def _evaluate(options: argparse.Namespace) -> Answer:
    from faceswap_lab.actors.cast import Actor, Take
    from faceswap_lab.verbs.evaluate.evaluate import evaluate
    from faceswap_lab.verbs.recipes import EvaluateRecipe
    from faceswap_lab.verbs.swap.result import SwapRun

    result = SwapRun.open(options.run)
    source, target = result.people()
    known = isinstance(target, Take) and isinstance(source, Actor)
    truth = target.recast(source, tone=options.tone) if isinstance(target, Take) and isinstance(source, Actor) else None
    recipe = EvaluateRecipe(engine=options.engine)
    answer = about(evaluate(result, truth=truth, recipe=recipe, device=options.device, force=options.force))
    return answer | {"truth": "rendered" if known else "unknown: the target is real footage"}
