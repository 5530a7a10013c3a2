"""A lab of format 1, as version 0.1.0 wrote it: small runs of every verb, an audit log, a manifest, an export.

It was made once, by the code of before the change (commit b98f51a), and can't be made by today's:

    git worktree add ../old b98f51a
    FACESWAP_LAB_ROOT=/tmp/lab_v1 PYTHONPATH=../old python tests/golden/make_lab_v1.py
    cp -r /tmp/lab_v1 tests/golden/lab_v1

Everybody in it is a synthetic actor.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

from faceswap_lab.models.nets import PairNetConfig
from faceswap_lab.runs.render import RenderRecipe, render

import faceswap_lab as lab
from faceswap_lab.faces.frame import write_still
from faceswap_lab.runs import recipes
from faceswap_lab.runs.run import Run

root = Path(os.environ["FACESWAP_LAB_ROOT"])
(root / "pictures").mkdir(parents=True)
(root / "data_manifests").mkdir()
hero, five = lab.actor(7), lab.actor(5)
for seed in (1, 2):
    write_still(root / "pictures" / f"{seed}.png", five.perform("range", seconds=0.04, seed=seed, size=96)[0].image)

notebook = Run.start(root, "quickstart", json.dumps({"notebook": "00_quickstart", "recipe": "smoke", "device": "auto"}), {})
with notebook:
    notebook.finish(device="cpu")

# As the kernel of a notebook that a run executes.
os.environ["FACESWAP_LAB_WITHIN"] = notebook.id
about = {"who": "synthetic:actor five", "basis": "synthetic: rendered actor", "uses": ["anonymise", "evaluate", "train"]}
clip = lab.admit(root / "pictures" / "1.png", **about)
del os.environ["FACESWAP_LAB_WITHIN"]

few = recipes.SwapRecipe(num_source_frames=1)
on_file = lab.swap(clip, source=hero, swapper="warp", recipe=few, device="cpu")
on_file.export(root / "exported.png")
lab.evaluate(on_file, recipe=recipes.EvaluateRecipe(gallery_size=2))

smoke = recipes.smoke()
tiny = replace(smoke, net=PairNetConfig(size=32, width=2, code=4), train=replace(smoke.train, steps=2), checkpoint_every=2)
trained = lab.train(tiny, source=hero, target=five, device="cpu")
take = five.perform("speech", seconds=0.08, size=96, seed=3)
lab.swap(take, source=hero, swapper=trained, recipe=few, device="cpu")

gathered = recipes.FacesetRecipe(name="five", size=64, min_side=16.0, min_sharpness=0.05, like=0.0)
lab.gather(gathered, root / "pictures", **about)
render(RenderRecipe(num_actors=1, num_views=1, size=48, maps=False))

unfinished = Run.start(root, "train", '{"supervision": "auto"}', {"source": '{"actor": 9}'})
with unfinished:
    unfinished.emit("step", step=1, losses={"loss": 1.0}, rate=0.002)

# Nobody's clock is to be before the consent.
manifest = root / "data_manifests" / "synthetic-actor-five.toml"
manifest.write_text("".join("date = 2026-01-01\n" if line.startswith("date") else line for line in manifest.open()))
