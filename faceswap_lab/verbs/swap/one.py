"""One swap: from the question to the gate to the finished run."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, FaceError, RunError, fitting
from faceswap_lab.faces import remedies
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.files import lab_root
from faceswap_lab.models import data_files
from faceswap_lab.models import device as devices
from faceswap_lab.models.engines.search import SMALLEST
from faceswap_lab.models.protocols import AnySwapper, Engine, Source
from faceswap_lab.models.registry import (
    ONESHOT,
    WARP,
    check_points,
    check_tone,
    is_named,
    open_engine,
    open_swapper,
    swapper_record,
    toned,
)
from faceswap_lab.models.stream.followed import Followed
from faceswap_lab.models.stream.probes import source_of, turn_to_upright
from faceswap_lab.models.stream.swap_frames import SwappedFrame, batches
from faceswap_lab.progress import Progress
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.consent.gate import Permission, check_swap, refuse
from faceswap_lab.trust.marks.metadata import Lineage, kept_metadata
from faceswap_lab.verbs.computing import Compute, computing
from faceswap_lab.verbs.people import Person, check_person, data_of, footage_of, record_of, subject_of
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.parts import Form, Part, Work, join_parts, kept, missing, noted, recorded, remove_parts, write_part
from faceswap_lab.verbs.swap.result import CORRECTIONS, SwapRun
from faceswap_lab.verbs.swap.spread import Place, Together, spread_parts
from faceswap_lab.verbs.train.result import ONESHOT as ONESHOT_WEIGHTS
from faceswap_lab.verbs.train.result import TrainRun
from faceswap_lab.verbs.train.train import TRAINED_ON

PART_FRAMES = 200
"""About the number of frames lost by a kill (see `verbs.swap.parts`)."""

_MAX_LISTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked of `swap`, but for the footage: see there."""

    source: Person
    swapper: Run | str
    corrections: Corrections | None
    recipe: SwapRecipe
    device: str
    force: bool


def swap_one(target: Footage | Actor, call: Call, compute: Compute, together: Together | None = None) -> SwapRun:
    """Swap one footage, on the workers of `compute` if there is one; with `together`, as one of several."""
    check_person(target, "target")
    source, swapper, recipe, corrections = call.source, call.swapper, call.recipe, call.corrections
    if isinstance(target, Actor):
        raise TypeError(f'an actor is not footage: put the face on lab.actor({target.seed}).perform("speech")')
    assert isinstance(target, Footage)
    trained = None if isinstance(swapper, str) and is_named(swapper) else _training(swapper)
    is_oneshot = swapper == ONESHOT if trained is None else trained.has(ONESHOT_WEIGHTS)
    check_tone(recipe.tone, oneshot=is_oneshot, name=str(swapper) if trained is None else trained.id)
    permission = _ask_gate(source, target, trained, recipe)
    where = devices.pick(call.device if compute is None else "cpu")
    finder = open_engine(recipe.engine, where)
    inputs = {
        "source": record_of(source),
        "target": record_of(target),
        "swapper": trained.id if trained is not None else swapper_record(str(swapper)),
        "engine": finder.record,
        "corrections": corrections.digest() if corrections else "",
    }
    data = data_of(source, target) | data_files.of_engine(finder)
    data |= data_files.of_warp() if swapper in (WARP, ONESHOT) else {}
    data |= data_files.of_eyes() if recipe.stream.covers == "kept" else {}
    data |= {"weights": trained.record.artifacts.get(trained.weights, "")} if trained is not None else {}
    run = SwapRun.start(lab_root(), "swap", recipe, inputs, data=data, force=call.force)
    if run.finished:
        return run
    with run:
        machine: AnySwapper
        if trained is not None:
            machine = trained.swapper(where)
            _warn_of_other_points(run, trained, recipe.engine)
        else:
            machine = open_swapper(str(swapper), where, finder)
        machine = toned(machine, recipe.tone)
        check_points(finder, machine)
        lineage = Lineage(run=run.id, source=subject_of(source), target=subject_of(target), trained=swapper != WARP)
        mark = kept_metadata(lineage, permission)
        _keep_corrections(run, target, corrections)
        providers = {**finder.providers(), **machine.providers()}
        with fitting(_name(target), target.size), computing(run, compute, call.device, providers=providers) as (cluster, _):
            name = trained.id if trained is not None else str(swapper)
            place = None if cluster is None else Place(compute=cluster, device=call.device, swapper=name, together=together)
            _perform(run, recipe, target, source, machine, finder, where, corrections or Corrections(), mark, place)
    return run


