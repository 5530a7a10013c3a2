"""The swap pipeline beside insightface's own calls and beside its networks alone. `python benchmarks/swap_pipeline.py [--quick]`.

Reference A is what insightface's documentation shows, frame by frame: `FaceAnalysis.get` (detection only), then for each face
`INSwapper.get` with `paste_back=True`. Reference B, the floor, is the same ONNX files run on ready tensors, plus decoding and
encoding, one after the other. All read the same clip through the same reader, in turn, in one process. The references write whole
frames through the lossless encoder, for they have nothing else; "ours" keeps what the run of a file keeps, the patches, and "whole"
is the same pipeline with whole frames. "export" and "export whole" are what then makes an .mp4 of each.

Ends with one line of JSON: bars measured, figures without a bar, and the bars that were not measured.
`--quick` leaves out the large network and the memory, which take long; `--only large_4` measures one case on a machine that is
quiet now; `--tiny` runs any case at a size that shows nothing but that it runs. `--flame` prints where the threads of the
pipeline are. What was found stands in benchmarks/README.md.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
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
from benchmarks.reference import unit_seconds
from faceswap_lab.faces import video
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Clip, Under
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.patches.store import write_patches
from faceswap_lab.models.device import pick
from faceswap_lab.models.engines.insight import InsightEngine
from faceswap_lab.models.protocols import Source, Swapped
from faceswap_lab.models.stream.host_canvas import HostCanvas
from faceswap_lab.models.stream.stages import overlapped
from faceswap_lab.models.stream.swap_frames import StreamConfig, SwappedFrame, swap_frames
from faceswap_lab.models.swappers.inswapper import Inswapper
from tests import networks, packs
from tests.media import granted

CPU = torch.device("cpu")
# Both sides search a frame at 640 pixels: at 0 ours would look for smaller faces too, in three passes of the detector.
SAME_SEARCH = StreamConfig(select="all", search=640)
CASES = ("paste", "detect", "small_1", "small_4", "first", "memory", "precision", "large_1", "large_4")
QUICK = CASES[:5]

PASTE_SIDES = (160, 240, 300, 480)
AT_LEAST = {
    "paste_160": 30.0,
    "paste_240": 30.0,
    "paste_480": 10.0,
    "small_1_over_A": 4.0,
    "small_4_over_A": 3.0,
}
AT_MOST = {
    # CPU time in units of reference.py. 0.54 and 11.0 were found on a Xeon beside other work.
    "paste_300_units": 0.8,
    "small_1_units": 16.5,
    "small_1_of_floor": 1.25,
    "small_1_bytes_of_whole": 0.2,
    "small_4_of_floor": 1.25,
    "first_frame_over_warm": 1.2,
    "memory_mb_per_1000_frames": 1.0,
    "bf16_mean_levels": 0.5,
    "bf16_p99_levels": 2.0,
    "large_1_of_floor": 1.1,
    "large_4_of_floor": 1.1,
    "large_1_glue_cpu_share": 0.10,
    "large_4_glue_cpu_share": 0.10,
}
AT_LEAST |= {"cuda_large_1_over_A": 8.0, "cuda_large_4_over_A": 8.0}
AT_MOST |= {"cuda_large_1_glue_cpu_share": 0.20, "cuda_large_4_glue_cpu_share": 0.20}


@dataclass
class Report:
    """What was found, for the line of JSON: bars by their names above, and figures that have none."""

    bars: dict[str, dict[str, Any]]
    figures: dict[str, dict[str, float]]
    tiny: bool

    def bar(self, name: str, value: float) -> None:
        """Keep and print a figure that has a bar."""
        at_least = name in AT_LEAST
        bar = AT_LEAST[name] if at_least else AT_MOST[name]
        ok = value >= bar if at_least else value <= bar
        self.bars[name] = {"value": round(value, 3), "bar": bar, "ok": bool(ok)}
        verdict = "no verdict" if self.tiny else "ok" if ok else "MISSED"
        print(f"  {name}: {value:.3g} (bar {'>=' if at_least else '<='} {bar:g}: {verdict})", flush=True)

    def judge(self, name: str, value: float) -> None:
        """A bar where `name` has one, else a figure."""
        if name in AT_LEAST | AT_MOST:
            self.bar(name, value)
        else:
            print(f"  {name}: {value:.3g} (no bar)")
            self.figure(name, value=value)

    def figure(self, name: str, **values: float) -> None:
        """Keep figures that have no bar."""
        self.figures[name] = {key: round(value, 3) for key, value in values.items()}

    def line(self, threads: int) -> str:
        """Everything as one line of JSON. What a tiny run found is no verdict on anything and stays out."""
        if self.tiny:
            return json.dumps(
                {"name": "swap_pipeline", "machine": machine(threads), "tiny": True, "ran": sorted(self.bars), "bars": {}}
            )
        missing = sorted((AT_LEAST | AT_MOST).keys() - self.bars.keys())
        told = {"machine": machine(threads), "bars": self.bars, "not measured": missing, "figures": self.figures}
        return json.dumps({"name": "swap_pipeline", **told})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds, judged in the same way")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"only these of {', '.join(CASES)}")
    parser.add_argument("--tiny", action="store_true", help="everything at a small size: shows that it runs, measures nothing")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where the networks of the whole pipeline run")
    parser.add_argument("--flame", action="store_true", help="sample the threads and print where they are")
    parser.add_argument("--flame-graph", type=Path, metavar="FILE.svg", help="the same as a picture by py-spy (pip install py-spy)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    cases = options.only or (QUICK if options.quick else () if options.flame or options.flame_graph else CASES)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    warnings.filterwarnings("ignore", category=FutureWarning, module="insightface")
    report = Report(bars={}, figures={}, tiny=options.tiny)
    if find_spec("insightface") is None:
        print("nothing to compare with: the library insightface is not installed (make setup brings it)")
        print(report.line(options.threads))
        return
    with tempfile.TemporaryDirectory() as made:
        measure(options, cases, Path(made), report)
    print(report.line(options.threads))


def measure(options: argparse.Namespace, cases: Sequence[str], folder: Path, report: Report) -> None:
    """Each case in turn, in one folder."""
    quick, tiny, device = options.quick, options.tiny, pick(options.device)
    pack = packs.pack(folder / "pack")
    small = packs.swapper(folder / "small.onnx", batch=None)
    look: dict[str, Any] = {"size": (720, 1280), "side": 100} if tiny else {}
    if "paste" in cases:
        measure_paste(small, quick or tiny, report)
    if "detect" in cases:
        measure_detection(folder, 2 if quick or tiny else 5, device, report)
    for name in ("small_1", "small_4"):
        if name in cases:
            frames, times = (4, 1) if tiny else (48, 2) if quick else (48, 5)  # over few frames the start weighs
            clip = clip_of(folder, frames, int(name[-1]), **look)
            measure_pipeline(name, Bench(clip, pack, small, folder, SAME_SEARCH, device), times, report)
    if "first" in cases:
        measure_first_frame(pack, small, 2 if quick or tiny else 5, report)
    if options.flame or options.flame_graph:
        bench = Bench(clip_of(folder, 8 if tiny else 120, 4, **look), pack, small, folder, SAME_SEARCH, device)
        bench.run_ours()
        if options.flame:
            print_flame(bench)
        if options.flame_graph:
            draw_flame(bench, options.flame_graph)
    if "memory" in cases:
        span = (20, 60) if tiny else (1000, 4000)
        clip = clip_of(folder, span[1], 1, size=(360, 640), side=80)
        measure_memory(Bench(clip, pack, small, folder, SAME_SEARCH, CPU), span, report)
    if not {"precision", "large_1", "large_4"} & set(cases):
        return
    net = networks.Large(width=32 if tiny else 1024).eval()
    large = networks.save_large(net, folder / "large.onnx")
    if "precision" in cases:
        measure_precision(net, large, report)
    del net
    for name in ("large_1", "large_4"):
        if name in cases:
            clip = clip_of(folder, 2 if tiny else 6, int(name[-1]), **look)
            config = replace(SAME_SEARCH, batch=2)
            measure_pipeline(name, Bench(clip, pack, large, folder, config, device), 1 if tiny else 2, report)


def machine(threads: int) -> str:
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, opencv {cv2.__version__}"
    return f"{model}, {threads} threads, load {os.getloadavg()[0]:.1f}, {versions}, commit {commit or 'unknown'}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def interleaved(works: dict[str, Callable[[], object]], times: int, *, calls: int = 1) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of each work, `times` times in turn, each the mean of `calls`, after one round that does not count;
    and as "reference" the seconds of its unit, from within each round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    found["reference"] = []
    for number in range(times + 1):
        if number:
            found["reference"].append((unit_seconds(),) * 2)
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


def units(found: dict[str, list[tuple[float, float]]], name: str) -> float:
    """Median of the rounds' CPU time in units of the reference, which is a work of the same rounds."""
    return statistics.median(each[1] / unit for each, (unit, _) in zip(found[name], found["reference"], strict=True))


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


