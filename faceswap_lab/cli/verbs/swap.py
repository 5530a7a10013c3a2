"""`swap`: a face onto a clip or a still, and the result out through the door."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command, person

if TYPE_CHECKING:
    from faceswap_lab.faces.footage import Clip, Excerpt
    from faceswap_lab.verbs.people import Person


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
    )
    swap.add_argument("--source", required=True, metavar="WHO", help="actor:7, or a file with a manifest entry")
    swap.add_argument("--target", required=True, metavar="FILE", help="a clip or still, or actor:21/speech")
    swap.add_argument(
        "--swapper",
        default="warp",
        metavar="RUN",
        help="a train run's id, or inswapper:FILE.onnx; default: warp, needs no training",
    )
    swap.add_argument("--engine", default="offline", metavar="NAME", help="offline, or insight: and a pack's folder or name")
    swap.add_argument(
        "--select", default="largest", choices=["largest", "all"], help="which faces of a frame; default: the largest"
    )
    swap.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="K",
        help="detect on each K-th frame and follow the faces between: faster, a new face is found up to K - 1 frames late",
    )
    swap.add_argument(
        "--colour",
        default="none",
        choices=["none", "mean", "reinhard"],
        help="bring the swapped face to the target's colours: their mean, or mean and spread (Reinhard's transfer); default: none",
    )
    swap.add_argument("--preview", type=int, default=0, metavar="N", help="swap the first N frames only, as a run of its own")
    swap.add_argument("--start", metavar="WHEN", help="first frame of the target file: seconds (1.5), or its number (frame:37)")
    swap.add_argument("--stop", metavar="WHEN", help="where to stop, not included: seconds or frame:N; default: the end")
    swap.add_argument("--who", help="who is seen in the target file, if it has no manifest entry yet")
    swap.add_argument("--basis", help='why this is allowed: "public domain (NASA)", "consent: signed 2026-03-01"')
    swap.add_argument("--output", "-o", type=Path, help="where the result goes; default: beside the run")


def _swap(options: argparse.Namespace) -> Answer:
    from faceswap_lab.faces.footage import Footage
    from faceswap_lab.models.stream.swap_frames import StreamConfig
    from faceswap_lab.trust.consent.gate import target_uses
    from faceswap_lab.verbs.people import admit, subject_of
    from faceswap_lab.verbs.recipes import SwapRecipe
    from faceswap_lab.verbs.swap.swap import swap

    source = person(options.source)
    target: Footage | Person
    if options.target.startswith("actor:"):
        if options.start or options.stop:
            raise ValueError("--start and --stop cut files; how long an actor performs is said where the performance is made")
        text = options.target if "/" in options.target else f"{options.target}/speech"
        target = person(text)
    else:
        uses = target_uses(subject_of(source)) if options.who or options.basis else ()
        clip = admit(options.target, who=options.who, basis=options.basis, uses=uses)
        target = _cut(clip, options.start, options.stop) if options.start or options.stop else clip
    assert isinstance(target, Footage)
    stream = StreamConfig(select=options.select, every=options.every, colour=options.colour)
    recipe = SwapRecipe(stream=stream, engine=options.engine, preview=options.preview)
    run = swap(target, source=source, swapper=options.swapper, recipe=recipe, device=options.device, force=options.force)
    output = options.output or run.path / ("swap.png" if run.summary["num_frames"] == 1 else "swap.mp4")
    return about(run) | {"output": str(run.export(output))}


def _cut(clip: "Clip", start: str | None, stop: str | None) -> "Excerpt":
    """The excerpt between two moments, each as seconds or as `frame:37`."""

    def number(text: str) -> int:
        counted = text.removeprefix("frame:")
        if counted != text:
            if not counted.isdecimal():
                raise ValueError(f"a frame is written frame:37, not {text!r}")
            return int(counted)
        try:
            return clip.number_at(float(text))
        except ValueError as error:
            raise ValueError(f"a moment is seconds from 0 (1.5) or a frame (frame:37), not {text!r}") from error

    return clip.cut(number(start) if start else 0, number(stop) if stop else None)
