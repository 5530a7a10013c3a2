"""Hours and money of work on rented GPUs: what a run measured, put together with prices, and the answer as text.

The arithmetic is in `compute.costs`, whose `plan` puts it together.
"""

import math
import statistics
from dataclasses import dataclass

from faceswap_lab.compute.costs.plan import OfferPlan, Plan
from faceswap_lab.compute.costs.pricing import Unit, Work
from faceswap_lab.compute.costs.scaling import BYTES_FP32, StepModel
from faceswap_lab.errors import RunError
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.runs.recipe import schema_of
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.recipes import PairRecipe

CLAIMED_SAVING = 0.30
"""What the article on face swapping in the cloud says that releasing idle GPUs saves at least."""


MODEL_GPUS = (1, 2, 4, 8, 16)
"""Numbers of GPUs that a modelled curve has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run says of its speed: samples or frames a second. `amount` is how much work it was, `device` where."""

    run: str
    unit: Unit
    per_s: float
    amount: float
    device: str


def measured(run: Run) -> Measured:
    """The speed of a training (the median of its reports) or of a swap, and the amount of its work.

    RunError for a run of another verb, one without a report, and a pack, whose networks each have a speed of their own.
    """
    device = next((str(event["device"]) for event in reversed(run.events("device"))), "")
    if run.verb == "train":
        return Measured(run=run.id, unit="samples", per_s=_training_speed(run), amount=_training_samples(run), device=device)
    if run.verb == "swap":
        run.require_finished()
        frames, per_s = run.summary["num_frames"], run.summary["frames_per_s"]
        return Measured(run=run.id, unit="frames", per_s=float(per_s), amount=float(frames), device=device)
    raise RunError(
        expected="a run of train or swap, which report how fast they are",
        got=f"{run.id}, a run of {run.verb}",
        remedy="name one of these (`faceswap-lab runs list`), or give the speed by hand: --per-second 120",
    )


def pair_recipe(run: Run) -> PairRecipe:
    """The recipe of a pair's training. RunError for any other run."""
    if run.record.recipe_schema and run.record.recipe_schema != schema_of(PairRecipe):
        raise RunError(
            expected="the training of a pair",
            got=f"{run.id}, a run of another recipe ({run.record.recipe_schema})",
            remedy="give amount and speed by hand: --steps 20000 --samples-per-step 64 --per-second 120",
        )
    return run.recipe(PairRecipe)


def pair_curve(net: PairNetConfig, compute_s: float, gbit_s: float) -> dict[int, float]:
    """GPUs, one a machine, to speed-up over one, as `compute.costs.scaling` models a step that computes `compute_s` seconds."""
    parameters = sum(each.numel() for each in PairNet(net).parameters())
    return StepModel(compute_s=compute_s, gradient_bytes=BYTES_FP32 * parameters).curve(MODEL_GPUS, gbit_s)


def _training_samples(run: Run) -> float:
    """As the reports count them: those of both people."""
    train = pair_recipe(run).train
    return float(train.steps * train.samples_per_step)


def _training_speed(run: Run) -> float:
    speeds = [float(event["samples_per_s"]) for event in run.events("step", unique="step") if event["samples_per_s"] > 0]
    if not speeds:
        raise RunError(
            expected="a training that has reported a step",
            got=f"{run.id} without one",
            remedy="let it reach its first report, or give the speed by hand: --per-second 120",
        )
    # The first report includes what is done once: tuning, compiling, filling caches.
    return statistics.median(speeds[1:] or speeds)


def clip_work(minutes: float, fps: float, per_s: float) -> Work:
    """So many minutes of footage to swap, at so many frames a second of one GPU."""
    return Work(amount=minutes * 60.0 * fps, per_s=per_s, unit="frames")


# --- the answer as text ------------------------------------------------------------------------------------------------------


