"""How the demo does with many visitors at once, and what it adds to a swap.

    python benchmarks/demo_load.py            20 visitors, 3 pictures each
    python benchmarks/demo_load.py --quick    5 visitors, 2 pictures each

Part one: `faceswap-lab demo` runs in a process of its own, and visitors send pictures through `gradio_client`, all at once. Every
picture is an actor's, in a frame of a colour of its own, so that whose result came back is seen at a glance. Part two: the same
stills through `lab.swap` and through the demo's desk in turn, each warm; what differs is the demo's. Ends with one line of JSON.
"""

import argparse
import colorsys
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

import faceswap_lab as lab
from faceswap_lab.actors.cast import Actor
from faceswap_lab.files import ROOT_VARIABLE
from faceswap_lab.serve.desk import Desk
from faceswap_lab.serve.orders import Declaration

SOURCE, MODEL, SIDE, FRAME = "actor:7", 33, 512, 24
OVERHEAD_S, GROWTH = 0.3, 1.1


def framed(portrait: np.ndarray, number: int) -> np.ndarray:
    """The picture with a frame in the colour of this number."""
    image = portrait.copy()
    colour = np.array(
        [round(255 * part) for part in colorsys.hsv_to_rgb(number * 0.618 % 1, 0.9, 0.5 + 0.1 * (number % 5))], np.uint8
    )
    for part in (np.s_[:FRAME], np.s_[-FRAME:], np.s_[:, :FRAME], np.s_[:, -FRAME:]):
        image[part] = colour
    return image


def is_of(path: Path, image: np.ndarray) -> bool:
    """Whether a result has the frame of this upload, and another picture inside."""
    found = np.asarray(Image.open(path).convert("RGB")).astype(int)
    if found.shape != image.shape:
        return False
    apart = np.abs(found - image)
    return bool(apart[: FRAME - 8].mean() < 3 and apart[FRAME:-FRAME, FRAME:-FRAME].mean() > 0.5)


