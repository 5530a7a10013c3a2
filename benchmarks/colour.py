"""What matching a swap's colours is worth, on actors, where the truth is known. `python benchmarks/colour.py [--quick]`.

Each option of `StreamConfig.colour` on the same takes, scored on the pixels that a perfect swap changes: PSNR and SSIM against both
truths (the source's skin tone kept, the target's taken) and flicker, the mean difference in levels between how the result changes
from one frame to the next and how the truth does. The swappers: `warp`; with `--pair`, a trained pair's safetensors file; and
"other light", which answers with the truth itself as it would look under another named light: right in every point, wrong in its
colours, as a network is that does not follow the target's light. Ends with one line of JSON; there are no bars.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Int64

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.faces import align, blend
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import metrics
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import AnySwapper, Card, Crops, Needs, Source, Swapped
from faceswap_lab.models.stream.colour_match import Colour
from faceswap_lab.models.stream.probes import source_of
from faceswap_lab.models.stream.swap_frames import StreamConfig, swap_frames
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.swappers.warp import WarpSwapper

CPU = torch.device("cpu")
PAIRS = ((7, 32), (32, 7), (5, 21), (11, 40))
LIGHTS = (("soft", "studio"), ("environment", "soft"), ("dim", "soft"), ("coloured", "soft"))
"""The light of the target, and the one that the answer shows instead."""


class OtherLight:
    """Implements `protocols.Swapper`: the truth under another light, cut where the target's face was."""

    card = Card(name="other light", task="swap", licence="", source="the renderer's truth")
    needs = Needs(template="face", size=256, source="trained")

    def __init__(self, truth: list[Image]) -> None:
        self._truth = truth

    def providers(self) -> dict[str, str]:
        """None: nothing is computed."""
        return {}

    def encode(self, sources: Any) -> None:
        """Nothing: it knows the answer."""

    def __call__(self, crops: Crops, codes: None, which: Int64[np.ndarray, " n"]) -> Swapped:
        """The truth's crops, inside the template's ellipse."""
        rows = zip(crops.frame_index, crops.frame_to_crop, strict=True)
        cut = np.stack([align.crop(self._truth[int(index)], matrix, self.needs.size) for index, matrix in rows])
        mask = torch.from_numpy(blend.soft_mask(self.needs.size, template=self.needs.template))
        pixels = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255
        return Swapped(pixels=pixels, mask=mask.expand(len(crops), 1, -1, -1))


class Kept:
    """Footage whose frames were rendered once."""

    def __init__(self, take: Take) -> None:
        self._frames = list(take.frames())
        self.subject, self.origin, self.size, self.fps = take.subject, take.origin, take.size, take.fps

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames from `start` to `stop`."""
        return iter(self._frames[start:stop])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one pair, few frames")
    parser.add_argument("--pair", type=Path, metavar="FILE", help="pair.safetensors of a training of the actors 7 and 32")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    start, engine = time.perf_counter(), OfflineEngine()
    frames, pairs, lights = (4, PAIRS[:1], LIGHTS[:1]) if options.quick else (12, PAIRS, LIGHTS)
    rows: dict[str, list[dict[str, float]]] = {}
    for source, target in pairs:
        take = Actor(target).perform("speech", seconds=frames / 25, seed=3)
        swappers: dict[str, AnySwapper] = {"warp": WarpSwapper()}
        if options.pair and {source, target} == {7, 32}:
            swappers["pair"] = PairSwapper.load(options.pair, CPU)
        measure(take, Actor(source), swappers, engine, rows)
        for light, other in lights:
            shown, lit = (replace(take, performance=replace(take.performance, light=kind)) for kind in (light, other))
            answer = OtherLight([frame.image for frame in lit.recast(Actor(source)).frames()])
            measure(shown, Actor(source), {"other light": answer}, engine, rows)
    print(f"{'swapper, colour':24}" + "".join(f"{name:>14}" for name in next(iter(rows.values()))[0]))
    figures = {name: {key: float(np.mean([row[key] for row in each])) for key in each[0]} for name, each in rows.items()}
    for name, each in figures.items():
        print(f"{name:24}" + "".join(f"{value:14.3f}" for value in each.values()))
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {time.perf_counter() - start:.0f} s"
    print(json.dumps({"name": "colour", "machine": machine, "figures": figures, "bars": {}}))


def measure(
    take: Take, source: Actor, swappers: dict[str, AnySwapper], engine: OfflineEngine, rows: dict[str, list[dict[str, float]]]
) -> None:
    footage = Kept(take)
    targets = [frame.image for frame in footage.frames()]
    truths = {tone: [frame.image for frame in take.recast(source, tone=tone).frames()] for tone in ("source", "target")}
    for name, swapper in swappers.items():
        trained = swapper.needs.source == "trained"
        shown = [] if trained else [source_of(source.perform("still", seconds=5, fps=1, size=512), engine)]
        codes = swapper.encode([Source(subject=source.subject, frames=[], faces=[])] if trained else shown)
        for colour in get_args(Colour):
            config = StreamConfig(colour=colour)
            stream = swap_frames(
                footage, engine=engine, swapper=swapper, codes=codes, config=config, device=CPU, corrections=Corrections()
            )
            results = [each.frame.image for each in stream]
            rows.setdefault(f"{name}, {colour}", []).append(scores(results, targets, truths))


def scores(results: list[Image], targets: list[Image], truths: dict[str, list[Image]]) -> dict[str, float]:
    """Means over a take's frames."""
    found: dict[str, list[float]] = {}
    for tone, truth in truths.items():
        for result, target, right in zip(results, targets, truth, strict=True):
            region = metrics.changed_region(target, right)
            found.setdefault(f"PSNR, {tone}", []).append(metrics.psnr(result, right, region))
            found.setdefault(f"SSIM, {tone}", []).append(metrics.ssim(result, right, region))
    right = truths["source"]
    for number in range(1, len(results)):
        region = metrics.changed_region(targets[number], right[number])
        moved = [each[number].astype(float) - each[number - 1] for each in (results, right)]
        found.setdefault("flicker", []).append(float(np.abs(moved[0] - moved[1])[region].mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


if __name__ == "__main__":
    main()
