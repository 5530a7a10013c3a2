"""A plan's costs as a figure: how many GPUs, which way to pay, and what switching off saves."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FuncFormatter, MaxNLocator

from faceswap_lab.compute.costs.plan import OfferPlan, Plan
from faceswap_lab.compute.costs.pricing import DAYS_A_YEAR, HOURS_A_DAY, Load, money
from faceswap_lab.views.figures import HAIRLINE, INK, MUTED, PAPER, SERIES, STYLE, SelfShowing

_BLUE, _ORANGE, _GREEN = SERIES[:3]
_DPI = 120


def cost(plan: Plan, offer: str | None = None) -> SelfShowing:
    """Three panels for one offer of the plan, its first by default. ValueError for an offer that the plan doesn't have."""
    each = plan.offers[0] if offer is None else next((one for one in plan.offers if one.offer.name == offer), None)
    if each is None:
        raise ValueError(f"{offer!r} is not among the offers: {', '.join(one.offer.name for one in plan.offers)}")
    with rc_context(STYLE):
        figure = SelfShowing(figsize=(11.0, 3.5), dpi=_DPI, facecolor=PAPER)
        FigureCanvasAgg(figure)
        left, middle, right = (figure.add_axes((x, 0.15, 0.255, 0.66)) for x in (0.055, 0.395, 0.725))
        for axis in (left, middle, right):
            _plain(axis)
        _draw_choices(left, each)
        _draw_ways_to_pay(middle, each)
        _draw_idle(right, plan.question.load)
        figure.text(
            0.012, 0.955, f"{each.offer.name}, {each.offer.price:g} {each.offer.currency} an hour", fontsize=10.5, va="center"
        )
    return figure


def _plain(axis: Axes) -> None:
    axis.grid(color=HAIRLINE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(which="both", length=0)


def _draw_choices(axis: Axes, each: OfferPlan) -> None:
    hours, bills = [one.hours for one in each.choices], [one.money for one in each.choices]
    axis.plot(hours, bills, color=_BLUE, linewidth=1.4, marker="o", markersize=5)
    axis.plot([each.chosen.hours], [each.chosen.money], marker="o", markersize=11, markerfacecolor="none", markeredgecolor=_ORANGE)
    for one in each.choices:
        text = f"{one.gpus} GPU" if one.gpus == 1 else f"{one.gpus}"
        axis.annotate(text, (one.hours, one.money), xytext=(7, 5), textcoords="offset points", fontsize=8, color=_BLUE)
    axis.set_xlim(0.0, 1.18 * max(hours))
    axis.set_ylim(0.0, 1.2 * max(bills))
    title = "How many GPUs" if len(each.choices) == 1 else f"How many GPUs (worth it: {each.chosen.gpus}, ringed)"
    _name_axes(axis, title, "hours until it is done", each.offer.currency)


def _draw_ways_to_pay(axis: Axes, each: OfferPlan) -> None:
    days = np.linspace(0.0, HOURS_A_DAY, 49)
    on_demand = [money(hours * DAYS_A_YEAR, each.offer.price) for hours in days]
    lines = [("on demand", on_demand, _BLUE, "-")]
    if each.spot.discount is not None:
        share = each.spot.hours / each.chosen.hours * (1.0 - each.spot.discount)
        lines.append(("spot, restarts included", [share * bill for bill in on_demand], _GREEN, "--"))
    if each.reserved is not None:
        lines.append(("reserved for a year", [each.reserved.a_year] * len(days), _ORANGE, "-."))
    for name, values, colour, style in lines:
        axis.plot(days, values, color=colour, linestyle=style, linewidth=1.6, label=name)
    if each.reserved is not None:
        at = each.reserved.break_even_hours_a_day
        axis.plot([at], [each.reserved.a_year], marker="o", markersize=6, color=INK)
        axis.annotate(
            f"{at:.1f} h", (at, each.reserved.a_year), xytext=(0, 8), textcoords="offset points", fontsize=8, ha="right", color=INK
        )
    _day_axis(axis)
    axis.set_ylim(0.0, 1.25 * on_demand[-1])
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}"))
    axis.yaxis.set_major_locator(MaxNLocator(6))
    _legend(axis)
    _name_axes(axis, "One machine for a year", "hours of use a day", f"thousand {each.offer.currency}")


def _draw_idle(axis: Axes, load: Load) -> None:
    busy = np.linspace(0.0, HOURS_A_DAY, 97)
    paid = [_with_busy(load, hours).paid_hours for hours in busy]
    axis.plot(busy, [HOURS_A_DAY] * len(busy), color=_BLUE, linewidth=1.6, label="always on")
    axis.plot(busy, paid, color=_ORANGE, linewidth=1.6, label=f"off after {load.idle_minutes:g} min idle")
    axis.plot(busy, busy, color=MUTED, linewidth=1.0, linestyle=":", label="the work alone")
    axis.plot([load.busy_hours], [load.paid_hours], marker="o", markersize=6, color=INK)
    axis.annotate(
        f"{load.saving:.0%} saved",
        (load.busy_hours, load.paid_hours),
        xytext=(8, -4),
        textcoords="offset points",
        fontsize=8,
        va="top",
        color=INK,
    )
    _day_axis(axis)
    axis.set_ylim(0.0, 33.0)
    axis.set_yticks(range(0, 25, 6))
    _legend(axis)
    plural = "session" if load.sessions == 1 else "sessions"
    _name_axes(axis, f"Switched off when idle ({load.sessions} {plural} a day)", "busy hours a day", "hours paid a day")


def _with_busy(load: Load, hours: float) -> Load:
    return Load(busy_hours=float(hours), sessions=load.sessions, idle_minutes=load.idle_minutes, start_minutes=load.start_minutes)


def _day_axis(axis: Axes) -> None:
    ticks: Sequence[int] = range(0, 25, 4)
    axis.set_xlim(0.0, HOURS_A_DAY)
    axis.set_xticks(ticks)


def _legend(axis: Axes) -> None:
    axis.legend(loc="upper left", fontsize=8, frameon=True, facecolor=PAPER, edgecolor="none", framealpha=0.9, handlelength=1.6)


def _name_axes(axis: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axis.set_title(title, fontsize=9.5, color=INK, loc="left", pad=6)
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
