"""The benchmark as one self-contained page: scores, failures, and pictures chosen by rank."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faceswap_lab.files import user_path
from faceswap_lab.trust import export
from faceswap_lab.verbs.bench.measures import measure_of
from faceswap_lab.verbs.bench.result import BENCH, BenchRun
from faceswap_lab.views.bench_report.tables import by_people, by_track, failures, of_track, told
from faceswap_lab.views.report.blocks import Block, Comparison, Facts, Folded, KeyNumber, Paragraph, Section, Table
from faceswap_lab.views.report.page import NOTICE, render_report

_INTRO = (
    "Every face here is of an actor, a computer-made person, so the correct result of each swap is known to the pixel. Pairs are "
    "consecutive seeds that nothing may be trained on; nobody picked them. A score stands between its floor (the target as it is) "
    "and its ceiling (the true swap under the same measure). The share is how much of that way a method went. In brackets are 95 % "
    "intervals by bootstrap over pairs; below five pairs there is none. A pair on which a method failed counts as the unchanged "
    "target."
)
_ORDER = ("best", "median", "worst")


def write_report(run: BenchRun, path: str | Path | None = None) -> Path:
    """Write the page (default: in the run's folder) as an export: marked and logged. RunError for an unfinished run."""
    run.require_finished()
    place = user_path(path) if path is not None else run.path / "bench.html"
    return export.export_file(page_of(run), place, lineages=(), runs=[run.id], root=run.root).path


def page_of(run: BenchRun) -> str:
    """The page as text; it makes no request."""
    table = run.table
    tracks = list(next(iter(table["scores"].values())))
    foreign = [name for name, facts in table["methods"].items() if "pictures" in facts]
    sections = [Section(title=told(tracks[0]), blocks=_track(table, tracks[0]))]
    sections += [Section(title="Track by track", blocks=[by_track(table, tracks[1:])])] if len(tracks) > 1 else []
    sections += [Section(title="Best, median and worst", blocks=_pictures(run, table))]
    sections += [Section(title=told(track), blocks=_track(table, track), folded=True) for track in tracks[1:]]
    sections += [
        Section(title="By skin tone, age and sex", blocks=by_people(table)),
        Section(title="Failed pairs", blocks=failures(table)),
        Section(title="What a score can't see", blocks=[_blind(table)], folded=True),
        Section(title="Pairs, judges and methods", blocks=_record(table), folded=True),
    ]
    return render_report(
        title=f"Actor benchmark: {', '.join(table['methods'])}",
        intro=_INTRO,
        key_numbers=_key_numbers(table, tracks[0]),
        sections=sections,
        notice=_notice(foreign),
        machine_notice={"run": run.id, "benchmark": table["pairs_version"], "digest": table["digest"], "not made here": foreign},
    )


def _notice(foreign: Sequence[str]) -> str:
    """What is made here is vouched for. Of another tool's pictures only the surroundings were compared with the target's."""
    if not foreign:
        return NOTICE
    return f"{NOTICE} Pictures of {', '.join(foreign)} are as another tool made them: this lab can't say whose faces it put there."


def _track(table: Mapping[str, Any], track: str) -> list[Block]:
    blocks: list[Block] = [of_track(table, track)]
    if table["plan"] == "smoke":
        blocks.insert(0, Paragraph(text="The smoke plan shows that everything runs. Its scores mean nothing."))
    return blocks


def _key_numbers(table: Mapping[str, Any], track: str) -> list[KeyNumber]:
    """PSNR of each method but the two ends."""
    found = []
    for method, tracks in table["scores"].items():
        score = tracks[track].get("psnr_face")
        if method not in ("copy", "truth") and score is not None and score["value"] is not None:
            detail = f"floor {score['floor']:.1f}, {score['pairs']} pairs, {len(table['failed'][method])} failed"
            found.append(KeyNumber(label=f"{method}: PSNR in the face", value=f"{score['value']:.1f} dB", detail=detail))
    return found


def _pictures(run: BenchRun, table: Mapping[str, Any]) -> list[Block]:
    """A comparison for each method and track, folded by method."""
    by_name = {pair.name: pair for pair in run.pairs}
    blocks: list[Block] = [Paragraph(text="By the rank of PSNR in the face among the pairs of a track: nobody chose them.")]
    for method, tracks in table["chosen"].items():
        rows: dict[str, list[Any]] = {"source": [], "target": [], "result": [], "truth": []}
        labels = []
        for track, picked in tracks.items():
            for word in (word for word in _ORDER if word in picked):
                pictures = run.pictures(by_name[picked[word]["pair"]])
                middle = len(pictures["target"]) // 2
                rows["source"].append(pictures["source"][0])
                for column, role in (("target", "target"), ("result", f"by {method}"), ("truth", "truth")):
                    rows[column].append(pictures[role][middle])
                labels.append(_label(track, word, picked[word]))
        shown = Comparison(columns=rows, labels=labels, caption=method, difference_of=("result", "truth"))
        blocks.append(Folded(title=method, blocks=[shown]) if method in ("copy", "truth") else shown)
    return blocks


def _label(track: str, word: str, picked: Mapping[str, Any]) -> str:
    psnr = picked["psnr_face"]
    figure = f"{psnr:.1f} dB" if isinstance(psnr, float) else "exact" if psnr else "no figure"
    return f"{told(track)}\n{word}: {figure}\n{picked['pair']}"


def _blind(table: Mapping[str, Any]) -> Table:
    names = dict.fromkeys(
        name.partition("@")[0] for tracks in table["scores"].values() for each in tracks.values() for name in each
    )
    rows = [(told(name), "higher" if measure_of(name).higher_is_better else "lower", measure_of(name).blind) for name in names]
    return Table(header=("score", "better", "what it measures, and what it can't see"), rows=rows)


def _record(table: Mapping[str, Any]) -> list[Block]:
    judges = {
        judge["name"]: f"sha256 {judge['sha256'] or 'as pinned by the engine'}; {judge['licence']}" for judge in table["judges"]
    }
    methods = {name: "; ".join(f"{key}: {value}" for key, value in facts.items()) for name, facts in table["methods"].items()}
    facts = {
        "pairs": f"{table['pairs_version']}, plan {table['plan']}, {len(table['pairs'])} pairs",
        "galleries": f"{table['gallery']['pictures']} pictures a person, performance seed {table['gallery']['seed']}",
        "pose, expression, gaze": table["estimator"] if isinstance(table["estimator"], str) else table["estimator"]["name"],
        "intervals": f"{table['bootstrap']['resamples']} resamples over pairs, seed {table['bootstrap']['seed']}",
        "digest of all scores": table["digest"],
        "run": f"{table['run']['id']}, code {table['run']['code']}",
    }
    header = ("pair", "source", "target", "performance", "frames", "light", "wears", "prop")
    return [
        Facts(rows=facts),
        Facts(rows={f"judge {name}": text for name, text in judges.items()}),
        Facts(rows=methods),
        Table(header=header, rows=[_pair(pair) for pair in table["pairs"]], caption=f"As data: {BENCH}"),
    ]


def _pair(pair: Mapping[str, Any]) -> Sequence[str]:
    frames = pair["frames"]
    which = str(frames[0]) if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    acted = f"{pair['kind']} {pair['seed']}"
    return (pair["name"], str(pair["source"]), str(pair["target"]), acted, which, pair["light"], pair["wears"], pair["prop"])
