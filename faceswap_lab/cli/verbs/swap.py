"""`swap`: put a face on a clip or a still, and export the result."""

import argparse
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import (
    about,
    acceptance,
    add_acceptance,
    add_command,
    add_declaration,
    cluster_of,
    declaration,
    person,
    root,
)
from faceswap_lab.cli.parsing import ArgumentValueError
from faceswap_lab.cli.recipe_flags import add_recipe, recipe_of
from faceswap_lab.errors import RunError
from faceswap_lab.files import user_path

if TYPE_CHECKING:
    from faceswap_lab.faces.corrections import Corrections
    from faceswap_lab.faces.footage import Clip, Excerpt, Footage
    from faceswap_lab.verbs.people import Person
    from faceswap_lab.verbs.recipes import SwapRecipe


def offer(commands: Any) -> None:
    """Adds the command."""
    swap = add_command(
        commands,
        "swap",
        _swap,
        "put a source's face on a clip or a still",
        "faceswap-lab swap --source actor:7 --target actor:32/speech:3 --swapper train-3f9a",
        'faceswap-lab swap --source actor:7 --target clip.mp4 --who "Jo Doe" --basis "consent: signed 2026-03-01" -o swap.mp4',
        "faceswap-lab swap --source actor:7 --target clip.mp4 --start 1.5 --stop frame:100 --select all",
        verb=True,
        cluster=True,
    )
    swap.add_argument("--source", required=True, metavar="WHO", help="actor:7, or a file with a manifest entry")
    swap.add_argument("--target", required=True, metavar="FILE", help="a clip or still, or actor:21/speech")
    swap.add_argument(
        "--swapper",
        default="oneshot",
        metavar="RUN",
        help="a train run's id, warp, or inswapper:FILE.onnx; default: oneshot, which takes any face and needs no training",
    )
    swap.add_argument(
        "--corrections",
        metavar="FILE",
        help="manually corrected points: a file of `align(…).corrections.to_json()`, or the id of a swap that was given some",
    )
    swap.add_argument("--start", metavar="WHEN", help="first frame of the target file: seconds (1.5), or its number (frame:37)")
    swap.add_argument("--stop", metavar="WHEN", help="end of the stretch, exclusive: seconds or frame:N; default: the end")
    swap.add_argument("--output", "-o", type=user_path, help="where to export the result; default: in the run's folder")
    swap.add_argument(
        "--sound",
        choices=["copy", "encode", "none"],
        help="the target's sound: copied, encoded as AAC, or left out; default: copy, but none if a real person is anonymised",
    )
    add_acceptance(swap)
    add_declaration(swap, "a target file", uses="anonymise, or swap-target if the source is a real person")
    add_recipe(swap, _recipe, short={f"stream.{name}": f"--{name}" for name in ("select", "every", "colour", "search")})


def _recipe(_: str | None) -> object:
    from faceswap_lab.verbs.recipes import SwapRecipe

    return SwapRecipe


def _swap(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs.recipes import SwapRecipe
    from faceswap_lab.verbs.swap.swap import swap

    source = person(options.source)
    target, recipe = _target(options, source), recipe_of(options, SwapRecipe())
    _check_output(options, target, source, recipe)
    with cluster_of(options) as compute:
        run = swap(
            target,
            source=source,
            swapper=options.swapper,
            corrections=_corrections(options.corrections) if options.corrections else None,
            recipe=recipe,
            device=options.device,
            compute=compute,
            force=options.force,
        )
    output = options.output or run.path / ("swap.png" if run.summary["num_frames"] == 1 else "swap.mp4")
    return about(run) | {"output": str(run.export(output, sound=options.sound, **acceptance(options)))}


def _corrections(text: str) -> "Corrections":
    """Those in a file, or those that a swap was given."""
    from faceswap_lab.faces.corrections import Corrections
    from faceswap_lab.verbs.swap.result import SwapRun

    path = user_path(text)
    if path.is_file():
        return Corrections.from_json(path.read_text(encoding="utf-8"))
    try:
        return SwapRun.open(text).corrections()
    except RunError as error:
        raise ArgumentValueError(
            expected="a file of corrections, or the id of a swap that was given some",
            got=f"{text!r}: {error.got}",
            remedy=error.remedy,
        ) from error


def _check_output(options: argparse.Namespace, target: "Footage", source: "Person", recipe: "SwapRecipe") -> None:
    """Ask before the work whatever the export would refuse after it."""
    from faceswap_lab.trust.marks.metadata import Lineage
    from faceswap_lab.verbs.people import subject_of
    from faceswap_lab.verbs.swap.destination import check_output

    about = Lineage(run="", source=subject_of(source), target=subject_of(target), trained=False)
    check_output(options.output, target, preview=recipe.preview, sound=options.sound, about=about, root=root())


def _target(options: argparse.Namespace, source: "Person") -> "Footage":
    """The target footage: an actor's performance, or a file or an excerpt of it."""
    from faceswap_lab.faces.footage import Clip, Footage
    from faceswap_lab.trust.consent.gate import target_uses
    from faceswap_lab.verbs.people import subject_of

    # The uses that a new file is declared for depend on the source.
    declared = declaration(options, target_uses(subject_of(source)))
    acted = options.target.startswith("actor:") and "/" not in options.target
    target = person(f"{options.target}/speech" if acted else options.target, declared)
    if not isinstance(target, Clip) and (options.start or options.stop):
        raise ValueError("--start and --stop apply to files only; an actor's performance has a fixed length")
    if isinstance(target, Clip) and (options.start or options.stop):
        return _cut(target, options.start, options.stop)
    assert isinstance(target, Footage)
    return target


def _cut(clip: "Clip", start: str | None, stop: str | None) -> "Excerpt":
    """The excerpt between two times, each in seconds or as `frame:37`."""

    def number(text: str) -> int:
        counted = text.removeprefix("frame:")
        if counted != text:
            if not counted.isdecimal():
                raise ArgumentValueError(expected="a frame such as frame:37", got=repr(text), remedy="give its number")
            return int(counted)
        try:
            return clip.number_at(float(text))
        except ValueError as error:
            expected = "a time in seconds from 0 (1.5), or a frame (frame:37)"
            raise ArgumentValueError(expected=expected, got=f"{text!r}: {error}", remedy="give one within the clip") from error

    return clip.cut(number(start) if start else 0, number(stop) if stop else None)
