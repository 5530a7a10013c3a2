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
# # Actors: synthetic people with complete ground truth
#
# Nobody in this notebook exists. An actor is a seed: the same number is the same person everywhere, and what the renderer knows
# about a picture (the true swap, landmarks, pose, expression, depth, labels) is the ground truth that everything else is measured
# against. About two minutes on two CPU cores.

# %% tags=["parameters"]
recipe: str = "full"  # "full", or "smoke": a few small pictures

# %%
import faceswap_lab as lab
from faceswap_lab.views import sheets

small = recipe == "smoke"
num, side = (6, 64) if small else (40, 128)

# %% [markdown]
# ## The cast
# Many people in one condition. Identities are split by a rule on the seed; test people are never trained on.

# %%
sheets.cast_sheet(range(num), side=side)

# %% [markdown]
# ## One person in forty conditions
# What a recogniser must be invariant to: pose, expression, lighting and lens. Compare the two sheets: one varies the identity, the
# other the conditions.

# %%
hero = lab.actor(7)
sheets.conditions_sheet(hero, num, side=side)

# %% [markdown]
# ## The studio
# Choose, pose, light and film an actor. In JupyterLab every slider renders again; without a kernel this is a static picture.
# `stage.set(yaw=30, smile=0.8, light="side")` sets the same values by name.

# %%
stage = lab.studio(hero, side=160 if small else 384)
stage.set(yaw=22, smile=0.5, light="side")
stage

# %% [markdown]
# ## Ground truth of a picture
# Everything here is rendered, not estimated: it is what estimators are scored against.

# %%
take = lab.actor(4).perform("speech", seconds=0.2 if small else 2, seed=3, size=96 if small else 256)
rendered = take.rendered(len(take) // 2)
sheets.truth_sheet(rendered)

# %%
pose = rendered.head_pose
strongest = sorted(rendered.actions.items(), key=lambda each: -each[1])[:5]
print(f"yaw {pose.yaw:.2f}, pitch {pose.pitch:.2f}, roll {pose.roll:.2f} rad")
print(", ".join(f"{name} {value:.2f}" for name, value in strongest))

# %% [markdown]
# ## The true swap
# The same performance with another face: the correct result of a face swap for every pixel, in either person's skin tone.

# %%
lab.compare(target=take, source_tone=take.recast(hero), target_tone=take.recast(hero, tone="target"))

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

emit_summary({"actors": num, "frames": len(take), "size": take.side})
