"""Actors judged: speed by stage, whether a detector finds them, whether they are told apart, where its points fall.

    python benchmarks/actors.py            24 test people, 6 views each: a few minutes
    python benchmarks/actors.py --quick    under a minute or two, few people: a check that it runs
    python benchmarks/actors.py --full     200 test people, 10 views each, and 1,000 frames rendered, killed and resumed

The people are of the test split; their pictures are undegraded and nothing is worn or held. Ends with one line of JSON. The bar
on speed is for two otherwise idle cores and counts the frames of two processes with one thread each, as `render --workers 2`
works; the time of one picture with two threads stands beside it. `--device cuda` measures one process on that device.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import argparse
import json
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.reference import unit_seconds
from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.gfx import shadow
from faceswap_lab.actors.head.landmarks68 import keypoints5
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.render import render as rendering
from faceswap_lab.actors.render import scene
from faceswap_lab.actors.splits import seeds_of
from faceswap_lab.faces.face import largest
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines.offline import OfflineEngine

STAGES = (
    (scene, "pose", "geometry"),
    (scene, "rasterise", "rasterising"),
    (shadow, "rasterise", "rasterising shadow"),
    (scene, "compose", "hair, cloth, attributes"),
    (rendering, "shade", "shading and shadow"),
    (rendering, "_develop", "background, film, noise"),
    (rendering, "_with_truth", "ground truth"),
)
FRAME_UNITS = 42.0
"""A 256-pixel frame took 28.1 on two loaded cores of a Xeon; the margin of a half is that which the bar of 13 frames/s had."""
SIZE, DETECTED_YAW = 256, np.radians(60)
POINTS = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")
MESH_OF = ((33, 133), (362, 263), (4,), (61,), (291,))
Bars = dict[str, dict[str, object]]


def bar(value: float, limit: float, *, at_least: bool) -> dict[str, object]:
    return {"value": round(value, 4), "bar": limit, "ok": bool(value >= limit if at_least else value <= limit)}


# --- speed ------------------------------------------------------------------------------------------------------------------


@contextmanager
def timed(spent: dict[str, float], device: str) -> Iterator[None]:
    """Adds up the seconds spent in each stage."""

    def wrap(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            settle(device)
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
            return result

        return run

    patches = [mock.patch.object(module, name, wrap(label, getattr(module, name))) for module, name, label in STAGES]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def settle(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def frame_times(size: int, num_frames: int, device: str) -> tuple[float, dict[str, float]]:
    """Median milliseconds per frame, and the mean of each stage."""
    figures = [build_figure(seed, texture_rows(size), device) for seed in (7, 21)]
    performance = Performance(kind="range", seed=1)
    spent: dict[str, float] = {}
    times = []
    for figure in figures:
        rendering.render(figure, performance.view(0, 0.0), size=size)
    with timed(spent, device):
        for index in range(num_frames):
            start = time.perf_counter()
            rendering.render(figures[index % 2], performance.view(index, 0.0), size=size)
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times), {name: round(1e3 * total / num_frames, 1) for name, total in spent.items()}


def _film(num_frames: int, ready: object, go: object, seconds: object) -> None:
    torch.set_num_threads(1)
    figures = [build_figure(seed, texture_rows(SIZE)) for seed in (7, 21)]
    performance = Performance(kind="range", seed=1)
    rendering.render(figures[0], performance.view(0, 0.0), size=SIZE)
    ready.release()  # type: ignore[attr-defined]
    go.wait()  # type: ignore[attr-defined]
    units, start, worked = [unit_seconds()], time.perf_counter(), 0.0
    for index in range(num_frames):
        before = time.process_time()
        rendering.render(figures[index % 2], performance.view(index, 0.0), size=SIZE)
        worked += time.process_time() - before
        if index % 4 == 3:
            pause = time.perf_counter()
            units.append(unit_seconds())
            start += time.perf_counter() - pause
    seconds.put((time.perf_counter() - start, worked, statistics.median(units)))  # type: ignore[attr-defined]


def frames_per_second(num_frames: int) -> tuple[float, float, float]:
    """Of two processes with one thread each, at 256 pixels: by the clock, and by the time that the cores really worked for them;
    and what a frame's working time is in units of the reference, which each process measures between its frames.
    """
    context = multiprocessing.get_context("spawn")
    ready, go, seconds = context.Semaphore(0), context.Event(), context.Queue()
    workers = [context.Process(target=_film, args=(num_frames, ready, go, seconds)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    go.set()
    spent = [seconds.get() for _ in workers]
    for worker in workers:
        worker.join()
    units = statistics.mean(worked / unit for _, worked, unit in spent) / num_frames
    return 2 * num_frames / max(clock for clock, _, _ in spent), 4 * num_frames / sum(worked for _, worked, _ in spent), units


def speed(num_frames: int, threads: int, device: str) -> Bars:
    torch.set_num_threads(threads)
    start = time.perf_counter()
    load_rig()
    print(f"rig {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    build_figure(99, texture_rows(SIZE))
    build_figure(98, texture_rows(SIZE))
    print(f"two new actors {time.perf_counter() - start:.2f} s")
    bars: Bars = {}
    for size in (SIZE, 128):
        median, stages = frame_times(size, num_frames, device)
        print(f"{size} px on {device}, {threads} threads: {median:.1f} ms a picture, {1e3 / median:.1f} frames/s  {stages}")
        bars[f"ms_per_frame_{size}"] = {"value": round(median, 1)}
    if device == "cpu":
        rate, worked, units = frames_per_second(num_frames)
        print(f"{SIZE} px, 2 processes of 1 thread: {rate:.1f} frames/s by the clock, {worked:.1f} by the cores' working time")
        print(f"a frame works {units:.1f} times as long as one matrix product and one memory copy")
        bars["frames_per_s_256_by_working_time"] = {"value": round(worked, 2)}
        bars["frames_per_s_256_two_cores"] = {"value": round(rate, 2)}
        bars["frame_256_over_reference"] = bar(units, FRAME_UNITS, at_least=False)
    return bars


# --- faces found, people told apart ------------------------------------------------------------------------------------------


def views_of(seed: int, num_views: int) -> Iterator[tuple[float, rendering.Rendered]]:
    """(yaw, picture) of a person in varied views."""
    take = Actor(seed).perform("range", seconds=num_views / 25, seed=seed % 10_000, size=SIZE, wears="none")
    for index in range(num_views):
        yield take.view(index).yaw, take.rendered(index)


def cast_judged(num_people: int, num_views: int) -> Bars:
    engine, found, asked, vectors, who = OfflineEngine(), 0, 0, [], []
    for seed in seeds_of("test")[:num_people]:
        for yaw, rendered in views_of(seed, num_views):
            frame = Frame(image=rendered.image, origin=f"actor:{seed}")
            face = largest(engine.detect(frame))
            if abs(yaw) <= DETECTED_YAW:
                asked, found = asked + 1, found + len(face)
            if len(face):
                embedded = engine.embed(frame, face).embeddings
                assert embedded is not None
                vectors.append(embedded[0])
                who.append(seed)
    same, different = cosines(np.array(vectors), np.array(who))
    share = roc_area(same, different)
    apart = (same.mean() - different.mean()) / np.sqrt((same.var() + different.var()) / 2)
    print(f"{num_people} test people x {num_views} views: detected {found} of {asked} within 60 degrees of yaw")
    for name, values in (("the same person", same), ("different people", different)):
        print(f"cosine of {name} {values.mean():.3f} +- {values.std():.3f}")
    print(f"AUC {share:.4f}, d' {apart:.2f}")
    edges = np.linspace(-0.2, 1, 13)
    for name, values in (("same", same), ("different", different)):
        counts = np.histogram(values, edges)[0] / len(values)
        print(f"  {name:9}" + " ".join(f"{edge:+.1f}:{100 * count:4.1f}%" for edge, count in zip(edges, counts, strict=False)))
    return {
        "detected_within_60_degrees": bar(found / asked, 0.97, at_least=True),
        "identity_auc": bar(share, 0.985, at_least=True),
        "different_people_mean_cosine": bar(float(different.mean()), 0.45, at_least=False),
    }


def cosines(vectors: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of all pairs of pictures of the same person, and of different people."""
    table, rows = vectors @ vectors.T, np.triu_indices(len(who), 1)
    same = (who[:, None] == who)[rows]
    return table[rows][same], table[rows][~same]


