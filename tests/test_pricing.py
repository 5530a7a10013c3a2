"""The cost planner's arithmetic: linear where it must be, break-evens that break even, and simulations as independent oracles."""

import json
import math
import random
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.compute.costs.offers import Offer, offer_named, read_offers
from faceswap_lab.compute.costs.plan import Question, plan
from faceswap_lab.compute.costs.pricing import HOURS_A_YEAR, Load, Reserved, Work, choices, money, worth_it
from faceswap_lab.compute.costs.spot import Spot, break_even_restarts, spot_money
from faceswap_lab.errors import LabError

PRICES = st.floats(0.01, 1000)
HOURS = st.floats(0.1, 500)
DISCOUNTS = st.floats(0.01, 0.95)
SPOTS = st.builds(
    Spot,
    restarts_per_hour=st.floats(0, 0.5, allow_subnormal=False).filter(lambda share: share == 0 or share > 1e-9),
    restart_s=st.floats(0, 1800),
    checkpoint_s=st.floats(60, 3600),
    machines=st.integers(1, 8),
)


@given(HOURS, st.floats(0.1, 20), PRICES, st.integers(1, 64))
def test_money_is_linear_in_hours_price_and_machines(hours: float, times: float, price: float, machines: int) -> None:
    bill = money(hours, price, machines)
    assert money(hours * times, price, machines) == pytest.approx(bill * times)
    assert money(hours, price * times, machines) == pytest.approx(bill * times)
    assert bill == pytest.approx(sum(money(hours, price) for _ in range(machines)))


def test_hours_of_a_training_by_hand() -> None:
    """30,000 steps of 64 samples at 100 samples a second: 1,920,000 / 100 = 19,200 s = 5 h 20 min."""
    work = Work(amount=30_000 * 64, per_s=100)
    assert work.hours() == pytest.approx(16 / 3)
    assert work.hours(4) == pytest.approx(4 / 3)
    with pytest.raises(ValueError, match="per_s must be positive"):
        Work(amount=1, per_s=0)


# --- reserved -----------------------------------------------------------------------------------------------------------------


@given(PRICES, DISCOUNTS)
def test_reserving_breaks_even_where_it_says(price: float, discount: float) -> None:
    reserved = Reserved(price=price, discount=discount)
    at = reserved.break_even_hours_a_day
    assert reserved.on_demand_a_year(at) == pytest.approx(reserved.a_year)
    assert reserved.on_demand_a_year(at * 0.99) < reserved.a_year < reserved.on_demand_a_year(at * 1.01)


def test_the_articles_discount_breaks_even_at_three_fifths_of_a_day() -> None:
    reserved = Reserved(price=8.5, discount=0.4)
    assert reserved.break_even_hours_a_day == pytest.approx(14.4)
    assert reserved.break_even_hours == pytest.approx(0.6 * HOURS_A_YEAR)


# --- spot ---------------------------------------------------------------------------------------------------------------------


def simulated_hours(hours: float, spot: Spot, draw: random.Random) -> float:
    """One run of the work, event by event: machines fail at exponential times while it works, and the newest checkpoint is what is
    left."""
    interval, restart = spot.checkpoint_s / 3600, spot.restart_s / 3600
    rate = -math.log(1 - spot.restarts_per_hour)
    clock = saved = 0.0
    while saved < hours:
        until = min(draw.expovariate(rate) for _ in range(spot.machines))
        left = hours - saved
        if until >= left:
            return clock + left
        clock += until + restart
        saved += interval * math.floor(until / interval)
    return clock


@pytest.mark.parametrize(
    ("hours", "spot"),
    [
        (6.0, Spot(restarts_per_hour=0.05)),
        (10.0, Spot(restarts_per_hour=0.3, restart_s=900, checkpoint_s=1800)),
        (2.3, Spot(restarts_per_hour=0.2, restart_s=60, checkpoint_s=7200)),
        (4.0, Spot(restarts_per_hour=0.1, restart_s=300, checkpoint_s=600, machines=8)),
    ],
)
def test_the_expected_hours_are_those_of_a_simulation(hours: float, spot: Spot) -> None:
    draw = random.Random(0)
    found = [simulated_hours(hours, spot, draw) for _ in range(20_000)]
    mean = sum(found) / len(found)
    error = math.sqrt(sum((each - mean) ** 2 for each in found) / len(found) / len(found))
    assert abs(mean - spot.expected_hours(hours)) < 4 * error
    assert spot.expected_hours(hours) > hours + 20 * error, "so that leaving restarts out would be noticed"


@given(HOURS, st.floats(1e-4, 0.02), st.floats(0, 900), st.floats(60, 900))
def test_where_restarts_are_rare_each_costs_the_restart_and_half_an_interval(
    hours: float, probability: float, restart_s: float, checkpoint_s: float
) -> None:
    spot = Spot(restarts_per_hour=probability, restart_s=restart_s, checkpoint_s=checkpoint_s)
    whole = max(1, round(hours * 3600 / checkpoint_s)) * checkpoint_s / 3600
    simple = whole * (1 + spot.rate * spot.loss_s / 3600)
    assert spot.expected_hours(whole) == pytest.approx(simple, rel=2e-4)
    lost = spot.expected_restarts(whole) * spot.loss_s / 3600
    assert spot.expected_hours(whole) - whole == pytest.approx(lost, rel=0.01)