@dataclass
class Tally:
    """What came back, of all visitors together."""

    own: int = 0
    others: int = 0
    full: int = 0
    errors: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def running(root: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The demo's address and process; ended with Ctrl-C."""
    command = [sys.executable, "-m", "faceswap_lab", "demo", "--no-login", "--port", "0"]
    process = subprocess.Popen(command, env=os.environ | {ROOT_VARIABLE: str(root)}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.match(r"demo: (http\S+)", line):
                # Read on, or the pipe fills and the demo stands still.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield found[1], psutil.Process(process.pid)
                return
        raise RuntimeError("the demo did not start")
    finally:
        process.send_signal(2)
        process.wait(60)


def memory_of(process: psutil.Process) -> float:
    """MB of the demo and its worker together."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def visit(address: str, uploads: Sequence[tuple[Path, np.ndarray]], tally: Tally, folder: Path) -> None:
    """One visitor, who sends some pictures one after the other, and looks whose each result is."""
    from gradio_client import Client, handle_file

    try:
        client = Client(address, download_files=str(folder), verbose=False)
    except Exception as error:  # every kind of failure is to be counted
        with tally.lock:
            tally.errors.append(f"{type(error).__name__}: {error}"[:300])
        return
    for path, image in uploads:
        start = time.perf_counter()
        try:
            file, _ = client.predict(handle_file(str(path)), SOURCE, True, "a load test", 0, 0, api_name="/swap")
            own = is_of(Path(file["value"] if isinstance(file, dict) else file), image)
            with tally.lock:
                tally.own, tally.others = tally.own + own, tally.others + (not own)
                tally.seconds.append(time.perf_counter() - start)
        except Exception as error:
            with tally.lock:
                if "queue is full" in str(error):
                    tally.full += 1
                else:
                    tally.errors.append(f"{type(error).__name__}: {error}"[:300])


def load(root: Path, portrait: np.ndarray, users: int, each: int) -> tuple[Tally, list[float]]:
    """All visitors at once, `each` pictures a visitor in every one of three waves; MB after each wave, the first being a
    warm-up."""
    tally, memory = Tally(), []
    with running(root) as (address, process):
        for wave in range(4):
            threads = []
            for user in range(users if wave else 1):
                uploads = []
                for picture in range(each):
                    image = framed(portrait, 1000 * wave + each * user + picture)
                    path = root / f"{wave}-{user}-{picture}.jpg"
                    Image.fromarray(image).save(path, quality=97, subsampling=0)
                    uploads.append((path, image))
                threads.append(threading.Thread(target=visit, args=(address, uploads, tally, root / f"got-{user}")))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            memory.append(memory_of(process))
            print(f"wave {wave}: {len(threads)} visitors, {memory[-1]:.0f} MB", flush=True)
    return tally, memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one still: seconds by the clock and of CPU time, of both processes together."""

    wall: float
    cpu: float


def cost_of(work: Callable[[], object], worker: psutil.Process) -> Cost:
    def cpu() -> float:
        return time.process_time() + sum(worker.cpu_times()[:2])

    before, start = cpu(), time.perf_counter()
    work()
    return Cost(wall=time.perf_counter() - start, cpu=cpu() - before)


def overhead(root: Path, portrait: np.ndarray, rounds: int) -> list[tuple[Cost, Cost]]:
    """What `lab.swap` and the whole demo cost for the same still, in each round."""
    os.environ[ROOT_VARIABLE] = str(root / "lab")
    found, agreed = [], Declaration(reason="a load test", agreed=True)
    with Desk(root / "desk", actors=(7,), warm=1) as desk:
        for number in range(rounds + 2):
            path = root / f"still-{number}.jpg"
            Image.fromarray(framed(portrait, 9000 + number)).save(path, quality=97, subsampling=0)
            still = lab.admit(path, who="model", basis="consent: a load test", uses=["anonymise", "evaluate"])
            upload = Path(shutil.copy(path, desk.arrivals))
            (worker,) = psutil.Process().children()[-1:]
            plain = cost_of(lambda still=still: lab.swap(still, source=Actor(7), select="all"), worker)  # type: ignore[misc]
            whole = cost_of(
                lambda upload=upload: list(desk.swap("me", upload, source=SOURCE, declaration=agreed)),  # type: ignore[misc]
                worker,
            )
            if number > 1:  # by then both are warm
                found.append((plain, whole))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("load", "overhead"))
    asked = parser.parse_args()
    users, each, rounds = (5, 2, 5) if asked.quick else (20, 3, 15)
    portrait, bars = Actor(MODEL).portrait(SIDE), {}
    with tempfile.TemporaryDirectory() as folder:
        if asked.only != "overhead":
            tally, memory = load(Path(folder), portrait, users, each)
            print(f"own {tally.own}, another's {tally.others}, queue full {tally.full}, errors {len(tally.errors)}")
            print("\n".join(sorted(set(tally.errors))[:10]))
            if tally.seconds:
                print(f"seconds a picture: median {statistics.median(tally.seconds):.1f}, most {max(tally.seconds):.1f}")
            growth = memory[-1] / memory[1]
            bars |= {
                "errors_but_queue_full": {"value": len(tally.errors), "bar": 0, "ok": not tally.errors and tally.own > 0},
                "results_of_others": {"value": tally.others, "bar": 0, "ok": tally.others == 0},
                "memory_last_over_first_wave": {"value": round(growth, 3), "bar": GROWTH, "ok": growth <= GROWTH},
            }
        if asked.only != "load":
            found = overhead(Path(folder), portrait, rounds)
            for name in ("wall", "cpu"):
                columns = [[getattr(each, name) for each in pair] for pair in found]
                more = statistics.median(whole - plain for plain, whole in columns)
                plain, whole = (statistics.median(column) for column in zip(*columns, strict=True))
                print(
                    f"{name}: lab.swap {plain:.3f} s, the demo {whole:.3f} s, more by {more:.3f} s (load {os.getloadavg()[0]:.0f})"
                )
                bars[f"overhead_{name}_s"] = {"value": round(more, 3), "bar": OVERHEAD_S, "ok": more <= OVERHEAD_S}
    print(json.dumps({"name": "demo_load", "machine": platform.platform(), "bars": bars}))


if __name__ == "__main__":
    main()
