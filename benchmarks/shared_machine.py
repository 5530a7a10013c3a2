"""Work of the lab beside other work: how much slower it gets, and under which settings of torch's threads.

    python benchmarks/shared_machine.py               as the lab sets its threads, against the bars
    python benchmarks/shared_machine.py --quick       one round instead of three; the same verdict
    python benchmarks/shared_machine.py --settings    several settings side by side, as a table, in two rounds

Rendering, training steps and `evaluate` are timed in a lab process of their own: alone, beside as many plain busy processes as
there are cores, and beside another lab process at the same work. A fair share is 2. The three follow each other in rounds of short
units, and the ratios are taken within a round. What other programs take of the cores meanwhile is measured; a unit during which
that was more than `FOREIGN` is repeated while time is left (`--seconds` for each setting), and the table says how much was taken in
the end. Where that is much, no figure means what it says. Ends with one line of JSON.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

BAR = 3.0
"""The most times slower beside other work than alone."""

FOREIGN = 0.05
"""The most of all cores that other programs may take while a unit is timed."""

WORKS = ("render", "train", "evaluate")
BESIDE = ("alone", "two busy", "another lab")
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
OURS = "the lab's"
SETTINGS: dict[str, dict[str, str]] = {
    OURS: {},  # what faceswap_lab/threads.py sets
    "untouched": {"GOMP_SPINCOUNT": "300000"},  # libgomp's own default, named so that the lab leaves it
    "passive": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    "spin 300": {"GOMP_SPINCOUNT": "300"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 5000": {"GOMP_SPINCOUNT": "5000"},
    "one thread": {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"},
}


# --- a lab process that works on demand ---------------------------------------------------------------------------------------


def rendering() -> Callable[[], object]:
    from faceswap_lab.actors.performance.performance import Performance
    from faceswap_lab.actors.person.figure import build_figure, texture_rows
    from faceswap_lab.actors.render.render import render

    figure, performance = build_figure(7, texture_rows(256)), Performance(kind="range", seed=1)
    numbers = iter(range(10**9))
    return lambda: [render(figure, performance.view(next(numbers), 0.0), size=256) for _ in range(4)]


def training() -> Callable[[], object]:
    """Two steps of the demo's size, on noise: what a picture shows does not change what a step costs."""
    import torch

    from faceswap_lab.models.training.pair import Portraits, fresh_pair, train_pair
    from faceswap_lab.verbs.recipes import pair

    recipe, random = pair(), torch.Generator().manual_seed(0)
    size = recipe.net.size
    noise = [torch.randint(0, 256, (16, channels, size, size), generator=random, dtype=torch.uint8) for channels in (3, 2, 3, 3, 2)]
    person = Portraits(self_images=noise[0], self_masks=noise[1], inputs=noise[2], targets=noise[3], target_masks=noise[4])
    state = fresh_pair(recipe.net, recipe.train, torch.device("cpu"))
    steps = iter(train_pair(state, (person, person), recipe.train.__class__(steps=10**9, report_every=2)))
    return lambda: next(steps)


def evaluating() -> Callable[[], object]:
    """Two frames, scored; the gallery of each unit is another performance, so that none is found ready."""
    import faceswap_lab as lab

    take = lab.actor(32).perform("speech", seconds=2 / 25, size=256, seed=3)
    run = lab.swap(take, source=lab.actor(7), swapper="warp", recipe=lab.recipes.SwapRecipe(num_source_frames=1), device="cpu")
    seeds = iter(range(3000, 10**9))

    def work() -> object:
        recipe = lab.recipes.EvaluateRecipe(gallery_size=2, gallery_seed=next(seeds))
        return lab.evaluate(run, recipe=recipe, device="cpu")

    return work


MAKERS: dict[str, Callable[[], Callable[[], object]]] = {"render": rendering, "train": training, "evaluate": evaluating}


