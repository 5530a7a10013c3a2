"""The scores of an evaluation in a report: the table with floor and ceiling, the curve over frames, the key figures."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.views import figures
from faceswap_lab.views.report.blocks import Block, Drawing, KeyNumber, ScoreRow, Scores

_NOTES = {
    "psnr_face": """Pixel error against the truth, where a perfect swap changes pixels. Blind to structure: a shift by one pixel
        and a lighting change can cost the same. The truth has no error, so there is no ceiling.""",
    "ssim_face": """Similarity of local structure to the truth, on the same pixels. Blind to low-frequency colour changes; favours
        smooth results.""",
    "sharpness": """Gradient energy of eyes, brows and mouth over the truth's: 1 is as sharp, above it sharper than life. Blind to
        whether the edges are right or in the right place, and a face that is too dim counts as blurred. The target's own features
        are sharp too, so it is no floor.""",
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
    "sharpness": "Sharpness of features",
    "id_similarity": "Similarity to source",
    "id_leak": "Similarity to target",
    "id_nearer_source": "Nearer to source",
    "landmark_error": "Landmark error",
    "seam": "Seam",
    "spill": "Outside the face",
    "face_found": "Face found",
}
_NO_FLOOR = {"seam", "sharpness"}
"""Scores of which the unswapped target has one that means nothing."""

_DIGITS = {"psnr_face": 1, "ssim_face": 3, "id_similarity": 3, "id_leak": 3, "landmark_error": 3}


def blocks_of(verdict: ScoreRun) -> list[Block]:
    """The table of scores of a finished evaluation, and the curve over its frames if the truth is known."""
    return [_scores(verdict), *([_over_time(verdict)] if "psnr_face" in verdict.summary["scores"] else [])]


def psnr_over_frames(verdict: Run) -> np.ndarray:
    """PSNR in the face of each frame, in dB; NaN where it is not known."""
    return np.array([np.nan if (psnr := row.get("value.psnr")) is None else psnr for row in _frames(verdict)], dtype=float)


def score_rows(verdict: Run) -> list[ScoreRow]:
    """The scores of a finished evaluation, in the order of the table."""
    found: dict[str, dict[str, Any]] = verdict.summary["scores"]
    return [
        ScoreRow(
            name=_TITLES[name],
            value=score["value"],
            floor=None if name in _NO_FLOOR else score["floor"],
            ceiling=math.inf if name == "psnr_face" else score["ceiling"],
            unit="dB" if name == "psnr_face" else "",
            better="higher" if score["higher_is_better"] else "lower",
            note=" ".join(_NOTES[name].split()),
            digits=_DIGITS.get(name, 2),
        )
        for name in _TITLES
        if (score := found.get(name)) is not None
    ]


def _frames(verdict: Run) -> list[dict[str, float | None]]:
    rows: list[dict[str, float | None]] = json.loads(verdict.artifact("frames.json").read_text())
    return rows


def _scores(verdict: Run) -> Scores:
    about = f"Means over {verdict.summary['num_frames']} frames. Recogniser: {verdict.summary['embedder']}, galleries of at most "
    about += f"{verdict.summary['gallery_size']} pictures each. Run {verdict.id}."
    return Scores(rows=score_rows(verdict), caption=about)


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


def key_numbers(verdicts: Sequence[ScoreRun]) -> list[KeyNumber]:
    """The figures for the top of the page: those of the evaluation with the smallest gain; none without a known truth."""
    known = [run for run in verdicts if "psnr_face" in run.summary["scores"]]
    if not known:
        return []
    hardest = min(known, key=lambda run: run.gain("psnr_face"))
    scores = hardest.summary["scores"]
    whose = "" if len(known) == 1 else f", {hardest.inputs['result']}, the lowest of {len(known)}"

    def one(name: str, unit: str = "") -> KeyNumber:
        digits = _DIGITS.get(name, 2)
        value, floor = scores[name]["value"], scores[name]["floor"]
        return KeyNumber(label=_TITLES[name], value=f"{value:.{digits}f}{unit}", detail=f"floor {floor:.{digits}f}{unit}{whose}")

    share = KeyNumber(label="Nearer to source", value=f"{scores['id_nearer_source']['value']:.0%}", detail="of frames")
    ratio = KeyNumber(
        label="Landmark error", value=f"{hardest.summary['landmark_error_ratio']:.2f} ×", detail="that of the truth, same detector"
    )
    # Evaluations of older versions have no sharpness.
    known_sharpness = [scores["sharpness"]["value"]] if "sharpness" in scores else []
    sharp = [KeyNumber(label=_TITLES["sharpness"], value=f"{value:.2f}", detail="of the truth's") for value in known_sharpness]
    return [one("psnr_face", " dB"), one("ssim_face"), *sharp, share, ratio]
