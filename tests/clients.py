"""Clients of a cluster in processes of their own: `python -m tests.clients WHAT ADDRESS FOLDER ...`, for `tests.machines`.

What they hear and make is written to the folder, one JSON object a line, as it comes.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from faceswap_lab.compute.cluster import Cluster, Deadlines, cluster
from faceswap_lab.compute.gang import Gang, Job, Tolerance
from faceswap_lab.compute.tasks import run_tasks
from tests.authority import FILES

Stop = Callable[[], bool]


def never() -> bool:
    return False


def slowly(folder: Path, number: int, stop: Stop) -> int:
    """A task of half a second that leaves a file for each time that it was done to the end."""
    (folder / f"begun-{number}-{time.time_ns()}").touch()
    time.sleep(0.5)
    if stop():
        raise KeyboardInterrupt
    (folder / f"made-{number}-{time.time_ns()}").touch()
    return number


def hear(folder: Path, told: Mapping[str, Any]) -> None:
    with (folder / "told.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"at": time.time(), **told}) + "\n")


def gang(on: Cluster, folder: Path, seconds: str, sizes: str) -> None:
    """Ranks that count to 40 in steps of so many seconds, from the newest checkpoint that was heard of; fewer of them 5 s after a
    worker has gone."""
    kept = 0

    def take(told: Mapping[str, Any]) -> None:
        nonlocal kept
        kept = told["step"] if told["kind"] == "checkpoint" else kept
        hear(folder, told)

    def payload(_: int) -> dict[str, Any]:
        return {"folder": str(folder), "steps": 40, "hold_at": 7, "begin": kept, "seconds": float(seconds)}

    job = Job(entry="tests.gang_entries:count", payload=payload, logs=folder / "logs")
    Gang(on, job, sizes=[int(size) for size in sizes.split(",")], hear=take, tolerance=Tolerance(wait_s=5)).run(never)


def tasks(on: Cluster, folder: Path, count: str) -> None:
    for outcome in run_tasks([partial(slowly, folder, number) for number in range(int(count))], on, never):
        hear(folder, {"kind": "made", "value": outcome.result(), "worker": outcome.worker})


def training(on: Cluster, folder: Path, steps: str, ranks: str) -> None:
    """A real training; FACESWAP_LAB_ROOT is set by who starts this."""
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.models.training.team import Parallel
    from faceswap_lab.verbs import recipes
    from faceswap_lab.verbs.train.ranks import GangTraining
    from faceswap_lab.verbs.train.train import train

    real = GangTraining._hear

    def listening(self: GangTraining, told: Mapping[str, Any]) -> None:
        hear(folder, told)
        real(self, told)

    GangTraining._hear = listening  # type: ignore[method-assign]
    smoke = recipes.smoke()
    recipe = replace(smoke, train=replace(smoke.train, precision="fp32", steps=int(steps), report_every=1), checkpoint_every=5)
    run = train(recipe, source=Actor(7), target=Actor(32), compute=on, parallel=Parallel(ranks=int(ranks)))
    hear(folder, {"kind": "trained", "artifacts": dict(run.record.artifacts)})


CLIENTS: dict[str, Callable[..., None]] = {"gang": gang, "tasks": tasks, "training": training}


def main(what: str, address: str, where: str, *arguments: str) -> None:
    folder = Path(where)
    secure = {name: folder / file for name, file in FILES.items()}
    with cluster(address, workers=2, deadlines=Deadlines(workers_s=90, answer_s=60, stop_s=30), **secure) as made:
        CLIENTS[what](made, folder, *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
