"""The verb `bench`: scores methods on fixed pairs of actors, whose true swap is known to the pixel."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_lab.actors.tracks import GALLERY_SEED, TONE, VERSION, TrackPair, plan_of
from faceswap_lab.files import lab_root, user_path
from faceswap_lab.models import data_files
from faceswap_lab.models import device as devices
from faceswap_lab.models.registry import open_engine, swapper_record
from faceswap_lab.progress import Progress
from faceswap_lab.runs.call import digest_of
from faceswap_lab.verbs.bench import table
from faceswap_lab.verbs.bench.estimator import ABSENT, estimator
from faceswap_lab.verbs.bench.fitting import SUPERVISED, TRAINED, UNSUPERVISED, opened_all
from faceswap_lab.verbs.bench.folder import ResultFolder, opened_folder
from faceswap_lab.verbs.bench.judging import Galleries, Judge, galleries_of, panel
from faceswap_lab.verbs.bench.measures import MEASURES
from faceswap_lab.verbs.bench.methods import Method
from faceswap_lab.verbs.bench.result import BENCH, BenchRun, arrays_name, figures_name
from faceswap_lab.verbs.bench.scored_pair import Bench, pairs_in, plain, scored
from faceswap_lab.verbs.recipes import BenchRecipe

FORMAT = 1


def bench(
    recipe: BenchRecipe | None = None,
    *,
    folder: str | Path | None = None,
    name: str = "",
    device: str = "auto",
    force: bool = False,
) -> BenchRun:
    """Score the methods of `recipe`, and the pictures in `folder` that another tool made, on the pairs of the benchmark.

    Every score stands between its floor (the target as it is) and its ceiling (the true swap); all are in `bench.json`, the run's
    artifact and its `table`. `name` is what the folder's tool is called, by default as the folder; in CASIA's layout it chooses the
    method. Methods that are fitted are fitted to each pair, on performances that are not scored. A method that raises on a pair, or
    gives what is no number, is counted as failed there with the reason, and the pair is scored as if nothing had been swapped.

    An identical finished call returns its Run; an interrupted one goes on with the next pair. Two runs are equal to the last digit,
    but for seconds. Raises ValueError for an unknown track, plan or method, WeightsError if the judges were not fetched, MediaError
    for files in the folder that belong to no pair.
    """
    recipe = recipe or BenchRecipe()
    pairs = pairs_in(recipe)
    where = devices.pick(device)
    engine = open_engine(recipe.engine, devices.pick("cpu") if recipe.engine == "offline" else where)
    judges = panel(recipe.judges, engine)
    methods: list[Method] = [*opened_all(recipe, engine, where)]
    found = None if folder is None else opened_folder(user_path(folder), pairs, name)
    methods += [] if found is None else [found]
    _require_methods(methods)
    inputs = _inputs(recipe, judges, found) | {"engine": engine.record}
    data = data_files.of_actors() | data_files.of_engine(engine)
    data |= data_files.of_warp() if "warp" in recipe.methods else {}
    run = BenchRun.start(lab_root(), "bench", recipe, inputs, data=data, force=force)
    if run.finished:
        return run
    with run, devices.watched():
        setting = Bench(engine=engine, judges=judges, galleries={}, estimator=estimator())
        _score_all(run, pairs, methods, setting, plan_of(recipe.plan).gallery_size)
        told = _told(run, recipe, pairs, methods, judges)
        with run.write(BENCH) as path:
            path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        run.finish(**_summary(told), device=devices.describe(where))
    return run


def _require_methods(methods: Sequence[Method]) -> None:
    names = [method.name for method in methods]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"give at least one method or a folder, and no two of one name; got {', '.join(names) or 'none'}")


def _inputs(recipe: BenchRecipe, judges: Sequence[Judge], found: ResultFolder | None) -> dict[str, str]:
    """What identifies the run beside its recipe: the pairs' version, the judges' weights, swappers' files, a folder's content."""
    plainly_named = ("copy", "truth", "warp", SUPERVISED, UNSUPERVISED)
    files = [name for name in recipe.methods if name not in plainly_named and not name.startswith(TRAINED)]
    given = {"pairs": VERSION, "judges": ", ".join(f"{judge.card.name} sha256:{judge.card.sha256}" for judge in judges)}
    given |= {f"swapper {name}": swapper_record(name) for name in files}
    return given if found is None else given | {"folder": json.dumps({"name": found.name, "sha256": found.digest})}


def _score_all(run: BenchRun, pairs: Sequence[TrackPair], methods: Sequence[Method], setting: Bench, gallery_size: int) -> None:
    """Score the pairs that aren't scored yet, with one progress line."""
    done = sum(run.has(figures_name(pair)) for pair in pairs)
    line = Progress("bench", len(pairs), unit="pairs", done=done)
    try:
        for track in dict.fromkeys(pair.track for pair in pairs):
            here = [pair for pair in pairs if pair.track == track]
            missing = [pair for pair in here if not run.has(figures_name(pair))]
            if not missing:
                continue
            galleries = galleries_of(here, setting.judges, gallery_size)
            for pair in missing:
                _score(run, pair, methods, setting, galleries)
                done += 1
                line.update(done)
    except KeyboardInterrupt:
        print(f"stopped; {run.id} keeps {done} scored pairs: repeat the call to resume", file=sys.stderr, flush=True)
        raise
    line.close()


