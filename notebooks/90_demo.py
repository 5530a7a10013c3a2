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
# # A link to show: the demo
#
# A page on which visitors put an actor's face on a picture and see how well it worked. It runs on this machine, fetches nothing
# from any other, and deletes what visitors upload after an hour. Here it is started from a notebook, used by hand and by a program,
# and stopped. About a minute on two CPU cores, most of it at the first start.

# %% tags=["parameters"]
source: str = "actor:7"  # whose face; one of the actors that the demo offers
picture: str = ""  # a picture or clip to upload, of somebody who agreed; empty: NASA's portrait of an astronaut
reason: str = "NASA's portrait, in the public domain"  # who agreed, and to what; it is logged
folder: str = "."  # where the result is put

# %%
from pathlib import Path

import skimage
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import faceswap_lab as lab
from faceswap_lab.trust.marks.metadata import read_mark

# %% [markdown]
# ## Start it
# In JupyterLab the page appears below, also on a remote machine: the notebook's server passes it on (jupyter-server-proxy).
# Elsewhere there is a link. The gallery is rendered when the demo starts for the first time.

# %%
demo = lab.demo()
demo

# %% [markdown]
# ## The same from a program
# The page's one endpoint is `/swap`. It has the page's limits and its gate: without consent, or without a reason, nothing happens.

# %%
upload = Path(picture) if picture else Path(skimage.__file__).parent / "data" / "astronaut.png"
client = Client(demo.address, download_files=str(Path(folder).resolve()), analytics_enabled=False, verbose=False)
try:
    client.predict(handle_file(upload), source=source, consent=False, reason=reason, api_name="/swap")
    refusal = ""
except AppError as error:
    refusal = str(error)
print(refusal)

# %%
result, scores = client.predict(handle_file(upload), source=source, consent=True, reason=reason, api_name="/swap")
result

# %% [markdown]
# ## What came back
# The file says of itself that it is synthetic, wherever it goes. There is no true answer for a photograph, so scores say how much
# the face looks like the chosen one, and how much still like the person before. The astronaut has none: her entry in the manifest
# allows one use, replacing her face, and measuring it is another.

# %%
from PIL import Image

Image.open(result)

# %%
mark = read_mark(Path(result))
for name, score in scores.items():
    print(f"{name:<18} {score['value']}")
mark

# %% [markdown]
# ## Stop it

# %%
client.close()
demo.stop()

# %% tags=["summary"]
from faceswap_lab.pipelines.notebook import emit_summary

emit_summary(
    {
        "result": str(result),
        "refusal": refusal,
        "marked": mark is not None,
        "source_type": mark[0]["digital_source_type"] if mark else "",
        **{name: score["value"] for name, score in scores.items()},
    }
)
