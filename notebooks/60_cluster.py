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
# # Does a cluster change the result?
#
# A training and a batch of clips on the workers of a cluster, and the same in this process. One of the training's ranks is killed
# halfway. Nothing of it should show in the result: only in time, and on the bill. The workers are processes of this machine; on
# others the same cells run with another `where`. Some minutes on two CPU cores.

# %% tags=["parameters"]
recipe: str = "small"  # "small", or "smoke": everything runs in a few minutes and nothing is learned
where: str = "local"  # "local", "cuda", or a scheduler's address: see lab.cluster. The killed rank must be on this machine
workers: int = 2  # processes, each of which takes a rank of the training, then parts of the clips
clips: int = 3  # how many are swapped in the batch
prices: str = ""  # a price table of your own (TOML); empty: the shipped one

# %%
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

import faceswap_lab as lab
from faceswap_lab.compute.costs.offers import read_offers
from faceswap_lab.compute.costs.plan import Question, plan
from faceswap_lab.compute.costs.pricing import Work
from faceswap_lab.maintenance.cost import measured
from faceswap_lab.views import figures, training_figure

smoke = lab.recipes.smoke().with_(train__steps=40, checkpoint_every=10)
small = lab.recipes.pair(300, size=64, num_views=60).with_(train__report_every=10, checkpoint_every=50)
training = {"smoke": smoke, "small": small}[recipe].with_(train__precision="fp32")
seconds, size = (0.4, 160) if recipe == "smoke" else (2.0, 256)
hero, double = lab.actor(7), lab.actor(32)

# %% [markdown]
# ## The cluster
# The link opens Dask's dashboard, through this Jupyter server: what each worker does, and how much memory it takes.

# %%
cluster = lab.cluster(where, workers=workers)
cluster

# %% [markdown]
# ## Train on two ranks, and kill one
# Each rank computes its share of every batch, and both average their gradients. The last rank is killed after the first checkpoint,
# as by a power cut: nothing can be saved. All ranks then start again from that checkpoint.


# %%
def accident() -> None:
    """Kills the last rank of the training once there is a checkpoint."""
    while not ended.wait(0.05):
        ranks, runs = cluster.ranks(), lab.Run.find(verb="train", finished=False)
        if len(ranks) == workers and runs and runs[0].has("checkpoint.pt"):
            os.kill(ranks[-1].pid, signal.SIGKILL)
            return


ended = threading.Event()
saboteur = threading.Thread(target=accident)
saboteur.start()
try:
    trained = lab.train(training, source=hero, target=double, compute=cluster, parallel=lab.Parallel(ranks=workers))
finally:
    ended.set()
    saboteur.join()
trained

# %%
training_figure.over_time(trained)

# %% [markdown]
# ## The same training in this process
# The data of a step depend on the recipe's seed alone, not on how many ranks there are or how often they started. What is left is
# the order in which numbers are added, which is why the recipe asks for float32: in bfloat16 that order counts more.

# %%
alone = lab.train(training, source=hero, target=double, device="cpu", force=True)
curves = {"ranks": trained, "alone": alone}
losses = {name: [event["losses"]["loss"] for event in run.events("step", unique="step")] for name, run in curves.items()}
figures.lines([event["step"] for event in alone.events("step")], losses)

# %% [markdown]
# ## A batch of clips
# The workers make parts of all clips at the same time, each with the model in its memory; then this process makes the same clips.

# %%
takes = [double.perform("speech", seconds=seconds, size=size, seed=number) for number in range(3, 3 + clips)]
start = time.perf_counter()
spread = lab.swap(takes, source=hero, swapper=trained, compute=cluster)
spread_s, start = time.perf_counter() - start, time.perf_counter()
here = lab.swap(takes, source=hero, swapper=trained, device="cpu", force=True)
here_s = time.perf_counter() - start
pairs = [zip(a.footage().frames(), b.footage().frames(), strict=True) for a, b in zip(spread, here, strict=True)]
equal = [all(np.array_equal(one.image, other.image) for one, other in frames) for frames in pairs]
print(f"{sum(equal)} of {clips} clips are equal in every pixel; {spread_s:.1f} s on the workers, {here_s:.1f} s in this process")

# %%
by_alone = lab.swap(takes[0], source=hero, swapper=alone, device="cpu")
scores = {"ranks": lab.evaluate(spread[0]), "alone": lab.evaluate(by_alone)}
lab.compare(target=takes[0], ranks=spread[0], truth=takes[0].recast(hero), scores=scores["ranks"])

# %% [markdown]
# ## The bill
# What this training would cost, with 100 times its steps, and an hour of footage, at the speeds measured here, on machines that are
# paid by the hour. These speeds are of CPU cores: a GPU is faster, and by how much is for a run on one to say (`62_cost`).

# %%
offers = read_offers(Path(prices) if prices else None)
pace, frame_pace = measured(trained), measured(spread[0])
works = {
    "training": Work(amount=100 * pace.amount, per_s=pace.per_s),
    "swapping": Work(amount=60 * 60 * 25, per_s=frame_pace.per_s, unit="frames"),
}
bill = {name: plan(Question(work=work), offers) for name, work in works.items()}
for name, answer in bill.items():
    for each in answer.offers:
        print(f"{name}: {each.chosen.hours:.2f} h on {each.offer.name}, {each.chosen.money:.2f} {each.offer.currency}")

# %%
cluster.close()

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

apart = max(abs(a / b - 1) for a, b in zip(*losses.values(), strict=True))
psnr = {name: round(run.scores["psnr_face"]["value"], 2) for name, run in scores.items()}
deaths = trained.events("rank_died")
emit_summary(
    {
        "found": f"{len(deaths)} rank killed; losses apart by {apart:.2%} at most, PSNR {psnr['ranks']} and {psnr['alone']} dB; "
        f"{sum(equal)} of {clips} clips equal in every pixel",
        "deaths": len(deaths),
        "ranks": trained.events("gang")[-1]["ranks"],
        "losses_apart": apart,
        "psnr_face": psnr,
        "equal_clips": sum(equal),
        "seconds": {"ranks": trained.summary["seconds"], "alone": alone.summary["seconds"], "spread": spread_s, "here": here_s},
        "money": {name: round(answer.offers[0].chosen.money, 2) for name, answer in bill.items()},
    }
)
