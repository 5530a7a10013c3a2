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

# %% [markdown]
# # Benchmark: how near is a method to the true swap?
#
# Fixed pairs of synthetic people, one performance each, whose correct swap is known to the pixel. The pairs are consecutive seeds
# of the test split, on which nothing may be trained: nobody picked them. Each method's score is a mean over pairs that stands
# between a floor (nothing was swapped) and a ceiling (the truth itself, under the same measure). A few minutes on two CPU cores.

# %% tags=["parameters"]
recipe: str = "small"  # "small": 8 pairs of 4 frames; "smoke": 2 of 2 frames, which shows that everything runs and nothing else
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps": for the swaps; the judge of the scores runs on the CPU
trained: list = []  # ids of finished pair trainings of two actors: each is scored on its own two people, the only ones it knows

# %%
import time

import IPython

import faceswap_lab as lab
from faceswap_lab.verbs.bench.pairs import method_name, own_pairs, people_of, plan_named, trained_named, unseen_pairs
from faceswap_lab.verbs.bench.scoring import best_median_worst, by_this_code, pooled
from faceswap_lab.views import figures
from faceswap_lab.views.printed_table import PrintedTable

start = time.perf_counter()
plan = plan_named(recipe)
unseen, fitted = unseen_pairs(plan), trained_named(trained)

# %% [markdown]
# ## The pairs
# Seed on seed, in the middle frame of each performance. Easy pairs, whose people look alike, are among them as well as hard ones.

# %%
shown = {
    str(pair): [
        pair.source.portrait(plan.side),
        pair.take(plan)[plan.num_frames // 2].image,
        pair.truth(plan)[plan.num_frames // 2].image,
    ]
    for pair in unseen
}
figures.comparison(shown, labels=["source", "target", "true swap"])

# %% [markdown]
# ## Swap and score
# `warp` needs no training, so it is scored on all pairs. A trained pair knows two people and can be scored on these alone, in both
# directions, in performances that it wasn't trained on. `warp` is scored on the same frames, because scores of different people
# can't be compared; the name in brackets says whose they are. Runs of an older version of the code are made again.

# %%
todo = [("warp", "warp", pair) for pair in unseen]
for run in fitted:
    todo += [
        each for pair in own_pairs(run) for each in ((method_name(run), run, pair), (f"warp ({people_of(run)})", "warp", pair))
    ]
todo = list(dict.fromkeys(todo))  # two trainings may be of the same people

# %%
swaps, scored, people = [], {}, {}
for method, swapper, pair in todo:
    swap = by_this_code(lab.swap, pair.take(plan), source=pair.source, swapper=swapper, device=device)
    judge = lab.recipes.EvaluateRecipe(gallery_size=plan.gallery_size)
    score = by_this_code(lab.evaluate, swap, truth=pair.truth(plan), recipe=judge)
    swaps.append(swap)
    scored.setdefault(method, []).append(score)
    people.setdefault(method, []).append(pair)
methods = {method: pooled(runs) for method, runs in scored.items()}
num_pairs = len({pair for _, _, pair in todo})

# %% [markdown]
# ## Scores
# What each measure can't see is said in the report of a run (`lab.report`). The 95 % intervals are bootstrapped over pairs; below
# five pairs there is none. A score's own interval is wide because pairs differ; whether a method is better than no swap at all is
# told by the interval of its gain, which is taken pair by pair. An unswapped face has a seam of its own, so that is no floor.


# %%
def told(value: float | None, low: float | None = None, high: float | None = None) -> str:
    return "infinite" if value is None else f"{value:.3g}" + ("" if low is None else f" ({low:.3g} to {high:.3g})")


rows = [
    (
        name + (f", {each['unit']}" if each["unit"] else ""),
        method,
        told(each["value"], each["low"], each["high"]),
        "" if name == "seam" else told(each["gain"], each["gain_low"], each["gain_high"]),
        "" if name == "seam" else told(each["floor"]),
        told(each["ceiling"]),
        str(each["pairs"]),
    )
    for name in methods["warp"]
    for method, scores in methods.items()
    if (each := scores.get(name)) is not None
]
header = ("score", "method", "value", "better than the floor by", "floor", "ceiling", "pairs")
PrintedTable(header=header, rows=rows)

# %%
for run in fitted:
    print(f"{run.id}: {run.summary['steps']} steps {run.summary['supervision']}, made by code {run.record.code}")
parts = [f"{method}: {len(runs)} pairs, {sum(run.summary['num_frames'] for run in runs)} frames" for method, runs in scored.items()]
print(*parts, sep="\n")

# %% [markdown]
# ## Pair by pair
# PSNR in the face, in dB. One figure hides that pairs differ more than methods may.

# %%
rows = [
    (str(pair), method, *(f"{run.scores['psnr_face'][part]:.1f}" for part in ("floor", "value")), f"{run.gain('psnr_face'):+.1f}")
    for method in methods
    for pair, run in zip(people[method], scored[method], strict=True)
]
header = ("pair", "method", "floor", "PSNR", "gain")
PrintedTable(header=header, rows=rows)

# %% [markdown]
# ## Best, median and worst
# Of all frames of a method, by PSNR in the face. Users notice the worst.

# %%
for method, runs in scored.items():
    columns, labels = {"source": [], "target": [], "swap": [], "truth": []}, []
    for word, frame in best_median_worst(runs).items():
        number = runs.index(frame.run)
        pair, swap = people[method][number], lab.Run.open(frame.run.inputs["result"])
        columns["source"].append(pair.source.portrait(plan.side))
        columns["target"].append(pair.take(plan)[frame.index].image)
        columns["swap"].append(swap.footage()[frame.index].image)
        columns["truth"].append(pair.truth(plan)[frame.index].image)
        labels.append(f"{word}\n{frame.psnr:.1f} dB\nframe {frame.index}")
    print(method)
    IPython.display.display(figures.comparison(columns, labels=labels, difference_of=("swap", "truth")))

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

best = max(methods, key=lambda method: methods[method]["psnr_face"]["gain"])
gain = methods[best]["psnr_face"]
emit_summary(
    {
        "found": f"{best}: {gain['value']:.1f} dB in the face, {gain['gain']:+.1f} dB over no swap, on {gain['pairs']} pairs",
        "runs": list(dict.fromkeys(run.id for run in (*fitted, *swaps, *(run for runs in scored.values() for run in runs)))),
        "device": swaps[0].summary.get("device", device),
        "seconds": round(time.perf_counter() - start, 1),
        "benchmark": {"name": recipe, "pairs": num_pairs, "frames": num_pairs * plan.num_frames, "methods": methods},
    }
)
