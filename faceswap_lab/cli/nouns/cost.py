"""`cost`: hours and money of a training or a swap on rented GPUs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command
from faceswap_lab.cli.parsing import ArgumentValueError, Parser
from faceswap_lab.files import user_path

if TYPE_CHECKING:
    from faceswap_lab.compute.costs.offers import Offer
    from faceswap_lab.compute.costs.plan import Plan
    from faceswap_lab.compute.costs.pricing import Work
    from faceswap_lab.maintenance.cost import Measured
    from faceswap_lab.runs.run import Run
    from faceswap_lab.verbs.recipes import PairRecipe


def offer(commands: Any) -> None:
    """Adds the command."""
    cost = add_command(
        commands,
        "cost",
        _cost,
        "what a training or a swap takes and costs on rented GPUs: on demand, spot, reserved, switched off when idle, on several",
        "faceswap-lab cost --run train-3f9a --steps 30000",
        "faceswap-lab cost --per-second 900 --steps 30000 --samples-per-step 64 --scaling 1:1,2:1.9,4:3.6 --spot-discount 0.6",
        "faceswap-lab cost --run swap-52c1 --minutes 90 --offer GN6i --output cost.png",
        lab="",
        readable=_readable,
    )
    _add_work(cost)
    _add_prices(cost)
    _add_circumstances(cost)
    cost.add_argument("--output", "-o", type=user_path, metavar="FILE.png", help="draw the plan of the first offer as well")


def _add_work(cost: Parser) -> None:
    group = cost.add_argument_group("the work, and how fast one GPU does it")
    group.add_argument("--run", metavar="RUN", help="a training or a finished swap of this lab: its speed, and its amount of work")
    group.add_argument("--per-second", type=float, metavar="N", help="samples or frames a second, given by hand")
    group.add_argument("--recipe", metavar="FILE", help="a pair's recipe as JSON, for steps and batch; default: that of the run")
    group.add_argument("--steps", type=int, help="steps to train; default: those of the recipe")
    group.add_argument("--samples-per-step", type=int, metavar="N", help="default: those of the recipe, twice its batch")
    group.add_argument("--minutes", type=float, help="minutes of footage to swap, instead of steps to train")
    group.add_argument("--fps", type=float, default=25.0, help="frames a second of that footage; default: 25")
    curve = group.add_mutually_exclusive_group()
    curve.add_argument("--scaling", type=_pairs, default={1: 1.0}, metavar="GPUS:SPEED-UP,…", help="a measured scaling curve")
    curve.add_argument("--network", type=float, metavar="GBIT_S", help="instead: a model's curve for GPUs joined by this network")


def _add_prices(cost: Parser) -> None:
    group = cost.add_argument_group("the prices")
    group.add_argument("--prices", type=user_path, metavar="FILE.toml", help="a table of your own; default: the shipped one")
    group.add_argument(
        "--offer", action="append", default=[], metavar="NAME", help="an offer of the table; repeatable; default: all"
    )
    group.add_argument(
        "--speed",
        action="append",
        default=[],
        type=_speed,
        metavar="NAME=FACTOR",
        help="how fast an offer's GPU is beside the one that was measured; repeatable; default: as fast",
    )
    group.add_argument("--hour-worth", type=float, metavar="MONEY", help="what an hour of waiting costs you; decides how many GPUs")


def _add_circumstances(cost: Parser) -> None:
    group = cost.add_argument_group("the circumstances")
    group.add_argument("--spot-discount", type=float, metavar="SHARE", help="of spot machines, 0..1, for offers without their own")
    group.add_argument("--restarts-per-hour", type=float, default=0.05, metavar="SHARE", help="0..1: that one is taken away")
    group.add_argument("--restart-seconds", type=float, default=300.0, help="from there until the work goes on; default: 300")
    group.add_argument("--checkpoint-seconds", type=float, default=600.0, help="between two checkpoints; default: 600")
    group.add_argument("--busy-hours", type=float, default=8.0, help="a day; default: 8")
    group.add_argument("--sessions", type=int, default=4, help="in which the busy hours come; default: 4")
    group.add_argument("--idle-minutes", type=float, default=15.0, help="after which a machine is switched off; default: 15")
    group.add_argument("--start-minutes", type=float, default=5.0, help="that starting one takes; default: 5")


def _cost(options: argparse.Namespace) -> Answer:
    from dataclasses import asdict

    from faceswap_lab.compute.costs.offers import offer_named, read_offers
    from faceswap_lab.compute.costs.plan import Question, plan
    from faceswap_lab.compute.costs.pricing import Load
    from faceswap_lab.compute.costs.spot import Spot
    from faceswap_lab.maintenance.cost import measured, told
    from faceswap_lab.runs.run import Run

    run = Run.open(options.run) if options.run else None
    found = measured(run) if run else None
    recipe = _recipe(options, run, found)
    work = _work(options, recipe, found)
    table = read_offers(options.prices)
    offers = [offer_named(table, name) for name in options.offer] or table
    question = Question(
        work=work,
        curve=_curve(options, recipe, work),
        speeds=_speeds(options, table),
        spot=Spot(
            restarts_per_hour=options.restarts_per_hour,
            restart_s=options.restart_seconds,
            checkpoint_s=options.checkpoint_seconds,
        ),
        spot_discount=options.spot_discount,
        load=Load(
            busy_hours=options.busy_hours,
            sessions=options.sessions,
            idle_minutes=options.idle_minutes,
            start_minutes=options.start_minutes,
        ),
        hour_worth=options.hour_worth,
    )
    made = plan(question, offers)
    drawn = {} if options.output is None else {"output": str(_draw(made, options.output))}
    return {**made.to_json(), **drawn, "measured": asdict(found) if found else None, "told": told(made, found)}


def _recipe(options: argparse.Namespace, run: "Run | None", found: "Measured | None") -> "PairRecipe | None":
    """That of the file, else that of the run, if it was a training."""
    from faceswap_lab.cli.recipe_flags import read_recipe
    from faceswap_lab.maintenance.cost import pair_recipe
    from faceswap_lab.verbs.recipes import PairRecipe

    if options.recipe:
        return read_recipe(PairRecipe, options.recipe)
    return pair_recipe(run) if run is not None and found is not None and found.unit == "samples" else None


def _work(options: argparse.Namespace, recipe: "PairRecipe | None", found: "Measured | None") -> "Work":
    from faceswap_lab.compute.costs.pricing import Work
    from faceswap_lab.maintenance.cost import clip_work

    per_s = found.per_s if found and options.per_second is None else options.per_second
    if per_s is None:
        remedy = "name a run, or give what you measured"
        raise ArgumentValueError(expected="how fast one GPU is", got="neither --run nor --per-second", remedy=remedy)
    if options.minutes is not None:
        _require_unit(found.unit if found else "frames", "frames", "--minutes")
        return clip_work(options.minutes, options.fps, per_s)
    if found and found.unit == "frames" and options.steps is None and recipe is None:
        return Work(amount=found.amount, per_s=per_s, unit="frames")
    _require_unit(found.unit if found else "samples", "samples", "--steps and --recipe")
    steps = options.steps if options.steps is not None or recipe is None else recipe.train.steps
    if steps is None:
        remedy = "give one of them, or --recipe or --run"
        raise ArgumentValueError(expected="the work", got="no --steps and no --minutes", remedy=remedy)
    return Work(amount=float(steps * _samples_per_step(options, recipe)), per_s=per_s)


def _samples_per_step(options: argparse.Namespace, recipe: "PairRecipe | None") -> int:
    """Those that were given, else those of the recipe."""
    if options.samples_per_step is not None:
        return int(options.samples_per_step)
    if recipe is None:
        raise ArgumentValueError(
            expected="samples a step", got="no --samples-per-step", remedy="give them, for example --samples-per-step 64"
        )
    return recipe.train.samples_per_step


def _curve(options: argparse.Namespace, recipe: "PairRecipe | None", work: "Work") -> dict[int, float]:
    """The measured curve, or that of the model for the recipe's network."""
    from faceswap_lab.maintenance.cost import pair_curve
    from faceswap_lab.models.swappers.pair_net import PairNetConfig

    if options.network is None:
        return dict(options.scaling)
    _require_unit(work.unit, "samples", "--network")
    net = recipe.net if recipe is not None else PairNetConfig()
    return pair_curve(net, _samples_per_step(options, recipe) / work.per_s, options.network)


