"""Make the README's pictures from the newest finished quickstart: `.venv/bin/python docs/make_pictures.py`.

They are exported like everything else, so each says in its metadata what it is. Of the photograph only the result is
kept: no picture of a real person's face lies in the repository.
"""

import json
from pathlib import Path

import numpy as np

import faceswap_lab as lab
from faceswap_lab.actors.cast import Take
from faceswap_lab.faces.frame import Frame
from faceswap_lab.files import lab_root
from faceswap_lab.trust import export
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.people import reopened
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.views import figures, sheets

HERE = Path(__file__).parent / "pictures"
SHARES = (0.0, 0.5, 1.0)
NUM_CAST = 20


def main() -> None:
    """Frames of the harder direction from the worst to the best, the photograph after the swap, and some of the cast."""
    cast()
    verdicts = [run for run in ScoreRun.find(finished=True) if "psnr_face" in run.scores][:2]
    verdict = min(verdicts, key=lambda run: run.gain("psnr_face"))
    swap = SwapRun.open(verdict.inputs["result"])
    frames = json.loads(verdict.artifact("frames.json").read_text())
    order = np.argsort([row["value.psnr"] for row in frames])
    places = [int(order[round(share * (len(order) - 1))]) for share in SHARES]
    _, target = swap.people()
    truth = reopened(verdict.inputs["truth"])
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
    _out(figures.pixels(figure), "demo.png", swap)
    photograph = next(run for run in SwapRun.find(finished=True) if run.inputs["swapper"] == "warp")
    _out(photograph.footage()[0].image, "photograph.jpg", photograph)


def cast() -> None:
    """Twenty actors in one light."""
    page = sheets.cast_sheet(range(NUM_CAST), side=128, columns=10).image
    print(export.export_portrait(page, HERE / "cast.jpg", root=lab_root(), subject=f"actor:0 to {NUM_CAST - 1}").path)


def _out(image: np.ndarray, name: str, run: lab.Run) -> None:
    done = export.export(Frame(image=image, origin=run.id), HERE / name, lineage=run.lineage(), root=run.root)
    print(done.path)


if __name__ == "__main__":
    main()