def measure_paste(swapper: Path, quick: bool, report: Report) -> None:
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
    for side in PASTE_SIDES:
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
        spent = {name: f"{1e3 * middle(found, name):.2f} ({1e3 * middle(found, name, 1):.2f})" for name in found}
        print(f"  {side} px: A {spent['A']}, ours {spent['ours']}; {wall:.0f} times less (CPU {cpu:.0f})")
        report.judge(f"paste_{side}", wall)
        report.judge(f"paste_{side}_units", units(found, "ours"))


def _keypoints(side: int) -> np.ndarray:
    """Five points, a little turned, whose crop by insightface's alignment is a square of `side` pixels in mid-frame."""
    from faceswap_lab.faces.align import template_points

    points = template_points("arcface-128", 128) - 63.5
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    return (points @ turn.T * side / 128 + (960, 540)).astype(np.float32)


def measure_detection(folder: Path, times: int, device: torch.device, report: Report) -> None:
    """Eight frames of 1080p, a detector that leaves its batch open: one by one, at once, and one by one in two threads."""
    pack = packs.pack(folder / "open")
    packs.detector(pack / "det_10g.onnx", batch="n")
    engine, frames = InsightEngine(pack, device, detect_batch=8), list(networks.Squares(8, 4).frames())
    assert engine.detects_batches
    with ThreadPoolExecutor(2) as two:
        works: dict[str, Callable[[], object]] = {
            "one by one": lambda: [engine.detect(frame) for frame in frames],
            "at once": lambda: engine.detect_all(frames),
            "two threads": lambda: list(two.map(engine.detect, frames)),
        }
        found = interleaved(works, times)
    print("detection, 1080p, eight frames, milliseconds a frame, wall (CPU):")
    for work in works:
        wall, cpu = (1e3 * middle(found, work, which) / len(frames) for which in (0, 1))
        print(f"  {work:<11} {wall:8.1f} ({cpu:.1f})")
        report.figure(f"detect_{work.replace(' ', '_')}_ms", wall=wall, cpu=cpu)


