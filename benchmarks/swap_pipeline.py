"""The swap pipeline beside insightface's own calls and beside its networks alone. `python benchmarks/swap_pipeline.py [--quick]`.

Reference A is what insightface's documentation shows, frame by frame: `FaceAnalysis.get` (detection only), then for each face
`INSwapper.get` with `paste_back=True`. Reference B, the floor, is the same ONNX files run on ready tensors, plus decoding and
encoding, one after the other. All read the same clip through the same reader and write through the same lossless encoder, in
turn, in one process. Ends with one line of JSON; `--quick` leaves out the large network and the memory, which take long.
`--flame` prints where the threads of the pipeline are. What was found stands in benchmarks/README.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from faceswap_lab.faces import video
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Clip, Grant, digest
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.canvas import HostCanvas
from faceswap_lab.models.insight import InsightEngine
from faceswap_lab.models.inswapper import Inswapper
from faceswap_lab.models.protocols import Source, Swapped
from faceswap_lab.models.stages import overlapped
from faceswap_lab.models.stream import StreamConfig, swap_frames
from tests import networks, packs

CPU = torch.device("cpu")
PASTE_BARS = {160: 30.0, 240: 30.0, 300: 30.0, 480: 10.0}


PARTS = ("paste", "small", "first", "memory", "large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute on a quiet machine")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="only these; default: all, with --quick the first three")
    parser.add_argument("--flame", action="store_true", help="sample the threads and print where they are")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    parts = options.parts or (PARTS[:3] if options.quick else PARTS)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    warnings.filterwarnings("ignore", category=FutureWarning, module="insightface")
    bars: dict[str, dict[str, Any]] = {}
    if find_spec("insightface") is None:
        print("nothing to compare with: the library insightface is not installed (pip install -e '.[insight]')")
        print(json.dumps({"name": "swap_pipeline", "machine": machine(options.threads), "bars": bars}))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        pack = packs.pack(folder / "pack")
        small = packs.swapper(folder / "small.onnx", batch=None)
        if "paste" in parts:
            measure_paste(small, options.quick, bars)
        if "small" in parts:
            frames, times = (16, 2) if options.quick else (48, 5)
            measure_pipeline("small", folder, pack, small, frames, times, StreamConfig(select="all"), bars)
        if "first" in parts:
            measure_first_frame(pack, small, 3 if options.quick else 5, bars)
        if options.flame:
            print_flame(folder, pack, small)
        if "memory" in parts:
            measure_memory(folder, pack, small, bars)
        if "large" in parts:
            net = networks.Large().eval()
            large = networks.save_large(net, folder / "large.onnx")
            measure_precision(net, large, bars)
            del net
            measure_pipeline("large", folder, pack, large, 6, 2, StreamConfig(select="all", batch=2), bars)
    print(json.dumps({"name": "swap_pipeline", "machine": machine(options.threads), "bars": bars}))


def machine(threads: int) -> str:
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, opencv {cv2.__version__}"
    return f"{model}, {threads} threads, load {os.getloadavg()[0]:.1f}, {versions}, commit {commit or 'unknown'}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def set_bar(bars: dict[str, Any], name: str, value: float, bar: float, *, at_least: bool) -> None:
    ok = value >= bar if at_least else value <= bar
    bars[name] = {"value": round(value, 3), "bar": bar, "ok": bool(ok)}
    print(f"  {name}: {value:.3g} (bar {'>=' if at_least else '<='} {bar:g}: {'ok' if ok else 'MISSED'})", flush=True)


def interleaved(works: dict[str, Callable[[], object]], times: int, *, calls: int = 1) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of each work, `times` times in turn, each the mean of `calls`, after one round that does not count."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(times + 1):
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                work()
            if number:
                found[name].append(((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls))
    return found


def ratio(found: dict[str, list[tuple[float, float]]], above: str, below: str, which: int = 0) -> float:
    """Median of the rounds' ratios: what disturbs one round disturbs both sides of it."""
    return statistics.median(a[which] / b[which] for a, b in zip(found[above], found[below], strict=True))


