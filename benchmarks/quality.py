"""How good the swaps are, against the truth, and each bar that they have to reach.

    .venv/bin/python benchmarks/quality.py                       # most of the time are the pairs' trainings
    .venv/bin/python benchmarks/quality.py --quick               # few pairs, short trainings: shows that it works
    .venv/bin/python benchmarks/quality.py --only oneshot,speed

Everybody is a test actor, but for the demo's own people and the sources (200 to 215) of `anonymity`. Runs of the lab that are
finished are not made again: `--root` names another lab. `pair` trains the demo's pair and a second one that nobody picked;
`oneshot` scores the swapper for any face on the frontal track of the actor benchmark; `speed` times its network; `anonymity` puts
actors on test actors and asks both judges; `equal` runs the benchmark twice.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import faceswap_lab as lab
from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.splits import FIRST_TEST
from faceswap_lab.faces import align
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import largest
from faceswap_lab.models import device as devices
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.judges import judges
from faceswap_lab.models.judges.replaced import verdicts
from faceswap_lab.models.oneshot.net import Draped, OneshotNet, OneshotNetConfig
from faceswap_lab.models.protocols import Crops, Source
from faceswap_lab.models.registry import open_swapper
from faceswap_lab.models.stream.swap_frames import StreamConfig, swap_frames
from faceswap_lab.progress import Progress
from faceswap_lab.verbs.recipes import BenchRecipe

PAIRS = ((7, 32), (7, 21))
"""The demo's pair, and one whose people are more alike, with a floor near 20 dB."""

ANONYMOUS_FROM = FIRST_TEST + 800_000
SOURCES = range(200, 216)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure and what it has to be. `number` is of how many pairs, people or rounds."""

    name: str
    value: float
    bar: float
    number: int
    at_least: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the bar is reached."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def pair(*, quick: bool) -> list[Bar]:
    """The demo's training and scores, both directions of two pairs; the harder direction counts."""
    plan = lab.recipes.plan("smoke" if quick else "quickstart")
    found = []
    for one, other in PAIRS:
        hero, double = lab.actor(one), lab.actor(other)
        clock = time.perf_counter()
        trained = lab.train(plan.pair, source=hero, target=double)
        seconds = time.perf_counter() - clock
        scores = [
            lab.evaluate(lab.swap(take, source=source, swapper=trained), truth=take.recast(source)).scores
            for source, take in (
                (hero, double.perform("speech", seconds=plan.seconds, size=plan.size, seed=3)),
                (double, hero.perform("speech", seconds=plan.seconds, size=plan.size, seed=4)),
            )
        ]
        harder = min(scores, key=lambda each: each["psnr_face"]["value"] - each["psnr_face"]["floor"])
        psnr, name = harder["psnr_face"], f"pair {one} and {other}"
        print(f"{name}: trained in {seconds:.0f} s (0 if it was there); floor {psnr['floor']:.1f} dB", flush=True)
        if (one, other) == PAIRS[0]:
            found += [
                Bar(name=f"{name}: PSNR in the face, dB", value=psnr["value"], bar=30.0, number=1),
                Bar(name=f"{name}: SSIM", value=harder["ssim_face"]["value"], bar=0.88, number=1),
                Bar(name=f"{name}: sharpness of truth's", value=harder["sharpness"]["value"], bar=0.80, number=1),
            ]
        else:
            found.append(Bar(name=f"{name}: dB over its floor", value=psnr["value"] - psnr["floor"], bar=7.0, number=1))
    return found


