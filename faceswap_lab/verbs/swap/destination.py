"""Where a swap's result will go: what would stop the export is found before the swap, not after it."""

from pathlib import Path

from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.sound.tracks import Sound, check_sound
from faceswap_lab.models.judges.panel import NAMES
from faceswap_lab.models.weights import catalogue
from faceswap_lab.trust.consent.gate import check_swap
from faceswap_lab.trust.export import STILLS, check_destination, default_sound
from faceswap_lab.trust.marks.metadata import Lineage


def check_output(path: Path | None, target: Footage, *, preview: int, sound: Sound | None, about: Lineage, root: Path) -> None:
    """Raise what `SwapRun.export(path, sound=sound)` would after a swap of `target`, or of its first `preview` frames if not 0.

    `path` None: a name with the right suffix. Errors as of `trust.export.check_destination` and `faces.sound.tracks.check_sound`;
    ConsentError if the gate refuses the pair; WeightsError if it anonymises somebody and the judges were not fetched.
    """
    permission = check_swap(about.source, about.target, root=root)
    if permission.anonymises:
        for name in NAMES:
            catalogue.path(name)
    num_frames = min(preview or len(target), len(target))
    if path is not None:
        check_destination(path, num_frames)
    is_still = num_frames == 1 if path is None else path.suffix.lower() in STILLS
    if not is_still and isinstance(target, Clip | Excerpt) and target.has_audio:
        check_sound(target.path, sound or default_sound(permission))