def middle(found: dict[str, list[tuple[float, float]]], name: str, which: int = 0) -> float:
    return statistics.median(each[which] for each in found[name])


# --- crop, mask and paste -------------------------------------------------------------------------------------------------------


class ReadySession:
    """Stands for a network that takes no time: `INSwapper.get` is then its warps and its paste-back alone."""

    def __init__(self, answer: np.ndarray) -> None:
        self._answer = answer

    def get_inputs(self) -> list[Any]:  # noqa: D102
        return [_Port("target", [1, 3, 128, 128]), _Port("source", [1, 512])]

    def get_outputs(self) -> list[Any]:  # noqa: D102
        return [_Port("output", [1, 3, 128, 128])]

    def run(self, *_: object) -> list[np.ndarray]:  # noqa: D102
        return [self._answer]


@dataclass
class _Port:
    name: str
    shape: list[int]


def measure_paste(swapper: Path, quick: bool, bars: dict[str, Any]) -> None:
    """1080p, one face, by the side of the crop's square in the frame: ours against insightface's, without any network."""
    print("crop + mask + paste, 1080p, one face: milliseconds of wall time (of CPU)")
    from insightface.app.common import Face

    rng = np.random.default_rng(0)
    answer = rng.random((1, 3, 128, 128), dtype=np.float32)
    with redirect_stdout(StringIO()):
        from insightface.model_zoo.inswapper import INSwapper

        theirs = INSwapper(str(swapper), ReadySession(answer))
    image = rng.integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    bgr = np.ascontiguousarray(image[..., ::-1])
    code = Face(embedding=rng.normal(size=512).astype(np.float32))
    swapped = Swapped(pixels=torch.from_numpy(answer))
    for side, bar in PASTE_BARS.items():
        keypoints = _keypoints(side)
        faces = Faces(
            frame_index=np.zeros(1, np.int64),
            boxes=np.array([[800, 400, 800 + side, 400 + side]], np.float32),
            keypoints=keypoints[None],
            scores=np.ones(1, np.float32),
        )
        frame, face = Frame(image=image.copy(), origin="benchmark"), Face(kps=keypoints)

        def ours(frame: Frame = frame, faces: Faces = faces) -> None:
            canvas = HostCanvas([frame], owned=True)
            canvas.paste(canvas.cut(faces, template="arcface-128", size=128), swapped)

        def insight(face: Any = face) -> None:
            theirs.get(bgr, face, code, paste_back=True)

        found = interleaved({"A": insight, "ours": ours}, 5 if quick else 15, calls=3)
        wall, cpu = ratio(found, "A", "ours"), ratio(found, "A", "ours", 1)
        times = {name: f"{1e3 * middle(found, name):.2f} ({1e3 * middle(found, name, 1):.2f})" for name in found}
        print(f"  {side} px: A {times['A']}, ours {times['ours']}; {wall:.0f} times less (CPU {cpu:.0f})")
        set_bar(bars, f"paste_{side}", wall, bar, at_least=True)


def _keypoints(side: int) -> np.ndarray:
    """Five points, a little turned, whose crop by insightface's alignment is a square of `side` pixels in mid-frame."""
    from faceswap_lab.faces.align import template_points

    points = template_points("arcface-128", 128) - 63.5
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    return (points @ turn.T * side / 128 + (960, 540)).astype(np.float32)


