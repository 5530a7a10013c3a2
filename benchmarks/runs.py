"""What it costs to ask a run for each of its artifacts, and a lab for some of its runs.

    python benchmarks/runs.py            1,000 artifacts, 400 runs
    python benchmarks/runs.py --quick    a quarter of that

"Before" is what was done until format 2, in the same process on the same folders: all segments of events are read for each
artifact, and all records for each search. Ends with one line of JSON. Ratios are of times within one round; rounds are interleaved.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from faceswap_lab.files import sha256_file
from faceswap_lab.runs import index
from faceswap_lab.runs.record import read_record, run_folders, write_record
from faceswap_lab.runs.run import Run

ROUNDS = 3


def shards(root: Path, number: int) -> Run:
    """A run with so many artifacts, each told of in a segment of its own, as a rendered data set's shards are."""
    run = Run.start(root, "render", json.dumps({"shards": number}), {})
    with run:
        for shard in range(number):
            with run.write(f"shards/{shard:06d}.tar") as path:
                path.write_bytes(b"%d" % shard)
    return run


def ask_each(run: Run) -> None:
    fresh = Run(run.path)
    for name in run.artifacts():
        fresh.artifact(name)


def ask_each_before(run: Run) -> None:
    for name, path in run.artifacts().items():
        known = [event.get("sha256") for event in run.events("artifact") if event.get("name") == name]
        assert sha256_file(path) in known


def many_runs(root: Path, number: int) -> None:
    """As many runs, of which a tenth are facesets of a hundred files each."""
    first = Run.start(root, "train", "{}", {})
    record = first.record.model_dump(mode="json")
    for each in range(number):
        name = f"{'faceset' if each % 10 == 0 else 'swap'}-{each:08x}"
        inputs = {f"file {file:05d}": json.dumps({"file": f"sha256:{each:032x}{file:032x}"}) for file in range(100)}
        (root / "runs" / name).mkdir()
        verb = name.partition("-")[0]
        write_record(root / "runs" / name, record | {"id": name, "verb": verb, "recipe": {"name": name}, "inputs": inputs})


def find_one(root: Path) -> None:
    assert len(Run.find(root, verb="faceset", name="faceset-0000000a")) == 1


def find_one_before(root: Path) -> None:
    records = [read_record(folder) for folder in run_folders(root)]
    assert sum(record.verb == "faceset" and record.recipe["name"] == "faceset-0000000a" for record in records) == 1


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    number, num_runs = (250, 100) if parser.parse_args().quick else (1_000, 400)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(index, "SETTLED_NS", 0):
        root = Path(folder)
        half, whole = shards(root / "a", number // 2), shards(root / "a", number)
        many_runs(root / "b", num_runs)
        find_one(root / "b")
        rounds = []
        for _ in range(ROUNDS):
            now, at_half, before = seconds(lambda: ask_each(whole)), seconds(lambda: ask_each(half)), 0.0
            before = seconds(lambda: ask_each_before(whole))
            found, found_before = seconds(lambda: find_one(root / "b")), seconds(lambda: find_one_before(root / "b"))
            rounds.append((before, now, before / now, now / at_half, found_before, found, found_before / found))
    names = ("artifacts before, s", "artifacts, s", "ratio", "twice the artifacts", "search before, s", "search, s", "ratio")
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    for name, value in zip(names, medians, strict=True):
        print(f"{name:<22} {value:8.3f}")
    bars = {
        # Linear is 2; all segments for each would be 4.
        "artifacts_growth_at_twice": {"value": round(medians[3], 2), "bar": 3.0, "ok": medians[3] <= 3.0},
        "artifacts_ratio": {"value": round(medians[2], 1), "bar": 10.0, "ok": medians[2] >= 10.0},
        "search_ratio": {"value": round(medians[6], 1), "bar": 2.0, "ok": medians[6] >= 2.0},
    }
    print(json.dumps({"name": "runs", "machine": platform.platform(), "bars": bars}))


if __name__ == "__main__":
    main()