def oneshot(*, quick: bool) -> list[Bar]:
    """The one-shot on the frontal track: over copy, beside truth's own identity, and beside `warp`."""
    recipe = BenchRecipe(tracks=("frontal",), methods=("copy", "warp", "oneshot", "truth"))
    run = lab.bench(recipe if quick else recipe.with_(plan="full"))
    scores = {method: each["frontal"] for method, each in run.table["scores"].items()}
    ours, warp = scores["oneshot"], scores["warp"]
    number = ours["psnr_face"]["pairs"]
    for name in ("psnr_face", "ssim_face", "sharpness"):
        print(f"{name}: one-shot {told(ours[name])}, warp {told(warp[name])}", flush=True)
    found = [
        Bar(name="one-shot: dB over copy", value=ours["psnr_face"]["gain"], bar=7.0, number=number),
        Bar(name="one-shot: SSIM", value=ours["ssim_face"]["value"], bar=0.85, number=number),
        Bar(name="one-shot: sharpness of truth's", value=ours["sharpness"]["value"], bar=0.75, number=number),
    ]
    for name in (name for name in ours if name.startswith("id_similarity@")):
        share = ours[name]["value"] / ours[name]["ceiling"]
        found.append(Bar(name=f"one-shot: {name} of truth's own", value=share, bar=0.92, number=number))
    if ours["psnr_face"]["low"] is not None:
        apart = ours["psnr_face"]["low"] - warp["psnr_face"]["high"]
        found.append(Bar(name="one-shot: dB between its interval and warp's", value=apart, bar=0.0, number=number))
    return found


def told(score: dict[str, Any]) -> str:
    """A score with its interval and its floor."""
    ends = "" if score["low"] is None else f" ({score['low']:.3f} to {score['high']:.3f})"
    return f"{score['value']:.3f}{ends}, floor {score['floor']:.3f}"


def known(engine: OfflineEngine, seed: int) -> Source:
    """An actor's portrait as a source."""
    frame = Actor(seed).perform("still", seconds=1, fps=1, size=512, wears="none")[0]
    return Source(subject=Actor(seed).subject, frames=[frame], faces=[engine.landmarks(frame, largest(engine.detect(frame)))])


def speed(*, quick: bool) -> list[Bar]:
    """Milliseconds of the one-shot for a face of a 1080p picture, by one thread: geometry and network, and the network alone."""
    engine, rounds = OfflineEngine(), 5 if quick else 30
    swapper = open_swapper("oneshot", devices.pick("cpu"), engine)
    codes = swapper.encode([known(engine, 7)])
    frame = Actor(32).perform("still", seconds=1, fps=1, size=1080, wears="none")[0]
    faces = engine.landmarks(frame, largest(engine.detect(frame)))
    assert faces.landmarks is not None
    size, template = swapper.needs.size, swapper.needs.template
    matrix = align.frame_to_crop(faces.keypoints[0], template=template, size=size)
    crops = Crops(
        pixels=torch.from_numpy(align.crop(frame.image, matrix, size)).permute(2, 0, 1)[None].float() / 255,
        frame_to_crop=matrix[None],
        frame_index=np.zeros(1, np.int64),
        template=template,
        landmarks=np.asarray(align.transform_points(matrix, faces.landmarks[0]), np.float32)[None],
    )
    whole = [timed(lambda: swapper(crops, codes, np.zeros(1, np.int64))) for _ in range(rounds)]
    print(f"with its geometry {statistics.median(whole):.0f} ms a face of {size} px", flush=True)
    net, seen = OneshotNet(OneshotNetConfig(size=size)).eval(), anything(size)  # its time doesn't depend on its weights

    def alone() -> None:
        with torch.inference_mode():
            net(seen)

    torch.set_num_threads(1)  # as the swapper does, for the same bytes with any number of threads
    spent = statistics.median(timed(alone) for _ in range(rounds))
    return [Bar(name=f"one-shot: ms of its network a face of {size} px", value=spent, bar=60.0, number=rounds, at_least=False)]


def anything(size: int) -> Draped:
    """What the network sees, of nobody."""

    def noise(channels: int, side: int) -> torch.Tensor:
        return torch.rand(1, channels, side, side)

    return Draped(
        target=noise(3, size),
        moved=noise(3, size),
        source=noise(3, size),
        shown=noise(1, size),
        place=noise(3, size),
        portrait=noise(3, size // 2),
        keeps_tone=torch.ones(1),
    )


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    clock = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - clock)


