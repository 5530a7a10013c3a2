"""Peak memory of a swap against the clip's length. `python benchmarks/memory.py [--quick]`.

The same ten times as long, in two fresh processes: a portrait's face on a looped 720p clip with the swapper `warp`, and its export.
The bars are ratios of the two peaks, and of the peaks in the second half of the swap, which the start's own peak doesn't hide:
memory that grows with a clip would end long ones. Everything is drawn beforehand, in this
process: rendering an actor takes more than a swap and would hide what grows. Ends with one line of JSON.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np

from faceswap_lab.actors.cast import Actor
from faceswap_lab.faces.frame import write_still

SECONDS, QUICK_SECONDS = (10, 100), (2, 20)
BAR = 1.10
FPS, SIZE = 25, (720, 1280)
NAMES = ("swap", "export", "later")
PORTRAIT = "portrait.png"
_LOOP_S = 2


def make_clip(path: Path, seconds: int) -> None:
    """A clip of a speaking actor in front of a flat wall, two seconds again and again."""
    height, width = SIZE
    faces = [frame.image for frame in Actor(21).perform("speech", seconds=_LOOP_S, fps=FPS, size=480, seed=3).frames()]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        image = np.full((height, width, 3), 128, np.uint8)
        for number in range(seconds * FPS):
            image[120:600, 400:880] = faces[number % len(faces)]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode())


def peak_of(path: Path) -> None:
    """In a process of its own: swap, export, and print the peak of this process's resident memory in bytes."""
    import resource

    from faceswap_lab.verbs.people import admit
    from faceswap_lab.verbs.swap.swap import swap

    clip = admit(path, who="synthetic:actor 21", basis="synthetic: an actor filmed here", uses=["anonymise"])
    samples: list[int] = []
    threading.Thread(target=_watch, args=(samples,), daemon=True).start()
    portrait = admit(path.with_name(PORTRAIT), who="synthetic:actor 7", basis="synthetic: drawn here", uses=["swap-source"])
    run = swap(clip, source=portrait, swapper="warp", device="cpu")
    later = samples[len(samples) // 2 :]
    swapped = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run.export(path.with_name(f"{path.stem}-out.mp4"))
    exported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"swap": swapped * unit, "export": exported * unit, "later": max(later, default=0)}
    print(json.dumps(peaks | {"frames": len(clip), "seconds": run.summary["seconds"]}))


def _watch(samples: list[int]) -> None:
    """Resident bytes, ten times a second, where the system tells."""
    told = Path("/proc/self/statm")
    while told.exists():
        samples.append(int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        time.sleep(0.1)


def measured(folder: Path, seconds: int) -> dict[str, float]:
    path = folder / f"{seconds}s.mp4"
    make_clip(path, seconds)
    environment = os.environ | {"FACESWAP_LAB_ROOT": str(folder)}
    command = [sys.executable, __file__, "--peak-of", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    mib = {name: round(found[name] / 2**20) for name in NAMES}
    print(
        f"{seconds} s, {found['frames']} frames: peak {mib['swap']} MiB after the swap, {mib['export']} MiB after the export, "
        f"{mib['later']} MiB in the swap's second half"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="clips of 2 and 20 seconds")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        peak_of(options.peak_of)
        return
    with tempfile.TemporaryDirectory() as made:
        write_still(Path(made) / PORTRAIT, Actor(7).portrait(512))
        short, long = (measured(Path(made), seconds) for seconds in (QUICK_SECONDS if options.quick else SECONDS))
    bars = {}
    for name in NAMES:
        if not short[name]:
            continue  # this system does not tell
        ratio = round(long[name] / short[name], 3)
        bars[f"peak_ratio_{name}"] = {"value": ratio, "bar": BAR, "ok": ratio <= BAR}
    figures = {f"{name}_mib": [round(each[name] / 2**20) for each in (short, long)] for name in NAMES}
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}"
    print(json.dumps({"name": "memory", "machine": machine, "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
