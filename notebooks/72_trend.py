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
#

# %% [markdown]
# # Does the lab get better?
#
# Every finished run of `50_benchmark` in this lab, by time and version of the code. A score belongs to the version that made it:
# when the code has changed, the benchmark makes all its swaps and scores anew. So a step in a line is due to a change of the code,
# unless the trainings that were scored differ. Seconds.

# %% tags=["parameters"]
name: str = "quick"  # the benchmark's name, which is its plan
scores: list = ["psnr_face", "ssim_face", "id_margin@dlib-resnet-v1"]  # that are drawn and listed

# %%
from faceswap_lab.views import trend_figure
from faceswap_lab.views.trends import moves_told, table, trends

found = [each for each in trends(name=name) if each.score in scores]
runs = sorted({(point.created, point.run, point.code) for each in found for point in each.points})
codes = {code for _, _, code in runs}
drawable = any(len(each.points) > 1 for each in found)
if not runs:
    print(f"This lab has no finished run of the benchmark {name!r} with these scores: run 50_benchmark first.")
elif not drawable:
    print(f"The benchmark {name!r} was run once with each method: nothing to compare with yet. Run it again after a change.")
else:
    print(f"{len(runs)} runs of the benchmark {name!r}, {len(codes)} version{'s' if len(codes) > 1 else ''} of the code")

# %% [markdown]
# ## Over the versions
# The bar at a point is its 95 % interval over the pairs; without one, there were too few. Grey is where no method should be: worse
# than no swap at all, or better than the truth.

# %%
trend_figure.over_code(found, scores) if drawable else None

# %% [markdown]
# ## What moved
# A score counts as moved if it left the interval of the run before, on the same pictures. That is cautious: the interval is how
# much the mean depends on which pairs were drawn, and both runs have the same pairs. A smaller step is real for these pairs, and
# may be nothing for others.

# %%
moves = moves_told(found)
without = sorted({each.method for each in found if any(change.beyond is None for change in each.changes)})
judged = any(change.beyond is not None for each in found for change in each.changes)
if moves or judged:
    print(*(moves or ["No score left the interval of the run before."]), sep="\n")
if without:
    print(f"No interval, so no verdict, for: {'; '.join(without)}.")

# %% [markdown]
# ## All runs
# Each value with its interval and its floor.

# %%
table(found, scores) if runs else None

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

latest = {each.method: {} for each in found}
for each in found:
    latest[each.method][each.score] = each.points[-1].value
emit_summary(
    {
        "name": name,
        "benchmarks": len(runs),
        "versions": len(codes),
        "drawn": drawable,
        "moved": moves,
        "latest": latest,
        "runs": [run for _, run, _ in runs],
    }
)
