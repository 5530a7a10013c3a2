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
# # One page about some runs
#
# Any runs of this lab, failed ones included, as one page that needs neither the lab nor a network: pictures, clips, scores, curves,
# errors, and the record of how each was made; runs of one verb are also compared side by side. The page is an export: the consent
# gate is asked about everybody whom it shows, and it is marked and logged.

# %% tags=["parameters"]
runs: list = []  # ids of runs, or beginnings of ids; empty: the newest swap with its training and its scores
title: str = ""  # of the page; empty: one is chosen
folder: str = "."  # output folder of report.html
accept_frames: int = 0  # frames in which a real person stayed recognisable; the error that refuses the page says how many
accept_faces: int = 0  # faces, likewise
accept_recognisable: bool = False  # a page with somebody "anonymised" whom recognisers still recognise
accept_pictures: int = 0  # pictures in notebooks that aren't the lab's own, likewise: look at them first

# %%
import html
import re
from pathlib import Path

import faceswap_lab as lab
from faceswap_lab.errors import RunError
from faceswap_lab.views.printed_table import PrintedTable

if isinstance(runs, str):
    raise RunError(expected="a list of ids of runs", got=repr(runs), remedy=f'write runs=["{runs}"]')


def newest() -> list[lab.Run]:
    """The newest finished swap, what it was made with, and its scores."""
    swaps = lab.Run.find(verb="swap", finished=True)
    if not swaps:
        raise RunError(expected="a finished swap in this lab", got="none", remedy='name other runs: runs=["train-3f9a1c22"]')
    swap = swaps[0]
    swapper = swap.inputs["swapper"]
    training = [lab.Run.open(swapper)] if swapper.startswith("train-") else []
    return [*training, swap, *lab.Run.find(verb="evaluate", finished=True, uses=swap.id)[:1]]


chosen = [lab.Run.open(each) for each in dict.fromkeys(runs)] if runs else newest()

# %% [markdown]
# ## The runs

# %%
rows = [(run.id, run.verb, run.record.status, run.record.created[:16].replace("T", " "), run.record.code) for run in chosen]
PrintedTable(header=("run", "verb", "status", "begun (UTC)", "code"), rows=rows)

# %% [markdown]
# ## The page

# %%
accepted = {"accept_frames": accept_frames, "accept_faces": accept_faces, "accept_recognisable": accept_recognisable}
page = lab.report(*chosen, path=Path(folder) / "report.html", title=title, accept_pictures=accept_pictures, **accepted)
print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## What is in it

# %%
text = page.read_text(encoding="utf-8")
told = [html.unescape(re.sub(r"<[^>]*>", " ", each)).split() for each in re.findall(r"<h[12]\b.*?</h[12]>", text, flags=re.DOTALL)]
shown_title, *headings = map(" ".join, told)
parts = {"pictures": "<img", "clips": "<video", "drawings": "<svg", "tables": "<table"}
counts = {name: text.count(tag) for name, tag in parts.items()}
print(shown_title, *(f"- {each}" for each in headings), sep="\n")
print(", ".join(f"{count} {name if count != 1 else name[:-1]}" for name, count in counts.items()))

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

emit_summary({"report": str(page), "title": shown_title, "sections": headings, **counts, "runs": [run.id for run in chosen]})