# --- the whole pipeline ---------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """One clip, and the networks as each side loads them."""

    clip: Clip
    pack: Path
    swapper: Path
    folder: Path
    config: StreamConfig

    def __post_init__(self) -> None:
        from insightface.app import FaceAnalysis
        from insightface.model_zoo.inswapper import INSwapper

        provider = ["CPUExecutionProvider"]
        with redirect_stdout(StringIO()):
            self.analysis = FaceAnalysis(str(self.pack), allowed_modules=["detection"], providers=provider)
            self.analysis.prepare(ctx_id=-1)
            self.theirs = INSwapper(str(self.swapper), onnxruntime.InferenceSession(str(self.swapper), providers=provider))
        self.engine = InsightEngine(self.pack, CPU)
        self.ours = Inswapper.open(self.swapper, CPU, embedder=self.engine.embedder)
        frame = self.clip[0]
        faces = self.engine.embed(frame, self.engine.detect(frame)[0:1])
        self.codes = self.ours.encode([Source(subject="actor:0", frames=[frame], faces=[faces])])
        assert faces.embeddings is not None
        self.source = _their_face(embedding=faces.embeddings[0])
        self.spent: dict[str, float] = {}

    def stream(self) -> Iterator[Frame]:
        """Frames of our pipeline."""
        arguments: dict[str, Any] = {"engine": self.engine, "swapper": self.ours, "codes": self.codes, "device": CPU}
        frames = swap_frames(self.clip, config=self.config, corrections=Corrections(), spent=self.spent, **arguments)
        return (each.frame for each in frames)

    def encode(self, frames: Iterator[Frame]) -> None:
        """What every side does with its frames."""
        video.encode(self.folder / "out.mkv", frames, fps=25, lossless=True)

    def run_ours(self) -> None:
        """Encoding has a thread of its own, as in the verb `swap`."""
        self.encode(overlapped(self.stream(), [], under_way=8))

    def run_insightface(self) -> None:
        """Reference A."""
        self.encode(self._insightface())

    def _insightface(self) -> Iterator[Frame]:
        for frame in self.clip.frames():
            image = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
            for face in self.analysis.get(image):
                image = self.theirs.get(image, face, self.source, paste_back=True)
            yield Frame(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), origin=frame.origin, index=frame.index, time_s=frame.time_s)

    def run_networks(self, num_faces: int) -> None:
        """The same runs of the same files on ready tensors: the detector on the sizes it searches, the swapper on each batch."""
        detector, swapper = self.engine._detector, self.ours._session
        blobs = [np.zeros((1, 3, height, width), np.float32) for width, height in detector.input_sizes]
        batch = self.config.batch_size
        crops, codes = np.zeros((batch * num_faces, 3, 128, 128), np.float32), np.repeat(self.codes, batch * num_faces, 0)
        left = len(self.clip)
        while left > 0:
            count = min(batch, left)
            for _ in range(count):
                for blob in blobs:
                    detector.session.run(None, {detector.input_name: blob})
            swapper.run(None, {"target": crops[: count * num_faces], "source": codes[: count * num_faces]})
            left -= count

    def run_codec(self) -> None:
        """Decoding and encoding alone."""
        self.encode(self.clip.frames())


def _their_face(**fields: Any) -> Any:
    from insightface.app.common import Face

    return Face(**fields)


def clip_of(folder: Path, num_frames: int, num_faces: int, **options: Any) -> Clip:
    path = folder / f"clip-{num_frames}-{num_faces}.mp4"
    video.encode(path, networks.Squares(num_frames, num_faces, **options).frames(), fps=25)
    return Clip(Grant(path=path, sha256=digest(path), subject="actor:0", basis="synthetic"))