@given(HOURS, PRICES, DISCOUNTS, SPOTS)
def test_spot_breaks_even_where_it_says(hours: float, price: float, discount: float, spot: Spot) -> None:
    probability = break_even_restarts(hours, discount, spot)
    assert 0 < probability <= 1
    if probability > 1 - 1e-6:  # taken away all the time, with checkpoints just as often; near 1 too few digits are left
        return
    at = Spot(restarts_per_hour=probability, restart_s=spot.restart_s, checkpoint_s=spot.checkpoint_s, machines=spot.machines)
    assert spot_money(hours, price, discount, at) == pytest.approx(money(hours, price, spot.machines), rel=1e-6)


@given(HOURS, PRICES, SPOTS)
def test_the_least_discount_makes_spot_cost_what_on_demand_does(hours: float, price: float, spot: Spot) -> None:
    discount = spot.least_discount(hours)
    if discount < 1:
        assert spot_money(hours, price, discount, spot) == pytest.approx(money(hours, price, spot.machines))


def test_restarts_that_never_let_an_interval_end_cost_without_end() -> None:
    spot = Spot(restarts_per_hour=0.999, checkpoint_s=3600 * 200)
    assert spot.expected_hours(500) == math.inf
    assert spot.least_discount(500) == 1


# --- idle machines ------------------------------------------------------------------------------------------------------------


def simulated_paid_minutes(busy: int, sessions: int, idle: int, start: int) -> int:
    """A day of one machine, minute by minute, the same every day (the second is counted). Somebody asks `start` minutes before each
    session is due: a machine that is off then starts, one that is on waits."""
    cycle = 24 * 60 // sessions
    gap = cycle - busy
    paid, since, on = 0, 0, True
    for minute in range(2 * 24 * 60):
        into = minute % cycle
        works, is_asked = into < busy, into >= cycle - min(start, gap)
        if works or is_asked:
            on, since = True, 0
        elif on and since >= idle:
            on = False
        paid += on and minute >= 24 * 60
        since += on and not works and not is_asked
    return paid


@given(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24]), st.floats(0.02, 1), st.integers(0, 240), st.integers(0, 60))
def test_the_idle_saving_is_that_of_a_day_minute_by_minute(sessions: int, share: float, idle: int, start: int) -> None:
    busy = max(1, int(share * 24 * 60 / sessions))
    load = Load(busy_hours=busy * sessions / 60, sessions=sessions, idle_minutes=idle, start_minutes=start)
    assert 60 * load.paid_hours == pytest.approx(simulated_paid_minutes(busy, sessions, idle, start))


@given(st.integers(1, 12), st.floats(0, 60), st.floats(0, 30), DISCOUNTS)
def test_the_most_busy_hours_save_just_that_share(sessions: int, idle: float, start: float, saving: float) -> None:
    busy = Load(busy_hours=0, sessions=sessions, idle_minutes=idle, start_minutes=start).most_busy_hours(saving)
    if busy >= 0:
        load = Load(busy_hours=busy, sessions=sessions, idle_minutes=idle, start_minutes=start)
        assert load.saving == pytest.approx(saving)


def test_the_articles_thirty_percent_holds_for_a_working_day_and_not_for_a_busy_one() -> None:
    day = Load(busy_hours=8, sessions=4, idle_minutes=15, start_minutes=5)
    assert day.saving == pytest.approx(1 - (8 + 4 / 3) / 24)
    assert "61% saved" in day.explained()
    assert Load(busy_hours=16, sessions=4, idle_minutes=15, start_minutes=5).saving < 0.3


# --- how many GPUs --------------------------------------------------------------------------------------------------------------


def test_perfect_scaling_costs_the_same_and_real_scaling_more() -> None:
    work = Work(amount=3_600_000, per_s=100)
    perfect = choices(work, 10, {1: 1, 2: 2, 8: 8})
    assert [each.money for each in perfect] == pytest.approx([100, 100, 100])
    real = choices(work, 10, {1: 1, 2: 1.8, 4: 3, 8: 4})
    assert [each.money for each in real] == pytest.approx([100, 1000 / 9, 400 / 3, 200])
    assert [each.gain for each in real][1:] == pytest.approx([0.8, 0.6, 0.25])
    assert worth_it(real).gpus == 4
    assert worth_it(real, hour_worth=0).gpus == 1
    assert worth_it(real, hour_worth=1e6).gpus == 8