def told(plan: Plan, source: Measured | None = None) -> str:
    """The plan with its arithmetic, for people; `source` is where the speed comes from, None if it was given."""
    work = plan.question.work
    lines = [
        f"work: {work.amount:,.0f} {work.unit} at {work.per_s:g} a second = {work.hours():.3g} h on one GPU as measured",
        f"speed: of {source.run} on {source.device or 'a device that it does not name'}"
        if source
        else "speed: given, not measured",
    ]
    if source is not None and source.device.startswith("cpu"):
        lines[-1] += ", which is no GPU: say with --speed NAME=FACTOR how much faster an offer's is"
    for each in plan.offers:
        lines += ["", *_offer_lines(plan, each)]
    lines.append(f"hours and money of several GPUs hold {plan.question.load.start_minutes:g} min for starting the machines")
    lines += ["", *_idle_lines(plan)]
    for currency, best in plan.cheapest.items():
        lines.append(f"least money on demand: {best.offer.name}, {_sum(best.chosen.money)} {currency} in {best.chosen.hours:.3g} h")
    return "\n".join(lines)


def _offer_lines(plan: Plan, each: OfferPlan) -> list[str]:
    offer = each.offer
    lines = [f"{offer.name}: {offer.price:g} {offer.currency} an hour ({offer.date}, {offer.source})"]
    if offer.name in plan.question.speeds:
        lines[0] += f", {plan.question.speeds[offer.name]:g} times as fast"
    lines.append("  GPUs   hours      money   speed-up  efficiency  an added GPU brings")
    for choice in each.choices:
        gain = "" if math.isnan(choice.gain) else f"{choice.gain:>8.0%} of one"
        mark = "  <- worth it" if choice is each.chosen and len(each.choices) > 1 else ""
        lines.append(
            f"  {choice.gpus:>4} {choice.hours:>7.3g} {_sum(choice.money):>10}   {choice.speed_up:>8.2f}  "
            f"{choice.efficiency:>10.0%}{gain}{mark}"
        )
    return [*lines, *_spot_lines(plan, each), *_reserved_lines(each)]


def _spot_lines(plan: Plan, each: OfferPlan) -> list[str]:
    spot, rules = each.spot, plan.question.spot
    lines = [
        f"  spot: {spot.restarts:.2f} restarts expected, each about {rules.restart_s:g} s + half of {rules.checkpoint_s:g} s "
        f"= {rules.loss_s:g} s: {spot.hours:.3g} h instead of {each.chosen.hours:.3g} h; pays from a discount of "
        f"{spot.least_discount:.1%} on"
    ]
    if spot.discount is not None and spot.money is not None and spot.break_even_restarts is not None:
        lines.append(
            f"        at -{spot.discount:.0%}: {_sum(spot.money)} {each.offer.currency} instead of {_sum(each.chosen.money)}; "
            f"breaks even if a machine is taken away with {spot.break_even_restarts:.0%} an hour"
        )
    return lines


def _reserved_lines(each: OfferPlan) -> list[str]:
    if each.reserved is None:
        return []
    reserved = each.reserved
    return [
        f"  reserved for a year (-{reserved.discount:.0%}): {_sum(reserved.a_year)} {each.offer.currency} a machine; pays from "
        f"{reserved.break_even_hours_a_day:.1f} h of use a day on, or {each.reserved_works_a_year:,.0f} such works a year"
    ]


def _idle_lines(plan: Plan) -> list[str]:
    load = plan.question.load
    lines = [f"idle machines switched off: {load.explained()}"]
    most = load.most_busy_hours(CLAIMED_SAVING)
    verdict = "as this load does" if load.saving >= CLAIMED_SAVING else "which this load exceeds"
    lines.append(
        f"  the article's {CLAIMED_SAVING:.0%} or more holds up to {max(0.0, most):.2f} busy hours a day with {load.sessions} "
        f"sessions (24 x {1 - CLAIMED_SAVING:g} - {load.sessions} x {load.overhead_hours:.2f}), {verdict}"
    )
    for each in plan.offers:
        always, paid = plan.idle_money_a_year(each)
        lines.append(f"  {each.offer.name}: {_sum(paid)} instead of {_sum(always)} {each.offer.currency} a year")
    return lines


def _sum(amount: float) -> str:
    return f"{amount:,.2f}" if amount < 1000 else f"{amount:,.0f}"
