"""kill -9 over the whole course of train, swap and export: what is left is whole, and the same calls go on to the same result.

    python -m tests.test_kills 50 [seed]     tries 50 moments and says how many ended well

Half of the moments are times of the clock, half are operations on files (just before the n-th), where a torn write would show.
One driver imports torch once; each attempt is a fork of it.
"""

import functools
import gc
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab.actors import cast
from tests.subjects import LAB_FILES

pytestmark = [pytest.mark.weights, pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and fork")]

EXPORT = Path("out") / "swap.mp4"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}


@pytest.mark.timeout(600)
def test_kills_leave_what_is_whole_or_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.test_kills", os.environ.get("FACESWAP_LAB_KILLS", "8")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["whole"] == found["kills"] == found["attempts"] > 0, done.stdout


# --- the work, in a forked child --------------------------------------------------------------------------------------------


def work(root: Path) -> None:
    """Train, swap, export: everything that a user does, small."""
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.verbs import recipes
    from faceswap_lab.verbs.swap.swap import swap
    from faceswap_lab.verbs.train.train import train

    hero, double = Actor(7), Actor(21)
    trained = train(recipes.smoke(), source=hero, target=double, device="cpu")
    take = double.perform("speech", seconds=0.2, size=160, seed=3)
    recipe = recipes.SwapRecipe(num_source_frames=1)
    swap(take, source=hero, swapper=trained, recipe=recipe, device="cpu").export(root / EXPORT)


def forked(root: Path, log: Path, *, stop_before: int = 0) -> int:
    """The child's process id. It kills itself just before its operation number `stop_before` on files below `root` (0: never)."""
    # A decoder that the parent read with has threads, which a fork does not copy: a child that collected it would wait for them.
    gc.collect()
    gc.freeze()
    child = os.fork()
    if child:
        gc.unfreeze()
        return child
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["FACESWAP_LAB_ROOT"] = str(root)
        count = _count_operations(str(root), stop_before)
        work(root)
        log.with_suffix(".count").write_text(str(count()))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _count_operations(root: str, stop_before: int) -> Callable[[], int]:
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event in CHANGES or (event == "open" and arguments[1] != "r" and arguments[1] != "rb")
        if writes and str(arguments[0]).startswith(root):
            count += 1
            if count == stop_before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: count


# --- what must hold ---------------------------------------------------------------------------------------------------------


def facts(root: Path) -> dict[str, Any]:
    """What a finished course comes to: each run's artifacts, to the bit (a video's by its frames)."""
    from safetensors.numpy import load_file

    from faceswap_lab.runs.run import Run
    from faceswap_lab.verbs.swap.result import RESULT
    from faceswap_lab.verbs.train.train import WEIGHTS

    found: dict[str, Any] = {}
    for run in Run.find(root):
        assert run.finished, f"{run.id} is {run.record.status}"
        found[run.id] = sorted(run.artifacts())
        if run.verb == "train":
            weights = load_file(run.artifact(WEIGHTS))
            found["weights"] = {name: hashlib.sha256(tensor.tobytes()).hexdigest() for name, tensor in weights.items()}
        else:
            assert RESULT in found[run.id]
            shown = run.footage().frames()
            found["frames"] = [(frame.time_s, hashlib.sha256(frame.image.tobytes()).hexdigest()) for frame in shown]
    return found


def check_left(root: Path) -> None:
    """Right after a kill: every record reads, every artifact is one that was written, and what is outside is marked and logged."""
    from faceswap_lab.runs.run import Run

    if not (root / "runs").exists():
        return
    for run in Run.find(root):
        numbers = [event["n"] for event in run.events()]
        assert numbers == list(range(len(numbers))), f"{run.id} has events {numbers}"
        for name in run.artifacts():
            run.artifact(name)
    _check_export(root)


def check_finished(root: Path, unbroken: dict[str, Any]) -> None:
    """After the same calls again: the log holds, the results are those of an unbroken course, and no leftovers are kept."""
    from faceswap_lab.runs.run import Run
    from faceswap_lab.trust import audit

    audit.verify(root, heads=Run.heads(root)).require_whole()
    assert (found := facts(root)) == unbroken, f"{found} is not {unbroken}"
    check_left(root)
    assert (root / EXPORT).exists()
    hidden = [path for path in root.rglob(".*") if path.is_file() and path.suffix not in (".lock", ".tmp")]
    left = [path.name for path in hidden if path.name not in LAB_FILES]
    assert not left, f"leftovers: {left}"