def roc_area(same: np.ndarray, different: np.ndarray) -> float:
    """The chance that a pair of one person is more alike than a pair of two."""
    order = np.sort(different)
    return float(((np.searchsorted(order, same, "left") + np.searchsorted(order, same, "right")) / 2 / len(order)).mean())


def points_judged(num_people: int) -> Bars:
    """Where the detector's five points lie on frontal neutral portraits, in hundredths of the eyes' distance.

    The mesh network is a second opinion: what it shares with the detector against our points counts as ours, the difference
    between the two networks as the detector's own. Two networks may share a bias on drawn faces, so "ours" is an upper bound.
    """
    engine, own, ours = OfflineEngine(), [], []
    for seed in seeds_of("test")[:num_people]:
        rendered = Actor(seed).perform("still", seconds=0.04, size=SIZE, wears="none").rendered(0)
        frame = Frame(image=rendered.image, origin=f"actor:{seed}")
        face = largest(engine.detect(frame))
        if not len(face):
            continue
        dense = engine.landmarks(frame, face).landmarks
        assert dense is not None
        mesh = np.array([dense[0][list(rows)].mean(0) for rows in MESH_OF])
        truth = keypoints5(rendered.landmarks68)
        apart = np.linalg.norm(truth[0] - truth[1])
        own.append(100 * (face.keypoints[0] - mesh) / apart)
        ours.append(100 * (mesh - truth) / apart)
    for name, part, rest in zip(POINTS, np.mean(own, axis=0), np.mean(ours, axis=0), strict=True):
        shifts = {"detector against ours": part + rest, "its own": part, "shared by both networks": rest}
        said = ", ".join(f"{label} ({x:+5.1f}, {y:+5.1f})" for label, (x, y) in shifts.items())
        print(f"  {name:19} {said}  % of the eyes' distance")
    whole = np.linalg.norm(np.array(own) + np.array(ours), axis=2).mean()
    shared = np.linalg.norm(np.mean(ours, axis=0), axis=1).mean()
    print(f"  mean error {whole:.1f} %; shared bias {shared:.1f} %")
    return {
        "five_points_error_percent": {"value": round(float(whole), 2)},
        "shared_bias_percent": {"value": round(float(shared), 2)},
    }