def anonymity(*, quick: bool) -> list[Bar]:
    """How many test actors, with another actor's face put on their portrait, are still recognised by either judge.

    The rules are those for actors, at a false-accept rate of 1 % each. Sources are the farthest of sixteen by SFace, as
    `lab.unlike` chooses them, and each of the sixteen in turn, as somebody chooses who looks at nothing.
    """
    engine, panel, where, number = OfflineEngine(), judges(), devices.pick("cpu"), 4 if quick else 40
    swapper = open_swapper("oneshot", where, engine)
    sources = {seed: known(engine, seed) for seed in (SOURCES[:4] if quick else SOURCES)}
    codes = {seed: swapper.encode([source]) for seed, source in sources.items()}
    vectors = {seed: vector_of(engine, source) for seed, source in sources.items()}
    taken: dict[str, list[bool]] = {"the farthest of sixteen": [], "anybody": []}
    line = Progress("people", number, unit="people")
    for each in range(number):
        take = Actor(ANONYMOUS_FROM + each).perform("still", seconds=1, fps=1, size=256, wears="none")
        own = vector_of(engine, Source(subject="", frames=[take[0]], faces=[largest(engine.detect(take[0]))]))
        farthest = min(vectors, key=lambda seed: float(vectors[seed] @ own))
        for name, seed in (("the farthest of sixteen", farthest), ("anybody", list(sources)[each % len(sources)])):
            (made,) = swap_frames(
                take,
                engine=engine,
                swapper=swapper,
                codes=codes[seed],
                config=StreamConfig(batch=1),
                device=where,
                corrections=Corrections(),
            )
            said = verdicts(take[0], made.frame, judges=panel, engine=engine, domain="actors")
            taken[name].append(any(one.taken for face in said for one in face) or not said)
        line.update(each + 1)
    line.close()
    return [
        Bar(
            name=f"anonymity, {name}: recognised by either judge",
            value=float(np.mean(told)),
            bar=0.05,
            number=number,
            at_least=False,
        )
        for name, told in taken.items()
    ]


def vector_of(engine: OfflineEngine, source: Source) -> np.ndarray:
    """SFace's unit vector of the source's first face."""
    found = engine.embed(source.frames[0], source.faces[0]).embeddings
    assert found is not None
    return np.asarray(found[0])


def equal(*, quick: bool) -> list[Bar]:
    """Whether two runs of the benchmark have one digest."""
    recipe = BenchRecipe(
        plan="smoke" if quick else "quick", tracks=("frontal", "video"), methods=("copy", "warp", "oneshot", "truth")
    )
    digests = {lab.bench(recipe, force=True).table["digest"] for _ in range(2)}
    return [Bar(name="benchmark: digests of two runs", value=len(digests), bar=1, number=2, at_least=False)]


PARTS: dict[str, Callable[..., list[Bar]]] = {
    "oneshot": oneshot,
    "speed": speed,
    "anonymity": anonymity,
    "equal": equal,
    "pair": pair,
}


def printed(bars: Sequence[Bar]) -> None:
    """A table, and the line of JSON."""
    print("| what | bar | found | of | |\n|---|---|---|---|---|")
    for bar in bars:
        sign, verdict = (">=" if bar.at_least else "<="), "met" if bar.is_met else "**missed**"
        print(f"| {bar.name} | {sign} {bar.bar:g} | {bar.value:.3g} | {bar.number} | {verdict} |")
    told = {bar.name: {"value": round(bar.value, 4), "bar": bar.bar, "n": bar.number, "ok": bar.is_met} for bar in bars}
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    print(json.dumps({"name": "quality", "machine": machine, "bars": told}))


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--root", type=Path, help="a lab to work in; default: that of this folder")
    options = parser.parse_args()
    if options.root is not None:
        os.environ["FACESWAP_LAB_ROOT"] = str(options.root)
    printed([bar for name in options.only.split(",") for bar in PARTS[name](quick=options.quick)])


if __name__ == "__main__":
    main()