# --- the whole pipeline ---------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """One clip, and the networks as each side loads them."""

    clip: Clip
    pack: Path
    swapper: Path
    folder: Path
    config: StreamConfig
    device: torch.device

    def __post_init__(self) -> None:
        from insightface.app import FaceAnalysis
        from insightface.model_zoo.inswapper import INSwapper

        provider = ["CPUExecutionProvider"] if self.device.type == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
        with redirect_stdout(StringIO()):
            self.analysis = FaceAnalysis(str(self.pack), allowed_modules=["detection"], providers=provider)
            self.analysis.prepare(ctx_id=-1 if self.device.type == "cpu" else 0)
            self.theirs = INSwapper(str(self.swapper), onnxruntime.InferenceSession(str(self.swapper), providers=provider))
        self.engine = InsightEngine(self.pack, self.device)
        self.ours = Inswapper.open(self.swapper, self.device, embedder=self.engine.embedder)
        frame = self.clip[0]
        faces = self.engine.embed(frame, self.engine.detect(frame)[0:1])
        self.codes = self.ours.encode([Source(subject="actor:0", frames=[frame], faces=[faces])])
        assert faces.embeddings is not None
        self.source = _their_face(embedding=faces.embeddings[0])
        self.spent: dict[str, float] = {}

    def stream(self) -> Iterator[Frame]:
        """Frames of our pipeline."""
        return (each.frame for each in self.swapped())

    def swapped(self) -> Iterator[SwappedFrame]:
        """The same, with what was changed in them."""
        arguments: dict[str, Any] = {"engine": self.engine, "swapper": self.ours, "codes": self.codes, "device": self.device}
        return swap_frames(self.clip, config=self.config, corrections=Corrections(), spent=self.spent, **arguments)

    def encode(self, frames: Iterator[Frame]) -> None:
        """What every side does with its frames."""
        video.encode(self.folder / "out.mkv", frames, fps=25, lossless=True)

    def run_ours(self) -> None:
        """Writing has a thread of its own, as in the verb `swap`."""
        kept = ((each.frame, each.regions) for each in overlapped(self.swapped(), [], under_way=8))
        write_patches(self.folder / "ours.patches", kept, fps=25, size=self.clip.size)

    def run_whole(self) -> None:
        """As `run_ours`, with whole frames."""
        frames = overlapped(self.stream(), [], under_way=8)
        video.encode(self.folder / "ours.mkv", frames, fps=25, lossless=True)

    def result(self, name: str) -> Clip:
        """What `run_ours` ("ours.patches") or `run_whole` ("ours.mkv") kept."""
        under = Under(grant=self.clip.grant) if name.endswith(".patches") else None
        return Clip(granted(self.folder / name, under=under))

    def run_export(self, name: str) -> None:
        """From what was kept to an .mp4."""
        clip = self.result(name)
        video.encode(self.folder / "out.mp4", clip.frames(), fps=25)
        clip.close()

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
            at_once = count if self.engine.detects_batches else 1
            for _ in range(count // at_once):
                for blob in blobs:
                    detector.session.run(None, {detector.input_name: np.repeat(blob, at_once, 0)})
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
    return Clip(granted(path, subject="actor:0", basis="synthetic"))


def measure_pipeline(name: str, bench: Bench, times: int, report: Report) -> None:
    """`name` is small or large and the number of faces; on CUDA, too, A runs there."""
    kind, num_faces, num_frames = name.split("_")[0], int(name[-1]), len(bench.clip)
    assert len(bench.engine.detect(bench.clip[num_frames // 2])) == num_faces
    check_same(bench)
    bench.spent.clear()
    works: dict[str, Callable[[], object]] = {
        "A": bench.run_insightface,
        "ours": bench.run_ours,
        "whole": bench.run_whole,
        "networks": lambda: bench.run_networks(num_faces),
        "codec": bench.run_codec,
        "export": lambda: bench.run_export("ours.patches"),
        "export whole": lambda: bench.run_export("ours.mkv"),
    }
    check_composed(bench)
    bench.spent.clear()
    found = interleaved(works, times)
    height, width = bench.clip.size
    title = f"{width} x {height}, {num_faces} faces, {kind} network, {num_frames} frames, {times} rounds"
    print(f"{title}: milliseconds a frame, wall (CPU)")
    for work in works:
        each = [1e3 * middle(found, work, which) / num_frames for which in (0, 1)]
        print("  {:<9} {:8.1f} ({:.1f})".format(work, *each))
        report.figure(f"{name}_{work}_ms", wall=each[0], cpu=each[1])
    # Ours and whole: two streams a round.
    stages = {stage: 1e3 * seconds / num_frames / (times + 1) / 2 for stage, seconds in bench.spent.items()}
    print("  busy by stage:", ", ".join(f"{stage} {ms:.1f}" for stage, ms in stages.items()), "ms a frame")
    report.figure(f"{name}_stages_ms", **stages)
    floor = [(n[0] + c[0], n[1] + c[1]) for n, c in zip(found["networks"], found["codec"], strict=True)]
    found["floor"] = floor
    over = ratio(found, "A", "ours")
    glue = statistics.median((o[1] - f[1]) / o[1] for o, f in zip(found["ours"], floor, strict=True))
    report.figure(f"{name}_beside", over_A=over, of_floor=ratio(found, "ours", "floor"), glue_cpu_share=glue)
    kept, whole = ((bench.folder / each).stat().st_size / num_frames for each in ("ours.patches", "ours.mkv"))
    print(f"  kept: {kept / 1024:.1f} KiB a frame; as whole frames {whole / 1024:.1f}")
    report.figure(f"{name}_kept", kib=kept / 1024, whole_kib=whole / 1024, whole_over_A=ratio(found, "A", "whole"))
    told = {
        f"{name}_bytes_of_whole": kept / whole,
        f"{name}_units": units(found, "ours") / num_frames,
        f"{name}_over_A": over,
        f"{name}_of_floor": ratio(found, "ours", "floor"),
        f"{name}_glue_cpu_share": glue,
    }
    for bar, value in told.items():
        report.judge(bar if bench.device.type == "cpu" else f"cuda_{bar}", value)


def check_composed(bench: Bench) -> None:
    """What is composed of the patches is what the pipeline made, to the bit."""
    bench.run_ours()
    for composed, made in zip(bench.result("ours.patches").frames(), bench.stream(), strict=True):
        assert np.array_equal(composed.image, made.image), f"frame {made.index} is composed to another picture"


def check_same(bench: Bench) -> None:
    """Both sides swap the same faces: in the middle of each, where both show the network's answer alone, they differ by little."""
    (ours,), (theirs,) = (list(islice(frames, 1)) for frames in (bench.stream(), bench._insightface()))
    faces = bench.engine.detect(bench.clip[0])
    for box in faces.boxes:
        x, y = (round(float(box[i] + box[i + 2]) / 2) for i in (0, 1))
        # Smoothed: the network draws lines a pixel wide, which the two resample differently.
        a, b = (cv2.blur(frame.image, (9, 9))[y - 15 : y + 15, x - 15 : x + 15].astype(int) for frame in (ours, theirs))
        assert np.abs(a - b).mean() < 8, f"the two sides show different pictures: {np.abs(a - b).mean():.1f} levels apart"
        assert np.abs(a - bench.clip[0].image[y - 15 : y + 15, x - 15 : x + 15]).mean() > 8, "nothing was swapped"


def measure_first_frame(pack: Path, swapper: Path, times: int, report: Report) -> None:
    """From the call to the frame, one frame alone: the first after one that preloaded everything, against later ones.

    Judged by CPU time: the two are 20 ms each, and by the clock the ratio of two such frames varies by a fifth on a quiet machine.
    """
    code = f"""
import statistics, sys, time
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
import faceswap_lab
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
    start, worked = time.perf_counter(), time.process_time()
    done = swap(number)
    times.append((time.process_time() - worked, time.perf_counter() - start))
    assert len(done.faces) == 1
cpu, wall = ([each[which] for each in times] for which in (0, 1))
print(*(each[0] / statistics.median(each[1:]) for each in (cpu, wall)), 1e3 * wall[0])
"""
    ratios = []
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
        )
        ratios.append(tuple(float(value) for value in done.stdout.split()))
    print(f"first frame after a preloading one, a process each: {', '.join(f'{first:.0f} ms' for *_, first in ratios)}")
    report.bar("first_frame_over_warm", statistics.median(cpu for cpu, *_ in ratios))
    report.figure("first_frame_over_warm_wall", value=statistics.median(wall for _, wall, _ in ratios))


# --- memory, precision, flames ----------------------------------------------------------------------------------------------------


def measure_memory(bench: Bench, span: tuple[int, int], report: Report) -> None:
    """Growth of the process's memory over the frames of `span`, in MB per 1,000 frames: the slope of a straight line."""
    numbers, sizes = [], []
    for frame in bench.stream():
        if frame.index >= span[0] and frame.index % 20 == 0:
            numbers.append(frame.index / 1000)
            sizes.append(resident_mb())
    slope = float(np.polyfit(numbers, sizes, 1)[0])
    print(f"memory, 640 x 360, frames {span[0]} to {span[1]}: {sizes[0]:.0f} to {sizes[-1]:.0f} MB")
    report.bar("memory_mb_per_1000_frames", slope)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_precision(net: networks.Large, path: Path, report: Report) -> None:
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
    report.bar("bf16_mean_levels", float(apart.mean()))
    report.bar("bf16_p99_levels", float(np.quantile(apart, 0.99)))
    gains = {kind: ratio(found, kind, "torch bf16") for kind in kinds[:2]}
    report.figure("bf16_gain", over_onnxruntime_fp32=gains[kinds[0]], over_torch_fp32=gains[kinds[1]])
    print("  bf16's gain:", ", ".join(f"{gain:.2f} over {kind}" for kind, gain in gains.items()))


def print_flame(bench: Bench) -> None:
    """Every 2 ms where each of the pipeline's threads is, as a tree of shares; waiting for another stage is left out."""
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


def draw_flame(bench: Bench, path: Path) -> None:
    """A flame graph of the pipeline alone, a column a thread, none where it waits. py-spy looks at this process from outside."""
    tool = shutil.which("py-spy")
    if tool is None:
        raise SystemExit("no py-spy: pip install py-spy")
    command = [tool, "record", "--threads", "--rate", "200", "--output", str(path), "--pid", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watcher:
        time.sleep(1)
        bench.run_ours()
        watcher.send_signal(signal.SIGINT)
    # The title is py-spy's own command, with places of this machine in it.
    title = "the swap pipeline, 1080p, four faces, small network"
    path.write_text(re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", path.read_text()))
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


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
