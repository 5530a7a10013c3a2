"""Choosing whose face to put on somebody who is to be anonymised: an actor who is far from them, so that the shape differs too."""

import sys
from collections.abc import Sequence

import numpy as np

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.splits import split_of
from faceswap_lab.files import lab_root
from faceswap_lab.models import metrics
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.stream.probes import gallery_of
from faceswap_lab.progress import Progress
from faceswap_lab.trust.consent.gate import check_swap
from faceswap_lab.verbs.people import Person, check_person, footage_of, subject_of

CANDIDATES = range(200, 216)
"""Seeds of the actors that are looked at by default; nobody picked them."""

_FRAMES, _SIZE = 5, 256


def unlike(person: Person, *, among: Sequence[int] = CANDIDATES) -> Actor:
    """The actor, of the seeds `among`, whose face is farthest from the person's: a good source for anonymising them.

    Farthest by SFace, which selects in this lab, over up to five frames of the person and of each actor; not by the judges, who
    would then have to judge their own choice (see `SwapRun.likeness`). Renders five frames for each actor. Raises ValueError for no
    actor or a test actor, ConsentError if the gate would refuse such a swap, FaceError if no frame shows the person's face.
    """
    check_person(person, "person")
    seeds = list(dict.fromkeys(among))
    if not seeds or any(split_of(seed) == "test" for seed in seeds):
        raise ValueError(f"expected actors of the splits train and val, got {seeds or 'none'}")
    check_swap(subject_of(Actor(seeds[0])), subject_of(person), root=lab_root())
    engine, line = OfflineEngine(), Progress("actors", len(seeds), unit="actors")
    own, cosines = _gallery(person, engine), []
    for number, seed in enumerate(seeds):
        gallery = _gallery(Actor(seed), engine)
        cosines.append(float(np.mean([metrics.identity_similarity(vector, own) for vector in gallery])))
        line.update(number + 1)
    line.close()
    chosen = int(np.argmin(cosines))
    text = f"actor:{seeds[chosen]} is the farthest of {len(seeds)}: cosine {cosines[chosen]:.2f} by {engine.embedder}"
    print(f"{text}, the nearest {max(cosines):.2f}", file=sys.stderr, flush=True)
    return Actor(seeds[chosen])


def _gallery(person: Person, engine: OfflineEngine) -> np.ndarray:
    shown = footage_of(person, performance="range", num_frames=_FRAMES, seed=0, size=_SIZE)
    return gallery_of(shown, engine, num_frames=_FRAMES)