def _check_export(root: Path) -> None:
    from faceswap_lab.files import sha256_file
    from faceswap_lab.trust import audit
    from faceswap_lab.trust.marks.metadata import read_mark

    folder = root / EXPORT.parent
    visible = [path for path in folder.glob("*") if not path.name.startswith(".")] if folder.exists() else []
    assert visible in ([], [root / EXPORT]), visible
    for path in visible:
        assert read_mark(path), f"{path.name} is not marked"
        logged = [entry.event.get("sha256") for entry in audit.read(root) if entry.event["action"] == "exported"]
        assert sha256_file(path) in logged, f"{path.name} is not logged"


# --- the driver -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    moment: str
    killed: bool
    fault: str = ""


def attempts(kills: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """One unbroken course, then `kills` broken ones at moments spread over it, each gone on with to its end."""
    chance = random.Random(seed)
    whole = folder / "whole"
    start = time.perf_counter()
    status = os.waitpid(forked(whole, folder / "whole.log"), 0)[1]
    seconds = time.perf_counter() - start
    assert status == 0, (folder / "whole.log").read_text()
    operations = int((folder / "whole.count").read_text())
    unbroken = facts(whole)
    check_finished(whole, unbroken)
    print(f"an unbroken course: {seconds:.1f} s, {operations} operations on files", flush=True)
    for number in range(kills):
        share = (number + chance.random()) / kills
        by_clock = number % 2 == 0
        moment = share * seconds if by_clock else 1 + int(share * operations)
        attempt = one(folder / f"kill-{number}", unbroken, moment, by_clock)
        # The clock may come too late, for courses differ in length: then a new one is stopped earlier.
        for late in range(1, 6):
            if attempt.killed or attempt.fault:
                break
            attempt = one(folder / f"kill-{number}-{late}", unbroken, moment * 0.85**late, by_clock)
        yield attempt


def one(root: Path, unbroken: dict[str, Any], moment: float, by_clock: bool) -> Attempt:
    log = root.with_suffix(".log")
    said = f"{moment:.2f} s" if by_clock else f"operation {moment:.0f}"
    child = forked(root, log, stop_before=0 if by_clock else int(moment))
    if by_clock:
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    try:
        check_left(root)
        again = os.waitpid(forked(root, log), 0)[1]
        assert again == 0, f"the same calls failed:\n{log.read_text()}"
        check_finished(root, unbroken)
    except Exception as error:
        return Attempt(moment=said, killed=killed, fault=f"{type(error).__name__}: {error}")
    return Attempt(moment=said, killed=killed)


def main(kills: int, seed: int) -> int:
    import cv2
    import torch
    import torch._dynamo  # the optimiser would import it in each fork

    import faceswap_lab.verbs.swap.swap
    import faceswap_lab.verbs.train.train  # noqa: F401 (imported before the forks, once for all)
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.models.engines.offline import OfflineEngine
    from faceswap_lab.progress import Progress
    from faceswap_lab.runs.environment import code_version
    from faceswap_lab.verbs import recipes
    from faceswap_lab.verbs.train import crops

    code_version()  # one for all attempts, whoever edits a file meanwhile
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Drawing these two people takes longer than all that is done with them: what is drawn here once is there in each fork.
    cast._rendered = functools.lru_cache(maxsize=128)(cast._rendered.__wrapped__)  # type: ignore[assignment]
    crops.gather(recipes.smoke(), Actor(7), Actor(21), OfflineEngine(), Progress("crops", 12, unit="views"))
    killed = whole = 0
    with tempfile.TemporaryDirectory() as made:
        for attempt in attempts(kills, seed, Path(made).resolve()):
            killed += attempt.killed
            whole += not attempt.fault
            how = "killed" if attempt.killed else "ended before"
            print(f"{attempt.moment:>14}: {how}; {attempt.fault or 'whole'}", flush=True)
    print(json.dumps({"attempts": kills, "kills": killed, "whole": whole}))
    return 0 if whole == killed == kills else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
