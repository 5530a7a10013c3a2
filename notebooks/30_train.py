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
# # What does the truth teach?
#
# Two trainings of the same two actors, with the same steps and the same pictures. One is shown the correct swap of each picture,
# which exists because the actors are rendered; the other learns from each person's own pictures alone, as it must with real people.
# Both losses fall. Only frames with a known truth show which swap is better. Nine minutes on two CPU cores
# that other work used as well.

# %% tags=["parameters"]
recipe: str = "small"  # "small", or "smoke": everything runs in a minute or two and nothing is learned
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"
again: bool = False  # train anew what is finished already: previews are only seen while a training runs

# %%
import faceswap_lab as lab
from faceswap_lab.views import figures

settings = {"smoke": lab.recipes.smoke(), "small": lab.recipes.pair(300, size=64, num_views=60)}[recipe]
seconds, size = (0.24, 160) if recipe == "smoke" else (2.0, 256)
hero, double = lab.actor(7), lab.actor(32)
take = double.perform("speech", seconds=seconds, size=size, seed=3)
truth = take.recast(hero)

# %% [markdown]
# ## The recipe
# What is trained: each value counts in the run's key, and the same recipe gives the same weights. Bold: not the default.

# %%
settings

# %% [markdown]
# How it is computed is no part of it: the device, `compute=` and `parallel=lab.Parallel(ranks=2, accumulate=4)`. Ranks share each
# batch between processes or machines; `accumulate` computes a share in parts, with less memory. Data and steps stay the same
# (`60_cluster`).

# %% [markdown]
# ## Train both
# A preview is a frame of another performance, in another light, with the swap pasted in as it is at that step. The second training
# finds its pictures rendered already.

# %%
previews, runs = {}, {}
for name, supervision in {"supervised": "truth", "unsupervised": "none"}.items():
    previews[name] = lab.Preview(take, hero, frames=(len(take) // 2,))
    asked = settings.with_(supervision=supervision)
    runs[name] = lab.train(asked, source=hero, target=double, device=device, watch=previews[name], force=again)
runs["supervised"]

# %% [markdown]
# ## The losses
# Of the decoder that draws the hero. Each falls towards its own goal, and the two can't be compared: the one is the distance to the
# true swap, the other to the picture that went in.

# %%
steps = {name: run.events("step", unique="step") for name, run in runs.items()}
numbers = [event["step"] for event in steps["supervised"]]
figures.lines(numbers, {name: [event["losses"]["picture_0"] for event in steps[name]] for name in runs}, ylabel="picture loss")

# %% [markdown]
# ## The same frame while they learn
# Nothing is seen of a training that was finished before: `again = True` trains it anew.

# %%
seen = {name: preview.seen for name, preview in previews.items()}
shared = sorted({each.step for each in seen["supervised"]} & {each.step for each in seen["unsupervised"]})
picked = [shared[round(place * (len(shared) - 1) / 3)] for place in range(4)] if len(shared) >= 4 else shared
columns = {f"step {step}": [each.images[0] for name in seen for each in seen[name] if each.step == step] for step in picked}
true = previews["supervised"].truth[0]
figures.comparison({**columns, "truth": [true, true]}, labels=list(seen))

# %%
psnr = {name: [each.psnr for each in seen[name] if each.step in shared] for name in seen}
floor = {"not swapped": [previews["supervised"].floor] * len(shared)}
figures.lines(shared, {**psnr, **floor}, ylabel="PSNR to the truth, dB") if shared else None

# %% [markdown]
# ## Score both against the truth

# %%
swaps = {name: lab.swap(take, source=hero, swapper=run, device=device) for name, run in runs.items()}
scores = {name: lab.evaluate(swap, truth=truth) for name, swap in swaps.items()}
lab.compare(target=take, **swaps, truth=truth)

# %%
for name, run in runs.items():
    spent, found = run.summary["seconds"], scores[name].scores
    told = ", ".join(f"{key} {found[key]['value']:.3g}" for key in ("psnr_face", "ssim_face", "id_nearer_source"))
    print(f"{name}: {told}; crops {spent['crops']:.0f} s, training {spent['train']:.0f} s")

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

reached = {name: round(run.scores["psnr_face"]["value"], 2) for name, run in scores.items()}
gain = reached["supervised"] - reached["unsupervised"]
emit_summary(
    {
        "found": f"learning from the truth {'gained' if gain > 0 else 'lost'} {abs(gain):.1f} dB in the face over learning without",
        "psnr_face": reached,
        "psnr_face_floor": round(scores["supervised"].scores["psnr_face"]["floor"], 2),
        "id_nearer_source": {name: run.scores["id_nearer_source"]["value"] for name, run in scores.items()},
        "runs": [each[name].id for name in runs for each in (runs, swaps, scores)],
        "trained": {name: run.id for name, run in runs.items()},
        "previews": shared,
        "preview_psnr": {name: [round(value, 2) for value in values] for name, values in psnr.items()},
        "seconds": {name: run.summary["seconds"] for name, run in runs.items()},
        "device": runs["supervised"].summary["device"],
    }
)