def _require_unit(unit: str, wanted: str, flag: str) -> None:
    if unit != wanted:
        raise ArgumentValueError(
            expected=f"a speed in {wanted} a second for {flag}",
            got=f"{unit}",
            remedy="name a run of the verb that reports these, or give --per-second without --run",
        )


def _speeds(options: argparse.Namespace, table: "list[Offer]") -> dict[str, float]:
    from faceswap_lab.compute.costs.offers import offer_named

    return {offer_named(table, name).name: factor for name, factor in options.speed}


def _draw(made: "Plan", path: Path) -> Path:
    from faceswap_lab.errors import storing
    from faceswap_lab.files import put_in_place
    from faceswap_lab.views import cost_figure, figures

    if path.suffix.lower() != ".png":
        raise ArgumentValueError(expected="a name that ends in .png", got=path.name, remedy="for example -o cost.png")
    temporary = path.with_name(f".part-{path.name}")
    with storing(path):
        try:
            temporary.write_bytes(figures.png(cost_figure.cost(made)))
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _readable(answer: dict[str, Any]) -> str:
    drawn = f"\n\ndrawn: {answer['output']}" if "output" in answer else ""
    return f"{answer['told']}{drawn}"


def _pairs(text: str) -> dict[int, float]:
    try:
        return {int(gpus): float(speed_up) for gpus, speed_up in (pair.split(":") for pair in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected GPUs and speed-ups such as 1:1,2:1.9,4:3.6, got {text!r}") from error


def _speed(text: str) -> tuple[str, float]:
    name, _, factor = text.rpartition("=")
    try:
        return name, float(factor)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected an offer's name and a factor such as GN10Xp=2.1, got {text!r}") from error