def _ask_gate(source: Person, target: Footage, trained: TrainRun | None, recipe: SwapRecipe) -> Permission:
    """ConsentError unless this swap is allowed: to its two people, to those the swapper learned from, and to bystanders."""
    giver, taker = subject_of(source), subject_of(target)
    learned = () if trained is None else trained.subjects()
    permission = check_swap(giver, taker, trained_on=learned, root=lab_root())
    if recipe.stream.select == "all" and permission.real_source and not taker.is_actor:
        refuse(
            lab_root(),
            "swap refused",
            (giver, taker),
            ConsentError(
                expected="select='largest' for a real person's face: the consent is for one target",
                got="select='all', which would put it on everybody in the picture",
                remedy="swap without select='all' (--select all), or use an actor's face",
            ),
        )
    return permission


def _keep_corrections(run: SwapRun, target: Footage, corrections: Corrections | None) -> None:
    """Write the corrections as an artifact: the run's key has only their digest. Warns if none of them is of this footage."""
    if not corrections:
        return
    if not run.has(CORRECTIONS):
        with run.write(CORRECTIONS) as path:
            path.write_text(corrections.to_json(), encoding="utf-8")
    if not corrections.indices(target.origin):
        warning = f"none of the {len(corrections)} corrections is of this footage, {target.origin}: they change nothing"
        run.emit("warning", text=warning)
        _note(f"{run.id}: {warning}")


def _training(swapper: Run | str) -> TrainRun:
    """The train run that made the swapper. RunError for a run of another verb."""
    if isinstance(swapper, str):
        return TrainRun.open(swapper)
    if not isinstance(swapper, TrainRun):
        raise RunError(
            expected="a finished train run",
            got=f"{swapper.id}, a {swapper.verb} run",
            remedy="give the Run that lab.train returned",
        )
    return swapper


def _perform(
    run: SwapRun,
    recipe: SwapRecipe,
    target: Footage,
    source: Person,
    swapper: AnySwapper,
    engine: Engine,
    where: torch.device,
    corrections: Corrections,
    mark: Mapping[str, str],
    place: Place | None,
) -> None:
    providers = {**engine.providers(), **swapper.providers()}
    if providers:
        _note(f"{run.id}: on {devices.describe(where)}; {', '.join(f'{name} on {each}' for name, each in providers.items())}")
    # Actors' performances are always upright.
    turn = turn_to_upright(target, engine) if isinstance(target, Clip | Excerpt) else None
    if turn is not None:
        _note(f"{run.id}: detection is surer when the picture is turned by {turn} degrees clockwise: {_turned(target, turn)}")
    num_frames = min(recipe.preview or len(target), len(target))
    form = Form.of(target, mark)
    if not run.has(form.result):
        done = kept(run)
        if missing(done, num_frames, part_frames=PART_FRAMES):
            work = Work(
                target=target,
                engine=engine,
                swapper=swapper,
                codes=swapper.encode([_known(source, swapper, engine, recipe.num_source_frames)]),
                config=recipe.stream,
                device=where,
                corrections=corrections,
            )
            done = _go_on(run, work, form, done, num_frames) if place is None else _spread(run, work, form, done, num_frames, place)
        if not any(sum(part.num_faces) for part in done):
            remove_parts(run)
            raise _no_face(recipe, target, turn, num_frames)
        join_parts(run, done, form)
    _finish(run, recipe, target, source, where, turn, corrections)


