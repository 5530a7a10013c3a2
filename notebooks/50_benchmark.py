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
# # Benchmark: how near is a method to the true swap?
#
# Fixed pairs of synthetic people, whose correct swap is known to the pixel, in seven tracks: frontal, profile, expression, light,
# occlusion, skin-tone gap, video. The people are consecutive seeds of the test split, on which nothing may be trained: nobody
# picked them. Each score is a mean over pairs that stands between a floor (nothing was swapped) and a ceiling (the truth itself,
# under the same measure). Minutes on two CPU cores.

# %% tags=["parameters"]
plan: str = "quick"  # "quick": 26 pairs; "full": 152, an hour and more; "smoke": seven small ones, whose scores mean nothing
tracks: list = []  # of the seven; none named: all
methods: list = ["copy", "warp", "oneshot", "truth"]  # also pair-supervised and pair-unsupervised, fitted to each pair: hours
judges: str = "independent"  # of identity: recognisers that nothing was trained with; "engine": the engine's own, no download
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps": for the swaps; the judges run on the CPU

# %%
import time

import IPython

import faceswap_lab as lab
from faceswap_lab.actors.tracks import TRACKS
from faceswap_lab.verbs.bench.measures import measure_of
from faceswap_lab.verbs.bench.result import by_this_code
from faceswap_lab.verbs.bench.table import ALL
from faceswap_lab.views import figures
from faceswap_lab.views.bench_report.tables import told
from faceswap_lab.views.printed_table import PrintedTable

start = time.perf_counter()
recipe = lab.recipes.BenchRecipe(plan=plan, tracks=tuple(tracks) or TRACKS, methods=tuple(methods), judges=judges)
run = by_this_code(lab.bench, recipe, device=device)
table = run.table
by_name = {pair.name: pair for pair in run.pairs}

# %% [markdown]
# ## The pairs
# The first of each track. Easy pairs, whose people look alike, are among them as well as hard ones.

# %%
first = {pair.track: pair for pair in reversed(run.pairs)}
shown = {track: run.pictures(first[track]) for track in recipe.tracks}
columns = {role: [pictures[role][0] for pictures in shown.values()] for role in ("source", "target", "truth")}
figures.comparison(columns, labels=[told(track) for track in shown])

# %% [markdown]
# ## Scores over all pairs
# The 95 % intervals are bootstrapped over pairs; below five pairs there is none. A score's own interval is wide because pairs
# differ; whether a method is better than no swap at all is told by the interval of its gain, which is taken pair by pair. The
# share is how much of the way from the floor to the ceiling was gone.

# %%
over = ALL if len(recipe.tracks) > 1 else recipe.tracks[0]
scores = {method: each[over] for method, each in table["scores"].items()}


def spelt(name: str, value: float | None, low: float | None = None, high: float | None = None) -> str:
    digits = measure_of(name).digits
    if value is None:
        return "–"
    return f"{value:.{digits}f}" + ("" if low is None else f" ({low:.{digits}f} to {high:.{digits}f})")


rows = [
    (
        told(name) + (f", {each['unit']}" if each["unit"] else ""),
        method,
        spelt(name, each["value"], each.get("low"), each.get("high")),
        spelt(name, each["gain"], each.get("gain_low"), each.get("gain_high")),
        spelt(name, each["floor"]),
        spelt(name, each["ceiling"]),
        "–" if each["share"] is None else f"{each['share']:.0%}",
    )
    for name in next(iter(scores.values()))
    for method in methods
    if method not in ("copy", "truth") and (each := scores[method].get(name)) is not None
]
header = ("score", "method", "value", "better than the floor by", "floor", "ceiling", "share")
PrintedTable(header=header, rows=rows)

# %%
failed = [(method, each["pair"], each["reason"]) for method, pairs in table["failed"].items() for each in pairs]
PrintedTable(header=("method", "failed on", "because"), rows=failed) if failed else print("No method failed on a pair.")

# %% [markdown]
# ## Track by track
# PSNR in the face, in dB, and the share of pictures whose nearest gallery is the source's. One figure hides what a method can't do.

# %%
rank1 = [name for name in next(iter(scores.values())) if name.startswith("id_rank1@")]
rows = [
    (
        told(track),
        method,
        *(spelt("psnr_face", found["psnr_face"][part]) for part in ("floor", "value")),
        *(spelt(name, found[name]["value"]) for name in rank1),
        str(found["psnr_face"]["pairs"]),
    )
    for track in recipe.tracks
    for method in methods
    if method not in ("copy", "truth") and (found := table["scores"][method][track])
]
PrintedTable(header=("track", "method", "floor", "PSNR", *(told(name) for name in rank1), "pairs"), rows=rows)

# %% [markdown]
# ## Best, median and worst
# Of each track's pairs, by PSNR in the face. Users notice the worst.

# %%
for method in (name for name in methods if name not in ("copy", "truth")):
    columns, labels = {"source": [], "target": [], "swap": [], "truth": []}, []
    for track, chosen in table["chosen"][method].items():
        for word, picked in chosen.items():
            pictures = run.pictures(by_name[picked["pair"]])
            columns["source"].append(pictures["source"][0])
            middle = len(pictures["target"]) // 2
            for column, role in (("target", "target"), ("swap", f"by {method}"), ("truth", "truth")):
                columns[column].append(pictures[role][middle])
            psnr = picked["psnr_face"]
            labels.append(f"{told(track)}\n{word}\n" + (f"{psnr:.1f} dB" if isinstance(psnr, float) else ""))
    print(method)
    IPython.display.display(figures.comparison(columns, labels=labels, difference_of=("swap", "truth")))

# %% [markdown]
# All of it as one page, with what each score can't see: `faceswap-lab bench` with the same options and `-o bench.html`.

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

gains = {method: found["psnr_face"] for method, found in scores.items() if method not in ("copy", "truth") and "psnr_face" in found}
best = max(gains, key=lambda method: gains[method]["gain"]) if gains else None
told_best = "no method but the two ends" if best is None else f"{best}: {gains[best]['gain']:+.1f} dB over no swap"
emit_summary(
    {
        "found": f"{told_best}, on {len(by_name)} pairs",
        "runs": [run.id],
        "digest": table["digest"],
        "device": run.summary["device"],
        "seconds": round(time.perf_counter() - start, 1),
        "benchmark": {
            "name": plan if len(recipe.tracks) == len(TRACKS) else f"{plan}: {', '.join(recipe.tracks)}",
            "pairs": len(by_name),
            "frames": sum(len(pair.frames) for pair in run.pairs),
            "methods": scores,
        },
    }
)