def _score(run: BenchRun, pair: TrackPair, methods: Sequence[Method], setting: Bench, galleries: Galleries) -> None:
    made = scored(
        pair,
        methods,
        Bench(engine=setting.engine, judges=setting.judges, galleries=galleries, estimator=setting.estimator),
    )
    with run.write(arrays_name(pair)) as path:
        path.write_bytes(made.arrays())
    for method, reason in made.failed.items():
        run.emit("pair failed", pair=pair.name, method=method, reason=reason)
    run.emit("timed", pair=pair.name, images=len(pair.frames), seconds={name: round(s, 4) for name, s in made.seconds.items()})
    with run.write(figures_name(pair)) as path:  # last: with it the pair is done
        path.write_text(made.record(), encoding="utf-8")


def _told(
    run: BenchRun, recipe: BenchRecipe, pairs: Sequence[TrackPair], methods: Sequence[Method], judges: Sequence[Judge]
) -> dict[str, Any]:
    """The whole table. `digest` is of all of it but the run and the seconds, which differ from run to run."""
    run.flush()
    rows = list(run.rows())
    records = {pair.name: json.loads(run.artifact(figures_name(pair)).read_text(encoding="utf-8")) for pair in pairs}
    names = [judge.card.name for judge in judges]
    told: dict[str, Any] = {
        "format": FORMAT,
        "pairs_version": VERSION,
        "plan": recipe.plan,
        "tracks": list(recipe.tracks),
        "tone": TONE,
        "engine": recipe.engine,
        "judges": [{**asdict(judge.card), "subjects": []} for judge in judges],
        "gallery": {"seed": GALLERY_SEED, "pictures": plan_of(recipe.plan).gallery_size},
        "estimator": ABSENT if (eyes := estimator()) is None else asdict(eyes.card),
        "bootstrap": {"resamples": table.RESAMPLES, "seed": table.SEED, "fewest_pairs": table.FEWEST_PAIRS},
        "measures": {measure: asdict(each) for measure, each in MEASURES.items()},
        "methods": {method.name: dict(method.facts) for method in methods},
        "pairs": [_pair(pair) for pair in pairs],
        "scores": {method.name: _scores(rows, method.name, names) for method in methods},
        "groups": {method.name: table.by_group(rows, method.name) for method in methods},
        "failed": {method.name: _failures(records, method.name) for method in methods},
        "faces_missed": {method.name: sum(record["missed"][method.name] for record in records.values()) for method in methods},
        "chosen": {method.name: _chosen(rows, method.name) for method in methods},
        "rows": {name: record["figures"] for name, record in records.items()},
    }
    seconds = _seconds(run)
    return told | {"digest": digest_of(told), "run": {"id": run.id, "code": run.record.code}, "seconds_per_image": seconds}


def _pair(pair: TrackPair) -> dict[str, Any]:
    return {"name": pair.name, **asdict(pair), "frames": list(pair.frames)}


def _tracks(rows: Sequence[table.Row]) -> dict[str, list[table.Row]]:
    """Rows by track; all of them too where there are several tracks."""
    parts: dict[str, list[table.Row]] = {}
    for row in rows:
        parts.setdefault(row.pair.track, []).append(row)
    return parts if len(parts) == 1 else {table.ALL: list(rows)} | parts


def _scores(rows: Sequence[table.Row], method: str, judges: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {track: table.scores_of(part, method) | table.distances(part, method, judges) for track, part in _tracks(rows).items()}


def _chosen(rows: Sequence[table.Row], method: str) -> dict[str, Any]:
    return {track: table.chosen(part, method) for track, part in _tracks(rows).items() if track != table.ALL}


def _failures(records: Mapping[str, Mapping[str, Any]], method: str) -> list[dict[str, str]]:
    return [{"pair": name, "reason": record["failed"][method]} for name, record in records.items() if method in record["failed"]]


def _seconds(run: BenchRun) -> dict[str, float]:
    """Seconds per image by method, from the pairs in which it took any: what only copies has none."""
    spent: dict[str, list[float]] = {}
    for event in run.events("timed", unique="pair"):
        for method, seconds in event["seconds"].items():
            if seconds:
                spent.setdefault(method, []).append(seconds / event["images"])
    return {method: round(float(np.mean(each)), 4) for method, each in spent.items()}


def _summary(told: Mapping[str, Any]) -> dict[str, Any]:
    """The run's key figures: of each method PSNR in the face and failures over all pairs."""
    figures = {}
    for method, tracks in told["scores"].items():
        psnr = next(iter(tracks.values())).get("psnr_face", {})
        figures[method] = {name: psnr.get(name) for name in ("value", "floor", "gain", "pairs")} | {
            "failed": len(told["failed"][method])
        }
    return {
        "methods": plain(figures),
        "num_pairs": len(told["pairs"]),
        "plan": told["plan"],
        "digest": told["digest"],
        "seconds_per_image": told["seconds_per_image"],
    }