def _go_on(
    run: Run,
    work: Work,
    form: Form,
    done: list[Part],
    num_frames: int,
) -> list[Part]:
    """Write the missing parts, with one progress line; an interrupt or an error keeps what was finished before."""
    size = work.config.batch_size
    part_frames = -(-PART_FRAMES // size) * size
    # One stream for each gap: starting its threads anew for each part would leave them idle in between.
    gaps = missing(done, num_frames, part_frames=-(-num_frames // size) * size)
    if done:
        _note(f"{run.id}: resumes at frame {gaps[0].start} of {num_frames}")
    spent: dict[str, float] = {}
    line, start = Progress("swap", sum(map(len, gaps)), unit="frames"), perf_counter()
    parts, number = [*done], 0

    def counted(lists: Iterator[list[SwappedFrame]]) -> Iterator[list[SwappedFrame]]:
        nonlocal number
        for batch in lists:
            yield batch
            number += len(batch)
            line.update(number, _shares(spent))

    try:
        for gap in gaps:
            with closing(work.stream(gap, spent)) as frames:  # its threads end here
                lists, first = counted(batches(frames, size)), gap.start
                while part := write_part(run, lists, form, first=first, num_frames=part_frames, spent=spent):
                    parts.append(part)
                    first = part.stop
    except KeyboardInterrupt:
        _tell_stopped(run)
        raise
    finally:
        run.emit("swapped", seconds=round(perf_counter() - start, 2), stages={name: round(s, 2) for name, s in spent.items()})
    line.close()
    return sorted(parts, key=lambda part: part.first)


def _spread(run: SwapRun, work: Work, form: Form, done: list[Part], num_frames: int, place: Place) -> list[Part]:
    """Have the missing parts made by workers, with one progress line; an interrupt or an error keeps what was finished before."""
    part_frames = -(-PART_FRAMES // work.config.batch_size) * work.config.batch_size
    try:
        return spread_parts(run, work.codes, form, missing(done, num_frames, part_frames=part_frames), done, place)
    except KeyboardInterrupt:
        _tell_stopped(run)
        raise


def _tell_stopped(run: Run) -> None:
    num_kept = sum(len(part.times_s) for part in noted(run) if run.has(part.name))
    _note(f"stopped; {run.id} keeps {num_kept} frames: repeat the call to resume")


def _finish(
    run: Run,
    recipe: SwapRecipe,
    target: Footage,
    source: Person,
    where: torch.device,
    turn: int | None,
    corrections: Corrections,
) -> None:
    run.flush()
    parts = recorded(run)
    num_faces, num_left = ([number for part in parts for number in getattr(part, name)] for name in ("num_faces", "num_left"))
    missed = [index for index, number in enumerate(num_faces) if not number]
    seconds = sum(float(event["seconds"]) for event in run.events("swapped"))
    stages: dict[str, float] = {}
    for event in run.events("swapped"):
        for name, value in event["stages"].items():
            stages[name] = round(stages.get(name, 0.0) + value, 2)
    if missed:
        _note(f"{run.id}: no face in {len(missed)} of {len(num_faces)} frames; they are unchanged")
    followed, found_from = _followed(run), recipe.stream.found_from(target.size)
    if sum(num_left):
        whom = (
            f"followed {followed}; {sum(num_left)} faces of others" if followed else f"{sum(num_left)} faces other than the largest"
        )
        _note(f"{run.id}: {whom} are unchanged; select='all' swaps them too (--select all)")
    if found_from > SMALLEST:
        side = max(target.size)
        text = f"faces under about {found_from} pixels were not looked for; search={side} does (--search {side})"
        _note(f"{run.id}: {text}")
    remove_parts(run)
    run.finish(
        device=devices.describe(where),
        num_frames=len(num_faces),
        num_faces=sum(num_faces),
        num_faces_left=sum(num_left),
        faces_found_from_px=found_from,
        followed=followed,
        num_frames_without_face=len(missed),
        frames_without_face=missed[:_MAX_LISTED],
        num_frames_corrected=sum(index < len(num_faces) for index in corrections.indices(target.origin)),
        turn_to_upright=turn,
        every=recipe.stream.every,
        colour=recipe.stream.colour,
        source=source.subject,
        target=target.subject,
        frames_per_s=round(len(num_faces) / max(seconds, 1e-3), 2),
        seconds={"swap": round(seconds, 2)},
        stage_seconds=stages,
        actor_source=isinstance(source, Actor),
    )


def _followed(run: Run) -> str | None:
    """Which person of the target was followed, in words; None if nobody was chosen out of several."""
    told = [Followed(**{name: event[name] for name in ("frame", "number", "num_faces")}) for event in run.events("followed")]
    return str(told[0]) if told else None


def _shares(spent: dict[str, float]) -> str:
    """Busy time of each stage as a share of the total; stages overlap, so the one with the largest share is the bottleneck."""
    total = sum(spent.values()) or 1.0
    return ", ".join(f"{name} {100 * seconds / total:.0f} %" for name, seconds in spent.items())


def _warn_of_other_points(run: Run, trained: TrainRun, engine: str) -> None:
    """Warn if the engine is not the one whose five points align training crops: others' differ, which raises no error."""
    if engine == TRAINED_ON:
        return
    warning = (
        f"{trained.id} was trained on crops by the five points of the engine {TRAINED_ON!r}; {engine!r} puts them elsewhere, so "
        f"the face will be softer and a little displaced; engine={TRAINED_ON!r} is what it knows"
    )
    run.emit("warning", text=warning)
    _note(f"{run.id}: {warning}")


def _note(text: str) -> None:
    """Print to standard error: standard output may be read by a program."""
    print(text, file=sys.stderr, flush=True)


def _no_face(recipe: SwapRecipe, target: Footage, turn: int | None, num_frames: int) -> FaceError:
    """The error, which names the rotation (degrees clockwise) by which a face is found, if there is one."""
    remedy = "choose footage with a face of at least 20 pixels, or set its points manually (lab.align)"
    if (found_from := recipe.stream.found_from(target.size)) > SMALLEST:
        side = max(target.size)
        remedy = f"faces under about {found_from} pixels were not looked for: search={side} does (--search {side}); or {remedy}"
    if turn is not None:
        remedy = f"a face is found when the picture is turned by {turn} degrees clockwise: {_turned(target, turn)}"
    some = "its" if num_frames == len(target) else "its first"
    return FaceError(expected=f"a face in {_name(target)}", got=f"none in any of {some} {num_frames} frames", remedy=remedy)


def _turned(target: Footage, turn: int) -> str:
    assert isinstance(target, Clip | Excerpt), "actors are always upright"
    return f"turn the file ({remedies.turned(target.path, turn)}) and admit that"


def _name(target: Footage) -> str:
    return target.path.name if isinstance(target, Clip | Excerpt) else target.origin


def _known(source: Person, swapper: AnySwapper, engine: Engine, num_frames: int) -> Source:
    """The source as the swapper needs it; one trained on this person needs only the name."""
    if swapper.needs.source == "trained":
        return Source(subject=source.subject, frames=[], faces=[])
    shown = footage_of(source, performance="still", num_frames=num_frames, seed=0, size=512)
    dense = swapper.needs.source != "embedding"
    known = source_of(shown, engine, num_frames=num_frames, dense=dense)
    if not dense:
        known = replace(known, faces=[engine.embed(frame, face) for frame, face in zip(known.frames, known.faces, strict=True)])
    if not known.frames:
        raise FaceError(expected=f"a face of {source.subject}", got="none", remedy="give a source picture with one clear face")
    return known
