"""What the page says: its texts, scores in plain words with what they can't see, and errors in their three parts."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from faceswap_lab.errors import LabError
from faceswap_lab.serve.orders import Row as Scored
from faceswap_lab.serve.site.look import render

TITLE = "Put a face on a picture, and see how well it worked"
INTRO = (
    "The faces to choose from belong to actors: people made by software, who don't exist. Where the picture is an actor's too, "
    "the right answer is known to the pixel, and the result is measured against it."
)
STATEMENT = "The people shown are me, or adults who agreed that their faces are replaced here."
REASON = "Who agreed, and what is it for?"
SAMPLE = "The true answer is rendered, not guessed."
MADE_BY = {
    "oneshot": "Made by the lab's swapper for any face, which had never seen these two people.",
    "warp": "The lab's simplest swapper made this: it bends the chosen face onto the other and keeps the skin tone, which is why "
    "it is hardly closer to the true answer, pixel by pixel.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One score: what it is, its value, what stands beside it, and what it can't see."""

    title: str
    value: str
    beside: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    title: str
    note: str
    form: str
    floor: str = "before the swap {}"
    ceiling: str = "the true answer {}"


_SCORES = {
    "psnr_face": _Told(
        title="Close to the true answer",
        note="Pixel by pixel inside the face, in decibels: above 30 it is hard to tell apart. Can't see if an error matters: a "
        "face that is a little too dark costs as much as a wrong one.",
        form="{:.1f} dB",
    ),
    "ssim_face": _Told(
        title="Same structure as the true answer",
        note="1 is equal. Favours smooth pictures, and can't see a wrong skin tone.",
        form="{:.2f}",
    ),
    "sharpness": _Told(
        title="Sharp where it shows",
        note="Edges in eyes, brows and mouth, as strong as in the true answer at 1. Can't see whether they are the right ones.",
        form="{:.2f}",
        floor="",
        ceiling="",
    ),
    "id_similarity": _Told(
        title="Looks like the chosen face",
        note="What a face recogniser thinks, −1 to 1. Can't see what it wasn't trained on; head, hair and ears stay those of the "
        "picture, so 1 is out of reach.",
        form="{:.2f}",
    ),
    "id_leak": _Told(
        title="Still looks like the person before",
        note="The same recogniser; lower is better. A low number doesn't make anybody anonymous: who knows the person may know "
        "the head, the clothes or the place.",
        form="{:.2f}",
    ),
    "seam": _Told(
        title="Visible edge",
        note="Contrast around the changed region over its surroundings; 0 is none. Can't see a wide, soft halo.",
        form="{:.1f}",
        floor="",
    ),
    "face_found": _Told(
        title="A face was found",
        note="In this share of the frames; the others were left as they were.",
        form="{:.0%}",
        floor="",
        ceiling="",
    ),
}


def rows(scores: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The scores that a visitor is shown, in words; those that were not measured are left out."""
    found = []
    for name, told in _SCORES.items():
        score = scores.get(name)
        if score is None or score.get("value") is None:
            continue
        beside = [text for role in ("floor", "ceiling") if (text := _beside(told, role, score.get(role)))]
        value = told.form.format(score["value"]).replace("-", "−")
        found.append(Row(title=told.title, value=value, beside=", ".join(beside), note=told.note))
    return found


def _beside(told: _Told, role: str, value: float | None) -> str:
    text = told.floor if role == "floor" else told.ceiling
    return text.format(told.form.format(value).replace("-", "−")) if text and value is not None else ""


def plain_scores(rows: Iterable[Scored]) -> dict[str, dict[str, Any]]:
    """Scores as JSON has them: what is not known is None."""
    said = {row.name: {"value": row.value, "floor": row.floor, "ceiling": row.ceiling, "unit": row.unit} for row in rows}
    return {
        name: {part: None if isinstance(value, float) and not math.isfinite(value) else value for part, value in parts.items()}
        for name, parts in said.items()
    }


def waiting(text: str, share: float | None = None) -> str:
    """A line while something is under way, with a bar where it is known how far."""
    return render("wait", text=f"{text[:1].upper()}{text[1:]} …", share=None if share is None else round(100 * share))


def score_table(scores: Mapping[str, Mapping[str, Any]], *, truth: bool, frames: int = 1) -> str:
    """The scores as a table."""
    over = "" if frames == 1 else f"Means over frames spread over the clip's {frames}. "
    known = (
        "The true answer was rendered."
        if truth
        else "No true answer exists for this picture, so nothing here says how right it is."
    )
    return render("scores", rows=rows(scores), caption=over + known)


def refusal(error: Exception) -> str:
    """An error as the page shows it; of one that is a defect of ours only that it happened."""
    if isinstance(error, LabError):
        return render(
            "refusal",
            heading="Refused: ",
            got=_sentence(error.got, upper=False),
            expected=error.expected,
            remedy=_sentence(error.remedy),
        )
    got = "Something went wrong here, and it isn't your fault."
    return render(
        "refusal", heading="", got=got, expected="", remedy="Try again; if it happens again, tell whoever runs this demo."
    )


def duration(seconds: float) -> str:
    """`an hour`, `30 minutes`."""
    if seconds == 3600:
        return "an hour"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'' if minutes == 1 else 's'}" if minutes < 120 else f"{minutes / 60:.0f} hours"


def _sentence(text: str, *, upper: bool = True) -> str:
    return f"{text[:1].upper() if upper else text[:1]}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"