def serve() -> None:
    """Answers each line of stdin: "once WORK" with the seconds of one unit, "loop WORK" with nothing until the next line comes.

    A work is prepared, and done once, when it is first asked for; that takes no part in its seconds.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    works: dict[str, Callable[[], object]] = {}
    lines = Lines(sys.stdin)
    while line := lines.take():
        order, _, name = line.partition(" ")
        if name not in works:
            works[name] = MAKERS[name]()
            works[name]()
        if order == "loop":
            while not lines.waiting.is_set():
                works[name]()
            continue
        start = time.perf_counter()
        works[name]()
        print(time.perf_counter() - start, file=answers, flush=True)


class Lines:
    """Lines of a stream, and whether there is one: read by a thread."""

    def __init__(self, stream: IO[str]) -> None:
        self.waiting = threading.Event()
        self._stream, self._line, self._taken = stream, "", threading.Semaphore(0)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            self._line = line.strip()
            self.waiting.set()
            self._taken.acquire()
        self._line = ""
        self.waiting.set()

    def take(self) -> str:
        """The next line; empty at the end."""
        self.waiting.wait()
        line = self._line
        self.waiting.clear()
        self._taken.release()
        return line


@dataclass
class Lab:
    """A lab process, as this one speaks to it."""

    process: subprocess.Popen[str]

    def tell(self, order: str) -> None:
        """Send one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """The next line of its answers; ends this program if there is none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            sys.exit("a lab process ended early: its messages are above")
        return line


@contextmanager
def lab_process(setting: dict[str, str]) -> Iterator[Lab]:
    """A lab process under a setting, with a lab folder of its own, warmed up."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    code = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (code, kept.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        environment = kept | setting | {"FACESWAP_LAB_ROOT": folder, "PYTHONPATH": path}
        command = [sys.executable, __file__, "--serve"]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                yield Lab(process)
            finally:
                process.terminate()


# --- neighbours, and what is not ours -----------------------------------------------------------------------------------------


@contextmanager
def neighbours(kind: str, other: Lab, work: str) -> Iterator[None]:
    """While it is open the cores are shared with `kind` of `BESIDE`."""
    if kind == "another lab":
        other.tell(f"loop {work}")
        time.sleep(0.3)
        yield
        other.tell(f"once {work}")  # ends the loop; the answer says that it has ended
        other.hear()
        return
    with ExitStack() as stack:
        for _ in range(CORES if kind == "two busy" else 0):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]))
            stack.callback(busy.kill)
        time.sleep(0.3)
        yield


def busy_seconds() -> float:
    """What all cores have worked since the machine started, for anybody, and what the host took of them."""
    times = psutil.cpu_times()
    return (
        sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    )


def our_seconds() -> float:
    """What this process and its living children have worked."""
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(spent.user + spent.system for spent in (each.cpu_times() for each in ours))


@dataclass
class Timing:
    """Seconds of one unit, and the fraction of all cores that other programs took meanwhile."""

    seconds: float
    foreign: float


def timed(lab: Lab, other: Lab, kind: str, work: str) -> Timing:
    with neighbours(kind, other, work):
        start, busy, ours = time.perf_counter(), busy_seconds(), our_seconds()
        lab.tell(f"once {work}")
        seconds = float(lab.hear())
        spent, others = time.perf_counter() - start, busy_seconds() - busy - (our_seconds() - ours)
    return Timing(seconds=seconds, foreign=max(0.0, others / (CORES * spent)))


# --- rounds, table, verdict ---------------------------------------------------------------------------------------------------