# --- killed and resumed -------------------------------------------------------------------------------------------------------

JOB = """
import sys
from faceswap_lab.verbs.render.render import RenderRecipe, render
if __name__ == "__main__":
    recipe = RenderRecipe(first=2_000_000, num_actors=50, num_views=20, size=128, shard_size=50, maps=False)
    render(recipe, workers=int(sys.argv[1]))
"""


def resumed() -> Bars:
    """1,000 frames by two workers, killed twice and resumed, against an unbroken run of one worker."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.py"
        job.write_text(JOB)
        roots = [Path(folder) / name for name in ("broken", "whole")]
        for root, kills, workers in zip(roots, (2, 0), ("2", "1"), strict=True):
            root.mkdir()
            environment = os.environ | {"FACESWAP_LAB_ROOT": str(root)}
            for kill in range(kills):
                work = subprocess.Popen([sys.executable, str(job), workers], env=environment, start_new_session=True)
                while work.poll() is None and len(list(root.glob("runs/*/artifacts/shards/*.tar"))) < 5 * (kill + 1):
                    time.sleep(0.05)
                os.killpg(work.pid, signal.SIGKILL)
                work.wait()
            subprocess.run([sys.executable, str(job), workers], env=environment, check=True)
        made = [json.loads(next(root.glob("runs/*/artifacts/manifest.json")).read_text())["shards"] for root in roots]
    equal = made[0] == made[1] and sum(row["count"] for row in made[0]) == 1000
    verdict = "equal to" if equal else "NOT equal to"
    print(f"1,000 frames by 2 workers, killed twice and resumed: {verdict} an unbroken run, {len(made[0])} shards")
    return {"resumed_equals_unbroken": bar(float(equal), 1.0, at_least=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames and people")
    parser.add_argument("--full", action="store_true", help="200 people x 10 views, 1,000 frames killed and resumed")
    parser.add_argument("--only", choices=["speed", "cast", "points", "resumed"], help="one part")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the speed")
    options = parser.parse_args()
    people, views, frames = (200, 10, 60) if options.full else (8, 4, 8) if options.quick else (24, 6, 40)
    parts: dict[str, Callable[[], Bars]] = {
        "speed": lambda: speed(frames, options.threads, options.device),
        "cast": lambda: cast_judged(people, views),
        "points": lambda: points_judged(min(people, 60)),
    }
    if options.full or options.only == "resumed":
        parts["resumed"] = resumed
    bars: Bars = {}
    for name, part in parts.items():
        if options.only in (None, name):
            bars |= part()
    machine = f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    print(json.dumps({"name": "actors", "machine": machine, "bars": bars}))


if __name__ == "__main__":
    main()
