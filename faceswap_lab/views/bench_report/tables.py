"""The tables of the benchmark's page: methods as rows, and one table for each kind of score, so that they fit a narrow screen."""

from collections.abc import Mapping, Sequence
from typing import Any

from faceswap_lab.verbs.bench.measures import measure_of
from faceswap_lab.views.report.blocks import Block, Cell, Line, Paragraph, SideBySide, Table

_TITLES = {
    "all": "All pairs",
    "skin_tone_gap": "Skin-tone gap",
    "psnr_face": "PSNR in the face",
    "psnr_calibrated": "PSNR after calibration",
    "ssim_face": "SSIM in the face",
    "flip": "FLIP",
    "background_psnr": "PSNR of the background",
    "landmark_error": "Landmark error",
    "face_found": "Face found",
    "id_similarity": "Similarity to source",
    "id_leak": "Similarity to target",
    "id_margin": "Margin",
    "id_rank1": "Rank 1",
    "id_jitter": "Identity jitter",
    "pose_error": "Pose error",
    "expression_error": "Expression error",
    "gaze_error": "Gaze error",
    "warping_error": "Warping error",
    "flow_difference": "Flow difference (tOF)",
    "kid": "KID",
}
_KINDS = {
    "Pictures": ("psnr_face", "psnr_calibrated", "ssim_face", "flip", "sharpness"),
    "Identity": ("id_similarity", "id_leak", "id_margin", "id_rank1", "kid"),
    "What must stay": (
        "background_psnr",
        "spill",
        "seam",
        "landmark_error",
        "face_found",
        "pose_error",
        "expression_error",
        "gaze_error",
    ),
    "Time": ("warping_error", "flow_difference", "id_jitter"),
}


def told(name: str) -> str:
    """A score's or a track's name in words; a judge stays after it."""
    plainly, _, judge = name.partition("@")
    title = _TITLES.get(plainly, plainly.replace("_", " ").capitalize())
    return f"{title}, {judge}" if judge else title


def of_track(table: Mapping[str, Any], track: str) -> SideBySide:
    """Methods as columns, scores as rows, in groups; seconds per image last."""
    methods = list(table["scores"])
    names = dict.fromkeys(name for method in methods for name in table["scores"][method][track])
    groups = {
        kind: lines
        for kind, measures in _KINDS.items()
        if (lines := [_line(table, track, name) for name in names if name.partition("@")[0] in measures])
    }
    seconds = [table["seconds_per_image"].get(method) for method in methods]
    groups["Speed"] = [Line(name="Seconds per image", cells=[Cell(text="–" if s is None else f"{s:.2f}") for s in seconds])]
    counts = sorted({score["pairs"] for method in methods for score in table["scores"][method][track].values() if "pairs" in score})
    caption = (
        f"{counts[-1] if counts else 0} pairs. Under a value: its interval, floor and ceiling; beside it the share of the way."
    )
    return SideBySide(runs=methods, groups=groups, caption=caption)


def _line(table: Mapping[str, Any], track: str, name: str) -> Line:
    measure = measure_of(name)
    scores = [table["scores"][method][track].get(name) for method in table["scores"]]
    unit = f" ({measure.unit})" if measure.unit else ""
    return Line(
        name=told(name) + unit,
        cells=[_cell(score, measure.digits) for score in scores],
        direction="higher is better" if measure.higher_is_better else "lower is better",
    )


def _cell(score: Mapping[str, Any] | None, digits: int) -> Cell:
    if score is None:
        return Cell(text="–")
    ends = [f"{word} {_number(score[word], digits)}" for word in ("floor", "ceiling") if score.get(word) is not None]
    if score.get("low") is not None:
        ends.insert(0, f"{_number(score['low'], digits)} to {_number(score['high'], digits)}")
    if score.get("error") is not None:
        ends.insert(0, f"± {_number(score['error'], digits)}")
    share = score.get("share")
    return Cell(text=_number(score["value"], digits), share=share, note="; ".join(ends))


def by_track(table: Mapping[str, Any], tracks: Sequence[str]) -> Table:
    """PSNR in the face and the first judge's similarity to the source: tracks as rows, methods as columns."""
    methods = [method for method in table["scores"] if method not in ("copy", "truth")]
    identity = (
        next((name for name in table["scores"][methods[0]][tracks[0]] if name.startswith("id_similarity@")), "") if methods else ""
    )
    names = ("psnr_face", *([identity] if identity else []))
    rows = []
    for track in tracks:
        scores = {method: table["scores"][method][track] for method in methods}
        cells = [_with_floor(scores[method].get(name), measure_of(name).digits) for name in names for method in methods]
        pairs = max((score["pairs"] for each in scores.values() for score in each.values() if "pairs" in score), default=0)
        rows.append((told(track), str(pairs), *cells))
    header = ("track", "pairs", *(f"{told(name)}: {method}" for name in names for method in methods))
    return Table(header=header, rows=rows, caption="In brackets the floor: the target as it is.")


def _with_floor(score: Mapping[str, Any] | None, digits: int) -> str:
    return "–" if score is None else f"{_number(score['value'], digits)} ({_number(score['floor'], digits)})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def by_people(table: Mapping[str, Any]) -> list[Block]:
    """One table for each method between the two ends: PSNR and identity by a trait of source or target."""
    blocks: list[Block] = [
        Paragraph(text="Few pairs in a group say little: read the number of pairs first. Skin is the actors' melanin, in thirds.")
    ]
    for method, groups in table["groups"].items():
        if method in ("copy", "truth") or not groups:
            continue
        names = [
            name
            for name in next((each["scores"] for each in groups if each["scores"]), {})
            if name.partition("@")[0] in ("psnr_face", "id_similarity")
        ]
        rows = [_group(group, names) for group in groups]
        blocks.append(Table(header=("whose", "group", "pairs", *(told(name) for name in names)), rows=rows, caption=method))
    return blocks


def _group(group: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
    cells = []
    for name in names:
        score, digits = group["scores"].get(name), measure_of(name).digits
        if score is None:
            cells.append("–")
            continue
        cells.append(f"{_number(score['value'], digits)} (floor {_number(score['floor'], digits)})")
    return (group["side"], f"{group['trait']}: {group['group']}", str(group["pairs"]), *cells)


def failures(table: Mapping[str, Any]) -> list[Block]:
    """Which pairs failed and why, and in how many pictures a method found no face."""
    rows = [(method, each["pair"], each["reason"]) for method, failed in table["failed"].items() for each in failed]
    missed = [f"{method}: {count}" for method, count in table["faces_missed"].items() if count]
    said = f"Pictures in which a method found no face and left the target: {', '.join(missed)}." if missed else ""
    told_rows: Block = (
        Table(header=("method", "pair", "reason"), rows=rows) if rows else Paragraph(text="No method failed on a pair.")
    )
    return [told_rows, *([Paragraph(text=said)] if said else [])]
