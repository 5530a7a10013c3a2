"""`train`: train a swapper of two people, one for any face, or networks that look at faces."""

import argparse
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command, add_declaration, cluster_of, declaration, is_file, person
from faceswap_lab.cli.parsing import ArgumentValueError
from faceswap_lab.cli.recipe_flags import add_recipe, changes, read_recipe
from faceswap_lab.files import user_path
from faceswap_lab.runs.fields import replaced

if TYPE_CHECKING:
    from faceswap_lab.models.feed.shard_source import ShardSource
    from faceswap_lab.verbs.people import Person
    from faceswap_lab.verbs.recipes import EyesRecipe, OneshotRecipe, PackRecipe, PairRecipe

    AnyRecipe = PairRecipe | OneshotRecipe | PackRecipe | EyesRecipe


def offer(commands: Any) -> None:
    """Adds the command."""
    train = add_command(
        commands,
        "train",
        _train,
        "train a swapper of two people, one for any face, or networks that detect, recognise or read faces",
        "faceswap-lab train --source actor:7 --target actor:32 --steps 900",
        "faceswap-lab train --source actor:7 --target actor:32 --train.learning-rate 1e-3 --net.size 128",
        'faceswap-lab train --source actor:7 --target jane.mp4 --who "Jane Doe" --basis "consent: form signed on 3 May 2026"',
        "faceswap-lab train --source actor:7 --target actor:32 --recipe recipe.json --device cuda",
        "faceswap-lab train --source actor:7 --target actor:32 --steps 50000 --compute cuda",
        "faceswap-lab train --recipe oneshot --workers 2",
        "faceswap-lab train --recipe pack --workers 2",
        "faceswap-lab train --recipe eyes --workers 2",
        verb=True,
        cluster=True,
    )
    train.add_argument("--source", metavar="WHO", help="actor:7, faceset:jane, or a file; for a swapper, with --target")
    train.add_argument("--target", metavar="WHO")
    text = "a data set of both actors that was rendered before: a folder, s3://bucket/folder, or a render run's id"
    train.add_argument("--data", metavar="WHERE", help=text)
    train.add_argument("--workers", type=int, default=1, metavar="N", help="short for --compute local:N")
    train.add_argument("--ranks", type=int, metavar="N", help="processes that train together; default: as many as workers")
    text = "parts in which each rank computes its share of a batch, one after the other: less memory"
    train.add_argument("--accumulate", type=int, default=1, metavar="N", help=text)
    train.add_argument("--shard", action="store_true", help="each rank holds its share of the weights only (FSDP)")
    train.add_argument("--compile", action="store_true", help="let torch compile the network")
    add_declaration(train, "the file, if one of the two is a file", uses="train")
    names = ", ".join(("smoke", *(f"{kind}, {kind}-smoke" for kind in _ON_ACTORS)))
    text = f"a recipe as JSON (`runs show RUN --json` has one), or {names}; flags take precedence over it"
    add_recipe(train, _named, short={"train.steps": "--steps"}, text=text)


_ON_ACTORS = ("oneshot", "pack", "eyes")
"""Recipes for which nobody is given: `recipes.oneshot()` and so on."""


def _named(name: str | None) -> "AnyRecipe | type[AnyRecipe]":
    """The recipe of that name; for a file, its class; without a name, that of a pair."""
    from faceswap_lab.verbs import recipes

    for kind in _ON_ACTORS:
        if name in (kind, f"{kind}-smoke"):
            return getattr(recipes, kind)("small" if name == kind else "smoke")  # type: ignore[no-any-return]
    if name in (None, "smoke"):
        return recipes.smoke() if name else recipes.pair()
    assert name is not None
    path = user_path(name)
    # A missing file is reported when it is read.
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if '"num_sources"' in text:
        return recipes.OneshotRecipe
    if '"sets"' not in text:
        return recipes.PairRecipe
    return recipes.EyesRecipe if '"expression"' in text else recipes.PackRecipe


def _recipe(options: argparse.Namespace) -> "AnyRecipe":
    from faceswap_lab.verbs import recipes

    given = changes(options)
    base = _named(options.recipe)
    if isinstance(base, type):
        base = read_recipe(base, options.recipe)
    elif options.recipe is None and "train.steps" in given:
        base = recipes.pair(given["train.steps"])
    return replaced(base, given)


def _train(options: argparse.Namespace) -> Answer:
    from faceswap_lab.models.training.team import Parallel
    from faceswap_lab.verbs.train.train import train

    source, target = _people(options)
    recipe = _recipe(options)
    how = Parallel(ranks=options.ranks, accumulate=options.accumulate, shard=options.shard, compile=options.compile)
    data = None if options.data is None else _data_set(options.data)
    given = {"data": data, "device": options.device, "workers": options.workers, "parallel": how, "force": options.force}
    with cluster_of(options) as compute:
        return about(train(recipe, source=source, target=target, compute=compute, **given))


def _data_set(text: str) -> "ShardSource":
    """The data set at an address, in a folder, or of a render run."""
    from faceswap_lab.verbs.render.dataset import ShardRun
    from faceswap_lab.verbs.shard_sets import shards

    return shards(ShardRun.open(text) if text.startswith("render-") else text)


def _people(options: argparse.Namespace) -> "tuple[Person | None, Person | None]":
    """Both people; the declaration applies to the one given as a file."""
    declared = declaration(options, ("train",))
    words = (options.source, options.target)
    if declared and sum(word is not None and is_file(word) for word in words) != 1:
        raise ArgumentValueError(
            expected="one file for --who, --basis and --uses to describe",
            got=f"--source {options.source} and --target {options.target}",
            remedy="admit files one by one with `faceswap-lab consent add`, or omit the declaration",
        )
    source, target = (None if word is None else person(word, declared if is_file(word) else None) for word in words)
    return source, target
