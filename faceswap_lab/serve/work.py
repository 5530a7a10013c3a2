"""One job of the demo: admitted on what the visitor declares, asked of the gate, swapped, measured, exported with its mark."""

import os
from pathlib import Path
from time import perf_counter

import numpy as np

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.errors import ConsentError, FaceError
from faceswap_lab.faces.footage import Clip, Footage, digest
from faceswap_lab.faces.frame import HEAD_BYTES, still_format
from faceswap_lab.files import ROOT_VARIABLE
from faceswap_lab.progress import heard_by
from faceswap_lab.serve.intake import Upload
from faceswap_lab.serve.orders import Order, Outcome, Row, Sample, Telling
from faceswap_lab.serve.scoring import figures
from faceswap_lab.trust.admit import admit
from faceswap_lab.trust.consent.gate import check_evaluate
from faceswap_lab.trust.consent.manifest import find_entry
from faceswap_lab.trust.export import export_take
from faceswap_lab.verbs.people import subject_of
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.swap.swap import swap

_FINE_FORMATS = ("PNG", "BMP")


def do(order: Order, told: Telling) -> Outcome:
    """Do a job in the lab of its visit; errors as of `admit`, `swap` and `export`. The process is in that lab from then on."""
    start = perf_counter()
    os.environ[ROOT_VARIABLE] = str(order.visit.root)
    told("looking at the upload", 0, 1)
    source = order.source.person(order.visit.root)
    target = _sampled(order.target) if isinstance(order.target, Sample) else _admitted(order, order.target)
    told("swapping", 0, 1)
    began = perf_counter()
    with heard_by(lambda _, done, total: told("swapping", done, total)):
        # Everybody in an uploaded picture gets the actor's face: a bystander agreed to nothing.
        run = swap(target, source=source, swapper=order.swapper, select="all" if isinstance(source, Actor) else "largest")
    swapped = perf_counter() - began
    told("measuring and marking", 0, 1)
    scores, note = _measured(run, source, target)
    frames, faces = order.accept
    place = order.visit.root / "exports" / f"faceswap-{order.visit.id[:8]}{_suffix(order, target)}"
    # A demo shows what a swap does. Where that hides nobody it says so: on the page, in the mark and in the log.
    after = run.export(place, accept_frames=frames, accept_faces=faces, accept_recognisable=True)
    is_clip = len(target) > 1
    return Outcome(
        kind="clip" if is_clip else "picture",
        before=_before(order, target) if is_clip else np.array(target[0].image),
        after=after,
        scores=scores,
        run=run.id,
        num_frames=len(target),
        seconds=swapped,
        overhead_s=perf_counter() - start - swapped,
        note=" ".join(filter(None, (note, _still_recognised(run, source, target)))),
    )


def _sampled(sample: Sample) -> Footage:
    return Actor(sample.seed).perform(sample.performance, seconds=sample.num_frames / 25, fps=25, size=sample.size)


def _admitted(order: Order, upload: Upload) -> Clip:
    """The upload under the visitor's declaration, as a real person's: nobody can say of an upload that it shows an actor.

    A file that a manifest of the package lists is admitted under that one.
    """
    if order.declaration is None:
        raise ConsentError(
            expected="a declaration about the person in the upload", got="none", remedy="tick the box, give a reason"
        )
    basis, root = order.declaration.basis(), order.visit.root
    if find_entry(root, digest(upload.path)) is not None:
        return admit(upload.path, root=root)
    # No more than this: a real person's face on an upload is for the gate to refuse.
    uses = ("anonymise", "evaluate")
    return admit(upload.path, root=root, who=order.visit.who, basis=basis, uses=uses, source="uploaded to the demo")


def _measured(run: SwapRun, source: Actor | Clip, target: Footage) -> tuple[tuple[Row, ...], str]:
    """The figures; none, and why, if a person did not agree to be measured or shows no face to compare with."""
    try:
        check_evaluate(subject_of(source), subject_of(target), root=run.root)
        return figures(run, source, target), ""
    except (ConsentError, FaceError) as error:
        return (), f"not measured: {error.got}"


def _still_recognised(run: SwapRun, source: Actor | Clip, target: Footage) -> str:
    """The warning for a visitor whose face was replaced and who is still recognised; empty for anybody else."""
    if not isinstance(source, Actor) or not isinstance(target, Clip):
        return ""
    likeness = run.likeness()
    if not likeness.recognisable:
        return ""
    worst = likeness.worst
    if worst is None or not worst.num_faces:
        return "This is not anonymous: no replaced face was found to compare."
    return f"This is not anonymous: {worst.judge} still takes it for the person before (cosine {worst.cosine:.2f})."


def _suffix(order: Order, target: Footage) -> str:
    """A clip is an .mp4. A still is a .jpg if it came as something like one: ten times as fast as .png, and a tenth as large."""
    if len(target) > 1:
        return ".mp4"
    if isinstance(order.target, Sample):
        return ".png"
    with order.target.path.open("rb") as file:
        return ".png" if still_format(file.read(HEAD_BYTES)) in _FINE_FORMATS else ".jpg"


def _before(order: Order, target: Footage) -> Path:
    """The file of a clip as it was: the upload itself, or an actor's take, which leaves like everything else."""
    if isinstance(order.target, Upload):
        return order.target.path
    assert isinstance(target, Take)
    return export_take(target, order.visit.root / "exports" / "before.mp4", root=order.visit.root).path