def test_starting_the_machines_takes_its_share_of_the_gain() -> None:
    """10 h of work and half an hour of starting: with 8 perfect GPUs 1.75 h, all of them paid all the time."""
    found = choices(Work(amount=3_600_000, per_s=100), 10, {1: 1, 8: 8, 64: 64}, start_hours=0.5)
    assert [each.hours for each in found] == pytest.approx([10.5, 1.75, 0.65625])
    assert [each.money for each in found] == pytest.approx([105, 140, 420])
    assert found[2].gain == pytest.approx((10 / 0.65625 - 10 / 1.75) / 56)
    assert worth_it(found).gpus == 8


def test_a_machine_that_is_used_in_part_is_paid_whole() -> None:
    work = Work(amount=3600, per_s=1)
    assert [each.machines for each in choices(work, 10, {1: 1, 2: 2, 8: 8, 9: 9}, 8)] == [1, 1, 1, 2]
    assert choices(work, 10, {1: 1}, 8)[0].money == pytest.approx(10)


@pytest.mark.parametrize("curve", [{}, {0: 1.0}, {1: 2.0}, {2: math.nan}, {2: -1.0}])
def test_a_curve_that_cannot_be_is_refused(curve: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|at least one point"):
        choices(Work(amount=1, per_s=1), 1, curve)


# --- the table of prices --------------------------------------------------------------------------------------------------------


def test_the_shipped_table_begins_with_the_articles_offers_and_names_its_source() -> None:
    offers = read_offers()
    assert [(each.name, each.price, each.currency, each.reserved_discount) for each in offers[:3]] == [
        ("GN6i", 8.5, "CNY", 0.4),
        ("GN10Xp", 12.0, "CNY", 0.4),
        ("GPU-accelerated", 9.2, "CNY", 0.4),
    ]
    assert all(each.source and each.date for each in offers)
    assert offer_named(offers, "gn10xp").price == 12.0
    with pytest.raises(LabError, match="GN6i, GN10Xp"):
        offer_named(offers, "GN11")


GOOD = 'name = "a"\nprice = 1\ncurrency = "EUR"\ndate = 2026-01-02\nsource = "the provider\'s page"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no \\[\\[offer\\]\\]"),
        ("[[offer]]\n" + GOOD.replace('"EUR"', "7"), "currency = 7"),
        ("[[offer]]\n" + GOOD.replace("price = 1", "price = -1"), "price must be positive"),
        ("[[offer]]\n" + GOOD.replace("price = 1", 'price = "1"'), "price = '1'"),
        ("[[offer]]\n" + GOOD + "cost = 2\n", "unknown field cost"),
        ("[[offer]]\n" + GOOD.replace("date = 2026-01-02\n", ""), "no date"),
        ("[[offer]]\n" + GOOD + "reserved_discount = 1.5\n", "reserved_discount"),
        (f"[[offer]]\n{GOOD}[[offer]]\n{GOOD}", "two offers named a"),
        ("[[offer]\n", "Expected"),
    ],
)
def test_a_table_that_cannot_be_read_says_where_and_why(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(LabError, match=said):
        read_offers(tmp_path / "prices.toml")


def test_a_table_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text("[[offer]]\n" + GOOD + "gpus = 8\nspot_discount = 0.7\n")
    (offer,) = read_offers(tmp_path / "prices.toml")
    assert (offer.gpus, offer.gpu_price, offer.spot_discount, offer.date) == (8, 0.125, 0.7, date(2026, 1, 2))


# --- the whole plan -------------------------------------------------------------------------------------------------------------


def test_a_plan_names_every_way_to_pay() -> None:
    question = Question(
        work=Work(amount=1_920_000, per_s=100), curve={1: 1, 2: 1.9, 4: 3.4, 8: 5}, spot_discount=0.6, speeds={"GN10Xp": 2.0}
    )
    made = plan(question, read_offers())
    first, second = made.offers[:2]
    start = question.load.start_minutes / 60
    assert first.choices[0].hours - start == pytest.approx(2 * (second.choices[0].hours - start))
    assert first.chosen.gpus == 4
    assert first.spot.money is not None
    assert first.spot.money < first.chosen.money
    assert first.spot.pays
    assert first.reserved is not None
    assert made.cheapest["CNY"].offer.name == "GN10Xp", "twice as fast for less than twice the price"
    assert json.loads(json.dumps(made.to_json(), allow_nan=False))["offers"][0]["name"] == "GN6i"


def test_a_plan_refuses_the_speed_of_an_unknown_offer() -> None:
    with pytest.raises(ValueError, match="GN7"):
        plan(Question(work=Work(amount=1, per_s=1), speeds={"GN7": 2.0}), read_offers())


def test_currencies_are_not_compared() -> None:
    offers = [
        Offer(name=name, price=price, currency=currency, date=date(2026, 1, 1), source="made up for a test")
        for name, price, currency in (("a", 9, "CNY"), ("b", 2, "EUR"), ("c", 8, "CNY"))
    ]
    made = plan(Question(work=Work(amount=1, per_s=1)), offers)
    assert {currency: each.offer.name for currency, each in made.cheapest.items()} == {"CNY": "c", "EUR": "b"}
