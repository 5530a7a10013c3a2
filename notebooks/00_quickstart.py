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
# # Quickstart: one swap, measured against the true answer
#
# Two people who do not exist, a performance, and a network that learns to put the face of one on the other. Because both are
# rendered, the correct result is known for every pixel: each score below is shown with a floor (nothing was swapped) and a ceiling
# (the truth itself). About seven minutes on two CPU cores; less on a GPU.

# %% tags=["parameters"]
recipe: str = "quickstart"  # "quickstart", or "smoke": everything runs in seconds and nothing is learned
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"; the device actually used is in the summary
folder: str = "."  # output folder of the clip, the picture and the report

# %%
from pathlib import Path

import skimage

import faceswap_lab as lab

plan = lab.recipes.plan(recipe)
out = Path(folder)

# %% [markdown]
# ## The people
# An actor is a seed. The hero's face goes on the double's performance.

# %%
hero, double = lab.actor(7), lab.actor(32)
hero

# %%
double

# %% [markdown]
# ## The performance and its ground truth
# `recast` blends the hero's face into the double's head, vertex by vertex, in the same frames: this is the perfect swap.

# %%
take = double.perform("speech", seconds=plan.seconds, size=plan.size, seed=3)
truth = take.recast(hero)
lab.compare(target=take, truth=truth)

# %% [markdown]
# ## What the detector sees
# Every crop is aligned by five points. Drag any that is wrong; `view.corrections` is passed to the swap.

# %%
view = lab.align(take)
view

# %% [markdown]
# ## Train
# On frames other than those that are scored: another performance, other lighting, other cameras.

# %%
trained = lab.train(plan.pair, source=hero, target=double, device=device)
trained

# %% [markdown]
# ## Swap and score

# %%
result = lab.swap(take, source=hero, swapper=trained, corrections=view.corrections, device=device)
scores = lab.evaluate(result, truth=truth)
scores

# %%
lab.compare(target=take, swap=result, truth=truth, scores=scores)

# %% [markdown]
# ## The opposite direction
# One direction is always harder, and that is the one to report.

# %%
back_take = hero.perform("speech", seconds=plan.seconds, size=plan.size, seed=4)
back = lab.swap(back_take, source=double, swapper=trained, device=device)
back_scores = lab.evaluate(back, truth=back_take.recast(double))
lab.compare(target=back_take, swap=back, truth=back_take.recast(double), scores=back_scores)

# %% [markdown]
# ## A real photograph
# A portrait in the public domain (NASA). Its manifest entry allows one use: replacing the face with that of somebody who does not
# exist. `warp` needs no training, and two recognisers no longer take the result for her; with the default swapper, `oneshot`, which
# keeps more of the target where it is unsure, they still do, and the export below would be refused.

# %%
photo = lab.admit(Path(skimage.__file__).parent / "data" / "astronaut.png")
anonymous = lab.swap(photo, source=hero, swapper="warp", device=device)
lab.compare(photograph=photo, anonymous=anonymous)

# %% [markdown]
# ## Export
# `export` is the only way out: the gate checks again, the file is marked as synthetic, and the export is recorded in the audit log.

# %%
clip = result.export(out / "swap.mp4")
picture = anonymous.export(out / "anonymous.png")
report = lab.report(trained, result, scores, back, back_scores, anonymous, path=out / "report.html")

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

harder = min((scores, back_scores), key=lambda run: run.gain("psnr_face"))
emit_summary(
    {
        "report": str(report),
        "clip": str(clip),
        "picture": str(picture),
        "runs": [run.id for run in (trained, result, scores, back, back_scores, anonymous)],
        "trained": trained.id,
        "device": trained.summary["device"],
        "seconds": {
            **trained.summary["seconds"],
            "swap": result.summary["seconds"]["swap"] + back.summary["seconds"]["swap"],
            "evaluate": scores.summary["seconds"]["evaluate"] + back_scores.summary["seconds"]["evaluate"],
            "photograph": anonymous.summary["seconds"]["swap"],
        },
        "direction": "hero on double" if harder is scores else "double on hero",
        **{name: harder.scores[name]["value"] for name in ("psnr_face", "ssim_face", "id_nearer_source", "landmark_error")},
        "psnr_face_floor": harder.scores["psnr_face"]["floor"],
        "ssim_face_floor": harder.scores["ssim_face"]["floor"],
        "landmark_error_ratio": harder.summary["landmark_error_ratio"],
        "both": {"hero on double": scores.scores, "double on hero": back_scores.scores},
    }
)
