"""`report`: the results of a set of runs, as one self-contained, exported page."""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_lab.actors.cast import Take
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.files import user_path
from faceswap_lab.runs.call import fields_of
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import export
from faceswap_lab.trust.consent.gate import Permission, check_swap
from faceswap_lab.trust.marks.metadata import Unchanged, metadata_of
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.people import reopened
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.train.result import TrainRun
from faceswap_lab.views import figures, images
from faceswap_lab.views.report.blocks import (
    LARGEST_CLIP,
    Block,
    Command,
    Comparison,
    Drawing,
    Facts,
    KeyNumber,
    Paragraph,
    ScoreRow,
    Scores,
    Section,
    Video,
)
from faceswap_lab.views.report.page import render_report

_INTRO = """One person's face on another's performance. If both are synthetic actors, the correct result is known to the pixel, and
every score is reported with two references: the floor, which is the unmodified target, and the ceiling, which is the truth itself
under the same measure."""

_NOTES = {
    "psnr_face": """Pixel error against the truth, where a perfect swap changes pixels. Blind to structure: a shift by one pixel
        and a lighting change can cost the same. The truth has no error, so there is no ceiling.""",
    "ssim_face": """Similarity of local structure to the truth, on the same pixels. Blind to low-frequency colour changes; favours
        smooth results.""",
    "id_similarity": """Cosine of a recogniser's embeddings to the source's gallery. A perfect swap does not reach 1: the head, the
        hair and the ears are the target's.""",
    "id_leak": """Cosine to the target's gallery. Actors look alike to the recogniser, so the truth leaks too.""",
    "id_nearer_source": """Share of frames that are nearer to the source's gallery than to the target's. No threshold is needed, and
        none would hold on actors.""",
    "landmark_error": """Distance of the detector's five points from the rendered ones, relative to the inter-ocular distance. The
        detector is biased; the ceiling is its error on the truth.""",
    "seam": """Excess contrast across the edge of the changed region over its surroundings, in levels per pixel. No seam at or
        below the truth's value; an unswapped face has an edge there too, so it is no floor. Blind to a wide, soft halo.""",
    "spill": """Changed pixels that a perfect swap leaves alone, relative to those that it changes. The target has none; the truth
        has some, specks and thin edges that are excluded from the region. Blind to how strong the change is.""",
    "face_found": "Share of frames in which the detector finds a face.",
}
_TITLES = {
    "psnr_face": "PSNR in the face",
    "ssim_face": "SSIM in the face",
    "id_similarity": "Similarity to source",
    "id_leak": "Similarity to target",
    "id_nearer_source": "Nearer to source",
    "landmark_error": "Landmark error",
    "seam": "Seam",
    "spill": "Outside the face",
    "face_found": "Face found",
}
_DIGITS = {"psnr_face": 1, "ssim_face": 3, "id_similarity": 3, "id_leak": 3, "landmark_error": 3}
_NUM_STILLS = 4
_CLIP_SCALES = (1.0, 0.5, 0.25)
"""Sizes at which a clip is encoded until it can be embedded. Only long ones need more than the first: the bit rate is limited."""


def report(
    *runs: Run,
    path: str | Path | None = None,
    title: str = "Face swap, measured",
    accept_frames: int = 0,
    accept_faces: int = 0,
) -> Path:
    """Writes one page about train, swap and evaluate runs: pictures, clip, scores, curves, environment, hashes.

    `path` is by default `report.html` in the folder of the first swap run. The page is an export: the gate is consulted for every
    swap it shows, and it is marked and logged. Raises ValueError if there is no swap among the runs, ConsentError as
    `SwapRun.export` does: `accept_frames` and `accept_faces` are the sums over all swaps shown.
    """
    swaps = [run for run in runs if isinstance(run, SwapRun)]
    if not swaps:
        raise ValueError("a report needs at least one swap run: lab.report(trained, result, scores)")
    verdicts = {run.inputs["result"]: run for run in runs if isinstance(run, ScoreRun)}
    sections = [section for swap in swaps for section in _swap_sections(swap, verdicts.get(swap.id))]
    sections += [_training(run) for run in runs if isinstance(run, TrainRun)]
    sections += [_record(runs)]
    page = render_report(
        title=title, intro=" ".join(_INTRO.split()), sections=sections, key_numbers=_key_numbers(list(verdicts.values()))
    )
    place = user_path(path) if path is not None else swaps[0].path / "report.html"
    accept = Unchanged(frames=accept_frames, faces=accept_faces)
    lineages = [swap.lineage() for swap in swaps]
    return export.export_file(page, place, lineages=lineages, root=swaps[0].root, accept=accept).path


