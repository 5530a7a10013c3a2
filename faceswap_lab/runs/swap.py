"""The verb `swap`: footage, a source and a swapper in, a Run with the finished frames out."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import overload

import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import FaceError
from faceswap_lab.faces import video
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.frame import Frame, remove_leftovers
from faceswap_lab.models import device as devices
from faceswap_lab.models.opencv import OfflineEngine
from faceswap_lab.models.protocols import AnySwapper, Source
from faceswap_lab.models.stream import SwappedFrame, source_of, swap_frames, turn_to_upright
from faceswap_lab.models.warp import WarpSwapper
from faceswap_lab.runs.people import Person, check_person, footage_of, party_of, record_of
from faceswap_lab.runs.progress import Progress
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.recipes import SwapRecipe
from faceswap_lab.runs.results import RESULT
from faceswap_lab.runs.root import lab_root
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.train import swapper_of
from faceswap_lab.trust import doors

_MAX_LISTED = 1000
# ffmpeg's filters for a turn clockwise in degrees.
_TURNS = {90: "transpose=clock", 180: "hflip,vflip", 270: "transpose=cclock"}


@overload
def swap(
    target: Footage,
    *,
    source: Person,
    swapper: Run | str,
    corrections: Corrections | None = None,
    recipe: SwapRecipe | None = None,
    device: str = "auto",
    again: bool = False,
) -> Run: ...
@overload
def swap(
    target: Sequence[Footage],
    *,
    source: Person,
    swapper: Run | str,
    corrections: Corrections | None = None,
    recipe: SwapRecipe | None = None,
    device: str = "auto",
    again: bool = False,
) -> list[Run]: ...
def swap(
    target: Footage | Sequence[Footage],
    *,
    source: Person,
    swapper: Run | str,
    corrections: Corrections | None = None,
    recipe: SwapRecipe | None = None,
    device: str = "auto",
    again: bool = False,
) -> Run | list[Run]:
    """Put `source`'s face on `target` (one footage or several; several give a list of Runs).

    `swapper` is "warp", which needs no training, or the Run or run id that `train` returned. `corrections` are points a hand has
    set (`align(...).corrections`). Frames without a face stay as they are and are counted, and so are the faces that
    `recipe.stream.select` leaves. Raises ConsentError if the gate refuses the pair, FaceError if the source shows no face, or the
    target in no frame: then nothing is kept, and the message says whether turning the picture would help.
    """
    recipe = recipe or SwapRecipe()
    check_person(source, "source")
    if isinstance(target, list | tuple):
        return [
            swap(each, source=source, swapper=swapper, corrections=corrections, recipe=recipe, device=device, again=again)
            for each in target
        ]
    check_person(target, "target")
    if isinstance(target, Actor):
        raise TypeError(f'an actor is no footage: put the face on lab.actor({target.seed}).perform("speech")')
    assert isinstance(target, Footage)
    doors.check_swap(party_of(source), party_of(target), root=lab_root())
    where = devices.pick(device)
    trained = None if swapper == "warp" else Run.open(swapper) if isinstance(swapper, str) else swapper
    inputs = {
        "source": record_of(source),
        "target": record_of(target),
        "swapper": "warp" if trained is None else trained.id,
        "corrections": corrections.digest() if corrections else "",
    }
    run = Run.start(lab_root(), "swap", to_json(recipe), inputs, again=again)
    if run.finished:
        return run
    with run:
        engine = OfflineEngine()
        machine: AnySwapper = WarpSwapper() if trained is None else swapper_of(trained, where)
        _perform(run, recipe, target, source, machine, engine, where, corrections or Corrections())
    return run


def _perform(
    run: Run,
    recipe: SwapRecipe,
    target: Footage,
    source: Person,
    swapper: AnySwapper,
    engine: OfflineEngine,
    where: torch.device,
    corrections: Corrections,
) -> None:
    run.emit("device", device=devices.describe(where))
    known = _known(source, swapper, engine, recipe.num_source_frames)
    codes = swapper.encode([known])
    start, tally = perf_counter(), _Tally()
    # What actors perform is upright.
    turn = turn_to_upright(target, engine) if isinstance(target, Clip | Excerpt) else None
    if turn is not None:
        _note(f"{run.id}: faces are surer when the picture is turned by {turn} degrees clockwise: {_turned(target, turn)}")
    line = Progress("swap", len(target), unit="frames")

    def finished() -> Iterator[Frame]:
        stream = swap_frames(
            target, engine=engine, swapper=swapper, codes=codes, config=recipe.stream, device=where, corrections=corrections
        )
        for done, each in enumerate(stream, 1):
            tally.add(each)
            run.emit("frame", index=each.frame.index, keypoints=each.faces.keypoints.round(2).tolist())
            line.update(done)
            yield each.frame
        if not tally.faces:
            raise _no_face(target, turn)

    with run.write(RESULT) as path:
        remove_leftovers(path)
        video.encode(path, finished(), fps=target.fps or 1.0, size=target.size, lossless=True)
    line.close()
    seconds = perf_counter() - start
    if tally.missed:
        _note(f"{run.id}: no face in {tally.missed} of {len(target)} frames; they are as they came")
    if tally.left:
        _note(
            f"{run.id}: {tally.left} faces beside the largest are as they came; select='all' in the recipe's stream swaps them too"
        )
    run.finish(
        device=devices.describe(where),
        num_frames=len(target),
        num_faces=tally.faces,
        num_faces_left=tally.left,
        num_frames_without_face=tally.missed,
        frames_without_face=tally.first_missed,
        turn_to_upright=turn,
        source=source.subject,
        target=target.subject,
        frames_per_s=round(len(target) / seconds, 2),
        seconds={"swap": round(seconds, 2)},
        actor_source=isinstance(source, Actor),
    )


@dataclass(slots=True)
class _Tally:
    """Faces swapped and left, and frames without one, of which the first are listed by number."""

    faces: int = 0
    left: int = 0
    missed: int = 0
    first_missed: list[int] = field(default_factory=list)

    def add(self, done: SwappedFrame) -> None:
        self.faces += len(done.faces)
        self.left += done.num_left
        if not len(done.faces):
            self.missed += 1
            if self.missed <= _MAX_LISTED:
                self.first_missed.append(done.frame.index)


def _note(text: str) -> None:
    """For people, beside the answer: standard output may be read by a program."""
    print(text, file=sys.stderr, flush=True)


def _no_face(target: Footage, turn: int | None) -> FaceError:
    """Says by which turn (degrees clockwise) of the picture a face is found, if by one."""
    remedy = "choose footage with a face of at least 20 pixels, or set its points by hand (lab.align)"
    if turn is not None:
        remedy = f"a face is found when the picture is turned by {turn} degrees clockwise: {_turned(target, turn)}"
    return FaceError(expected=f"a face in {_name(target)}", got=f"none in any of its {len(target)} frames", remedy=remedy)


def _turned(target: Footage, turn: int) -> str:
    name = Path(_name(target))
    return f'turn the file (ffmpeg -i "{name}" -vf {_TURNS[turn]} -c:a copy "{name.stem}-turned{name.suffix}") and admit that'


def _name(target: Footage) -> str:
    return target.path.name if isinstance(target, Clip | Excerpt) else target.origin


def _known(source: Person, swapper: AnySwapper, engine: OfflineEngine, num_frames: int) -> Source:
    """What the swapper has to see of the source; one that was trained on them needs only the name."""
    if swapper.needs.source == "trained":
        return Source(subject=source.subject, frames=[], faces=[])
    shown = footage_of(source, performance="still", num_frames=num_frames, seed=0, size=512)
    known = source_of(shown, engine, num_frames=num_frames)
    if not known.frames:
        raise FaceError(expected=f"a face of {source.subject}", got="none", remedy="give a source picture with one clear face")
    return known
