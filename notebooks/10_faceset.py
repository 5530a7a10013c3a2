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
# # Is my material good enough to train on?
#
# Give files and folders, and state who is depicted and on what basis. Every face is detected, aligned and measured; blurred, tiny
# and cropped faces, other people and near-duplicates are dropped, each listed with the reason. The rest is split so that no two
# neighbouring frames of a clip end up in different splits. About ten frames per second on one CPU core; without material of your
# own, two synthetic actors stand in: two minutes.

# %% tags=["parameters"]
recipe: str = "faceset"  # "faceset", or "smoke": a handful of frames, to test that everything runs
name: str = "mine"  # the name of the set
paths: str = ""  # files and folders, one per line; empty: clips and stills of actors, rendered into `folder`
who: str = ""  # who is depicted in files that have no manifest entry yet: "Jane Doe"
basis: str = ""  # why this is allowed: "consent: form signed on 3 May 2026", "licence: CC-BY-4.0, J. Doe"
identities: str = "one"  # "one": only the person named; "many": everybody, to be named below
folder: str = "."  # output folder of the stand-in material

# %%
from dataclasses import replace
from pathlib import Path

import faceswap_lab as lab
from faceswap_lab.models.clusters import ACTORS

files = [Path(line.strip()) for line in paths.splitlines() if line.strip()]
settings = lab.recipes.FacesetRecipe(name=name, identities=identities)
stand_in = not files

# %% [markdown]
# ## Material
# The stand-in imitates a real shoot: clips of the person, some photographs, a blurred one, one from too far away, and a friend who
# walked into the picture.

# %%
if stand_in:
    from faceswap_lab.verbs.gather.stand_in import film_material

    files = [film_material(Path(folder) / "material", **({"clips": 1, "photos": 4} if recipe == "smoke" else {}))]
    who, basis = who or "synthetic:hero", basis or "synthetic: actors of this package, filmed by this notebook"
    settings = replace(settings, same_person=ACTORS, stretch_s=0.5, gap_s=0.1)

# %% [markdown]
# ## Gather
# No file is opened before its consent record is found or declared. If interrupted, the same call resumes.

# %%
run = lab.gather(settings, *files, who=who or None, basis=basis or None)
run

# %% [markdown]
# ## Look
# Least sharp first. Click a face to leave it out; with several people, type a name for each. Both are stored with the set.

# %%
view = lab.browse(run)
view

# %% [markdown]
# ## The resulting set
# Pass `faceset["train"]` to `lab.train(source=…)`; `lab.faceset(name)` opens the set again later.

# %%
faceset = lab.faceset(run)
faceset

# %% [markdown]
# ## Is it good enough?
# The quickstart trains on 160 different views of each person, half of them turned up to 45 degrees and more, in 96-pixel crops.

# %%
turned = [row.yaw_deg for row in faceset.rows]
small = sum(row.side < 96 for row in faceset.rows)
advice = [
    f"{len(faceset)} different faces, the quickstart has 160",
    f"heads turned from {min(turned):.0f} to {max(turned):.0f} degrees; a network has to guess what the material does not show",
    f"{small} of {len(faceset)} faces are smaller than 96 pixels in their picture: a crop of that size enlarges them",
    *run.summary["doubts"],
]
print("\n".join(advice))

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

emit_summary(
    {
        "faceset": run.id,
        "name": faceset.name,
        "faces": len(faceset),
        "identities": {faceset.title(person): count for person, count in faceset.identities.items()},
        "splits": faceset.splits,
        "dropped": run.summary["dropped"],
        "sheet": str(run.artifact("sheet.jpg")),
        "stand_in": stand_in,
        "advice": advice,
    }
)
