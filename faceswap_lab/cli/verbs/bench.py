"""`bench`: score methods on the actor benchmark, or write its pairs out for another tool and score what that made."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command
from faceswap_lab.cli.parsing import ArgumentValueError
from faceswap_lab.cli.recipe_flags import add_recipe, changes, recipe_of
from faceswap_lab.files import user_path


def offer(commands: Any) -> None:
    """Adds the command."""
    bench = add_command(
        commands,
        "bench",
        _bench,
        "score methods on fixed pairs of actors, whose true swap is known to the pixel",
        "faceswap-lab bench --methods copy,warp,truth -o bench.html",
        "faceswap-lab bench --plan full --methods warp,pair-supervised --tracks frontal,profile --num-pairs 4",
        "faceswap-lab bench --pairs-to pairs",
        "faceswap-lab bench --score results --score-as my_tool -o my_tool.html",
        verb=True,
    )
    group = bench.add_argument_group("other tools")
    text = "write every source picture and target frame as PNG, with a manifest, into this new folder, and score nothing"
    group.add_argument("--pairs-to", type=user_path, metavar="DIR", help=text)
    text = "score the PNG files in this folder, named after their targets, or in CASIA's layout (swap_results/METHOD/…)"
    group.add_argument("--score", type=user_path, metavar="DIR", help=text)
    group.add_argument("--score-as", default="", metavar="NAME", help="what the folder's tool is called; default: as the folder")
    text = "write what the methods made in CASIA's layout into this new folder"
    group.add_argument("--results-to", type=user_path, metavar="DIR", help=text)
    bench.add_argument(
        "--output", "-o", type=user_path, metavar="FILE.html", help="where the page goes; default: in the run's folder"
    )
    add_recipe(bench, _recipe)


def _recipe(_: str | None) -> object:
    from faceswap_lab.verbs.recipes import BenchRecipe

    return BenchRecipe


def _bench(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs.recipes import BenchRecipe

    recipe = recipe_of(options, BenchRecipe())
    if options.pairs_to is not None:
        return _pairs(options, recipe)
    if options.score is not None and "methods" not in changes(options) and not options.recipe:
        recipe = recipe.with_(methods=())
    from faceswap_lab.verbs.bench.bench import bench
    from faceswap_lab.views.bench_report.page import write_report

    run = bench(recipe, folder=options.score, name=options.score_as, device=options.device, force=options.force)
    answer = about(run) | {"report": str(write_report(run, options.output)), "table": str(run.artifact("bench.json"))}
    return answer if options.results_to is None else answer | {"results": str(run.export_results(options.results_to))}


def _pairs(options: argparse.Namespace, recipe: Any) -> Answer:
    from faceswap_lab.verbs.bench.handing_out import write_pairs
    from faceswap_lab.verbs.bench.scored_pair import pairs_in

    if options.score is not None or options.results_to is not None:
        remedy = "write the pairs first, and score in a second call"
        raise ArgumentValueError(expected="--pairs-to alone", got="--score or --results-to beside it", remedy=remedy)
    return {"pairs": str(write_pairs(recipe, options.pairs_to)), "num_pairs": len(pairs_in(recipe))}