@dataclass
class Cell:
    """The rounds of one work under one setting."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in BESIDE})
    foreign: list[float] = field(default_factory=list)

    def alone(self) -> float:
        """The median of the seconds without a neighbour."""
        return statistics.median(self.seconds["alone"])

    def ratio(self, kind: str) -> float:
        """The median over rounds of the time beside over the time alone."""
        return statistics.median(a / b for a, b in zip(self.seconds[kind], self.seconds["alone"], strict=True))


def quiet(time_one: Callable[[], Timing], until: float) -> Timing:
    """The least disturbed of the timings made until one was undisturbed or the time is up."""
    best = time_one()
    while best.foreign > FOREIGN and time.perf_counter() < until:
        best = min(best, time_one(), key=lambda each: each.foreign)
    return best


def measured(setting: dict[str, str], rounds: int, until: float) -> dict[str, Cell]:
    """All works under one setting; units that others disturb are repeated until the time `until`."""
    cells = {work: Cell() for work in WORKS}
    with lab_process(setting) as lab, lab_process(setting) as other:
        for number in range(rounds):
            for work, cell in cells.items():
                for place, kind in enumerate(BESIDE):
                    left = rounds * len(WORKS) * len(BESIDE) - (number * len(WORKS) + WORKS.index(work)) * len(BESIDE) - place
                    share = time.perf_counter() + max(0.0, until - time.perf_counter()) / left
                    found = quiet(lambda kind=kind, work=work: timed(lab, other, kind, work), share)
                    cell.seconds[kind].append(found.seconds)
                    cell.foreign.append(found.foreign)
    return cells


def print_row(name: str, work: str, cell: Cell, first: Cell) -> None:
    beside = "  ".join(f"{cell.ratio(kind):10.2f}" for kind in BESIDE[1:])
    alone = f"{cell.alone():8.2f} s  {cell.alone() / first.alone():6.2f}"
    print(f"{name:12} {work:9} {alone}  {beside}  {100 * statistics.mean(cell.foreign):5.0f} %", flush=True)


def compared(names: Sequence[str], rounds: int, seconds: float) -> dict[str, dict[str, Cell]]:
    """A table with a row for each work under each setting."""
    header = f"{'setting':12} {'work':9} {'alone':>10}  {'/first':>6}  {'busy/alone':>10}  {'lab/alone':>10}  {'foreign':>7}"
    print(header, flush=True)
    found: dict[str, dict[str, Cell]] = {}
    began = time.perf_counter()
    for number, name in enumerate(names, 1):
        found[name] = measured(SETTINGS[name], rounds, began + seconds * number / len(names))
        for work, cell in found[name].items():
            print_row(name, work, cell, found[names[0]][work])
    return found


def bars(cells: dict[str, Cell]) -> dict[str, dict[str, object]]:
    return {
        f"{work}_beside_{kind.replace(' ', '_')}": {"value": round(ratio, 2), "bar": BAR, "ok": ratio <= BAR}
        for work, cell in cells.items()
        for kind in BESIDE[1:]
        if (ratio := cell.ratio(kind))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument(
        "--settings", nargs="*", metavar="NAME", help=f"compare these settings (default: all): {', '.join(SETTINGS)}"
    )
    parser.add_argument("--seconds", type=float, default=45.0, help="a setting's time, within which disturbed units are repeated")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    names = [OURS] if options.settings is None else options.settings or list(SETTINGS)
    if unknown := set(names) - SETTINGS.keys():
        parser.error(f"no setting is called {', '.join(sorted(unknown))}; there are {', '.join(SETTINGS)}")
    rounds = 1 if options.quick else 3 if options.settings is None else 2
    found = compared(names, rounds, options.seconds * len(names))
    figures = {
        f"{name}, {work}": {"alone_s": round(cell.alone(), 3), **{kind: round(cell.ratio(kind), 2) for kind in BESIDE[1:]}}
        for name, cells in found.items()
        for work, cell in cells.items()
    }
    foreign = statistics.mean(value for cells in found.values() for cell in cells.values() for value in cell.foreign)
    machine = f"{platform.processor() or platform.machine()}, {CORES} cores, {100 * foreign:.0f} % of them taken by other programs"
    told = {"machine": machine, "figures": figures, "bars": bars(found[OURS]) if OURS in found else {}}
    print(json.dumps({"name": "shared_machine", **told}))


if __name__ == "__main__":
    main()
