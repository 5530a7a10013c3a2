"""Golden results: small runs whose bytes change only together with their verb's `RESULT_VERSION`.

    python -m tests.test_golden --write [VERB ...]  makes tests/golden/results.json anew, all of it or these verbs' parts
    python -m tests.test_golden --write-schemas     makes tests/golden/recipes.json anew

A run's key has no digest of the code in it, so a change of code that changes results must raise the verb's `RESULT_VERSION`, or
what was made before it is taken for what would be made today. On the environment that made the golden file (its processor's model
and the versions of what computes) the digests must be equal. Elsewhere a rounding may differ: there a picture's coarse means may
be off by `LEVELS` of 255 and figures by `SHARE`, as far as the tests of training allow (tests/test_train.py). A digest covers
what an artifact holds without the run's own name, which marks and cards carry and which follows from the key.
"""

import hashlib
import io
import json
import platform
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from safetensors.numpy import load_file

from faceswap_lab.actors.cast import Actor
from faceswap_lab.faces.frame import Image, read_still, write_still
from faceswap_lab.pipelines.quickstart import QuickstartRecipe
from faceswap_lab.runs.run import Run, class_of
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.gather.gather import gather
from faceswap_lab.verbs.render.render import RenderRecipe, render, shard_name
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train.result import WEIGHTS
from faceswap_lab.verbs.train.train import train

RESULTS, SCHEMAS = (Path(__file__).parent / "golden" / name for name in ("results.json", "recipes.json"))
PACKAGES = ("torch", "numpy", "opencv-python", "av", "pillow", "onnxruntime", "anny")
RECIPES = (
    recipes.PairRecipe,
    recipes.PackRecipe,
    recipes.OneshotRecipe,
    recipes.EyesRecipe,
    recipes.SwapRecipe,
    recipes.EvaluateRecipe,
    recipes.BenchRecipe,
    recipes.FacesetRecipe,
    RenderRecipe,
    QuickstartRecipe,
)
LEVELS, SHARE = 2.0, 1e-2


def environment() -> dict[str, str]:
    """What exact bytes hang on."""
    return {"machine": platform.machine(), "processor": _processor()} | {name: version(name) for name in PACKAGES}


