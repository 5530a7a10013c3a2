"""A finished job as files that the page shows: what was there before, the marked result, the true answer of an actor's take."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceswap_lab.actors.cast import Actor
from faceswap_lab.files import VERSION, put_in_place, sha256_text, write_whole
from faceswap_lab.serve.desk import Desk
from faceswap_lab.serve.orders import Outcome, Sample
from faceswap_lab.serve.site import words
from faceswap_lab.serve.site.gallery import Performance, name_of, take_of
from faceswap_lab.trust.export import export_take
from faceswap_lab.views import images

_SIDE = 1600


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is shown, as files: `file` is the marked result, also to download; `truth` exists for actors' performances."""

    is_clip: bool
    before: Path
    file: Path
    truth: Path | None
    scores: Mapping[str, Mapping[str, Any]]
    num_frames: int
    about: str


def of_upload(outcome: Outcome, upload: Path, source: str) -> Shown:
    """A visitor's own picture or clip. `before` is a small copy of it that a browser shows, or the clip itself."""
    before = upload
    if outcome.kind == "picture":
        assert not isinstance(outcome.before, Path)
        before = outcome.after.with_name("before.jpg")
        before.write_bytes(images.jpeg(outcome.before, side=_SIDE))
    return _shown(outcome, before, None, f"{source} on what you uploaded. {_timing(outcome)}{outcome.note}")


def of_sample(outcome: Outcome, take: Performance, source: str, *, folder: Path, root: Path) -> Shown:
    """An actor's performance: the page's own pictures of it are rendered once and kept in `folder`."""
    actor, suffix = source.removeprefix("actor:"), ".png" if take.sample.num_frames == 1 else ".mp4"
    before, truth = folder / f"{name_of(take)}-before{suffix}", None
    _rendered(take.sample, before, root)
    if actor.isdecimal():
        truth = folder / f"{name_of(take)}-as-{actor}{suffix}"
        _rendered(take.sample, truth, root, Actor(int(actor)))
    return _shown(outcome, before, truth, f"{source} on {take.key}. {_timing(outcome)}")


def example(desk: Desk, *, source: str, take: Performance, folder: Path) -> Shown:
    """The finished example: made by the desk like any job, then kept in `folder` beyond the visit."""
    swapper = sha256_text(desk.swapper)[:8]
    card = folder / f"example-{VERSION}-{swapper}-{source.replace(':', '-')}-{name_of(take)}.json"
    if not card.is_file():
        _make_example(desk, source, take, card)
    return _read(card, folder)


def _make_example(desk: Desk, source: str, take: Performance, card: Path) -> None:
    *_, outcome = desk.sample("house", take.sample, source=source)
    assert isinstance(outcome, Outcome), "a job ends with its outcome or an error"
    shown = of_sample(outcome, take, source, folder=card.parent, root=desk.root)
    kept = card.with_suffix(outcome.after.suffix)
    shutil.copyfile(outcome.after, kept.with_name(f".{kept.name}"))
    put_in_place(kept.with_name(f".{kept.name}"), kept)
    truth = "" if shown.truth is None else shown.truth.name
    parts = {"before": shown.before.name, "file": kept.name, "truth": truth, "scores": dict(shown.scores), "about": shown.about}
    write_whole(card, json.dumps(parts))


def _read(card: Path, folder: Path) -> Shown:
    parts = json.loads(card.read_text(encoding="utf-8"))
    truth = folder / parts["truth"] if parts["truth"] else None
    return Shown(
        is_clip=False, before=folder / parts["before"], file=folder / parts["file"], truth=truth, scores=parts["scores"],
        num_frames=1, about=parts["about"],
    )  # fmt: skip


def _shown(outcome: Outcome, before: Path, truth: Path | None, about: str) -> Shown:
    return Shown(
        is_clip=outcome.kind == "clip", before=before, file=outcome.after, truth=truth, scores=words.plain_scores(outcome.scores),
        num_frames=outcome.num_frames, about=about,
    )  # fmt: skip


def _rendered(sample: Sample, path: Path, root: Path, source: Actor | None = None) -> None:
    if not path.is_file():
        take = take_of(sample)
        take = take if source is None else take.recast(source)
        export_take(take, path, root=root, index=0 if sample.num_frames == 1 else None)


def _timing(outcome: Outcome) -> str:
    return f"{outcome.seconds + outcome.overhead_s:.1f} s on this machine. "
