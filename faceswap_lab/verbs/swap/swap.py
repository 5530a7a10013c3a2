"""The verb `swap`: puts a source's face on footage with a swapper; the Run has the resulting frames."""

from collections.abc import Sequence
from typing import Literal, overload

from faceswap_lab.actors.cast import Actor
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Footage
from faceswap_lab.models.registry import ToneWish
from faceswap_lab.models.stream.colour_match import Colour
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.computing import Compute
from faceswap_lab.verbs.people import Person, check_person
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.many import swap_each
from faceswap_lab.verbs.swap.one import Call, swap_one
from faceswap_lab.verbs.swap.result import SwapRun


@overload
def swap(
    target: Footage,
    *,
    source: Person,
    swapper: Run | str = "oneshot",
    corrections: Corrections | None = None,
    recipe: SwapRecipe | None = None,
    select: Literal["largest", "all"] | None = None,
    every: int | None = None,
    colour: Colour | None = None,
    search: int | None = None,
    tone: ToneWish | None = None,
    engine: str | None = None,
    preview: int | None = None,
    device: str = "auto",
    compute: Compute = None,
    force: bool = False,
) -> SwapRun: ...
@overload
def swap(
    target: Sequence[Footage],
    *,
    source: Person,
    swapper: Run | str = "oneshot",
    corrections: Corrections | None = None,
    recipe: SwapRecipe | None = None,
    select: Literal["largest", "all"] | None = None,
    every: int | None = None,
    colour: Colour | None = None,
    search: int | None = None,
    tone: ToneWish | None = None,
    engine: str | None = None,
    preview: int | None = None,
    device: str = "auto",
    compute: Compute = None,
    force: bool = False,
) -> list[SwapRun]: ...
def swap(
    target: Footage | Sequence[Footage],
    *,
    source: Person,
    swapper: Run | str = "oneshot",
    corrections: Corrections | None = None,
    recipe: SwapRecipe | None = None,
    select: Literal["largest", "all"] | None = None,
    every: int | None = None,
    colour: Colour | None = None,
    search: int | None = None,
    tone: ToneWish | None = None,
    engine: str | None = None,
    preview: int | None = None,
    device: str = "auto",
    compute: Compute = None,
    force: bool = False,
) -> SwapRun | list[SwapRun]:
    """Put `source`'s face on `target` (one footage or several; several give a list of Runs).

    `swapper` is "oneshot" or "warp", which need no training by you, the Run or run id that `train` returned, or
    "inswapper:FILE.onnx", which needs an engine with the recogniser that the file was trained with (`recipe.engine`).
    `corrections` are manually set points (`align(...).corrections`, or an earlier run's `corrections()`); the run stores them.
    Frames without a face are left unchanged and counted, and so are faces not chosen by `select`; faces too small for the size
    that frames are searched at are neither found nor counted (summary `faces_found_from_px`).
    With `preview` only that many frames from the start are swapped, as a separate run.

    `select`, `every`, `colour`, `search`, `tone`, `engine` and `preview` are fields of the recipe (see `SwapRecipe`,
    `StreamConfig`) and, if given, take precedence over `recipe`.

    With `compute` (see `lab.cluster`) the workers of a cluster make the parts of a result, many at once, with the same bytes;
    several footages take turns. Of several one that fails does so alone: the others are finished, then an error says which and why.

    An interrupted or killed swap resumes when the call is repeated, with the same result as without the interruption. Raises
    ConsentError if the gate refuses the pair, FaceError if there is no face in the source, or in any frame of the target; the
    message then says whether rotating the picture would help.
    """
    stream = {"stream__select": select, "stream__every": every, "stream__colour": colour, "stream__search": search}
    asked = {
        name: value for name, value in {**stream, "tone": tone, "engine": engine, "preview": preview}.items() if value is not None
    }
    recipe = (recipe or SwapRecipe()).with_(**asked)
    check_person(source, "source")
    call = Call(source=source, swapper=swapper, corrections=corrections, recipe=recipe, device=device, force=force)
    if isinstance(target, list | tuple):
        return swap_each(target, call, compute)
    check_person(target, "target")
    assert isinstance(target, Actor | Footage)
    return swap_one(target, call, compute)
