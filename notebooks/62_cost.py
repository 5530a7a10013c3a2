# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What will it cost?
#
# How long a training or a swap takes on rented GPUs, what that costs, which way to pay is cheapest, and how many GPUs are worth
# their money. Nothing is rented here and nobody is asked: it is arithmetic on a speed that you measured and on a table of prices
# with their sources. A few seconds.

# %% tags=["parameters"]
run: str = ""  # a training or a finished swap of this lab, whose measured speed is taken; empty: `per_second`
per_second: float = 400.0  # samples a second of one GPU, if no run is named: an assumption, please measure
steps: int = 600_000  # steps to train; 0 with a run: as many as that had
samples_per_step: int = 16  # pictures in one step, both people together (twice the batch)
clip_minutes: float = 90.0  # minutes of footage to swap afterwards
frames_per_second: float = 12.0  # that one GPU swaps: an assumption as well, if the run was not a swap
prices: str = ""  # a price table of your own (TOML); empty: the shipped one
offer: str = "GN6i"  # the offer that is drawn
gbit_s: float = 25.0  # the network between the machines, for the scaling model
spot_discount: float = 0.6  # of spot machines: an assumption, look it up with your provider
restarts_per_hour: float = 0.05  # probability that a spot machine is taken away within an hour
busy_hours: float = 8.0  # a day
sessions: int = 4  # in which these come

# %%
from dataclasses import replace
from pathlib import Path

import faceswap_lab as lab
from faceswap_lab.compute.costs.offers import offer_named, read_offers
from faceswap_lab.compute.costs.plan import Question, plan
from faceswap_lab.compute.costs.pricing import Load, Work
from faceswap_lab.compute.costs.scaling import BYTES_FP32, NETWORKS_GBIT_S, StepModel
from faceswap_lab.compute.costs.spot import Spot
from faceswap_lab.maintenance.cost import clip_work, measured, told
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.views import cost_figure, figures

# %% [markdown]
# ## The work
# A speed belongs to the machine that it was measured on. For another GPU, `speeds={"GN10Xp": 2.0}` in the question below says how
# much faster it is.

# %%
found = measured(lab.Run.open(run)) if run else None
training = Work(amount=steps * samples_per_step, per_s=per_second)
if found is not None and found.unit == "samples":
    training = Work(amount=steps * samples_per_step if steps else found.amount, per_s=found.per_s)
fps = found.per_s if found is not None and found.unit == "frames" else frames_per_second
swapping = clip_work(clip_minutes, 25.0, fps)
print(f"training {training.hours():.1f} h, swapping {swapping.hours():.1f} h on one GPU")

# %% [markdown]
# ## How much several GPUs bring
# After each step all GPUs average their gradients, so the network between them decides. This is a model, and cautious: nothing of
# the exchange is hidden behind computing. A measured curve is better: `curve={1: 1.0, 2: 1.9, 4: 3.5}`.

# %%
parameters = sum(each.numel() for each in PairNet(PairNetConfig()).parameters())
model = StepModel(compute_s=samples_per_step / training.per_s, gradient_bytes=BYTES_FP32 * parameters)
print(model.explained(8, gbit_s))
nodes = [1, 2, 4, 8, 16]
efficiencies = {f"{each:g} Gbit/s": [100 * model.efficiency(count, each) for count in nodes] for each in NETWORKS_GBIT_S}
figures.lines(nodes, efficiencies, ylabel="efficiency, %", xlabel="GPUs, one a machine")

# %% [markdown]
# ## The plan
# Hours and money on every offer; from which discount on spot machines pay, their restarts included; from how many hours of use a
# day on reserving pays; and what switching off idle machines saves.

# %%
question = Question(
    work=training,
    curve=model.curve(nodes, gbit_s),
    spot=Spot(restarts_per_hour=restarts_per_hour),
    spot_discount=spot_discount,
    load=Load(busy_hours=busy_hours, sessions=sessions),
)
offers = read_offers(Path(prices) if prices else None)
chosen = offer_named(offers, offer)
train_plan = plan(question, offers)
print(told(train_plan, found if found is not None and found.unit == "samples" else None))

# %%
cost_figure.cost(train_plan, chosen.name)

# %% [markdown]
# ## The footage
# Frames need nothing of each other: so many GPUs are so many times as fast, and it costs the same but for their start.

# %%
swap_plan = plan(replace(question, work=swapping, curve={count: float(count) for count in (1, 2, 4)}), offers)
for each in swap_plan.offers:
    hours, bill = each.choices[0].hours, each.choices[0].money
    print(f"{each.offer.name}: {hours:.2f} h on one GPU, {bill:.2f} {each.offer.currency}")

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

drawn = next(each for each in train_plan.offers if each.offer == chosen)
emit_summary(
    {
        "offer": chosen.name,
        "currency": drawn.offer.currency,
        "gpus": drawn.chosen.gpus,
        "hours": round(drawn.chosen.hours, 3),
        "money": round(drawn.chosen.money, 2),
        "spot_money": round(drawn.spot.money, 2) if drawn.spot.money is not None else None,
        "idle_saving": round(question.load.saving, 3),
    }
)