def measure_pipeline(
    name: str,
    folder: Path,
    pack: Path,
    swapper: Path,
    num_frames: int,
    times: int,
    config: StreamConfig,
    bars: dict[str, Any],
) -> None:
    for num_faces in (1, 4):
        bench = Bench(clip_of(folder, num_frames, num_faces), pack, swapper, folder, config)
        assert len(bench.engine.detect(bench.clip[num_frames // 2])) == num_faces
        check_same(bench)
        bench.spent.clear()
        works: dict[str, Callable[[], object]] = {
            "A": bench.run_insightface,
            "ours": bench.run_ours,
            "networks": lambda bench=bench, num_faces=num_faces: bench.run_networks(num_faces),
            "codec": bench.run_codec,
        }
        found = interleaved(works, times)
        print(f"1080p, {num_faces} faces, {name} network, {num_frames} frames, {times} rounds: milliseconds a frame, wall (CPU)")
        for work in works:
            each = (1e3 * middle(found, work, which) / num_frames for which in (0, 1))
            print("  {:<9} {:8.1f} ({:.1f})".format(work, *each))
        rounds = times + 1
        stages = {stage: 1e3 * seconds / num_frames / rounds for stage, seconds in bench.spent.items()}
        print("  busy by stage:", ", ".join(f"{stage} {ms:.1f}" for stage, ms in stages.items()), "ms a frame")
        floor = [(n[0] + c[0], n[1] + c[1]) for n, c in zip(found["networks"], found["codec"], strict=True)]
        found["floor"] = floor
        over = ratio(found, "A", "ours")
        if name == "small":
            set_bar(bars, f"small_{num_faces}_over_A", over, 3.0, at_least=True)
        else:
            print(f"  A takes {over:.2f} times as long: the network is nearly all of it")
        set_bar(
            bars, f"{name}_{num_faces}_of_floor", ratio(found, "ours", "floor"), 1.25 if name == "small" else 1.1, at_least=False
        )
        if name == "large":
            glue = statistics.median((o[1] - f[1]) / o[1] for o, f in zip(found["ours"], floor, strict=True))
            set_bar(bars, f"large_{num_faces}_glue_cpu_share", glue, 0.10, at_least=False)


def check_same(bench: Bench) -> None:
    """Both sides swap the same faces: in the middle of each, where both show the network's answer alone, they differ by little."""
    (ours,), (theirs,) = (list(islice(frames, 1)) for frames in (bench.stream(), bench._insightface()))
    faces = bench.engine.detect(bench.clip[0])
    for box in faces.boxes:
        x, y = (round(float(box[i] + box[i + 2]) / 2) for i in (0, 1))
        a, b = (frame.image[y - 15 : y + 15, x - 15 : x + 15].astype(int) for frame in (ours, theirs))
        assert np.abs(a - b).mean() < 8, f"the two sides show different pictures: {np.abs(a - b).mean():.1f} levels apart"
        assert np.abs(a - bench.clip[0].image[y - 15 : y + 15, x - 15 : x + 15]).mean() > 8, "nothing was swapped"


def measure_first_frame(pack: Path, swapper: Path, times: int, bars: dict[str, Any]) -> None:
    """From the call to the frame, one frame alone: the first after one that preloaded everything, against later ones."""
    code = f"""
import statistics, sys, time
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
import numpy as np, torch
from benchmarks.swap_pipeline import *
engine = InsightEngine(Path({str(pack)!r}), CPU)
swapper = Inswapper.open(Path({str(swapper)!r}), CPU, embedder=engine.embedder)
footage = networks.Squares(13, 1)
codes = np.ones((1, 512), np.float32) / 512**0.5
def swap(number):
    (done,) = swap_frames(footage, engine=engine, swapper=swapper, codes=codes, config=StreamConfig(batch=1), device=CPU,
        corrections=Corrections(), start=number, stop=number + 1)
    return done
swap(12)
times = []
for number in range(12):
    start = time.perf_counter()
    done = swap(number)
    times.append(time.perf_counter() - start)
    assert len(done.faces) == 1
print(times[0] / statistics.median(times[1:]), 1e3 * times[0])
"""
    ratios = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
        )
        ratios.append(tuple(float(value) for value in done.stdout.split()))
    print(f"first frame after a preloading one, a process each: {', '.join(f'{first:.0f} ms' for _, first in ratios)}")
    set_bar(bars, "first_frame_over_warm", statistics.median(each for each, _ in ratios), 1.2, at_least=False)


# --- memory, precision, flames ----------------------------------------------------------------------------------------------------


def measure_memory(folder: Path, pack: Path, swapper: Path, bars: dict[str, Any]) -> None:
    """Growth of the process's memory over frames 1,000 to 4,000, in MB per 1,000 frames: the slope of a straight line."""
    span = (1000, 4000)
    bench = Bench(clip_of(folder, span[1], 1, size=(360, 640), side=80), pack, swapper, folder, StreamConfig(select="all"))
    numbers, sizes = [], []
    for frame in bench.stream():
        if frame.index >= span[0] and frame.index % 20 == 0:
            numbers.append(frame.index / 1000)
            sizes.append(resident_mb())
    slope = float(np.polyfit(numbers, sizes, 1)[0])
    print(f"memory, 640 x 360, frames {span[0]} to {span[1]}: {sizes[0]:.0f} to {sizes[-1]:.0f} MB")
    set_bar(bars, "memory_mb_per_1000_frames", slope, 1.0, at_least=False)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_precision(net: networks.Large, path: Path, bars: dict[str, Any]) -> None:
    """bf16 against fp32, both in torch, and onnxruntime's fp32: seconds a face, and the difference of the pictures in levels."""
    x, code = torch.rand(1, 3, 128, 128), torch.randn(1, networks.CODE)
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 16), 128, mode="bicubic").clamp(0, 1) * 0.9 + 0.1 * x
    code = code / code.norm()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers: dict[str, np.ndarray] = {}
    last = net.to(memory_format=torch.channels_last)

    def run(kind: str) -> None:
        if kind == "onnxruntime fp32":
            answers[kind] = session.run(None, {"target": x.numpy(), "source": code.numpy()})[0]
            return
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=kind == "torch bf16"):
            answers[kind] = last(x.contiguous(memory_format=torch.channels_last), code).float().numpy()

    kinds = ("onnxruntime fp32", "torch fp32", "torch bf16")
    found = interleaved({kind: lambda kind=kind: run(kind) for kind in kinds}, 5)
    print("large network, one face:", ", ".join(f"{kind} {1e3 * middle(found, kind):.0f} ms" for kind in kinds))
    assert np.abs(answers[kinds[0]] - answers[kinds[1]]).max() < 1e-2, "the ONNX file and the torch network are one network"
    apart = 255 * np.abs(answers["torch bf16"] - answers["torch fp32"])
    print(f"  bf16 differs by {apart.mean():.3f} levels in the mean, {np.quantile(apart, 0.99):.2f} at the 99th percentile")
    set_bar(bars, "bf16_mean_levels", float(apart.mean()), 0.5, at_least=False)
    set_bar(bars, "bf16_p99_levels", float(np.quantile(apart, 0.99)), 2.0, at_least=False)
    gains = {kind: ratio(found, kind, "torch bf16") for kind in kinds[:2]}
    print("  bf16's gain:", ", ".join(f"{gain:.2f} over {kind}" for kind, gain in gains.items()))


