"""Milliseconds per rendered frame by stage, and what a new actor costs. `python benchmarks/actors.py [--quick]`.

Ends with one line of JSON. The bars are for two otherwise idle cores.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from faceswap_lab.actors import render as rendering
from faceswap_lab.actors import shading
from faceswap_lab.actors.figure import build_figure, texture_rows
from faceswap_lab.actors.perform import Performance
from faceswap_lab.actors.rig import load_rig

STAGES = (
    (rendering, "pose"),
    (rendering, "rasterise"),
    (rendering, "surface_of"),
    (shading, "material_of"),
    (rendering, "shade"),
    (rendering, "_resolve"),
    (rendering, "_with_truth"),
)
BARS_MS = {"256": 77.0, "128": 35.0}


@contextmanager
def timed(spent: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds spent in each stage."""

    def wrap(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
            return result

        return run

    patches = [mock.patch.object(module, name, wrap(name, getattr(module, name))) for module, name in STAGES]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def frame_times(size: int, num_frames: int) -> tuple[float, dict[str, float]]:
    """Median milliseconds per frame and the mean of each stage (`shade` holds `material_of`)."""
    figures = [build_figure(seed, texture_rows(size)) for seed in (7, 21)]
    performance = Performance(kind="range", seed=1)
    spent: dict[str, float] = {}
    times = []
    rendering.render(figures[0], performance.view(0, 0.0), size=size)
    with timed(spent):
        for index in range(num_frames):
            start = time.perf_counter()
            rendering.render(figures[index % 2], performance.view(index, 0.0), size=size)
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times), {name: round(1e3 * total / num_frames, 1) for name, total in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer frames")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    load_rig()
    print(f"rig {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    build_figure(99, texture_rows(256))
    build_figure(98, texture_rows(256))
    print(f"two new actors {time.perf_counter() - start:.2f} s")
    bars = {}
    for size in (256, 128):
        median, stages = frame_times(size, 8 if options.quick else 60)
        print(f"{size} px: {median:.1f} ms  {stages}")
        bars[f"ms_per_frame_{size}"] = {"value": round(median, 1), "bar": BARS_MS[str(size)], "ok": median <= BARS_MS[str(size)]}
    machine = f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    print(json.dumps({"name": "actors", "machine": machine, "bars": bars}))


if __name__ == "__main__":
    main()
