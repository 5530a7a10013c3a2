"""`actors`: list and draw synthetic people."""

import argparse
from pathlib import Path
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_group, root
from faceswap_lab.files import user_path


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    actors = add_group(commands, "actors", "synthetic people")
    listed = add_command(
        actors,
        "list",
        _actors_list,
        "people of a split: train, val or test, by seed",
        "faceswap-lab actors list",
        "faceswap-lab actors list --split test --count 5 --json",
        lab="",
    )
    listed.add_argument("--split", default="train", choices=["train", "val", "test"])
    listed.add_argument("--start", type=int, default=0, help="skip this many of the split's people")
    listed.add_argument("--count", type=int, default=10)
    show = add_command(actors, "show", _actors_show, "draw an actor's portrait", "faceswap-lab actors show 7 -o hero.png")
    show.add_argument("seed", type=int)
    show.add_argument("--output", "-o", type=user_path, default=None)


def _actors_list(options: argparse.Namespace) -> Answer:
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.actors.splits import seeds_of

    if options.start < 0 or options.count < 1:
        raise ValueError(f"start must be at least 0 and count at least 1, got {options.start} and {options.count}")
    people = [Actor(seed) for seed in seeds_of(options.split)[options.start : options.start + options.count]]
    return [{"actor": actor.subject, "split": options.split, "who": "man" if actor.traits.is_male else "woman"} for actor in people]


def _actors_show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.trust.export import export_portrait

    actor = Actor(options.seed)
    output = options.output or Path(f"actor-{actor.seed}.png")
    export_portrait(actor, output, root=root())
    return {"actor": actor.subject, "portrait": str(output)}
