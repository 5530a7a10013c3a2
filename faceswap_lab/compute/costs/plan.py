"""A plan: one piece of work on each offer of a price table, with what on demand, spot, reserving and switching off come to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from faceswap_lab.compute.costs.offers import Offer
from faceswap_lab.compute.costs.pricing import DAYS_A_YEAR, Choice, Load, Reserved, Work, choices, money, require_positive, worth_it
from faceswap_lab.compute.costs.spot import Spot, break_even_restarts, spot_money

ALONE = {1: 1.0}
"""The scaling curve of one GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be done, and under which circumstances.

    `speeds` says how fast an offer's GPU is beside the one that `work` was measured on; 1 where it says nothing. `curve` is GPUs to
    speed-up over one. `spot_discount` (0..1) is for offers that have none of their own; None: not known.
    """

    work: Work
    curve: Mapping[int, float] = field(default_factory=lambda: dict(ALONE))
    speeds: Mapping[str, float] = field(default_factory=dict)
    spot: Spot = field(default_factory=lambda: Spot(restarts_per_hour=0.05))
    spot_discount: float | None = None
    load: Load = field(default_factory=lambda: Load(busy_hours=8.0, sessions=4))
    hour_worth: float | None = None

    def work_on(self, offer: Offer) -> Work:
        """The work at the speed of this offer's GPU."""
        speed = self.speeds.get(offer.name, 1.0)
        require_positive(f"the speed of {offer.name}", speed)
        return replace(self.work, per_s=self.work.per_s * speed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotPlan:
    """The chosen GPUs as spot machines. `discount`, `money` and `break_even_restarts` are None where no discount is known."""

    hours: float
    restarts: float
    least_discount: float
    discount: float | None
    money: float | None
    break_even_restarts: float | None

    @property
    def pays(self) -> bool | None:
        """Whether spot is cheaper than on demand; None if the discount isn't known."""
        return None if self.discount is None else self.discount > self.least_discount


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPlan:
    """The work on one offer: every number of GPUs, and for the chosen one each way to pay; `reserved` may not be on offer."""

    offer: Offer
    choices: tuple[Choice, ...]
    chosen: Choice
    spot: SpotPlan
    reserved: Reserved | None

    @property
    def reserved_works_a_year(self) -> float | None:
        """How often a year the work has to be done for reserving its machines to be cheaper."""
        return None if self.reserved is None else self.reserved.break_even_hours / self.chosen.hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer: one `OfferPlan` for each offer, in the order of the table."""

    question: Question
    offers: tuple[OfferPlan, ...]

    @property
    def cheapest(self) -> dict[str, OfferPlan]:
        """Currency to the offer on which the chosen GPUs cost least on demand."""
        currencies = dict.fromkeys(each.offer.currency for each in self.offers)
        return {
            currency: min((each for each in self.offers if each.offer.currency == currency), key=lambda each: each.chosen.money)
            for currency in currencies
        }

    def idle_money_a_year(self, of: OfferPlan) -> tuple[float, float]:
        """A year of one machine under the question's load: always on, and switched off when idle."""
        always, paid = 24.0 * DAYS_A_YEAR, self.question.load.paid_hours * DAYS_A_YEAR
        return money(always, of.offer.price), money(paid, of.offer.price)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; what does not exist is null."""
        work, load = self.question.work, self.question.load
        return {
            "work": {"amount": work.amount, "unit": work.unit, "per_s": work.per_s},
            "idle": {**asdict(load), "paid_hours": load.paid_hours, "saving": load.saving},
            "offers": [self._offer_json(each) for each in self.offers],
        }

    def _offer_json(self, each: OfferPlan) -> dict[str, Any]:
        reserved = each.reserved
        always, paid = self.idle_money_a_year(each)
        return {
            **{name: value for name, value in asdict(each.offer).items() if name != "date"},
            "date": each.offer.date.isoformat(),
            "choices": [_finite(asdict(choice) | {"efficiency": choice.efficiency}) for choice in each.choices],
            "chosen_gpus": each.chosen.gpus,
            "hours": each.chosen.hours,
            "money": each.chosen.money,
            "spot": _finite(asdict(each.spot) | {"pays": each.spot.pays}),
            "reserved_break_even_hours_a_day": None if reserved is None else reserved.break_even_hours_a_day,
            "reserved_works_a_year": each.reserved_works_a_year,
            "always_on_a_year": always,
            "switched_off_a_year": paid,
        }


def plan(question: Question, offers: Sequence[Offer]) -> Plan:
    """What the work comes to on each of these offers. ValueError for none, and for a speed of an offer that isn't among them."""
    if not offers:
        raise ValueError("there is no offer to plan with")
    if unknown := sorted(question.speeds.keys() - {offer.name for offer in offers}):
        raise ValueError(f"a speed for {unknown[0]}, which is not among the offers: {', '.join(offer.name for offer in offers)}")
    return Plan(question=question, offers=tuple(_offer_plan(question, offer) for offer in offers))


def _offer_plan(question: Question, offer: Offer) -> OfferPlan:
    found = choices(question.work_on(offer), offer.price, question.curve, offer.gpus, question.load.start_minutes / 60.0)
    chosen = worth_it(found, hour_worth=question.hour_worth)
    discount = offer.reserved_discount
    return OfferPlan(
        offer=offer,
        choices=tuple(found),
        chosen=chosen,
        spot=_spot_plan(question, offer, chosen),
        reserved=None if discount is None else Reserved(price=offer.price, discount=discount),
    )


def _spot_plan(question: Question, offer: Offer, chosen: Choice) -> SpotPlan:
    spot = replace(question.spot, machines=chosen.machines)
    discount = question.spot_discount if offer.spot_discount is None else offer.spot_discount
    return SpotPlan(
        hours=spot.expected_hours(chosen.hours),
        restarts=spot.expected_restarts(chosen.hours),
        least_discount=spot.least_discount(chosen.hours),
        discount=discount,
        money=None if discount is None else spot_money(chosen.hours, offer.price, discount, spot),
        break_even_restarts=None if discount is None else break_even_restarts(chosen.hours, discount, spot),
    )


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows neither nan nor infinity."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