# --- one swap -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    """Corresponding footage, frame by frame. If a real person was anonymised, the target is not shown.

    The swap of a preview has fewer frames than target and truth: only its own are shown.
    """

    target: Footage
    swap: Footage
    truth: Take | None
    anonymised: bool

    def __len__(self) -> int:
        return len(self.swap)

    def images(self, index: int) -> dict[str, Image]:
        columns = {} if self.anonymised else {"target": self.target[index].image}
        columns |= {"swap": self.swap[index].image}
        return columns if self.truth is None else columns | {"truth": self.truth[index].image}


def _swap_sections(swap: SwapRun, verdict: ScoreRun | None) -> Iterator[Section]:
    _, target = swap.people()
    assert isinstance(target, Footage)
    truth = reopened(verdict.inputs["truth"]) if verdict is not None and verdict.inputs["truth"] else None
    shown = _Shown(
        target=target,
        swap=swap.footage(),
        truth=truth if isinstance(truth, Take) else None,
        anonymised=_permission(swap).anonymises,
    )
    name = f"{swap.summary['source']} on {'a real person' if shown.anonymised else swap.summary['target']}"
    blocks: list[Block] = [] if len(shown) == 1 else [_clip(swap, shown)]
    if len(shown) < len(target):
        blocks += [Paragraph(text=f"A preview: the first {len(shown)} of the target's {len(target)} frames were swapped.")]
    blocks += [_stills(shown, verdict)]
    if missed := swap.summary["frames_without_face"]:
        blocks += [Paragraph(text=f"No face was found in {len(missed)} frames, which are unchanged: {missed[:20]}.")]
    if verdict is not None:
        blocks += [_scores(verdict)]
        if "psnr_face" in verdict.summary["scores"]:
            blocks += [_over_time(verdict)]
    yield Section(title=name, blocks=blocks)


def _permission(swap: SwapRun) -> Permission:
    lineage = swap.lineage()
    learned = lineage.trained_on
    return check_swap(lineage.source, lineage.target, trained_on=learned, root=swap.root, action="export refused")


def _clip(swap: SwapRun, shown: _Shown) -> Block:
    """Target, swap and truth side by side, as one small clip with embedded mark; a sentence if none is small enough to embed."""
    names = list(shown.images(0))
    mark = metadata_of(swap.lineage(), _permission(swap))
    for scale in _CLIP_SCALES:
        with tempfile.TemporaryDirectory() as folder:
            data = _encoded(Path(folder) / "clip.mp4", swap.id, shown, mark, scale).read_bytes()
        if len(data) <= LARGEST_CLIP:
            smaller = "" if scale == 1 else f" Shown at {scale:.0%} of its size."
            caption = f"Left to right: {', '.join(names)}. Run {swap.id}.{smaller}"
            return Video(data=data, caption=caption, poster=_side_by_side(shown, len(shown) // 2))
    return Paragraph(text=f"The clip of {len(shown)} frames is too long to be embedded; export it with the run {swap.id}.")


def _encoded(path: Path, origin: str, shown: _Shown, mark: dict[str, str], scale: float) -> Path:
    """The clip at `scale` of its size, in an MP4 whose bit rate is limited so that it can be embedded.

    The limit reserves a second for the encoder's buffer and a tenth for the container.
    """
    fps = shown.target.fps or 1.0
    side = max(32, round(scale * max(_side_by_side(shown, 0).shape)))

    def frames() -> Iterator[Frame]:
        for index in range(len(shown)):
            wide = images.fit_side(_side_by_side(shown, index), side)
            yield Frame(image=wide, origin=origin, index=index, time_s=shown.target[index].time_s)

    rate = int(0.9 * 8 * LARGEST_CLIP / (len(shown) / fps + 1))
    return video.encode(path, frames(), fps=fps, metadata=mark, max_bits_per_s=rate)


def _side_by_side(shown: _Shown, index: int) -> Image:
    return np.ascontiguousarray(np.concatenate(list(shown.images(index).values()), axis=1))


def _stills(shown: _Shown, verdict: Run | None) -> Block:
    """The worst to the best frames by PSNR if the truth is known; else evenly spaced frames."""
    count = len(shown)
    if count == 1:
        return Comparison(
            columns={name: [image] for name, image in shown.images(0).items()}, labels=[""], caption="Before and after."
        )
    frames = _frames(verdict) if verdict is not None else []
    values = np.array([np.nan if (psnr := row.get("value.psnr")) is None else psnr for row in frames], dtype=float)
    if np.isfinite(values).sum() >= _NUM_STILLS:
        order = np.argsort(np.where(np.isfinite(values), values, np.inf))[: int(np.isfinite(values).sum())]
        places = [int(order[round(share * (len(order) - 1))]) for share in (0, 1 / 3, 2 / 3, 1)]
        labels = [
            f"{word}\nframe {place}\n{values[place]:.1f} dB" for word, place in zip(("worst", "", "", "best"), places, strict=True)
        ]
        caption = "Frames from worst to best by PSNR in the face; the worst first, because users will notice it most."
    else:
        places = [int(place) for place in np.linspace(0, count - 1, _NUM_STILLS).round()]
        labels, caption = [f"frame {place}" for place in places], "Evenly spaced frames of the clip."
    rows = [shown.images(place) for place in places]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    difference = ("swap", "truth") if shown.truth is not None else None
    return Comparison(columns=columns, labels=[label.strip() for label in labels], caption=caption, difference_of=difference)


def _frames(verdict: Run) -> list[dict[str, float | None]]:
    rows: list[dict[str, float | None]] = json.loads(verdict.artifact("frames.json").read_text())
    return rows


def _scores(verdict: Run) -> Scores:
    found: dict[str, dict[str, Any]] = verdict.summary["scores"]
    rows = [
        ScoreRow(
            name=_TITLES[name],
            value=score["value"],
            floor=None if name == "seam" else score["floor"],
            ceiling=math.inf if name == "psnr_face" else score["ceiling"],
            unit="dB" if name == "psnr_face" else "",
            better="higher" if score["higher_is_better"] else "lower",
            note=" ".join(_NOTES[name].split()),
            digits=_DIGITS.get(name, 2),
        )
        for name in _TITLES
        if (score := found.get(name)) is not None
    ]
    about = f"Means over {verdict.summary['num_frames']} frames. Recogniser: {verdict.summary['embedder']}, galleries of at most "
    about += f"{verdict.summary['gallery_size']} pictures each. Run {verdict.id}."
    return Scores(rows=rows, caption=about)


def _over_time(verdict: Run) -> Drawing:
    rows = _frames(verdict)
    lines = {
        label: [float("nan") if (value := row.get(key)) is None else value for row in rows]
        for label, key in (("swap", "value.psnr"), ("floor", "floor.psnr"))
    }
    figure = figures.lines(list(range(len(rows))), lines, ylabel="PSNR in the face, dB", xlabel="frame")
    return Drawing(
        figure=figure, caption="Frame by frame: a mean hides the frames that fail.", alt="PSNR of swap and floor over frames"
    )


# --- the rest -------------------------------------------------------------------------------------------------------------


def _key_numbers(verdicts: Sequence[ScoreRun]) -> list[KeyNumber]:
    known = [run for run in verdicts if "psnr_face" in run.summary["scores"]]
    if not known:
        return []
    hardest = min(known, key=lambda run: run.gain("psnr_face"))
    scores = hardest.summary["scores"]

    def one(name: str, unit: str = "") -> KeyNumber:
        digits = _DIGITS.get(name, 2)
        value, floor = scores[name]["value"], scores[name]["floor"]
        return KeyNumber(label=_TITLES[name], value=f"{value:.{digits}f}{unit}", detail=f"floor {floor:.{digits}f}{unit}")

    share = KeyNumber(label="Nearer to source", value=f"{scores['id_nearer_source']['value']:.0%}", detail="of frames")
    ratio = KeyNumber(
        label="Landmark error", value=f"{hardest.summary['landmark_error_ratio']:.2f} ×", detail="that of the truth, same detector"
    )
    return [one("psnr_face", " dB"), one("ssim_face"), share, ratio]


def _training(run: TrainRun) -> Section:
    events = run.events("step", unique="step")
    steps = [event["step"] for event in events]
    curves = {
        f"decoder {person + 1}": [event["losses"][f"picture_{person}"] for event in events]
        for person in (0, 1)
        if events and f"picture_{person}" in events[0]["losses"]
    }
    figure = figures.lines(steps, curves, ylabel="picture loss")
    facts = {
        "Supervision": run.summary["supervision"],
        "Steps": str(run.summary["steps"]),
        "Pictures": ", ".join(str(count) for count in run.summary["num_pictures"]),
        "Device": run.summary["device"],
        "Seconds": ", ".join(f"{name} {value:.0f}" for name, value in run.summary["seconds"].items()),
    }
    drawing = Drawing(
        figure=figure, caption="A loss shows how training went, not how good a swap is.", alt="Training loss over steps"
    )
    return Section(title="Training", blocks=[drawing, Facts(rows=facts)])


def _record(runs: Sequence[Run]) -> Section:
    environment = runs[0].record.environment
    machine = {name: str(value) for name, value in environment.items() if name != "packages"}
    packages = {name: str(value) for name, value in environment.get("packages", {}).items()}
    blocks: list[Block] = [Facts(rows=machine), Facts(rows=packages, mono=True)]
    hides = any(_permission(run).anonymises for run in runs if isinstance(run, SwapRun))
    for run in runs:
        rows = {"run": run.id, "key": run.key, "code": run.record.code, "created": run.record.created}
        rows |= {f"input: {name}": _told(value, hides=hides) for name, value in run.inputs.items() if value}
        rows |= {f"output: {name}": f"sha256:{digest}" for name, digest in run.record.artifacts.items()}
        blocks += [Facts(rows=rows, mono=True)]
        if isinstance(run, TrainRun):
            blocks += [Command(text=json.dumps(run.record.recipe, indent=1))]
    commands = "\n".join(f"faceswap-lab runs show {run.id}" for run in runs)
    return Section(title="Record", blocks=[*blocks, Command(text=commands)], folded=True)


def _told(value: str, *, hides: bool) -> str:
    """An input as the page tells it: never a path, as a file's name may be a person's; if the page hides somebody, nothing of any
    file, as it may be theirs in whichever run."""
    fields = fields_of(value)
    if not fields or "actor" in fields or "take" in fields:
        return value
    if hides:
        return "withheld"
    frames = f", frames {fields['frames'][0]} to {fields['frames'][1]}" if "frames" in fields else ""
    return f"{fields.get('file') or fields.get('faceset') or 'footage'}{frames}"
