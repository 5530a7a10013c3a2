"""The content of each sample of a render recipe, computed without rendering: take, frame, and whose face its truth has."""

import numpy as np

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.verbs.recipes import RenderRecipe

_CONTINUOUS_S = 20.0


def take_of(recipe: RenderRecipe, number: int) -> tuple[Take, int]:
    """The take of a sample and the frame that it shows (a clip shows all frames)."""
    kind, seed = recipe.kinds[number % len(recipe.kinds)], recipe.seed + number
    clips = recipe.form == "clips"
    still = kind in ("range", "still")
    seconds = recipe.seconds if clips else 1 / recipe.fps if still else _CONTINUOUS_S
    take = target_of(recipe, number).perform(
        kind,
        seconds=seconds,
        fps=recipe.fps,
        seed=seed,
        size=recipe.size,
        light=recipe.light,
        capture=recipe.capture,
        prop=recipe.prop,
        capture_seed=seed if recipe.capture not in ("plain", "clean") else 0,
    )
    row = 0 if clips or still else int(np.random.default_rng([71, seed]).integers(len(take)))
    return take, row


def target_of(recipe: RenderRecipe, number: int) -> Actor:
    """The actor who performs in a sample."""
    return Actor(recipe.first + number // recipe.num_views)


def source_of(recipe: RenderRecipe, number: int) -> Actor:
    """The actor whose face a sample's truth has: another one of the recipe's actors."""
    own = number // recipe.num_views
    step = int(np.random.default_rng([72, recipe.seed + number]).integers(1, recipe.num_actors))
    return Actor(recipe.first + (own + step) % recipe.num_actors)


def shard_name(number: int) -> str:
    """The artifact name of a shard."""
    return f"shards/{number:06d}.tar"
