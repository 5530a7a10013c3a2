"""Make the README's pictures: `.venv/bin/python docs/make_pictures.py [demo] [any-face] [cast]`, all without a name.

`demo` needs a finished quickstart in the lab, `any-face` a benchmark that scored the one-shot. They are exported like everything
else, so each says in its metadata what it is. Of the photograph only the result is kept: no picture of a real person's face lies in
the repository.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import faceswap_lab as lab
from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.faces.frame import Image
from faceswap_lab.files import lab_root
from faceswap_lab.trust.export_pictures import ActorPicture, export_pictures
from faceswap_lab.verbs.bench.result import BenchRun
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.people import reopened
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.views import figures, sheets

HERE = Path(__file__).parent / "pictures"
SHARES = (0.0, 0.5, 1.0)
NUM_CAST = 20


def demo() -> None:
    """Frames of the harder direction from the worst to the best, and the photograph after the swap."""
    verdicts = [run for run in ScoreRun.find(finished=True) if "psnr_face" in run.scores][:2]
    verdict = min(verdicts, key=lambda run: run.gain("psnr_face"))
    swap = SwapRun.open(verdict.inputs["result"])
    frames = json.loads(verdict.artifact("frames.json").read_text())
    order = np.argsort([row["value.psnr"] for row in frames])
    places = [int(order[round(share * (len(order) - 1))]) for share in SHARES]
    source, target = swap.people()
    truth = reopened(verdict.inputs["truth"])
    assert isinstance(source, Actor)
    assert isinstance(target, Take)
    assert isinstance(truth, Take)
    shown = swap.footage()
    columns = {
        name: [footage[place].image for place in places]
        for name, footage in (("target", target), ("swap", shown), ("truth", truth))
    }
    labels = [
        f"{word}\n{frames[place]['value.psnr']:.1f} dB" for word, place in zip(("worst", "median", "best"), places, strict=True)
    ]
    figure = figures.comparison(columns, labels=labels, difference_of=("swap", "truth"))
    _out(figures.pixels(figure), "demo.png", source.seed, target.actor.seed, run=swap)
    photograph = next(run for run in SwapRun.find(finished=True) if run.inputs["swapper"] == "warp")
    print(photograph.export(HERE / "photograph.jpg"))


def any_face() -> None:
    """Best, median and worst pair of the frontal track, of the newest benchmark that scored the one-shot: one picture each."""
    run = next(run for run in BenchRun.find(finished=True) if "frontal" in run.table["chosen"].get("oneshot", {}))
    by_name = {pair.name: pair for pair in run.pairs}
    roles = {"source": "source", "target": "target", "warp": "by warp", "one-shot": "by oneshot", "truth": "truth"}
    for word, picked in run.table["chosen"]["oneshot"]["frontal"].items():
        pair = by_name[picked["pair"]]
        pictures = run.pictures(pair)
        columns = {title: [pictures[role][0]] for title, role in roles.items()}
        label = f"{word}\n{picked['psnr_face']:.1f} dB"
        figure = figures.comparison(columns, labels=[label], difference_of=("one-shot", "truth"))
        _out(figures.pixels(figure), f"any_face_{word}.jpg", pair.source, pair.target, run=run)


def cast() -> None:
    """Twenty actors in one light. Its mark names the first."""
    _out(sheets.cast_sheet(range(NUM_CAST), side=128, columns=10).image, "cast.jpg", 0, 0)


def _out(image: Image, name: str, source: int, target: int, *, run: lab.Run | None = None) -> None:
    """Export a picture that shows the face of actor `source` on actor `target`, marked and logged."""
    made = ActorPicture(name=name, image=image, source=source, target=target, trained=run is not None)
    with tempfile.TemporaryDirectory() as folder:
        root, by = lab_root() if run is None else run.root, "" if run is None else run.id
        done = export_pictures([made], Path(folder) / "pictures", run=by, pairs={(source, target)}, facts={}, root=root)
        shutil.copyfile(done.path / name, HERE / name)
    print(HERE / name)


PARTS = {"demo": demo, "any-face": any_face, "cast": cast}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