def _processor() -> str:
    """The model, by which libraries choose their kernels."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


# --- the runs -----------------------------------------------------------------------------------------------------------------


def _swap(_: Path) -> Iterator[tuple[str, Any]]:
    run = _swapped()
    yield "frames", np.stack([frame.image for frame in run.footage().frames()])


def _swapped() -> SwapRun:
    take = Actor(5).perform("speech", seconds=0.08, size=128, seed=3)
    return swap(take, source=Actor(7), swapper="warp", recipe=recipes.SwapRecipe(num_source_frames=1), device="cpu")


def _evaluate(_: Path) -> Iterator[tuple[str, Any]]:
    run = evaluate(_swapped(), truth=None, recipe=recipes.EvaluateRecipe(gallery_size=2))
    yield "scores", np.array([[score["value"], score["floor"]] for _, score in sorted(run.scores.items())])


def _render(_: Path) -> Iterator[tuple[str, Any]]:
    run = render(RenderRecipe(num_actors=1, num_views=1, size=96))
    with tarfile.open(run.artifact(shard_name(0))) as shard:
        for member in shard.getmembers():
            content = shard.extractfile(member)
            assert content is not None
            yield from _member(Path(member.name).suffix, content.read())


def _member(suffix: str, content: bytes) -> Iterator[tuple[str, Any]]:
    if suffix == ".png":
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            Path(file.name).write_bytes(content)
            yield "picture", read_still(Path(file.name))
    elif suffix == ".npz":
        with np.load(io.BytesIO(content)) as arrays:
            yield from ((f"truth {name}", arrays[name]) for name in sorted(arrays.files))
    else:
        yield "facts", json.loads(content)


def _faceset(root: Path) -> Iterator[tuple[str, Any]]:
    folder = root / "pictures"
    folder.mkdir()
    for seed in (1, 2):
        write_still(folder / f"{seed}.png", Actor(5).perform("range", seconds=0.04, seed=seed, size=128)[0].image)
    recipe = recipes.FacesetRecipe(name="five", size=64, min_side=16.0, min_sharpness=0.05, near_duplicate_max=0.0)
    run = gather(recipe, folder, who="synthetic:actor five", basis="synthetic: rendered actor")
    rows = json.loads(run.artifact("faces.json").read_text())
    yield "boxes", np.array([row["box"] for row in rows])
    yield "splits", [row["split"] for row in rows]
    for row in rows:
        yield f"crop {row['number']}", read_still(run.artifact(row["crop"]))


def _train(_: Path) -> Iterator[tuple[str, Any]]:
    run = train(recipes.smoke(), source=Actor(7), target=Actor(21), device="cpu")
    yield "losses", np.array([event["losses"]["loss"] for event in run.events("step", unique="step")])
    yield "weights", {name: _digest(tensor) for name, tensor in sorted(load_file(run.artifact(WEIGHTS)).items())}


MADE: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
    "swap": _swap,
    "evaluate": _evaluate,
    "render": _render,
    "faceset": _faceset,
    "train": _train,
}


def facts(verb: str, root: Path) -> dict[str, Any]:
    """Of a small run of the verb: version of its results, digests of what it made, and what can be compared on another machine."""
    # Sums that are split over threads round otherwise.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = dict(MADE[verb](root))
    finally:
        torch.set_num_threads(before)
    return {
        "result_version": class_of(verb).RESULT_VERSION,
        "sha256": {name: _digest(value) for name, value in made.items()},
        "coarse": {name: _coarse(value) for name, value in made.items() if isinstance(value, np.ndarray)},
    }


def _digest(value: Any) -> str:
    if isinstance(value, np.ndarray):
        head = f"{value.dtype.str} {value.shape} ".encode()
        return hashlib.sha256(head + np.ascontiguousarray(value).tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _coarse(value: np.ndarray) -> list[float]:
    """A picture's means over a grid of 6 by 6, frame by frame; of other arrays up to 64 values, evenly picked."""
    if value.dtype == np.uint8 and value.ndim >= 3 and value.shape[-1] == 3:
        frames: np.ndarray = value if value.ndim == 4 else value[None]
        return [round(float(cell), 2) for frame in frames for cell in _grid(frame)]
    # A depth without anything in front is infinite, which JSON cannot say and which no tolerance is around.
    flat = np.nan_to_num(np.asarray(value, np.float64), nan=-1e4, posinf=1e4, neginf=-1e4).ravel()
    return [round(float(each), 5) for each in flat[:: max(1, len(flat) // 64)][:64]]


def _grid(frame: Image) -> Iterator[float]:
    for band in np.array_split(frame, 6, axis=0):
        yield from (cell.mean() for cell in np.array_split(band, 6, axis=1))


# --- the tests ----------------------------------------------------------------------------------------------------------------


def compare(verb: str, found: dict[str, Any], golden: dict[str, Any], *, same_environment: bool) -> None:
    """Raises AssertionError, which says what to do, where results changed and their version did not, or the other way about."""
    advice = (
        f"if that is meant, raise RESULT_VERSION of {class_of(verb).__name__} ({class_of(verb).__module__}), so that what was made "
        "before is made anew, and write the golden file: python -m tests.test_golden --write"
    )
    assert found["result_version"] == golden["result_version"], f"{verb} has another RESULT_VERSION than the golden file: {advice}"
    if same_environment:
        other = [
            name for name in {**found["sha256"], **golden["sha256"]} if found["sha256"].get(name) != golden["sha256"].get(name)
        ]
        assert not other, f"{verb} makes other bytes than before: {', '.join(sorted(other))}; {advice}"
    assert found["coarse"].keys() == golden["coarse"].keys(), f"{verb} makes other things than before; {advice}"
    for name, values in golden["coarse"].items():
        here, there = np.array(found["coarse"][name]), np.array(values)
        assert here.shape == there.shape, f"{verb}: {name} has another shape; {advice}"
        off = np.abs(here - there).max()
        assert off <= max(LEVELS if name in ("frames", "picture") or "crop" in name else 0, SHARE * np.abs(there).max()), (
            f"{verb}: {name} is off by {off:.3g}; {advice}"
        )


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("verb", MADE)
def test_bytes_change_only_with_the_version_of_results(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    golden = json.loads(RESULTS.read_text())
    compare(verb, facts(verb, tmp_path), golden[verb], same_environment=environment() == golden["environment"])


def test_a_change_of_bytes_or_of_figures_would_be_seen() -> None:
    """The comparison itself, on the golden file and on small changes of it."""
    golden = json.loads(RESULTS.read_text())
    for verb in MADE:
        compare(verb, golden[verb], golden[verb], same_environment=True)
        other = json.loads(json.dumps(golden[verb]))
        name = next(iter(other["sha256"]))
        other["sha256"][name] = "0" * 64
        compare(verb, other, golden[verb], same_environment=False)
        with pytest.raises(AssertionError, match="raise RESULT_VERSION of"):
            compare(verb, other, golden[verb], same_environment=True)
        for name in golden[verb]["coarse"]:
            other = json.loads(json.dumps(golden[verb]))
            other["coarse"][name][0] += 2 * LEVELS + 2 * SHARE * max(map(abs, other["coarse"][name]))
            with pytest.raises(AssertionError, match="is off by"):
                compare(verb, other, golden[verb], same_environment=False)
        with pytest.raises(AssertionError, match="another RESULT_VERSION"):
            compare(verb, golden[verb] | {"result_version": 0}, golden[verb], same_environment=False)


def schemas() -> dict[str, dict[str, Any]]:
    """Recipe to the version and the digest of its fields: names and types, at any depth; not words and defaults, which are in the
    recipe's own JSON."""
    return {cls.__name__: {"schema": cls.SCHEMA, "fields": _digest(_bare(TypeAdapter(cls).json_schema()))} for cls in RECIPES}


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        dropped = ("title", "description", "default")
        return {
            name: {inner: _bare(value) for inner, value in part.items()} if name in ("properties", "$defs") else _bare(part)
            for name, part in schema.items()
            if name not in dropped
        }
    return [_bare(part) for part in schema] if isinstance(schema, list) else schema


def test_fields_of_recipes_change_only_with_their_schema() -> None:
    golden = json.loads(SCHEMAS.read_text())
    for name, found in schemas().items():
        assert found == golden.get(name), (
            f"the fields of {name} are not those of the golden file: raise its SCHEMA, add the step from the schema before it to "
            "runs/record.py, and write the file: python -m tests.test_golden --write-schemas"
        )


def test_another_field_is_another_schema() -> None:
    for cls in RECIPES:
        whole = TypeAdapter(cls).json_schema()
        renamed = {**whole, "properties": {**whole["properties"], "surplus": {"type": "integer"}}}
        assert _digest(_bare(renamed)) != schemas()[cls.__name__]["fields"]
        worded = {**whole, "description": "other words"}
        assert _digest(_bare(worded)) == schemas()[cls.__name__]["fields"]


def test_every_verb_has_its_own_version_of_results() -> None:
    """One inherited from `Run` could be raised for all by accident, or for none."""
    from faceswap_lab.runs.run import HANDLES

    for verb in HANDLES:
        kind = class_of(verb)
        assert issubclass(kind, Run)
        assert "RESULT_VERSION" in vars(kind), verb
        assert verb in MADE or verb in ("quickstart", "notebook", "pipeline", "bench"), f"{verb} has no golden run"


if __name__ == "__main__":
    import os

    if "--write-schemas" in sys.argv:
        SCHEMAS.write_text(json.dumps(schemas(), indent=1, sort_keys=True) + "\n")
    if "--write" in sys.argv:
        with tempfile.TemporaryDirectory() as made:
            os.environ["FACESWAP_LAB_ROOT"] = made
            named = [verb for verb in MADE if verb in sys.argv]
            kept: dict[str, Any] = json.loads(RESULTS.read_text()) if named else {}
            if named and kept["environment"] != environment():
                sys.exit("the golden file is of another environment: write all of it")
            found: dict[str, Any] = kept | {verb: facts(verb, Path(made)) for verb in named or MADE}
        text = json.dumps(found | {"environment": environment()}, indent=1, sort_keys=True, allow_nan=False)
        RESULTS.write_text(text + "\n")