def print_flame(folder: Path, pack: Path, swapper: Path) -> None:
    """Every 2 ms where each of the pipeline's threads is, as a tree of shares; waiting for another stage is left out."""
    bench = Bench(clip_of(folder, 120, 4), pack, swapper, folder, StreamConfig(select="all"))
    bench.run_ours()
    stacks: Counter[tuple[str, ...]] = Counter()
    running = threading.Event()

    def sample() -> None:
        names = {"read", "find", "swap", "paste", "MainThread"}
        while not running.wait(0.002):
            threads = {thread.ident: thread.name for thread in threading.enumerate() if thread.name in names}
            for ident, frame in sys._current_frames().items():
                if ident not in threads:
                    continue
                stack, at = [], frame
                while at is not None:
                    stack.append(f"{Path(at.f_code.co_filename).stem}.{at.f_code.co_name}")
                    at = at.f_back
                if any(name.startswith("threading.wait") for name in stack):
                    continue
                kept = [name for name in reversed(stack) if not name.startswith(("threading.", "swap_pipeline.", "runpy."))]
                stacks[(threads[ident], *kept[:6])] += 1

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    bench.run_ours()
    running.set()
    sampler.join()
    _print_tree(stacks)


def _print_tree(stacks: Counter[tuple[str, ...]]) -> None:
    total = sum(stacks.values())

    def show(prefix: tuple[str, ...]) -> None:
        below: Counter[str] = Counter()
        for stack, count in stacks.items():
            if stack[: len(prefix)] == prefix and len(stack) > len(prefix):
                below[stack[len(prefix)]] += count
        for name, count in below.most_common():
            if count >= 0.01 * total:
                print(f"  {'  ' * len(prefix)}{100 * count / total:4.0f} %  {name}")
                show((*prefix, name))

    print("where the threads are, of all samples that do not wait")
    show(())


if __name__ == "__main__":
    main()
